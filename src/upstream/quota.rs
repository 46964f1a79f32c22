//! So many of something at one time, all workers together; who comes too late waits in line.
//!
//! Like a semaphore whose number may change, and that shows its line: so nothing is closed for
//! somebody who does not wait any more, and a lower number holds from the first return on.

use crate::telemetry::shard::WorkerIndex;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// So many of something at one time, by a number that may change.
#[derive(Debug)]
pub struct Quota {
    state: Mutex<State>,
    /// Whether more are needed than there are: a copy for who only wants to know that.
    short: AtomicBool,
    /// Tells those who could give something back that it is short.
    calls: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    limit: usize,
    taken: usize,
    /// Whether somebody was refused who could not wait.
    wished: bool,
    /// How many will be given back soon by who was called.
    conceded: usize,
    /// In the order of their numbers. Who waits bounds it: each is a pending request, or opens a
    /// connection for such.
    line: VecDeque<Waiting>,
    numbers: u64,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    since: Instant,
    seeker: Option<Seeker>,
    sender: oneshot::Sender<Permit>,
}

/// One of so many; given back when dropped.
#[derive(Debug)]
pub struct Permit(Arc<Quota>);

/// A place in the line; given up when dropped.
#[derive(Debug)]
pub struct Ticket {
    quota: Arc<Quota>,
    number: u64,
    /// Nothing once somebody else has left the line for it.
    receiver: Option<oneshot::Receiver<Permit>>,
}

/// Who waits for a connection: requests to this endpoint on this worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seeker {
    /// The worker.
    pub worker: WorkerIndex,
    /// The endpoint's address.
    pub endpoint: SocketAddr,
}

/// Who needs what somebody has no use for at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Nobody.
    Nobody,
    /// The seeker that has it is the first in line.
    Own,
    /// Another is the first in line, but not for long.
    Other,
    /// There are more than there may be, or another has waited for too long.
    Urgent,
}

impl Default for Quota {
    /// Without a limit.
    fn default() -> Self {
        let (taken, wished, conceded, numbers) = (0, false, 0, 0);
        let line = VecDeque::new();
        let limit = usize::MAX;
        Self {
            state: Mutex::new(State { limit, taken, wished, conceded, line, numbers }),
            short: AtomicBool::new(false),
            calls: watch::Sender::default(),
        }
    }
}

impl State {
    /// How many would have to be given back for everybody to be content.
    fn needed(&self) -> usize {
        let wished = usize::from(self.wished && self.taken >= self.limit);
        self.line.len() + self.taken.saturating_sub(self.limit) + wished
    }
}

impl Quota {
    /// Sets how many there are; 0 for no limit. What is taken stays so.
    pub fn resize(self: &Arc<Self>, limit: u32) {
        let limit = if limit == 0 { usize::MAX } else { limit as usize };
        self.change(|state| state.limit = limit);
        self.pass_on(0);
        if self.is_short() {
            self.call();
        }
    }

    /// Takes one, if there is one and nobody waits for it.
    pub fn take(self: &Arc<Self>) -> Option<Permit> {
        let taken = self.change(|state| {
            let free = state.taken < state.limit && state.line.is_empty();
            state.taken += usize::from(free);
            free
        });
        taken.then(|| Permit(Arc::clone(self)))
    }

    /// Counts one that somebody has without having taken it, whatever the limit is.
    pub fn seize(self: &Arc<Self>) -> Permit {
        self.change(|state| state.taken += 1);
        Permit(Arc::clone(self))
    }

    /// Whether one could be taken now.
    pub fn has_room(&self) -> bool {
        let state = self.state.lock();
        state.taken < state.limit && state.line.is_empty()
    }

    /// Joins the line.
    pub fn queue(self: &Arc<Self>, seeker: Option<Seeker>, now: Instant) -> Ticket {
        let (sender, receiver) = oneshot::channel();
        let number = self.change(|state| {
            let number = state.numbers;
            state.numbers += 1;
            state.line.push_back(Waiting { number, since: now, seeker, sender });
            number
        });
        // One may have been given back in between.
        self.pass_on(0);
        Ticket { quota: Arc::clone(self), number, receiver: Some(receiver) }
    }

    /// Leaves the line, if the one with this number still stands there.
    pub fn leave(&self, number: u64) {
        self.change(|state| {
            if let Ok(at) = state.line.binary_search_by_key(&number, |waiting| waiting.number) {
                state.line.remove(at);
            }
        });
    }

    /// Notes that one is needed by somebody who does not wait.
    pub fn wish(&self) {
        self.change(|state| state.wished = true);
    }

    /// Whether more are needed than there are.
    pub fn is_short(&self) -> bool {
        self.short.load(Ordering::Acquire)
    }

    /// Who needs what the seeker has and does not use; urgently if the first in line has waited for
    /// longer than `patience`.
    pub fn claim(&self, seeker: Seeker, patience: Duration, now: Instant) -> Claim {
        let state = self.state.lock();
        let Some(first) = state.line.front() else {
            return if state.needed() > 0 { Claim::Urgent } else { Claim::Nobody };
        };
        if state.taken > state.limit {
            Claim::Urgent
        } else if first.seeker == Some(seeker) {
            Claim::Own
        } else if now.saturating_duration_since(first.since) > patience {
            Claim::Urgent
        } else {
            Claim::Other
        }
    }

    /// Promises to give one back that can not be given back at once; false if enough of them were
    /// promised already.
    pub fn concede(&self) -> bool {
        self.change(|state| {
            let needed = state.conceded < state.needed();
            state.conceded += usize::from(needed);
            needed
        })
    }

    /// Calls upon those who could give one back.
    pub fn call(&self) {
        self.calls.send_replace(());
    }

    /// Hears the calls from now on.
    pub fn calls(&self) -> watch::Receiver<()> {
        self.calls.subscribe()
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let result = change(&mut state);
        state.wished &= state.taken >= state.limit;
        let needed = state.needed();
        state.conceded = state.conceded.min(needed);
        self.short.store(needed > 0, Ordering::Release);
        result
    }

    /// Takes what is given back, and lets those in line have what there is.
    fn pass_on(self: &Arc<Self>, mut returned: usize) {
        loop {
            let next = self.change(|state| {
                state.taken = state.taken.saturating_sub(returned);
                state.conceded = state.conceded.saturating_sub(returned);
                let free = state.taken < state.limit;
                let next = if free { state.line.pop_front() } else { None };
                state.taken += usize::from(next.is_some());
                next
            });
            returned = 0;
            let Some(next) = next else { return };
            // If it has left in this moment, the permit comes back.
            let _ = next.sender.send(Permit(Arc::clone(self)));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.pass_on(1);
    }
}

impl Ticket {
    /// Its number, with which somebody else can leave the line for its owner.
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl Future for Ticket {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit> {
        let Some(receiver) = &mut self.receiver else { return Poll::Pending };
        let permit = ready!(Pin::new(receiver).poll(cx));
        self.receiver = None;
        permit.map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.quota.leave(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::{Claim, Permit, Quota, Seeker, Ticket};
    use crate::telemetry::shard::WorkerIndex;
    use proptest::prelude::*;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::task::{Context, Poll, Waker};
    use std::time::{Duration, Instant};

    fn quota(limit: u32) -> Arc<Quota> {
        let quota = Arc::new(Quota::default());
        quota.resize(limit);
        quota
    }

    fn queue(quota: &Arc<Quota>) -> Ticket {
        quota.queue(None, Instant::now())
    }

    fn seeker(worker: usize) -> Seeker {
        Seeker { worker: WorkerIndex(worker), endpoint: ([127, 0, 0, 1], 1).into() }
    }

    fn served(ticket: &mut Ticket) -> Option<Permit> {
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(ticket).poll(&mut cx) {
            Poll::Ready(permit) => Some(permit),
            Poll::Pending => None,
        }
    }

    #[test]
    fn who_came_first_is_served_first() {
        let quota = quota(1);
        let held = quota.take().unwrap();
        let (mut first, mut second, mut third) = (queue(&quota), queue(&quota), queue(&quota));
        assert!(quota.take().is_none() && served(&mut first).is_none());
        drop(second);
        drop(held);
        // It was served, though it has not looked yet.
        assert!(quota.take().is_none());
        let held = served(&mut first).unwrap();
        assert!(served(&mut third).is_none());
        drop(held);
        second = queue(&quota);
        assert!(served(&mut third).is_some());
        assert!(served(&mut second).is_some());
    }

    #[test]
    fn a_permit_for_somebody_who_left_goes_to_the_next() {
        let quota = quota(1);
        let held = quota.take().unwrap();
        let (first, mut second) = (queue(&quota), queue(&quota));
        drop(held);
        drop(first);
        assert!(served(&mut second).is_some());
        assert!(quota.take().is_some());
    }

    #[test]
    fn a_lower_number_holds_as_soon_as_enough_was_given_back() {
        let quota = quota(3);
        let mut held: Vec<_> = (0..3).map(|_| quota.take().unwrap()).collect();
        let mut waiting = queue(&quota);
        quota.resize(1);
        held.pop();
        held.pop();
        assert!(served(&mut waiting).is_none());
        held.pop();
        assert!(served(&mut waiting).is_some_and(|_permit| quota.take().is_none()));
    }

    #[test]
    fn a_higher_number_and_none_at_all_let_those_in_line_through() {
        let quota = quota(1);
        let _held = quota.take().unwrap();
        let mut waiting: Vec<_> = (0..5).map(|_| queue(&quota)).collect();
        quota.resize(3);
        let mut through: Vec<_> = waiting.iter_mut().filter_map(served).collect();
        assert_eq!(through.len(), 2);
        quota.resize(0);
        through.extend(waiting[2..].iter_mut().filter_map(served));
        assert_eq!(through.len(), 5);
        // What was taken is counted when there is a limit again.
        quota.resize(6);
        assert!(quota.take().is_none());
        drop(through);
        assert!(quota.take().is_some());
    }

    #[test]
    fn a_claim_is_urgent_for_who_has_waited_for_long() {
        let quota = quota(1);
        let patience = Duration::from_secs(1);
        let (now, held) = (Instant::now(), quota.take().unwrap());
        let claim = |who, after| quota.claim(seeker(who), patience, now + after);
        assert_eq!(claim(0, patience), Claim::Nobody);
        let first = quota.queue(Some(seeker(0)), now);
        let second = quota.queue(Some(seeker(1)), now);
        assert_eq!(claim(0, patience * 2), Claim::Own);
        assert_eq!(claim(1, patience), Claim::Other);
        assert_eq!(claim(1, patience * 2), Claim::Urgent);
        quota.leave(first.number());
        assert_eq!(claim(1, patience * 2), Claim::Own);
        drop(second);
        assert_eq!(claim(1, patience * 2), Claim::Nobody);
        quota.wish();
        assert!(quota.is_short());
        assert_eq!(claim(1, Duration::ZERO), Claim::Urgent);
        drop(held);
        assert!(!quota.is_short());
    }

    #[test]
    fn no_more_is_conceded_than_is_needed() {
        let quota = quota(2);
        let held: Vec<_> = (0..2).map(|_| quota.take().unwrap()).collect();
        assert!(!quota.concede());
        let (first, second) = (queue(&quota), queue(&quota));
        assert!(quota.concede() && quota.concede() && !quota.concede());
        drop(first);
        assert!(!quota.concede());
        drop(second);
        quota.resize(1);
        assert!(quota.concede() && !quota.concede());
        drop(held);
        assert!(!quota.is_short() && !quota.concede());
    }

    #[test]
    fn who_could_give_one_back_is_called() {
        let quota = quota(2);
        let calls = quota.calls();
        let _held = (quota.take(), quota.take());
        quota.resize(3);
        assert!(!calls.has_changed().unwrap());
        quota.resize(1);
        assert!(calls.has_changed().unwrap());
    }

    #[test]
    fn no_more_are_taken_at_one_time_than_there_are_whatever_threads_do() {
        let quota = quota(3);
        let (taken, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let hold = |permit: Permit| {
            most.fetch_max(taken.fetch_add(1, SeqCst) + 1, SeqCst);
            std::thread::yield_now();
            taken.fetch_sub(1, SeqCst);
            drop(permit);
        };
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (quota, hold) = (&quota, &hold);
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    for number in 0..500 {
                        match quota.take() {
                            Some(permit) => hold(permit),
                            None if (number + thread) % 7 == 0 => drop(queue(quota)),
                            None => hold(runtime.block_on(queue(quota))),
                        }
                    }
                });
            }
        });
        assert!(most.into_inner() <= 3);
        assert_eq!((0..9).map_while(|_| quota.take()).collect::<Vec<_>>().len(), 3);
    }

    proptest! {
        #[test]
        fn nobody_waits_while_there_is_one_and_none_is_lost(
            steps in proptest::collection::vec((0_usize..7, 0_usize..8), 0..200),
        ) {
            let quota = quota(3);
            let (mut limit, mut held, mut line) = (3, Vec::new(), Vec::new());
            for (step, which) in steps {
                match step {
                    0 | 1 => held.extend(quota.take()),
                    2 => line.push(queue(&quota)),
                    3 if which < line.len() => drop(line.remove(which)),
                    4 if which < held.len() => drop(held.swap_remove(which)),
                    5 => {
                        limit = which + 1;
                        quota.resize(u32::try_from(limit).unwrap());
                    }
                    6 => held.push(quota.seize()),
                    _ => {}
                }
                let mut waiting = Vec::new();
                for mut ticket in line {
                    match served(&mut ticket) {
                        Some(permit) => {
                            // Nobody overtakes.
                            prop_assert!(waiting.is_empty());
                            held.push(permit);
                        }
                        None => waiting.push(ticket),
                    }
                }
                line = waiting;
                prop_assert!(line.is_empty() || held.len() >= limit);
                let excess = held.len().saturating_sub(limit);
                prop_assert_eq!(quota.is_short(), !line.is_empty() || excess > 0);
                prop_assert_eq!(quota.has_room(), line.is_empty() && held.len() < limit);
            }
        }
    }
}

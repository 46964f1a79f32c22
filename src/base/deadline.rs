//! Deadlines of one length: most are met, so each costs a link in a list and not a timer.
//!
//! Deadlines of the same length end in the order in which they began. One task sleeps until the
//! first of them; those that were met are unlinked by then.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// The deadlines of one length that are running on this thread.
#[derive(Debug)]
pub struct Deadlines {
    length: Duration,
    entries: RefCell<Entries>,
    /// Whether the task that looks after them is running.
    watched: Cell<bool>,
}

/// Running deadlines as a doubly linked list inside a vector, the earliest first.
#[derive(Debug, Default)]
struct Entries {
    places: Vec<Entry>,
    first: Option<usize>,
    last: Option<usize>,
    free: Option<usize>,
}

#[derive(Debug)]
struct Entry {
    at: Instant,
    waker: Option<Waker>,
    passed: bool,
    previous: Option<usize>,
    /// The next one, or the next free place.
    next: Option<usize>,
}

/// One running deadline; a future that ends when it has passed. Dropping it is meeting it.
#[derive(Debug)]
pub struct Deadline {
    deadlines: Rc<Deadlines>,
    place: usize,
}

impl Deadlines {
    /// None running yet, each to end after `length`.
    pub fn new(length: Duration) -> Self {
        Self { length, entries: RefCell::default(), watched: Cell::new(false) }
    }

    /// After how long they end.
    pub fn length(&self) -> Duration {
        self.length
    }

    /// A deadline that began at `from`, which must not be before that of an earlier call by more
    /// than it matters: a deadline may end that much too late, never too early.
    pub fn begin(self: &Rc<Self>, from: Instant) -> Deadline {
        let place = self.entries.borrow_mut().push(from + self.length);
        if !self.watched.replace(true) {
            tokio::task::spawn_local(Rc::clone(self).watch());
        }
        Deadline { deadlines: Rc::clone(self), place }
    }

    /// Ends what has passed, until nothing is running.
    async fn watch(self: Rc<Self>) {
        loop {
            let Some(first) = self.entries.borrow().first_at() else { break };
            tokio::time::sleep_until(first.into()).await;
            let now = tokio::time::Instant::now().into();
            loop {
                // Waking runs no other task's code, but the borrow need not be held for it.
                let Some(waker) = self.entries.borrow_mut().pass(now) else { break };
                waker.wake();
            }
        }
        self.watched.set(false);
    }
}

impl Entries {
    fn push(&mut self, at: Instant) -> usize {
        let entry = Entry { at, waker: None, passed: false, previous: self.last, next: None };
        let place = self.free.unwrap_or(self.places.len());
        if let Some(free) = self.places.get_mut(place) {
            self.free = std::mem::replace(free, entry).next;
        } else {
            self.places.push(entry);
        }
        match self.last.and_then(|last| self.places.get_mut(last)) {
            Some(last) => last.next = Some(place),
            None => self.first = Some(place),
        }
        self.last = Some(place);
        place
    }

    fn unlink(&mut self, place: usize) {
        let Some(entry) = self.places.get(place) else { return };
        let (previous, next) = (entry.previous, entry.next);
        match previous.and_then(|previous| self.places.get_mut(previous)) {
            Some(entry) => entry.next = next,
            None => self.first = next,
        }
        match next.and_then(|next| self.places.get_mut(next)) {
            Some(entry) => entry.previous = previous,
            None => self.last = previous,
        }
    }

    fn release(&mut self, place: usize) {
        let passed = self.places.get(place).is_some_and(|entry| entry.passed);
        if !passed {
            self.unlink(place);
        }
        if let Some(entry) = self.places.get_mut(place) {
            entry.waker = None;
            entry.next = self.free;
            self.free = Some(place);
        }
    }

    fn first_at(&self) -> Option<Instant> {
        self.places.get(self.first?).map(|entry| entry.at)
    }

    /// Unlinks the first deadline if it has passed, and gives whom to wake.
    fn pass(&mut self, now: Instant) -> Option<Waker> {
        loop {
            let place = self.first?;
            let entry = self.places.get_mut(place)?;
            if entry.at > now {
                return None;
            }
            entry.passed = true;
            let waker = entry.waker.take();
            self.unlink(place);
            if waker.is_some() {
                return waker;
            }
        }
    }
}

impl Future for Deadline {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut entries = self.deadlines.entries.borrow_mut();
        let Some(entry) = entries.places.get_mut(self.place) else { return Poll::Ready(()) };
        if entry.passed {
            return Poll::Ready(());
        }
        match &mut entry.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.deadlines.entries.borrow_mut().release(self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::{Deadlines, Entries};
    use proptest::prelude::*;
    use std::rc::Rc;
    use std::time::{Duration, Instant};
    use tokio::task::LocalSet;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_ends_when_its_time_is_up_and_not_before() {
        let local = LocalSet::new();
        let work = async {
            let deadlines = Rc::new(Deadlines::new(Duration::from_secs(15)));
            let now = || tokio::time::Instant::now().into_std();
            let started = tokio::time::Instant::now();
            let (met, first) = (deadlines.begin(now()), deadlines.begin(now()));
            tokio::time::advance(Duration::from_secs(5)).await;
            let second = deadlines.begin(now());
            drop(met);
            first.await;
            assert!(started.elapsed() >= Duration::from_secs(15));
            assert!(started.elapsed() < Duration::from_millis(15_100));
            second.await;
            assert!(started.elapsed() >= Duration::from_secs(20));
            // The task that watched has ended; another one begins.
            tokio::time::advance(Duration::from_mins(1)).await;
            deadlines.begin(now()).await;
            assert!(started.elapsed() >= Duration::from_secs(95));
        };
        local.run_until(work).await;
    }

    proptest! {
        #[test]
        fn the_list_holds_what_a_queue_would(
            steps in proptest::collection::vec(0_usize..12, 0..200),
        ) {
            let start = Instant::now();
            let mut entries = Entries::default();
            let mut model: Vec<usize> = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                let at = start + Duration::from_secs(number as u64);
                if step < 6 || model.is_empty() {
                    model.push(entries.push(at));
                } else {
                    let place = model.remove(step % model.len());
                    entries.release(place);
                }
                let mut linked = Vec::new();
                let mut next = entries.first;
                while let Some(place) = next {
                    linked.push(place);
                    next = entries.places[place].next;
                }
                prop_assert_eq!(&linked, &model);
                prop_assert_eq!(entries.last, model.last().copied());
            }
        }
    }
}

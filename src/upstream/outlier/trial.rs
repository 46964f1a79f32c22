//! The one request that decides whether an ejected endpoint is back.

use crate::base::clock;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::pool::Pool;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Where the return of an endpoint stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TrialState {
    /// It is not about to return.
    None,
    /// The next request decides.
    Open,
    /// A request is there, and will decide.
    Taken,
    /// It decided for the endpoint.
    Passed,
    /// It decided against it.
    Failed,
}

/// Where the return of an endpoint stands: opened by the control plane, taken and decided by the
/// workers. Beside the state it counts the trials, so that a request of an earlier one decides
/// nothing in a later one.
#[derive(Debug, Default)]
pub(in crate::upstream) struct TrialCell(AtomicU32);

/// The bits of the state; the others count.
const STATE_BITS: u32 = 3;

/// The right to be the request that decides. Dropped before it has, it lets another one decide.
#[derive(Debug)]
pub struct Trial {
    pool: Arc<Pool>,
    endpoint: Arc<Endpoint>,
    taken: u32,
    since: Instant,
}

/// After so long a request that decides nothing, because its client left, speaks against the
/// endpoint: else one client after the other would wait there.
const LONG: Duration = Duration::from_secs(1);

impl TrialState {
    const fn of(value: u32) -> Self {
        match value & ((1 << STATE_BITS) - 1) {
            1 => Self::Open,
            2 => Self::Taken,
            3 => Self::Passed,
            4 => Self::Failed,
            _ => Self::None,
        }
    }

    const fn within(self, value: u32) -> u32 {
        let bits = match self {
            Self::None => 0,
            Self::Open => 1,
            Self::Taken => 2,
            Self::Passed => 3,
            Self::Failed => 4,
        };
        (value >> STATE_BITS) << STATE_BITS | bits
    }
}

impl TrialCell {
    /// Where it stands.
    pub(super) fn state(&self) -> TrialState {
        TrialState::of(self.0.load(Ordering::Acquire))
    }

    /// Whether the next request decides.
    pub(in crate::upstream) fn is_open(&self) -> bool {
        self.state() == TrialState::Open
    }

    /// Whether a request decides that is to come, or that may yet be given up.
    pub(in crate::upstream) fn is_waiting(&self) -> bool {
        matches!(self.state(), TrialState::Open | TrialState::Taken)
    }

    /// Begins another trial, or none. To be called by the control plane alone.
    pub(super) fn renew(&self, state: TrialState) {
        let next = |value: u32| Some(state.within(value.wrapping_add(1 << STATE_BITS)));
        // It gives up only if the closure does.
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
    }

    /// Takes an open trial; nothing if somebody else has.
    pub(super) fn take(&self) -> Option<u32> {
        let open = self.0.load(Ordering::Acquire);
        let taken = TrialState::Taken.within(open);
        (TrialState::of(open) == TrialState::Open && self.change(open, taken)).then_some(taken)
    }

    /// Ends what was taken; says whether it was still to be ended.
    pub(super) fn end(&self, taken: u32, state: TrialState) -> bool {
        self.change(taken, state.within(taken))
    }

    fn change(&self, from: u32, to: u32) -> bool {
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Trial {
    /// The right to decide about the endpoint, unless another request has it.
    pub fn take(pool: &Arc<Pool>, endpoint: &Arc<Endpoint>) -> Option<Self> {
        let taken = endpoint.trial.take()?;
        let (pool, endpoint) = (Arc::clone(pool), Arc::clone(endpoint));
        Some(Self { pool, endpoint, taken, since: clock::now() })
    }

    /// Whether it was long enough.
    pub(super) fn is_long(&self) -> bool {
        clock::now().saturating_duration_since(self.since) > LONG
    }

    /// Decides.
    pub(super) fn decide(&self, passed: bool) {
        let state = if passed { TrialState::Passed } else { TrialState::Failed };
        if self.endpoint.trial.end(self.taken, state) {
            self.pool.alarm.notify_one();
        }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.endpoint.trial.end(self.taken, TrialState::Open);
    }
}

#[cfg(test)]
mod tests {
    use super::{TrialCell, TrialState};
    use proptest::prelude::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn of_many_at_once_one_takes_the_trial() {
        let (cell, taken) = (TrialCell::default(), AtomicUsize::new(0));
        for round in 1..=100 {
            cell.renew(TrialState::Open);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope
                        .spawn(|| taken.fetch_add(cell.take().map_or(0, |_| 1), Ordering::Relaxed));
                }
            });
            assert_eq!(taken.load(Ordering::Relaxed), round);
        }
    }

    #[derive(Debug, Clone, Copy)]
    enum Event {
        Renew(bool),
        Take,
        End(usize, u8),
    }

    proptest! {
        #[test]
        fn a_trial_is_decided_by_its_own_request_whatever_happens_in_between(
            events in prop::collection::vec(
                prop_oneof![
                    any::<bool>().prop_map(Event::Renew),
                    Just(Event::Take),
                    (0..8_usize, 0..3_u8).prop_map(|(which, how)| Event::End(which, how)),
                ],
                0..60,
            )
        ) {
            let cell = TrialCell::default();
            // Whoever took a trial once, and the one who may decide now.
            let (mut takers, mut current) = (Vec::new(), None);
            let mut expected = TrialState::None;
            for event in events {
                match event {
                    Event::Renew(open) => {
                        expected = if open { TrialState::Open } else { TrialState::None };
                        cell.renew(expected);
                        current = None;
                    }
                    Event::Take => {
                        let taken = cell.take();
                        prop_assert_eq!(taken.is_some(), expected == TrialState::Open);
                        if let Some(taken) = taken {
                            expected = TrialState::Taken;
                            takers.push(taken);
                            current = Some(taken);
                        }
                    }
                    Event::End(which, how) => {
                        let states = [TrialState::Open, TrialState::Passed, TrialState::Failed];
                        let state = states[usize::from(how)];
                        let Some(taken) = takers.get(which).copied() else { continue };
                        let may = current == Some(taken) && expected == TrialState::Taken;
                        prop_assert_eq!(cell.end(taken, state), may);
                        if may {
                            expected = state;
                        }
                    }
                }
                prop_assert_eq!(cell.state(), expected);
            }
        }
    }
}

//! One address of a pool and what all workers know of it; outlives snapshots.

use super::health::Health;
use super::outlier::{History, TrialCell};
use crate::base::clock;
use crate::telemetry::shard::{Counter, Gauge, Shards};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed};
use std::time::Instant;

/// One address of a pool.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// What each worker knows of it.
    pub shards: Shards<EndpointShard>,
    marks: AtomicU8,
    weight: AtomicU32,
    /// Since when it may get requests; what it was at last, if it may not.
    usable_since: Mutex<Instant>,
    /// What its health checks said last.
    pub health: Mutex<Health>,
    /// Its ejections.
    pub history: Mutex<History>,
    /// Failed attempts in a row, of all workers: written only when there are any.
    pub(super) failures: AtomicU32,
    /// Whether an answer was among them: that it answers is no news then.
    pub(super) failed_answering: AtomicBool,
    /// Where its return from an ejection stands.
    pub(super) trial: TrialCell,
}

/// One worker's part of what is known of an endpoint.
#[derive(Debug, Default)]
pub struct EndpointShard {
    /// Attempts that are going on, until the last byte of their response.
    pub in_flight: Gauge,
    /// Attempts that it answered well enough, for its pool's settings.
    pub successes: Counter,
    /// Attempts that it failed.
    pub failures: Counter,
}

/// A reason for not sending requests to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mark {
    /// It is going away.
    Draining = 1,
    /// It was taken out because of how it answered.
    Ejected = 2,
    /// Its health check fails.
    Unhealthy = 4,
    /// It is new, and gets no request before its first health check.
    Unchecked = 8,
}

/// Whether an endpoint may get requests, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointState {
    /// It may get requests.
    Usable,
    /// Its health check fails.
    Unhealthy,
    /// It was taken out because of how it answered.
    Ejected,
    /// It is going away.
    Draining,
    /// It is new, and its first health check is not over.
    Unchecked,
}

impl EndpointState {
    /// Every state.
    pub const ALL: [Self; 5] =
        [Self::Usable, Self::Unhealthy, Self::Ejected, Self::Draining, Self::Unchecked];

    /// Its name in metrics and the admin API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Usable => "usable",
            Self::Unhealthy => "unhealthy",
            Self::Ejected => "ejected",
            Self::Draining => "draining",
            Self::Unchecked => "unchecked",
        }
    }
}

impl Endpoint {
    /// An endpoint that may get requests, known to so many workers.
    pub fn new(address: SocketAddr, workers: usize) -> Self {
        Self {
            address,
            shards: Shards::new(workers),
            marks: AtomicU8::new(0),
            weight: AtomicU32::new(1),
            usable_since: Mutex::new(clock::now()),
            health: Mutex::default(),
            history: Mutex::default(),
            failures: AtomicU32::new(0),
            failed_answering: AtomicBool::new(false),
            trial: TrialCell::default(),
        }
    }

    /// Sets or removes a mark; says whether that changed anything. Its pool has to be told, as
    /// [`Pool::mark`](super::pool::Pool::mark) does, and there may be one change at a time.
    pub(super) fn mark(&self, mark: Mark, on: bool) -> bool {
        let bit = mark as u8;
        if !on && self.marks.load(Relaxed) == bit {
            // Before it is seen to be usable.
            self.begin(clock::now());
        }
        let before = if on {
            self.marks.fetch_or(bit, Relaxed)
        } else {
            self.marks.fetch_and(!bit, Relaxed)
        };
        (before & bit != 0) != on
    }

    /// Whether it bears this mark.
    pub fn is_marked(&self, mark: Mark) -> bool {
        self.marks.load(Relaxed) & mark as u8 != 0
    }

    /// Its state now: the most lasting reason for not using it, if there are several.
    pub fn state(&self) -> EndpointState {
        if self.is_marked(Mark::Draining) {
            EndpointState::Draining
        } else if self.is_marked(Mark::Ejected) {
            EndpointState::Ejected
        } else if self.is_marked(Mark::Unhealthy) {
            EndpointState::Unhealthy
        } else if self.is_marked(Mark::Unchecked) {
            EndpointState::Unchecked
        } else {
            EndpointState::Usable
        }
    }

    /// Whether it may get requests.
    pub fn is_usable(&self) -> bool {
        self.marks.load(Relaxed) == 0
    }

    /// Since when it may get requests.
    pub fn usable_since(&self) -> Instant {
        *self.usable_since.lock()
    }

    /// Notes that it may get requests since then.
    pub(super) fn begin(&self, now: Instant) {
        *self.usable_since.lock() = now;
    }

    /// Whether it bears this mark and no other.
    pub(super) fn is_only(&self, mark: Mark) -> bool {
        self.marks.load(Relaxed) == mark as u8
    }

    /// Whether it may get the one request that decides about its return: it is on trial, and
    /// nothing else speaks against it.
    pub fn is_on_trial(&self) -> bool {
        self.is_only(Mark::Ejected) && self.trial.is_waiting()
    }

    /// Failed attempts in a row, of all workers.
    pub fn failures_in_a_row(&self) -> u32 {
        self.failures.load(Relaxed)
    }

    /// Begins another row of failures.
    pub(super) fn forget_failures(&self) {
        self.failures.store(0, Relaxed);
        self.failed_answering.store(false, Relaxed);
    }

    /// Attempts so far that it answered well enough, and that it failed.
    pub(super) fn attempts(&self) -> (u64, u64) {
        self.shards.iter().fold((0, 0), |(successes, failures), shard| {
            (successes + shard.successes.value(), failures + shard.failures.value())
        })
    }

    /// Its part of the pool's requests, relative to the weights of the others.
    pub fn weight(&self) -> u32 {
        self.weight.load(Relaxed)
    }

    /// Gives it another weight; says whether it is another.
    pub(super) fn weigh(&self, weight: u32) -> bool {
        self.weight.swap(weight, Relaxed) != weight
    }

    /// The attempts that are going on there, of all workers.
    pub fn in_flight(&self) -> i64 {
        self.shards.iter().map(|shard| shard.in_flight.value()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, EndpointState, Mark};

    #[test]
    fn the_most_lasting_mark_is_the_state() {
        let endpoint = Endpoint::new(([127, 0, 0, 1], 1).into(), 1);
        assert!(endpoint.is_usable());
        assert!(endpoint.mark(Mark::Unhealthy, true));
        assert!(!endpoint.mark(Mark::Unhealthy, true));
        assert_eq!(endpoint.state(), EndpointState::Unhealthy);
        assert!(endpoint.mark(Mark::Draining, true));
        assert_eq!(endpoint.state(), EndpointState::Draining);
        assert!(endpoint.mark(Mark::Draining, false));
        assert_eq!(endpoint.state(), EndpointState::Unhealthy);
        assert!(endpoint.mark(Mark::Unhealthy, false) && endpoint.is_usable());
    }

    #[test]
    fn an_endpoint_begins_anew_when_its_last_mark_goes() {
        let endpoint = Endpoint::new(([127, 0, 0, 1], 1).into(), 1);
        let first = endpoint.usable_since();
        endpoint.mark(Mark::Unhealthy, true);
        endpoint.mark(Mark::Draining, true);
        endpoint.mark(Mark::Unhealthy, false);
        assert_eq!(endpoint.usable_since(), first);
        endpoint.mark(Mark::Draining, false);
        let second = endpoint.usable_since();
        assert!(second > first);
        endpoint.mark(Mark::Draining, false);
        assert_eq!(endpoint.usable_since(), second);
    }
}

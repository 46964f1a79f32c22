//! What one worker remembers of an endpoint for balancing.

use crate::telemetry::series::Outcome;
use crate::upstream::balance::Latency;
use crate::upstream::endpoint::Endpoint;
use std::cell::Cell;
use std::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

/// What one worker remembers of an endpoint for balancing.
#[derive(Debug)]
pub(super) struct Balancing {
    /// A hash of the endpoint's address.
    pub(super) address_hash: u64,
    /// What it has earned while others had their turn.
    pub(super) credit: Cell<i64>,
    latency: Cell<Latency>,
    /// When `latency` was found out.
    found: Cell<Instant>,
}

impl Balancing {
    /// Nothing but the address.
    pub(super) fn new(endpoint: &Endpoint, now: Instant) -> Self {
        Self {
            address_hash: xxh3_64(endpoint.address.to_string().as_bytes()),
            credit: Cell::new(0),
            latency: Cell::default(),
            found: Cell::new(now),
        }
    }

    /// The seconds that an answer is likely to take now.
    pub(super) fn latency(&self, now: Instant) -> f64 {
        self.latency.get().after(now.saturating_duration_since(self.found.get()))
    }

    /// Notes how an attempt ended that began then.
    pub(super) fn attempted(&self, started: Instant, now: Instant, outcome: Outcome) {
        let pause = now.saturating_duration_since(self.found.get());
        let took = now.saturating_duration_since(started);
        let known = self.latency.get();
        self.latency.set(match outcome {
            Outcome::Success => known.answered(pause, took),
            // How long it would have taken nobody knows.
            Outcome::Cancelled => return,
            _ => known.failed(pause, took),
        });
        self.found.set(now);
    }
}

#[cfg(test)]
mod tests {
    use super::Balancing;
    use crate::telemetry::series::Outcome;
    use crate::upstream::endpoint::Endpoint;
    use std::time::{Duration, Instant};

    #[test]
    fn every_outcome_but_success_and_a_client_that_left_counts_as_slow() {
        let endpoint = Endpoint::new(([127, 0, 0, 1], 1).into(), 1);
        let began = Instant::now();
        let now = began + Duration::from_millis(40);
        for outcome in Outcome::ALL {
            let balancing = Balancing::new(&endpoint, now);
            balancing.attempted(began, now, outcome);
            let expected = match outcome {
                Outcome::Success => 0.04,
                Outcome::Cancelled => 0.03,
                _ => 1.0,
            };
            let latency = balancing.latency(now);
            assert!((latency - expected).abs() < 1e-9, "{outcome:?}: {latency}");
        }
    }
}

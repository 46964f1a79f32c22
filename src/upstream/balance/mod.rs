//! Which of a pool's usable endpoints takes a request: one file per policy.

mod config;
mod consistent_hash;
mod least_request;
mod peak_ewma;
mod random;
mod round_robin;
mod slow_start;
mod weights;

pub use config::BalanceConfig;
pub use peak_ewma::Latency;
pub use slow_start::effective_weight;
pub use weights::Weights;

use crate::predicate::Head;
use crate::split::Key;
use xxhash_rust::xxh3::xxh3_64;

/// The compiled form of [`BalanceConfig`].
#[derive(Debug, Clone, Default)]
pub enum Balance {
    /// The less busy of two drawn at random (power of two choices).
    #[default]
    LeastRequest,
    /// One after the other.
    RoundRobin,
    /// Drawn at random.
    Random,
    /// The one that is likely to answer first, of two drawn at random.
    PeakEwma,
    /// The same for the same key, for as long as it is not overloaded.
    ConsistentHash(Key),
}

/// What a policy may look at.
#[derive(Debug)]
pub struct Question<'a, C> {
    /// The endpoints that may be chosen.
    pub among: &'a C,
    /// How many requests were balanced before this one.
    pub turn: usize,
    /// A fresh random number.
    pub random: u64,
    /// The hash of the request's key, where the policy has one and the request too.
    pub hash: Option<u64>,
}

/// What is known of the endpoints that may be chosen, each meant by its number.
pub trait Candidates {
    /// Their weights, which tell how many there are.
    fn weights(&self) -> &Weights;

    /// The requests in flight at one of them, as this worker sees it.
    fn in_flight(&self, endpoint: usize) -> usize;

    /// The seconds that one of them is likely to take for an answer.
    fn latency(&self, endpoint: usize) -> f64;

    /// A hash of its address, which is the same everywhere.
    fn address_hash(&self, endpoint: usize) -> u64;

    /// What it has earned for being passed over when others had their turn.
    fn credit(&self, endpoint: usize) -> i64;

    /// Notes what it has earned now.
    fn set_credit(&self, endpoint: usize, credit: i64);
}

impl Balance {
    /// Its name in the configuration.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::LeastRequest => "leastRequest",
            Self::RoundRobin => "roundRobin",
            Self::Random => "random",
            Self::PeakEwma => "peakEwma",
            Self::ConsistentHash(_) => "consistentHash",
        }
    }

    /// Whether it asks how long answers take.
    pub const fn asks_for_latency(&self) -> bool {
        matches!(self, Self::PeakEwma)
    }

    /// The hash of a request's key, where the policy asks for one and the request has it.
    pub fn hash(&self, head: &Head<'_>) -> Option<u64> {
        match self {
            Self::ConsistentHash(key) => key.value(head).map(|key| xxh3_64(&key)),
            _ => None,
        }
    }

    /// The number of the chosen endpoint, or nothing if there is none.
    pub fn choose<C: Candidates>(&self, question: &Question<'_, C>) -> Option<usize> {
        match question.among.weights().count() {
            0 => None,
            1 => Some(0),
            _ => Some(match self {
                Self::LeastRequest => least_request::choose(question),
                Self::RoundRobin => round_robin::choose(question),
                Self::Random => random::choose(question),
                Self::PeakEwma => peak_ewma::choose(question),
                Self::ConsistentHash(_) => consistent_hash::choose(question),
            }),
        }
    }
}

/// Makes a number of which each bit depends on all of the given one (`SplitMix64`, Steele, Lea &
/// Flood 2014).
const fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::{Balance, Candidates, Key, Question, Weights};
    use proptest::prelude::*;
    use std::cell::Cell;
    use xxhash_rust::xxh3::xxh3_64;

    /// Endpoints that are what a test says.
    pub(super) struct Pretended {
        pub(super) weights: Weights,
        pub(super) in_flight: Vec<usize>,
        pub(super) latency: Vec<f64>,
        pub(super) addresses: Vec<u64>,
        pub(super) credit: Vec<Cell<i64>>,
    }

    impl Pretended {
        /// So many idle endpoints of the same weight.
        pub(super) fn even(count: usize) -> Self {
            Self::weighing(&vec![1; count])
        }

        /// Idle endpoints of these weights.
        pub(super) fn weighing(weights: &[u32]) -> Self {
            let count = weights.len();
            Self {
                weights: weights.iter().copied().collect(),
                in_flight: vec![0; count],
                latency: vec![0.03; count],
                addresses: (0..count).map(|at| xxh3_64(&at.to_be_bytes())).collect(),
                credit: vec![Cell::new(0); count],
            }
        }

        pub(super) fn question(&self, random: u64) -> Question<'_, Self> {
            Question { among: self, turn: 0, random, hash: None }
        }
    }

    impl Candidates for Pretended {
        fn weights(&self) -> &Weights {
            &self.weights
        }

        fn in_flight(&self, endpoint: usize) -> usize {
            self.in_flight[endpoint]
        }

        fn latency(&self, endpoint: usize) -> f64 {
            self.latency[endpoint]
        }

        fn address_hash(&self, endpoint: usize) -> u64 {
            self.addresses[endpoint]
        }

        fn credit(&self, endpoint: usize) -> i64 {
            self.credit[endpoint].get()
        }

        fn set_credit(&self, endpoint: usize, credit: i64) {
            self.credit[endpoint].set(credit);
        }
    }

    proptest! {
        #[test]
        fn every_policy_chooses_an_endpoint_that_exists(
            endpoints in proptest::collection::vec((0_usize..9, 1_u32..100_000, 0_f64..9.0), 0..6),
            even: bool, turn: usize, random: u64, hash: Option<u64>,
        ) {
            let weights: Vec<_> =
                endpoints.iter().map(|(_, weight, _)| if even { 7 } else { *weight }).collect();
            let among = Pretended {
                in_flight: endpoints.iter().map(|(in_flight, ..)| *in_flight).collect(),
                latency: endpoints.iter().map(|(.., latency)| *latency).collect(),
                ..Pretended::weighing(&weights)
            };
            for policy in [
                Balance::LeastRequest,
                Balance::RoundRobin,
                Balance::Random,
                Balance::PeakEwma,
                Balance::ConsistentHash(Key::default()),
            ] {
                match policy.choose(&Question { among: &among, turn, random, hash }) {
                    Some(chosen) => prop_assert!(chosen < endpoints.len()),
                    None => prop_assert!(endpoints.is_empty()),
                }
            }
        }
    }
}

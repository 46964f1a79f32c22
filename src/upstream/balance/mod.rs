//! Which of a pool's usable endpoints takes a request: one file per policy.

mod config;
mod least_request;
mod random;
mod round_robin;

pub use config::BalanceConfig;

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
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The requests in flight at each endpoint that may be chosen.
    pub in_flight: &'a dyn InFlight,
    /// How many requests were balanced before this one.
    pub turn: usize,
    /// A fresh random number.
    pub random: u64,
}

/// The load of endpoints that may be chosen.
pub trait InFlight: std::fmt::Debug {
    /// How many endpoints there are.
    fn endpoints(&self) -> usize;

    /// The requests in flight at one of them, as this worker sees it.
    fn at(&self, endpoint: usize) -> usize;
}

impl Balance {
    /// The hash of a request's key, where the policy asks for one and the request has it.
    pub fn hash(&self, head: &Head<'_>) -> Option<u64> {
        match self {
            Self::ConsistentHash(key) => key.value(head).map(|key| xxh3_64(&key)),
            _ => None,
        }
    }

    /// The number of the chosen endpoint, or nothing if there is none.
    pub fn choose(&self, question: Question<'_>) -> Option<usize> {
        match question.in_flight.endpoints() {
            0 => None,
            1 => Some(0),
            _ => Some(match self {
                Self::LeastRequest | Self::PeakEwma => least_request::choose(question),
                Self::RoundRobin => round_robin::choose(question),
                Self::Random | Self::ConsistentHash(_) => random::choose(question),
            }),
        }
    }
}

/// A number below `bound` from the upper half of a random one, unbiased to within 2^-32.
fn below(random: u32, bound: usize) -> usize {
    let product = u64::from(random) * bound as u64;
    usize::try_from(product >> 32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Balance, InFlight, Question};
    use proptest::prelude::*;

    impl InFlight for Vec<usize> {
        fn endpoints(&self) -> usize {
            self.len()
        }

        fn at(&self, endpoint: usize) -> usize {
            self[endpoint]
        }
    }

    proptest! {
        #[test]
        fn every_policy_chooses_an_endpoint_that_exists(
            in_flight in proptest::collection::vec(0_usize..9, 0..6), turn: usize, random: u64,
        ) {
            for policy in
                [Balance::LeastRequest, Balance::RoundRobin, Balance::Random]
            {
                let question = Question { in_flight: &in_flight, turn, random };
                match policy.choose(question) {
                    Some(chosen) => prop_assert!(chosen < in_flight.len()),
                    None => prop_assert!(in_flight.is_empty()),
                }
            }
        }
    }
}

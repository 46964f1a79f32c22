//! Which of a pool's usable endpoints takes a request: one file per policy.

mod least_request;
mod random;
mod round_robin;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a request's endpoint is chosen among the usable ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum BalanceConfig {
    /// The less busy of two drawn at random (power of two choices).
    #[default]
    LeastRequest,
    /// One after the other.
    RoundRobin,
    /// Drawn at random.
    Random,
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

impl BalanceConfig {
    /// The number of the chosen endpoint, or nothing if there is none.
    pub fn choose(self, question: Question<'_>) -> Option<usize> {
        match question.in_flight.endpoints() {
            0 => None,
            1 => Some(0),
            _ => Some(match self {
                Self::LeastRequest => least_request::choose(question),
                Self::RoundRobin => round_robin::choose(question),
                Self::Random => random::choose(question),
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
    use super::{BalanceConfig, InFlight, Question};
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
                [BalanceConfig::LeastRequest, BalanceConfig::RoundRobin, BalanceConfig::Random]
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

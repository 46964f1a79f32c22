//! On which terms a route serves: kept once for all routes that say the same.

use super::limits::Limits;
use super::retry::Retry;
use super::timeouts::Timeouts;
use super::upgrade::ProtocolName;
use std::collections::HashSet;
use std::sync::Arc;

/// What a route says of its requests beside where they go.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Terms {
    /// How long things may take.
    pub timeouts: Timeouts,
    /// How much its requests may send.
    pub limits: Limits,
    /// How often an attempt is repeated.
    pub retry: Retry,
    /// What its clients may change to.
    pub upgrades: Box<[ProtocolName]>,
}

/// The terms of a configuration's routes, each once: of thousands of routes most say the same, and
/// what every request asks for stays in the processor's caches.
#[derive(Debug, Default)]
pub struct KnownTerms(HashSet<Arc<Terms>>);

impl KnownTerms {
    /// The terms that say the same, these if they are the first.
    pub fn share(&mut self, terms: Terms) -> Arc<Terms> {
        if let Some(same) = self.0.get(&terms) {
            return Arc::clone(same);
        }
        let terms = Arc::new(terms);
        self.0.insert(Arc::clone(&terms));
        terms
    }
}

#[cfg(test)]
mod tests {
    use super::{KnownTerms, Terms};
    use crate::base::units;
    use crate::proxy::limits::RouteLimitsConfig;
    use crate::proxy::retry::{Retry, RetryConfig};
    use crate::proxy::timeouts::TimeoutsConfig;
    use std::sync::Arc;

    fn terms(seconds: u64) -> Terms {
        let connect = units::Duration::from_secs(seconds);
        Terms {
            timeouts: (&TimeoutsConfig { connect, ..TimeoutsConfig::default() }).into(),
            limits: (&RouteLimitsConfig::default()).into(),
            retry: Retry::new(&RetryConfig::default()),
            upgrades: Box::default(),
        }
    }

    #[test]
    fn what_says_the_same_is_kept_once() {
        let mut known = KnownTerms::default();
        let first = known.share(terms(1));
        assert!(Arc::ptr_eq(&first, &known.share(terms(1))));
        assert_ne!(first, known.share(terms(2)));
    }
}

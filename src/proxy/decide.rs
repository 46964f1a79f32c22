//! The decision: which route, which arm, which pool. Pure; the same for serving and explaining.

use super::snapshot::Snapshot;
use crate::predicate::Head;
use crate::split::{Choice, PoolIndex};

/// What was decided for one request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Decision {
    /// The route's number, if any matched.
    pub route: Option<usize>,
    /// What the route's split chose.
    pub choice: Choice,
    /// Whether it chose among pools that are used at need too, because there was no other.
    pub at_need: bool,
}

/// Whether a pool can take requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usability {
    /// It can.
    Usable,
    /// None of its endpoints is usable, but health is ignored there if no other pool can.
    AtNeed,
    /// It can not.
    Unusable,
}

impl Decision {
    /// Whether a pool of which this is said counted as usable.
    pub fn counts(&self, usability: Usability) -> bool {
        match usability {
            Usability::Usable => true,
            Usability::AtNeed => self.at_need,
            Usability::Unusable => false,
        }
    }
}

/// Decides. Without a random number a draw is left open, as [`Choice::undrawn`] then says.
pub fn decide(
    snapshot: &Snapshot,
    head: &Head<'_>,
    usability: &dyn Fn(PoolIndex) -> Usability,
    random: Option<u64>,
) -> Decision {
    let found = snapshot.table.find(head);
    choose(snapshot, found.map(|found| found.route), head, usability, random)
}

/// The second half of the decision, once the route is known.
pub(super) fn choose(
    snapshot: &Snapshot,
    route: Option<usize>,
    head: &Head<'_>,
    usability: &dyn Fn(PoolIndex) -> Usability,
    random: Option<u64>,
) -> Decision {
    let Some(found) = route.and_then(|route| snapshot.routes.get(route)) else {
        return Decision { route, ..Decision::default() };
    };
    let look = |at_need| {
        let decision = Decision { route, at_need, choice: Choice::default() };
        let usable = |pool| decision.counts(usability(pool));
        Decision { choice: found.split.choose(head, &usable, random), ..decision }
    };
    let first = look(false);
    if first.choice.pool.is_some() || first.choice.undrawn { first } else { look(true) }
}

#[cfg(test)]
mod tests {
    use super::{Decision, decide};
    use crate::config::RawFile;
    use crate::config::compile::{apply_endpoints, compile};
    use crate::predicate::Head;
    use crate::proxy::explain::{Question, explain};
    use crate::proxy::snapshot::Snapshot;
    use crate::split::{PoolIndex, Reason};
    use crate::telemetry::metrics::Metrics;
    use crate::upstream::endpoint::Mark;
    use crate::upstream::registry::Registry;
    use crate::upstream::settings::PoolSettings;
    use http::{HeaderMap, Method};
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    const DOCUMENT: &str = "
listeners: [{ name: web, address: '127.0.0.1:0' }]
pools:
  - { name: stable, endpoints: ['10.0.0.1:80', '10.0.0.2:80'] }
  - { name: canary, endpoints: ['10.0.0.3:80'], panicThreshold: 50 }
routes:
  - { name: shop, split: [{ to: { stable: 1, canary: 1 } }] }
";
    const STABLE: PoolIndex = PoolIndex(0);
    const CANARY: PoolIndex = PoolIndex(1);

    fn snapshot() -> Snapshot {
        let metrics = Arc::new(Metrics::new(1));
        let registry = Registry::new(Arc::clone(&metrics));
        let file = RawFile { name: "serin.yaml".into(), bytes: DOCUMENT.into() };
        let compiled = compile(&[file], 1, &registry, &metrics).unwrap();
        apply_endpoints(&compiled.config, &compiled.snapshot);
        for (pool, config) in compiled.snapshot.pools.iter().zip(&compiled.config.pools) {
            pool.configure(Arc::default(), config.into());
        }
        compiled.snapshot
    }

    fn mark(snapshot: &Snapshot, pool: PoolIndex, on: bool) {
        let pool = &snapshot.pools[pool.0];
        for endpoint in &*pool.endpoints() {
            pool.mark(endpoint, Mark::Unhealthy, on);
        }
    }

    /// What is decided by the highest random number, which draws the last pool.
    fn decided(snapshot: &Snapshot) -> Decision {
        let head = Head {
            method: &Method::GET,
            host: "a.test",
            path: "/",
            query: None,
            headers: &HeaderMap::new(),
            client: Ipv4Addr::LOCALHOST.into(),
            peer: Ipv4Addr::LOCALHOST.into(),
            certificate_names: &[],
        };
        decide(snapshot, &head, &|pool| snapshot.usability(pool), Some(u64::MAX))
    }

    #[test]
    fn health_is_ignored_only_when_no_other_pool_can_take_the_request() {
        let snapshot = snapshot();
        let question: Question = serde_json::from_str(r#"{ "url": "http://a.test/" }"#).unwrap();
        let explained = || {
            let explanation = explain(&snapshot, &question).unwrap();
            let pools = explanation.weights.keys().cloned().collect::<Vec<_>>().join(" ");
            (explanation.status, pools, explanation.health_ignored)
        };
        let decided = || {
            let Decision { choice, at_need, .. } = decided(&snapshot);
            (choice.pool, choice.reason, at_need)
        };
        assert_eq!(decided(), (Some(CANARY), Some(Reason::Weight), false));
        assert_eq!(explained(), (200, "stable canary".to_owned(), false));
        mark(&snapshot, CANARY, true);
        assert_eq!(decided(), (Some(STABLE), Some(Reason::Fallback), false));
        assert_eq!(explained(), (200, "stable".to_owned(), false));
        mark(&snapshot, STABLE, true);
        assert_eq!(decided(), (Some(CANARY), Some(Reason::Weight), true));
        assert_eq!(explained(), (200, "canary".to_owned(), true));
        let canary = &snapshot.pools[CANARY.0];
        canary.configure(Arc::default(), PoolSettings::default());
        assert_eq!(decided().0, None);
        assert_eq!(explained(), (503, String::new(), false));
    }
}

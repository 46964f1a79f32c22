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
}

/// Decides. Without a random number a draw is left open, as [`Choice::undrawn`] then says.
pub fn decide(
    snapshot: &Snapshot,
    head: &Head<'_>,
    usable: &dyn Fn(PoolIndex) -> bool,
    random: Option<u64>,
) -> Decision {
    let found = snapshot.table.find(head);
    choose(snapshot, found.map(|found| found.route), head, usable, random)
}

/// The second half of the decision, once the route is known.
pub(super) fn choose(
    snapshot: &Snapshot,
    route: Option<usize>,
    head: &Head<'_>,
    usable: &dyn Fn(PoolIndex) -> bool,
    random: Option<u64>,
) -> Decision {
    let choice = route
        .and_then(|route| snapshot.routes.get(route))
        .map_or_else(Choice::default, |route| route.split.choose(head, usable, random));
    Decision { route, choice }
}

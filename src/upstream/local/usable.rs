//! The endpoints among which one is chosen, and what the policies may know of them.

use super::LocalEndpoint;
use crate::upstream::balance::InFlight;
use std::rc::Rc;

/// The endpoints that may be chosen.
#[derive(Debug, Default)]
pub(super) struct Usable(pub(super) Vec<Rc<LocalEndpoint>>);

impl Usable {
    /// The others than these.
    pub(super) fn without(&self, tried: &[Rc<LocalEndpoint>]) -> Self {
        let others =
            self.0.iter().filter(|endpoint| !tried.iter().any(|t| Rc::ptr_eq(t, endpoint)));
        Self(others.cloned().collect())
    }
}

impl InFlight for Usable {
    fn endpoints(&self) -> usize {
        self.0.len()
    }

    fn at(&self, endpoint: usize) -> usize {
        self.0.get(endpoint).map_or(usize::MAX, |endpoint| endpoint.in_flight())
    }
}

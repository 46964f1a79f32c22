//! The endpoints among which one is chosen, and what the policies may know of them.

use super::LocalEndpoint;
use crate::upstream::balance::InFlight;
use std::rc::Rc;

/// The endpoints that may be chosen.
#[derive(Debug, Default)]
pub(super) struct Usable(pub(super) Vec<Rc<LocalEndpoint>>);

/// The usable endpoints but one.
#[derive(Debug)]
pub(super) struct Except<'a> {
    pub(super) usable: &'a Usable,
    pub(super) except: usize,
}

impl InFlight for Usable {
    fn endpoints(&self) -> usize {
        self.0.len()
    }

    fn at(&self, endpoint: usize) -> usize {
        self.0.get(endpoint).map_or(usize::MAX, |endpoint| endpoint.in_flight())
    }
}

impl Except<'_> {
    /// The place among all of a number among the others.
    pub(super) fn index(&self, endpoint: usize) -> usize {
        endpoint + usize::from(endpoint >= self.except)
    }
}

impl InFlight for Except<'_> {
    fn endpoints(&self) -> usize {
        self.usable.endpoints() - 1
    }

    fn at(&self, endpoint: usize) -> usize {
        self.usable.at(self.index(endpoint))
    }
}

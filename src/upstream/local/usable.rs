//! The endpoints among which one is chosen, and what the policies may know of them.

use super::LocalEndpoint;
use crate::upstream::balance::{Candidates, Weights, effective_weight};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The endpoints that may be chosen.
#[derive(Debug, Default)]
pub(super) struct Usable {
    pub(super) endpoints: Vec<Rc<LocalEndpoint>>,
    weights: Weights,
}

/// The same for one question, at the time at which it is asked, if that matters.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) usable: &'a Usable,
    pub(super) now: Option<Instant>,
}

impl Usable {
    /// Weighs the endpoints anew, where those that are in use for less than `slow_start` weigh
    /// less; says whether there are such.
    pub(super) fn weigh(&mut self, slow_start: Duration, now: Instant) -> bool {
        let mut starting = false;
        let weights = self.endpoints.iter().map(|local| {
            let age = now.saturating_duration_since(local.endpoint.usable_since());
            starting |= age < slow_start;
            effective_weight(local.endpoint.weight(), age, slow_start)
        });
        self.weights = weights.collect();
        // What was earned by other weights is worth a period at most.
        let most = i64::try_from(self.weights.total()).unwrap_or(i64::MAX);
        for local in &self.endpoints {
            let credit = &local.balancing.credit;
            credit.set(credit.get().clamp(-most, most));
        }
        starting
    }

    /// The others than these.
    pub(super) fn without(&self, tried: &[Rc<LocalEndpoint>]) -> Self {
        let others = || {
            let numbered = self.endpoints.iter().enumerate();
            numbered.filter(|(_, endpoint)| !tried.iter().any(|t| Rc::ptr_eq(t, endpoint)))
        };
        let weight = |at| u32::try_from(self.weights.of(at)).unwrap_or(u32::MAX);
        Self {
            endpoints: others().map(|(_, endpoint)| Rc::clone(endpoint)).collect(),
            weights: others().map(|(at, _)| weight(at)).collect(),
        }
    }
}

impl Asked<'_> {
    fn at(&self, endpoint: usize) -> Option<&LocalEndpoint> {
        self.usable.endpoints.get(endpoint).map(AsRef::as_ref)
    }
}

impl Candidates for Asked<'_> {
    fn weights(&self) -> &Weights {
        &self.usable.weights
    }

    fn in_flight(&self, endpoint: usize) -> usize {
        self.at(endpoint).map_or(usize::MAX, LocalEndpoint::in_flight)
    }

    fn latency(&self, endpoint: usize) -> f64 {
        let known = self.at(endpoint).zip(self.now);
        known.map_or(0.0, |(endpoint, now)| endpoint.balancing.latency(now))
    }

    fn address_hash(&self, endpoint: usize) -> u64 {
        self.at(endpoint).map_or(0, |endpoint| endpoint.balancing.address_hash)
    }

    fn credit(&self, endpoint: usize) -> i64 {
        self.at(endpoint).map_or(0, |endpoint| endpoint.balancing.credit.get())
    }

    fn set_credit(&self, endpoint: usize, credit: i64) {
        if let Some(endpoint) = self.at(endpoint) {
            endpoint.balancing.credit.set(credit);
        }
    }
}

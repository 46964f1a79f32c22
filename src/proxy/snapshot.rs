//! All that a request may depend on, compiled from one configuration and never changed after.

use super::ambiguity::Ambiguity;
use super::decide::Usability;
use super::limits::Limits;
use super::retry::Retry;
use super::timeouts::Timeouts;
use super::upgrade::ProtocolName;
use crate::route::Table;
use crate::split::{PoolIndex, PoolNames, Split};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::series::{ChoiceSeries, DurationSeries, RouteSeries};
use crate::telemetry::statuses::StatusSeries;
use crate::upstream::balance::Balance;
use crate::upstream::local::{LocalPool, LocalPools};
use crate::upstream::pool::Pool;
use std::rc::Rc;
use std::sync::Arc;

/// A compiled configuration.
#[derive(Debug)]
pub struct Snapshot {
    /// Its number; each accepted change has the next one.
    pub generation: u64,
    /// Which route takes a request.
    pub table: Table,
    /// The routes, in the order of the document.
    pub routes: Vec<Route>,
    /// The pools, in the order of the document.
    pub pools: Vec<Arc<Pool>>,
    /// How each pool's endpoints are balanced.
    pub balances: Vec<Balance>,
    /// What is done with requests that can be read in two ways.
    pub ambiguity: Ambiguity,
    /// What is counted for requests that no route takes.
    pub unmatched: Counts,
    /// What is counted by status alone, if that is asked for.
    pub statuses: Option<Arc<StatusSeries>>,
}

/// A compiled route.
#[derive(Debug)]
pub struct Route {
    /// Its name.
    pub name: Arc<str>,
    /// How its traffic divides.
    pub split: Split,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// How much its requests may send.
    pub limits: Limits,
    /// How often an attempt is repeated.
    pub retry: Retry,
    /// What its clients may change to.
    pub upgrades: Box<[ProtocolName]>,
    /// What is counted for it.
    pub counts: Counts,
}

/// The series of one route, by arm and pool.
#[derive(Debug)]
pub struct Counts {
    /// The route's own.
    pub route: Arc<RouteSeries>,
    pools: Box<[PoolIndex]>,
    arms: usize,
    choices: Box<[Arc<ChoiceSeries>]>,
    durations: Box<[Arc<DurationSeries>]>,
}

impl Counts {
    /// Finds or makes every series that a route can count into.
    pub fn resolve(metrics: &Metrics, route: &str, split: &Split, names: &PoolNames) -> Self {
        let series = metrics.route(route);
        let nobody: Arc<str> = "".into();
        let pools: Vec<(PoolIndex, Arc<str>)> =
            split.pools().map(|pool| (pool, names.name(pool).unwrap_or_default().into())).collect();
        let mut choices = Vec::with_capacity((split.arms().len() + 1) * (pools.len() + 1));
        for arm in split.arms() {
            let name: Arc<str> = arm.name().into();
            for (pool, pool_name) in &pools {
                let declared = arm.pools().any(|(known, _)| known == *pool);
                choices.push(series.choice(&name, pool_name, declared));
            }
            choices.push(series.choice(&name, &nobody, false));
        }
        let names = || pools.iter().map(|(_, name)| name).chain([&nobody]);
        choices.extend(names().map(|pool| series.choice(&nobody, pool, false)));
        Self {
            durations: names().map(|name| series.duration(name)).collect(),
            route: series,
            pools: pools.iter().map(|(pool, _)| *pool).collect(),
            arms: split.arms().len(),
            choices: choices.into(),
        }
    }

    /// The series of an arm and a pool, either of which there may be none of.
    pub fn choice(&self, arm: Option<usize>, pool: Option<PoolIndex>) -> Option<&ChoiceSeries> {
        let row = arm.unwrap_or(self.arms);
        self.choices.get(row * (self.pools.len() + 1) + self.place(pool)).map(AsRef::as_ref)
    }

    /// The durations of a pool, of which there may be none.
    pub fn duration(&self, pool: Option<PoolIndex>) -> Option<&DurationSeries> {
        self.durations.get(self.place(pool)).map(AsRef::as_ref)
    }

    fn place(&self, pool: Option<PoolIndex>) -> usize {
        let place = pool.and_then(|pool| self.pools.iter().position(|known| *known == pool));
        place.unwrap_or(self.pools.len())
    }
}

impl Snapshot {
    /// Whether the pool can take requests.
    pub fn usability(&self, pool: PoolIndex) -> Usability {
        match self.pools.get(pool.0) {
            Some(pool) if pool.is_usable() => Usability::Usable,
            Some(pool) if pool.is_panicking() => Usability::AtNeed,
            _ => Usability::Unusable,
        }
    }

    /// The same for a retry, which decides about no endpoint's return.
    pub fn usability_again(&self, pool: PoolIndex) -> Usability {
        match self.pools.get(pool.0) {
            Some(pool) if pool.has_usable() => Usability::Usable,
            Some(pool) if pool.is_panicking() => Usability::AtNeed,
            _ => Usability::Unusable,
        }
    }

    /// The name of a pool.
    pub fn pool_name(&self, pool: PoolIndex) -> Option<&Arc<str>> {
        self.pools.get(pool.0).map(|pool| &pool.name)
    }

    /// The series of a route, or those of no route.
    pub fn counts(&self, route: Option<usize>) -> &Counts {
        let route = route.and_then(|route| self.routes.get(route));
        route.map_or(&self.unmatched, |route| &route.counts)
    }
}

/// A snapshot together with one worker's view of its pools; what a request holds on to.
#[derive(Debug)]
pub struct LocalSnapshot {
    /// The snapshot, shared with the other workers.
    pub snapshot: Arc<Snapshot>,
    /// This worker's view of its pools.
    pub pools: LocalPools,
}

impl LocalSnapshot {
    /// This worker's view of a pool, with how it is balanced.
    pub fn pool(&self, pool: PoolIndex) -> Option<(&Rc<LocalPool>, &Balance)> {
        self.pools.get(pool.0).zip(self.snapshot.balances.get(pool.0))
    }
}

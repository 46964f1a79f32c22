//! All that a request may depend on, compiled from one configuration and never changed after.

use super::ambiguity::Ambiguity;
use super::decide::Usability;
use super::terms::Terms;
use crate::route::Table;
use crate::split::{Arm, PoolIndex, PoolNames, Split};
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

/// A compiled route. Of thousands of them few are in the processor's caches, so it has little, and
/// what is asked for together lies together.
#[derive(Debug)]
pub struct Route {
    /// How its traffic divides.
    pub split: Split,
    /// What is counted for it.
    pub counts: Counts,
    /// How long things may take, how much may be sent, how often again, and to what is changed.
    pub terms: Arc<Terms>,
    /// Its name.
    pub name: Arc<str>,
}

const _: () = assert!(size_of::<Route>() <= 128, "a route has two cache lines' worth at most");

/// The series of one route, by arm and pool.
#[derive(Debug)]
pub struct Counts {
    /// The route's own.
    pub route: Arc<RouteSeries>,
    /// How many arms there are.
    arms: usize,
    /// How many cells there are for each arm, and for requests that no arm decided.
    width: usize,
    /// Arm by arm.
    cells: Box<[Cell]>,
}

/// What is counted for one pool, or for none, as one arm chose it, or none did.
#[derive(Debug)]
pub struct Cell {
    pool: Option<PoolIndex>,
    /// By arm and pool.
    pub choice: Arc<ChoiceSeries>,
    /// By pool.
    pub duration: Arc<DurationSeries>,
}

impl Counts {
    /// Finds or makes every series that a route can count into.
    pub fn resolve(metrics: &Metrics, route: &str, split: &Split, names: &PoolNames) -> Self {
        let series = metrics.route(route);
        let nobody: Arc<str> = "".into();
        let with_name = |pool| (Some(pool), names.name(pool).unwrap_or_default().into());
        let pools = split.pools().map(with_name).chain([(None, Arc::clone(&nobody))]);
        let pools: Vec<(Option<PoolIndex>, Arc<str>)> = pools.collect();
        let durations: Vec<_> = pools.iter().map(|(_, name)| series.duration(name)).collect();
        let arms = split.arms().iter().map(Some).chain([None]);
        let mut cells = Vec::with_capacity((split.arms().len() + 1) * pools.len());
        for arm in arms {
            let name = arm.map_or_else(|| Arc::clone(&nobody), |arm| arm.name().into());
            for ((pool, pool_name), duration) in pools.iter().zip(&durations) {
                let mut shared = arm.into_iter().flat_map(Arm::pools);
                let declared = shared.any(|(known, _)| Some(known) == *pool);
                let choice = series.choice(&name, pool_name, declared);
                cells.push(Cell { pool: *pool, choice, duration: Arc::clone(duration) });
            }
        }
        let (arms, width) = (split.arms().len(), pools.len());
        Self { route: series, arms, width, cells: cells.into() }
    }

    /// The series of an arm and a pool, either of which there may be none of. Another route's pool
    /// counts as none.
    pub fn cell(&self, arm: Option<usize>, pool: Option<PoolIndex>) -> Option<&Cell> {
        let row = arm.unwrap_or(self.arms) * self.width;
        let cells = self.cells.get(row..row + self.width)?;
        cells.iter().find(|cell| cell.pool == pool).or_else(|| cells.last())
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

//! `/api/stats`: what was decided and how it went since the start, as the dashboard needs it.

use super::State;
use super::answer::{Answer, json as answer};
use crate::base::clock;
use crate::proxy::snapshot::{Counts, Route, Snapshot};
use crate::split::PoolIndex;
use crate::telemetry::series::{ChoiceSeries, Outcome, PoolSeries};
use crate::telemetry::shard::{Counter, Durations};
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;

/// All counts, each since it was first needed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    generation: u64,
    /// When, in seconds since the Unix epoch.
    time: f64,
    /// Requests that no route took.
    unmatched: u64,
    /// The upper bounds in seconds of [`OfPool::buckets`], but for the last, which has none.
    bounds: Vec<f64>,
    /// Those that anything was decided for.
    routes: Vec<OfRoute>,
    pools: Vec<OfPool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OfRoute {
    name: Arc<str>,
    in_flight: i64,
    overrides_refused: u64,
    arms: Vec<OfArm>,
}

#[derive(Serialize)]
struct OfArm {
    /// Nothing for requests that no arm decided: by override, or by the fallback alone.
    name: Option<String>,
    /// Decisions by pool.
    decisions: Map<String, Value>,
}

/// What became of a pool's requests.
#[derive(Serialize, Default)]
struct OfPool {
    name: Arc<str>,
    /// Finished requests that were decided for it.
    requests: u64,
    /// Those of them that were answered with a status of 500 or above, by it or for it.
    errors: u64,
    /// Attempts that ended, retries included.
    attempts: u64,
    /// Those of them that are retries.
    retries: u64,
    /// Those of them that gave no response, or one of 500 or above; not those that the client
    /// ended.
    failures: u64,
    /// How long its requests took, together.
    seconds: f64,
    /// Its requests by how long they took, each in one bucket.
    buckets: Vec<u64>,
}

/// The counts of the routes and pools of the configuration in use.
pub(super) fn json(state: &State, _: &[u8]) -> Answer {
    let snapshot = state.snapshot.load_full();
    let mut pools: Vec<_> = snapshot.pools.iter().map(|pool| of_pool(&pool.series)).collect();
    let routes = snapshot.routes.iter();
    let routes = routes.filter_map(|route| of_route(&snapshot, route, &mut pools)).collect();
    let unmatched = snapshot.unmatched.cell(None, None).map_or(0, |cell| requests(&cell.choice).0);
    answer(&Stats {
        generation: snapshot.generation,
        time: clock::unix_seconds(),
        unmatched,
        bounds: Durations::BOUNDS.iter().map(|bound| seconds(bound.saturating_mul(1000))).collect(),
        routes,
        pools,
    })
}

/// What was decided for a route, if anything was; what became of it is added to its pools.
fn of_route(snapshot: &Snapshot, route: &Route, pools: &mut [OfPool]) -> Option<OfRoute> {
    let counts = &route.counts;
    for pool in route.split.pools() {
        if let Some(of_pool) = pools.get_mut(pool.0) {
            add_durations(counts, pool, of_pool);
        }
    }
    let mut arms = Vec::new();
    let names = route.split.arms().iter().map(|arm| Some(arm.name()));
    for (index, name) in names.chain([None]).enumerate() {
        let arm = name.map(|_| index);
        let mut decisions = Map::new();
        for pool in route.split.pools() {
            let Some(cell) = counts.cell(arm, Some(pool)) else { continue };
            if let Some(of_pool) = pools.get_mut(pool.0) {
                let (requests, errors) = requests(&cell.choice);
                of_pool.requests += requests;
                of_pool.errors += errors;
            }
            let decided = decided(&cell.choice);
            if decided > 0 {
                let name = snapshot.pool_name(pool).map_or("", |name| name);
                decisions.insert(name.to_owned(), decided.into());
            }
        }
        if !decisions.is_empty() {
            arms.push(OfArm { name: name.map(str::to_owned), decisions });
        }
    }
    let shards = || counts.route.shards.iter();
    let in_flight = shards().map(|shard| shard.in_flight.value()).sum();
    let overrides_refused = shards().map(|shard| shard.overrides_refused.value()).sum();
    let name = Arc::clone(&route.name);
    let of_route = OfRoute { name, in_flight, overrides_refused, arms };
    (!of_route.arms.is_empty() || overrides_refused > 0).then_some(of_route)
}

/// What the pool's own series know.
fn of_pool(series: &PoolSeries) -> OfPool {
    let mut of_pool = OfPool {
        name: Arc::clone(&series.pool),
        buckets: vec![0; Durations::BOUNDS.len() + 1],
        ..OfPool::default()
    };
    for shard in series.shards.iter() {
        for (outcome, (first, retry)) in
            Outcome::ALL.iter().zip(shard.attempts.iter().zip(&shard.retries))
        {
            let (first, retry) = (first.value(), retry.value());
            of_pool.attempts += first + retry;
            of_pool.retries += retry;
            if !matches!(outcome, Outcome::Success | Outcome::Cancelled) {
                of_pool.failures += first + retry;
            }
        }
    }
    of_pool
}

fn add_durations(counts: &Counts, pool: PoolIndex, of_pool: &mut OfPool) {
    let Some(series) = counts.cell(None, Some(pool)).map(|cell| &cell.duration) else { return };
    let mut buckets = [0; Durations::BOUNDS.len() + 1];
    let nanoseconds: u64 = series.shards.iter().map(|shard| shard.add_to(&mut buckets)).sum();
    of_pool.seconds += seconds(nanoseconds);
    for (total, count) in of_pool.buckets.iter_mut().zip(buckets) {
        *total += count;
    }
}

/// How many requests finished, and how many of them with a status of 500 or above.
fn requests(choice: &ChoiceSeries) -> (u64, u64) {
    let codes = choice.shards.iter().flat_map(|shard| shard.codes.counts());
    codes.fold((0, 0), |(all, errors), (code, count)| {
        (all + count, errors + if code >= 500 { count } else { 0 })
    })
}

fn decided(choice: &ChoiceSeries) -> u64 {
    choice.shards.iter().flat_map(|shard| &shard.reasons).map(Counter::value).sum()
}

#[expect(clippy::cast_precision_loss, reason = "a display of durations")]
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

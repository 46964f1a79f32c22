//! When endpoints are asked for their health: a task for each pool, a loop for each endpoint.

use super::history::Standing;
use super::{HealthConfig, Probe};
use crate::base::clock;
use crate::telemetry::events::HealthCheck;
use crate::upstream::control::Task;
use crate::upstream::endpoint::{Endpoint, Mark};
use crate::upstream::pool::{Change, Pool};
use futures_util::FutureExt;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};

/// The most checks of a pool at one time; others wait for their turn.
const CHECKS_MAX: usize = 256;

/// What the checks of a pool share.
struct Checks {
    pool: Arc<Pool>,
    config: HealthConfig,
    probe: Probe,
    /// The number by which the pool knows these checks from those before and after.
    turn: u64,
    permits: Semaphore,
    results: mpsc::Sender<Checked>,
}

/// How a check of an endpoint ended that began then.
type Checked = (Arc<Endpoint>, Instant, Result<(), String>);

/// Checks the pool's endpoints by these settings from now on, as before if they are the same.
/// Without settings nothing that checks said counts any more.
pub(in crate::upstream) fn apply(
    before: Option<Task<HealthConfig>>,
    pool: &Arc<Pool>,
    config: Option<&HealthConfig>,
) -> Option<Task<HealthConfig>> {
    if let Some(config) = config {
        return Some(Task::keep_or_start(before, config.clone(), || {
            let turn = take_over(pool, !config.check_first);
            let (pool, permits) = (Arc::clone(pool), Semaphore::new(CHECKS_MAX));
            let (config, probe) = (config.clone(), Probe::new(config));
            let (results, noted) = mpsc::channel(CHECKS_MAX);
            run(Arc::new(Checks { pool, config, probe, turn, permits, results }), noted)
        }));
    }
    drop(before);
    forget(pool);
    None
}

/// Lets nobody but who calls this mark endpoints, known by the number that is returned; with
/// `admit` none waits for its first check.
fn take_over(pool: &Pool, admit: bool) -> u64 {
    pool.change(|change| {
        if admit {
            for endpoint in change.remembered() {
                change.mark(&endpoint, Mark::Unchecked, false);
            }
        }
        pool.turns.health.fetch_add(1, Relaxed) + 1
    })
}

fn forget(pool: &Pool) {
    pool.change(|change| {
        // Nobody checked anything since the pool was made.
        if pool.turns.health.load(Relaxed) == 0 {
            return;
        }
        pool.turns.health.fetch_add(1, Relaxed);
        for endpoint in change.remembered() {
            change.mark(&endpoint, Mark::Unhealthy, false);
            change.mark(&endpoint, Mark::Unchecked, false);
            *endpoint.health.lock() = super::Health::default();
        }
    });
}

/// Keeps a loop for each endpoint that the pool has.
async fn run(checks: Arc<Checks>, mut results: mpsc::Receiver<Checked>) {
    let mut batch = Vec::new();
    let mut changes = checks.pool.watch();
    let mut loops = JoinSet::new();
    // By where the endpoint is kept: one that was forgotten and comes back is another one.
    let mut running: HashMap<usize, AbortHandle> = HashMap::new();
    let mut seen: Option<Arc<[Arc<Endpoint>]>> = None;
    loop {
        let endpoints = checks.pool.endpoints();
        let same = seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &endpoints));
        if !same {
            let mut before = std::mem::take(&mut running);
            for endpoint in &*endpoints {
                let place = Arc::as_ptr(endpoint).addr();
                let known = before.remove(&place);
                let handle = known.unwrap_or_else(|| {
                    // Those that were there before are asked one after the other, not together.
                    let waits = seen.is_none() && !endpoint.is_marked(Mark::Unchecked);
                    let interval = checks.config.interval.0;
                    let first =
                        if waits { interval.mul_f64(rand::random()) } else { Duration::ZERO };
                    loops.spawn(keep_asking(Arc::clone(&checks), Arc::clone(endpoint), first))
                });
                running.insert(place, handle);
            }
            for gone in before.into_values() {
                gone.abort();
            }
            seen = Some(endpoints);
        }
        tokio::select! {
            _ = changes.changed() => {}
            // What came together is told together: each time all workers look at the pool anew.
            _ = results.recv_many(&mut batch, CHECKS_MAX) => checks.note(&mut batch),
            // What was aborted is forgotten.
            Some(_) = loops.join_next() => {}
        }
    }
}

/// Asks one endpoint from time to time.
async fn keep_asking(checks: Arc<Checks>, endpoint: Arc<Endpoint>, first: Duration) {
    tokio::time::sleep(first).await;
    loop {
        let next = clock::now() + pause(&checks.config, rand::random());
        // Nobody closes it.
        let Ok(permit) = checks.permits.acquire().await else { return };
        let began = clock::now();
        let (how, result) = checks.ask(&endpoint).await;
        drop(permit);
        checks.pool.series.events.checked(how);
        // Nobody closes it.
        let _ = checks.results.send((Arc::clone(&endpoint), began, result)).await;
        tokio::time::sleep_until(next.into()).await;
    }
}

/// The time from one check to the next: the interval on average. `random` is from 0 to 1.
fn pause(config: &HealthConfig, random: f64) -> Duration {
    let part = f64::from(config.jitter_percent.min(100)) / 100.0;
    config.interval.0.mul_f64(1.0 + part * (random - 0.5))
}

impl Checks {
    /// One check.
    async fn ask(&self, endpoint: &Endpoint) -> (HealthCheck, Result<(), String>) {
        let mut address = endpoint.address;
        if let Some(port) = self.config.port {
            address.set_port(port);
        }
        let transport = Arc::clone(&self.pool.members().transport);
        let timeout = self.config.timeout.0;
        // What strangers answer is taken apart in there; a bug must not be the last check.
        let asking = Box::pin(AssertUnwindSafe(self.probe.ask(&transport, address)).catch_unwind());
        match tokio::time::timeout(timeout, asking).await {
            Ok(Ok(Ok(()))) => (HealthCheck::Success, Ok(())),
            Ok(Ok(Err(why))) => (HealthCheck::Failure, Err(why)),
            Ok(Err(_)) => (HealthCheck::Failure, Err("the check panicked".to_owned())),
            Err(_) => (HealthCheck::Timeout, Err(format!("no answer within {timeout:?}"))),
        }
    }

    /// Notes how checks ended, and marks the endpoints of which that says something else.
    fn note(&self, batch: &mut Vec<Checked>) {
        self.pool.change(|change| {
            for (endpoint, began, result) in batch.drain(..) {
                // Others check now, or nobody does.
                if self.pool.turns.health.load(Relaxed) == self.turn {
                    self.note_one(change, &endpoint, began, result);
                }
            }
        });
    }

    fn note_one(
        &self,
        change: &mut Change<'_>,
        endpoint: &Endpoint,
        began: Instant,
        result: Result<(), String>,
    ) {
        let before = if endpoint.is_marked(Mark::Unchecked) {
            Standing::Unchecked
        } else if endpoint.is_marked(Mark::Unhealthy) {
            Standing::Unhealthy
        } else {
            Standing::Healthy
        };
        let why = result.as_ref().err().cloned().unwrap_or_default();
        let succeeded = result.is_ok();
        let after = endpoint.health.lock().note(result, before, &self.config);
        if succeeded && after == Standing::Healthy && endpoint.history.lock().is_there(began) {
            self.pool.alarm.notify_one();
        }
        if after == before {
            return;
        }
        change.mark(endpoint, Mark::Unhealthy, after == Standing::Unhealthy);
        change.mark(endpoint, Mark::Unchecked, false);
        let (pool, endpoint) = (&self.pool.name, endpoint.address);
        if after == Standing::Unhealthy {
            tracing::warn!(%pool, %endpoint, %why, "endpoint is unhealthy");
        } else {
            tracing::info!(%pool, %endpoint, "endpoint is healthy");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HealthConfig, pause};
    use crate::base::units;
    use proptest::prelude::*;
    use std::time::Duration;

    proptest! {
        #[test]
        fn the_pause_differs_from_the_interval_by_half_the_jitter_at_most(
            seconds in 1..100_000_u64,
            jitter_percent in 0..=100_u8,
            random in 0.0..1.0_f64,
        ) {
            let interval = units::Duration::from_secs(seconds);
            let config = HealthConfig { interval, jitter_percent, ..HealthConfig::default() };
            let half = interval.0.mul_f64(f64::from(jitter_percent) / 200.0);
            let differs = pause(&config, random).abs_diff(interval.0);
            // Rounding takes a little.
            prop_assert!(differs <= half + Duration::from_micros(1));
        }
    }
}

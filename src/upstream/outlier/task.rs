//! The control plane's part of ejection: judges a pool when something failed or a time is over.

use super::OutlierConfig;
use super::judge::{Case, Counted, Sentence, judge, wake};
use super::trial::TrialState;
use crate::base::clock;
use crate::telemetry::events::Ejection;
use crate::upstream::control::Task;
use crate::upstream::endpoint::{Endpoint, Mark};
use crate::upstream::pool::{Change, Pool};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// Judges the pool by these settings from now on, as before if they are the same; if nothing is to
/// be ejected, what is out is back.
pub(in crate::upstream) fn apply(
    before: Option<Task<OutlierConfig>>,
    pool: &Arc<Pool>,
    config: OutlierConfig,
) -> Option<Task<OutlierConfig>> {
    if config.is_on() {
        return Some(Task::keep_or_start(before, config.clone(), || {
            let turn = pool.change(|_| pool.turns.outlier.fetch_add(1, Relaxed) + 1);
            run(Arc::clone(pool), config, turn)
        }));
    }
    drop(before);
    pool.change(|change| {
        pool.turns.outlier.fetch_add(1, Relaxed);
        let now = clock::now();
        for endpoint in change.remembered() {
            let mut history = endpoint.history.lock();
            if history.is_out() {
                history.admit(now);
                take_in(change, &endpoint);
            }
        }
    });
    None
}

/// What the endpoints' attempts came to when they were counted last.
type Totals = HashMap<SocketAddr, (u64, u64)>;

async fn run(pool: Arc<Pool>, config: OutlierConfig, turn: u64) {
    let mut changes = pool.watch();
    let mut totals = Totals::new();
    let mut tick = clock::now() + config.interval.0;
    if config.success_rate.is_some() {
        count(&pool.endpoints(), &mut totals);
    }
    loop {
        let now = clock::now();
        let ticked = now >= tick;
        if ticked {
            tick = now + config.interval.0;
        }
        let judged = pool.change(|change| {
            // Another task has taken over.
            let current = pool.turns.outlier.load(Relaxed) == turn;
            current.then(|| look(&pool, change, &config, now, ticked, &mut totals))
        });
        let Some(cases) = judged else { return };
        let wake = wake(&cases, &config, tick);
        tokio::select! {
            () = pool.alarm.notified() => {}
            _ = changes.changed() => {}
            () = until(wake) => {}
        }
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

/// Judges the endpoints once, and does what the judgement says; `ticked` says whether an interval
/// is over.
fn look(
    pool: &Pool,
    change: &mut Change<'_>,
    config: &OutlierConfig,
    now: Instant,
    ticked: bool,
    totals: &mut Totals,
) -> Vec<Case> {
    let endpoints = Arc::clone(&change.endpoints);
    let compares = ticked && config.success_rate.is_some();
    let counted = if compares { count(&endpoints, totals) } else { HashMap::new() };
    let staying: Vec<&Arc<Endpoint>> =
        endpoints.iter().filter(|endpoint| !endpoint.is_marked(Mark::Draining)).collect();
    let case = |endpoint: &&Arc<Endpoint>| Case {
        history: *endpoint.history.lock(),
        failures: endpoint.failures_in_a_row(),
        trial: endpoint.trial.state(),
        counted: counted.get(&endpoint.address).copied(),
    };
    let mut cases: Vec<Case> = staying.iter().map(case).collect();
    let sentences = judge(&mut cases, config, now);
    for (endpoint, case) in staying.iter().zip(&cases) {
        *endpoint.history.lock() = case.history;
    }
    for (place, sentence) in sentences {
        if let Some(endpoint) = staying.get(place) {
            // What it did before is judged.
            if sentence == Sentence::Admit && config.success_rate.is_some() {
                totals.insert(endpoint.address, endpoint.attempts());
            }
            execute(pool, change, endpoint, sentence);
        }
    }
    cases
}

fn execute(pool: &Pool, change: &mut Change<'_>, endpoint: &Endpoint, sentence: Sentence) {
    let (name, address) = (&pool.name, endpoint.address);
    match sentence {
        Sentence::Eject(why, time) => {
            endpoint.trial.renew(TrialState::None);
            if why != Ejection::SuccessRate && !endpoint.failed_answering.load(Relaxed) {
                endpoint.history.lock().note_gone(clock::now());
            }
            endpoint.forget_failures();
            change.mark(endpoint, Mark::Ejected, true);
            // Those who wait for the trial need to hear of it, too.
            change.visible = true;
            pool.series.events.ejected(why);
            tracing::warn!(pool = %name, endpoint = %address, ?why, ?time, "endpoint ejected");
        }
        Sentence::TryOut => {
            endpoint.trial.renew(TrialState::Open);
            change.visible = true;
            tracing::info!(pool = %name, endpoint = %address, "one request tries the endpoint");
        }
        Sentence::Admit => {
            take_in(change, endpoint);
            tracing::info!(pool = %name, endpoint = %address, "endpoint is back");
        }
    }
}

/// Lets an endpoint that was ejected get requests again.
fn take_in(change: &mut Change<'_>, endpoint: &Endpoint) {
    endpoint.trial.renew(TrialState::None);
    endpoint.forget_failures();
    change.mark(endpoint, Mark::Ejected, false);
}

/// What the endpoints did since this was called last.
fn count(endpoints: &[Arc<Endpoint>], totals: &mut Totals) -> HashMap<SocketAddr, Counted> {
    let before = std::mem::take(totals);
    let counted = endpoints.iter().map(|endpoint| {
        let (successes, failures) = endpoint.attempts();
        totals.insert(endpoint.address, (successes, failures));
        // One that was not there before is compared from its next interval on.
        let since = before.get(&endpoint.address).copied().unwrap_or((successes, failures));
        let counted = Counted {
            successes: successes.saturating_sub(since.0),
            failures: failures.saturating_sub(since.1),
        };
        (endpoint.address, counted)
    });
    counted.collect()
}

#[cfg(test)]
mod tests;

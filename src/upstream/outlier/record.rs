//! What a request notes of its attempt: counted by the worker alone, shared only when it failed.

use super::Trial;
use crate::telemetry::series::Outcome;
use crate::telemetry::shard::WorkerIndex;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::pool::Pool;
use std::sync::atomic::Ordering::Relaxed;

/// Notes how an attempt ended, and decides with it if the endpoint was on trial.
pub(in crate::upstream) fn note(
    pool: &Pool,
    endpoint: &Endpoint,
    worker: WorkerIndex,
    outcome: Outcome,
    trial: Option<&Trial>,
) {
    let Some(well) = is_well(outcome, || pool.settings().outlier.server_errors) else {
        // Else the next request would meet the same, and the one after it.
        let over = |trial: &&Trial| outcome == Outcome::Refused || trial.is_long();
        if let Some(trial) = trial.filter(over) {
            trial.decide(false);
        }
        return;
    };
    let shard = endpoint.shards.of(worker);
    if well {
        shard.successes.increment();
        // Read by all, written only after a failure: no worker takes the line from the others.
        if endpoint.failures.load(Relaxed) != 0 {
            endpoint.forget_failures();
        }
    } else {
        if !is_absence(outcome) {
            endpoint.failed_answering.store(true, Relaxed);
        }
        shard.failures.increment();
        let failures = endpoint.failures.fetch_add(1, Relaxed).wrapping_add(1);
        // More than that are looked at from time to time.
        if failures == pool.settings().outlier.consecutive_failures {
            pool.alarm.notify_one();
        }
    }
    if let Some(trial) = trial {
        trial.decide(well);
    }
}

/// Whether the endpoint seemed to be gone, so that its next answer to a health check is news. One
/// that is slow or answers badly may do so all the while its health checks succeed.
const fn is_absence(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::ConnectFailure | Outcome::ConnectTimeout | Outcome::TlsFailure | Outcome::Reset
    )
}

/// Whether the endpoint did well; nothing if that can not be told.
fn is_well(outcome: Outcome, server_errors: impl FnOnce() -> bool) -> Option<bool> {
    match outcome {
        Outcome::Success => Some(true),
        Outcome::ServerError => Some(!server_errors()),
        Outcome::ConnectFailure
        | Outcome::ConnectTimeout
        | Outcome::TlsFailure
        | Outcome::ResponseTimeout
        | Outcome::Reset
        | Outcome::InvalidResponse => Some(false),
        // One that says that it is full is not broken, and what the client gave up tells nothing.
        Outcome::Refused | Outcome::Cancelled => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Trial, note};
    use crate::telemetry::series::{Outcome, PoolSeries};
    use crate::telemetry::shard::WorkerIndex;
    use crate::upstream::outlier::OutlierConfig;
    use crate::upstream::outlier::trial::TrialState;
    use crate::upstream::pool::Pool;
    use crate::upstream::settings::PoolSettings;
    use std::net::SocketAddr;
    use std::sync::Arc;

    #[test]
    fn a_trial_that_is_refused_has_failed_and_one_that_is_given_up_is_open_again() {
        let pool = Arc::new(Pool::new(Arc::new(PoolSeries::new("stable", 1))));
        pool.replace([SocketAddr::from(([127, 0, 0, 1], 1))]);
        let endpoint = Arc::clone(&pool.endpoints()[0]);
        for (outcome, is_open) in [(Outcome::Cancelled, true), (Outcome::Refused, false)] {
            endpoint.trial.renew(TrialState::Open);
            let trial = Trial::take(&pool, &endpoint).unwrap();
            note(&pool, &endpoint, WorkerIndex(0), outcome, Some(&trial));
            drop(trial);
            assert_eq!(Trial::take(&pool, &endpoint).is_some(), is_open, "{outcome:?}");
        }
    }

    #[test]
    fn failures_of_all_workers_are_one_row_that_a_success_ends() {
        let pool = Pool::new(Arc::new(PoolSeries::new("stable", 2)));
        pool.replace([SocketAddr::from(([127, 0, 0, 1], 1))]);
        let endpoint = Arc::clone(&pool.endpoints()[0]);
        let note = |worker, outcome| note(&pool, &endpoint, WorkerIndex(worker), outcome, None);
        for worker in [0, 1, 0] {
            note(worker, Outcome::Reset);
        }
        for outcome in [Outcome::Cancelled, Outcome::Refused] {
            note(0, outcome);
        }
        assert_eq!((endpoint.failures_in_a_row(), endpoint.attempts()), (3, (0, 3)));
        // Nobody has said that a status is a failure.
        note(1, Outcome::ServerError);
        assert_eq!((endpoint.failures_in_a_row(), endpoint.attempts()), (0, (1, 3)));
        let outlier = OutlierConfig::default();
        pool.configure(Arc::default(), PoolSettings { outlier, ..PoolSettings::default() });
        note(1, Outcome::ServerError);
        assert_eq!((endpoint.failures_in_a_row(), endpoint.attempts()), (1, (1, 4)));
    }
}

//! The judge at work beside workers: alarms of many threads, settings that change, one trial.

use super::{Totals, apply, look};
use crate::base::clock;
use crate::base::units;
use crate::telemetry::series::{Outcome, PoolSeries};
use crate::telemetry::shard::WorkerIndex;
use crate::upstream::endpoint::{Endpoint, EndpointState, Mark};
use crate::upstream::outlier::{OutlierConfig, SuccessRateConfig, Trial, note};
use crate::upstream::pool::Pool;
use crate::upstream::settings::PoolSettings;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

fn pool(endpoints: u16, config: &OutlierConfig) -> Arc<Pool> {
    let pool = Arc::new(Pool::new(Arc::new(PoolSeries::new("stable", 4))));
    let outlier = config.clone();
    pool.configure(Arc::default(), PoolSettings { outlier, ..PoolSettings::default() });
    pool.replace((1..=endpoints).map(|port| SocketAddr::from(([127, 0, 0, 1], port))));
    pool
}

fn config(percent: u8) -> OutlierConfig {
    OutlierConfig {
        max_ejection_percent: percent,
        base_ejection_time: units::Duration(Duration::from_millis(20)),
        ..OutlierConfig::default()
    }
}

fn fail(pool: &Pool, endpoint: &Endpoint, times: u32) {
    for _ in 0..times {
        note(pool, endpoint, WorkerIndex(0), Outcome::Reset, None);
    }
}

fn ejected(pool: &Pool) -> usize {
    let endpoints = pool.endpoints();
    endpoints.iter().filter(|endpoint| endpoint.state() == EndpointState::Ejected).count()
}

async fn until(pool: &Pool, holds: impl Fn(&Pool) -> bool) {
    let mut changes = pool.watch();
    let waiting = async {
        while !holds(pool) {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn however_many_fail_at_once_no_more_are_out_than_may_be() {
    let config = OutlierConfig { base_ejection_time: units::Duration::from_secs(60), ..config(50) };
    let pool = pool(9, &config);
    let mut changes = pool.watch();
    let most = Arc::clone(&pool);
    let watching = tokio::spawn(async move {
        let mut most_seen = 0;
        while most_seen < 4 {
            changes.changed().await.unwrap();
            most_seen = most_seen.max(ejected(&most));
        }
        most_seen
    });
    let _task = apply(None, &pool, config.clone());
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let pool = &pool;
            scope.spawn(move || {
                for _ in 0..200 {
                    for endpoint in &*pool.endpoints() {
                        note(pool, endpoint, WorkerIndex(worker), Outcome::Reset, None);
                    }
                }
            });
        }
    });
    let seen = tokio::time::timeout(Duration::from_secs(10), watching).await.unwrap().unwrap();
    assert_eq!(seen, 4);
    // Whatever is looked at again, and by whom, it stays at that.
    for _ in 0..10 {
        pool.endpoints().iter().for_each(|endpoint| fail(&pool, endpoint, 5));
        pool.change(|change| look(&pool, change, &config, clock::now(), false, &mut Totals::new()));
        assert_eq!(ejected(&pool), 4);
    }
    let counted = pool.series.events.ejections.each_ref().map(|count| count.load(Relaxed));
    assert_eq!(counted, [4, 0, 0]);
}

#[tokio::test]
async fn one_request_tries_the_endpoint_and_only_then_it_is_back() {
    let config = config(100);
    let pool = pool(1, &config);
    let endpoint = Arc::clone(&pool.endpoints()[0]);
    let _task = apply(None, &pool, config.clone());
    fail(&pool, &endpoint, 5);
    until(&pool, |pool| ejected(pool) == 1).await;
    // Nothing but the trial makes the pool usable.
    until(&pool, Pool::is_usable).await;
    let trial = Trial::take(&pool, &endpoint).unwrap();
    assert!(Trial::take(&pool, &endpoint).is_none() && !pool.is_usable());
    note(&pool, &endpoint, WorkerIndex(0), Outcome::Cancelled, Some(&trial));
    drop(trial);
    assert!(pool.is_usable());
    let failed = Trial::take(&pool, &endpoint).unwrap();
    note(&pool, &endpoint, WorkerIndex(0), Outcome::ConnectFailure, Some(&failed));
    drop(failed);
    until(&pool, |pool| pool.series.events.ejections[2].load(Relaxed) == 1).await;
    until(&pool, Pool::is_usable).await;
    let trial = Trial::take(&pool, &endpoint).unwrap();
    note(&pool, &endpoint, WorkerIndex(1), Outcome::Success, Some(&trial));
    until(&pool, |pool| ejected(pool) == 0).await;
    drop(trial);
    assert!(endpoint.is_usable() && Trial::take(&pool, &endpoint).is_none());
}

#[tokio::test]
async fn a_trial_is_not_open_while_something_else_speaks_against_the_endpoint() {
    let config = config(100);
    let pool = pool(1, &config);
    let endpoint = Arc::clone(&pool.endpoints()[0]);
    let _task = apply(None, &pool, config.clone());
    fail(&pool, &endpoint, 5);
    until(&pool, Pool::is_usable).await;
    until(&pool, |_| endpoint.is_on_trial()).await;
    pool.mark(&endpoint, Mark::Unhealthy, true);
    assert!(!pool.is_usable() && !endpoint.is_on_trial());
    pool.mark(&endpoint, Mark::Unhealthy, false);
    assert!(pool.is_usable() && endpoint.is_on_trial());
}

#[tokio::test]
async fn other_settings_go_on_with_what_is_and_none_end_it() {
    let long = OutlierConfig { base_ejection_time: units::Duration::from_secs(60), ..config(100) };
    let pool = pool(2, &long);
    let endpoints = pool.endpoints();
    let task = apply(None, &pool, long.clone());
    fail(&pool, &endpoints[0], 5);
    until(&pool, |pool| ejected(pool) == 1).await;
    let left = endpoints[0].history.lock().left(clock::now()).unwrap();
    assert!(left > Duration::from_secs(50));
    let other = OutlierConfig { consecutive_failures: 3, ..long };
    let outlier = other.clone();
    pool.configure(Arc::default(), PoolSettings { outlier, ..PoolSettings::default() });
    let task = apply(task, &pool, other.clone());
    assert_eq!(ejected(&pool), 1);
    fail(&pool, &endpoints[1], 3);
    until(&pool, |pool| ejected(pool) == 2).await;
    // One that is gone meanwhile is let in, too.
    pool.replace([endpoints[1].address]);
    let none = OutlierConfig { consecutive_failures: 0, ..other };
    assert!(apply(task, &pool, none).is_none());
    assert!(endpoints[1].is_usable() && !endpoints[0].is_marked(Mark::Ejected));
    fail(&pool, &endpoints[1], 100);
    assert_eq!(ejected(&pool), 0);
}

#[test]
fn what_an_endpoint_failed_before_it_was_back_is_not_judged_again() {
    let rate = SuccessRateConfig { min_endpoints: 3, min_requests: 5, stdev_factor: 500 };
    let config = OutlierConfig { success_rate: Some(rate), ..config(50) };
    let pool = pool(3, &config);
    let now = clock::now();
    let mut totals = Totals::new();
    let mut look = |now, ticked| {
        pool.change(|change| look(&pool, change, &config, now, ticked, &mut totals));
    };
    look(now, true);
    let endpoints = pool.endpoints();
    for endpoint in &endpoints[1..] {
        for _ in 0..10 {
            note(&pool, endpoint, WorkerIndex(0), Outcome::Success, None);
        }
    }
    fail(&pool, &endpoints[0], 10);
    look(now, false);
    assert_eq!(ejected(&pool), 1);
    let over = now + Duration::from_secs(1);
    look(over, false);
    let trial = Trial::take(&pool, &endpoints[0]).unwrap();
    note(&pool, &endpoints[0], WorkerIndex(0), Outcome::Success, Some(&trial));
    look(over, false);
    assert_eq!(ejected(&pool), 0);
    for _ in 0..10 {
        note(&pool, &endpoints[0], WorkerIndex(0), Outcome::Success, None);
    }
    look(over, true);
    assert_eq!(ejected(&pool), 0);
}

//! What a pool keeps of its endpoints, and whom it tells of changes.

use super::{Changes, Found, Mark, Pool, PoolSettings, Protocol, REMEMBERED_MAX};
use crate::telemetry::series::PoolSeries;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

fn pool() -> Pool {
    Pool::new(Arc::new(PoolSeries::new("stable", 1)))
}

fn address(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

#[test]
fn an_address_that_stays_keeps_its_endpoint() {
    let pool = pool();
    assert!(!pool.is_usable());
    let [a, b, c] = [1, 2, 3].map(address);
    pool.replace([a, b, b]);
    let before = pool.endpoints();
    let version = pool.version();
    assert_eq!(before.len(), 2);
    pool.replace([a, b]);
    assert_eq!(pool.version(), version);
    pool.replace([b, c]);
    assert!(pool.version() > version);
    assert!(Arc::ptr_eq(&before[1], &pool.endpoints()[0]));
}

#[test]
fn an_address_that_comes_back_keeps_its_history() {
    let pool = pool();
    pool.replace([1, 2].map(address));
    let first = Arc::clone(&pool.endpoints()[0]);
    pool.mark(&first, Mark::Ejected, true);
    pool.replace([address(2)]);
    assert!(first.is_marked(Mark::Draining));
    pool.replace([1, 2].map(address));
    let back = Arc::clone(&pool.endpoints()[0]);
    assert!(Arc::ptr_eq(&first, &back));
    assert!(back.is_marked(Mark::Ejected) && !back.is_marked(Mark::Draining));
}

#[test]
fn what_somebody_finds_whose_turn_is_over_counts_no_more() {
    let pool = pool();
    let addresses = || pool.endpoints().iter().map(|one| one.address.port()).collect::<Vec<_>>();
    let first = pool.look_anew();
    assert_eq!(pool.found(first, None, &[address(1).into()]), Some(true));
    let second = pool.look_anew();
    assert_eq!(addresses(), [1]);
    assert_eq!(pool.found(second, None, &[address(2).into()]), Some(true));
    assert_eq!(pool.found(first, None, &[address(1).into()]), None);
    pool.list([address(3)]);
    assert_eq!(pool.found(second, Some(Protocol::H2), &[address(2).into()]), None);
    assert_eq!((addresses(), pool.suggested.lock().is_none()), (vec![3], true));
}

#[test]
fn only_so_many_removed_endpoints_are_remembered() {
    let pool = pool();
    for port in 1..=u16::try_from(REMEMBERED_MAX + 10).unwrap() {
        pool.replace([address(port)]);
    }
    assert_eq!(pool.removed.lock().len(), REMEMBERED_MAX);
}

#[test]
fn a_pool_that_loses_its_last_usable_endpoint_is_in_distress() {
    let pool = pool();
    // Nobody listens.
    pool.distressed();
    let distress = pool.distress();
    let in_distress = || distress.has_changed().unwrap();
    assert!(pool.replace([1, 2].map(address)));
    let [a, b] = [0, 1].map(|index| Arc::clone(&pool.endpoints()[index]));
    pool.mark(&a, Mark::Ejected, true);
    assert!(!in_distress());
    pool.mark(&b, Mark::Unhealthy, true);
    assert!(in_distress());
}

#[tokio::test(start_paused = true)]
async fn the_workers_are_told_of_changes_and_of_nothing_else() {
    let changes = Changes::default();
    let pool = pool().announcing(changes.clone());
    let mut noticing = changes.listen();
    let mut told = async || timeout(Duration::from_secs(1), noticing.changed()).await.is_ok();
    assert!(pool.replace([address(1)]));
    assert!(told().await);
    assert!(!pool.replace([address(1)]));
    assert!(!told().await);
    pool.mark(&pool.endpoints()[0], Mark::Draining, true);
    assert!(told().await);
}

#[test]
fn a_mark_is_seen_by_everybody() {
    let pool = pool();
    pool.replace([Found { weight: 3, ..address(1).into() }]);
    let endpoint = Arc::clone(&pool.endpoints()[0]);
    assert_eq!(endpoint.weight(), 3);
    let version = pool.version();
    assert!(pool.mark(&endpoint, Mark::Unhealthy, true));
    assert!(!pool.is_usable() && pool.version() > version);
    assert!(!pool.mark(&endpoint, Mark::Unhealthy, true));
    pool.replace([Found { draining: true, ..address(1).into() }]);
    pool.mark(&endpoint, Mark::Unhealthy, false);
    assert!(!pool.is_usable());
}

#[test]
fn a_pool_panics_when_too_few_of_the_endpoints_that_stay_are_usable() {
    let pool = pool();
    let settings = PoolSettings { panic_threshold: 50, ..PoolSettings::default() };
    pool.configure(Arc::default(), settings);
    assert!(!pool.is_panicking());
    pool.replace([1, 2, 3, 4].map(address));
    let endpoints = pool.endpoints();
    let mark = |at: usize, mark, on| {
        pool.mark(&endpoints[at], mark, on);
        (pool.is_usable(), pool.is_panicking())
    };
    assert_eq!(mark(0, Mark::Unhealthy, true), (true, false));
    assert_eq!(mark(1, Mark::Ejected, true), (true, false));
    assert_eq!(mark(2, Mark::Unhealthy, true), (true, true));
    // One of two is half of what is not going away.
    mark(0, Mark::Draining, true);
    assert_eq!(mark(1, Mark::Draining, true), (true, false));
    assert_eq!(mark(3, Mark::Unhealthy, true), (false, true));
    pool.configure(Arc::default(), PoolSettings::default());
    assert!(!pool.is_panicking());
}

#[test]
fn endpoints_that_come_together_begin_at_one_time() {
    let pool = pool();
    pool.replace([1, 2, 3].map(address));
    let since: Vec<_> = pool.endpoints().iter().map(|one| one.usable_since()).collect();
    assert!(since.len() == 3 && since.iter().all(|one| *one == since[0]));
}

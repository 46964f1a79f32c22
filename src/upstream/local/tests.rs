//! One worker's choices: retries, weights, slow starts, ignored health, latencies.

use super::{Ask, Balance, LocalEndpoint, LocalPool, LocalPools, Place, WEIGHING};
use crate::base::clock;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::series::Outcome;
use crate::telemetry::shard::WorkerIndex;
use crate::upstream::discovery::Found;
use crate::upstream::endpoint::Mark;
use crate::upstream::pool::Pool;
use crate::upstream::registry::Registry;
use crate::upstream::settings::PoolSettings;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

const HOUR: Duration = Duration::from_hours(1);

/// A pool, and the view of its only worker.
struct Viewed {
    pool: Arc<Pool>,
    local: Rc<LocalPool>,
    random: u64,
}

impl Viewed {
    /// Endpoints of these weights, on the ports from 1.
    fn weighing(weights: &[u32], settings: PoolSettings) -> Self {
        let registry = Registry::new(Arc::new(Metrics::new(1)));
        let pool = registry.pool("stable");
        pool.configure(Arc::default(), settings);
        pool.replace(found(weights));
        let pools = LocalPools::new(WorkerIndex(0)).adopt(&[Arc::clone(&pool)]);
        Self { local: Rc::clone(pools.get(0).unwrap()), pool, random: 0 }
    }

    fn even(count: usize) -> Self {
        Self::weighing(&vec![1; count], PoolSettings::default())
    }

    fn take(&mut self, balance: &Balance, tried: &[Rc<LocalEndpoint>]) -> Place {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let random = self.random ^ self.random >> 29;
        self.local.take(&Ask { balance, random, hash: None, tried }).unwrap()
    }

    /// How many of so many requests one after the other each of the ports from 1 gets.
    fn shares<const PORTS: usize>(&mut self, balance: &Balance, requests: usize) -> [usize; PORTS] {
        let mut shares = [0; PORTS];
        for _ in 0..requests {
            shares[port(&self.take(balance, &[])) - 1] += 1;
        }
        shares
    }

    fn mark(&self, at: usize, mark: Mark, on: bool) {
        let endpoint = Arc::clone(&self.pool.endpoints()[at]);
        self.pool.mark(&endpoint, mark, on);
    }

    fn ignored(&self) -> u64 {
        self.pool.series.shards.of(WorkerIndex(0)).health_ignored.value()
    }
}

fn address(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn found(weights: &[u32]) -> Vec<Found> {
    let found = |(port, weight): (u16, &u32)| Found { weight: *weight, ..address(port).into() };
    (1..).zip(weights).map(found).collect()
}

fn port(place: &Place) -> usize {
    place.endpoint().endpoint.address.port().into()
}

#[test]
fn a_second_attempt_goes_to_another_endpoint_if_there_is_one() {
    for weights in [[1, 1], [1, 100]] {
        let mut viewed = Viewed::weighing(&weights, PoolSettings::default());
        for balance in [Balance::Random, Balance::RoundRobin, Balance::PeakEwma] {
            for _ in 0..100 {
                let first = viewed.take(&balance, &[]);
                let second = viewed.take(&balance, &[Rc::clone(first.endpoint())]);
                assert!(!Rc::ptr_eq(first.endpoint(), second.endpoint()));
            }
        }
        viewed.pool.replace([address(1)]);
        let first = viewed.take(&Balance::Random, &[]);
        let second = viewed.take(&Balance::Random, &[Rc::clone(first.endpoint())]);
        assert!(Rc::ptr_eq(first.endpoint(), second.endpoint()));
    }
}

#[test]
fn the_less_busy_endpoint_is_taken() {
    let mut viewed = Viewed::even(2);
    let first = viewed.take(&Balance::LeastRequest, &[]);
    let second = viewed.take(&Balance::LeastRequest, &[]);
    assert!(!Rc::ptr_eq(first.endpoint(), second.endpoint()));
}

#[test]
fn turns_go_by_weight_and_a_change_of_the_weights_is_no_debt() {
    let mut viewed = Viewed::weighing(&[1, 1_000], PoolSettings::default());
    assert_eq!(viewed.shares(&Balance::RoundRobin, 1_001), [1, 1_000]);
    viewed.shares::<2>(&Balance::RoundRobin, 300);
    viewed.pool.replace(found(&[1, 3]));
    let [light, heavy] = viewed.shares(&Balance::RoundRobin, 400);
    assert!(light.abs_diff(100) < 5, "{light} and {heavy}");
    viewed.pool.replace(found(&[7, 7]));
    assert_eq!(viewed.shares(&Balance::RoundRobin, 10), [5, 5]);
}

#[test]
fn a_new_endpoint_begins_with_a_tenth_of_its_share_and_grows_into_all_of_it() {
    let settings = PoolSettings { slow_start: HOUR, ..PoolSettings::default() };
    let mut viewed = Viewed::weighing(&[1, 1], settings);
    // Those that begin together are equal from the start.
    assert_eq!(viewed.shares(&Balance::RoundRobin, 10), [5, 5]);
    let old = Arc::clone(&viewed.pool.endpoints()[0]);
    let now = Instant::now();
    let later = now + HOUR;
    viewed.mark(1, Mark::Unhealthy, true);
    viewed.mark(1, Mark::Unhealthy, false);
    viewed.pool.endpoints()[1].begin(later);
    assert_eq!(old.state(), viewed.pool.endpoints()[1].state());
    viewed.local.refresh();
    for (age, share) in [(0, 10), (30, 55), (45, 77), (60, 100), (90, 100)] {
        viewed.local.weigh(later + age * Duration::from_mins(1));
        let [full, starting] = viewed.shares(&Balance::RoundRobin, 100 + share);
        assert!(full.abs_diff(100) <= 2 && starting.abs_diff(share) <= 2, "{full}, {starting}");
        assert_eq!(viewed.local.weighing.get().is_some(), age < 60);
    }
}

#[test]
fn endpoints_are_weighed_anew_while_one_is_starting_and_not_more_often_than_said() {
    let settings = PoolSettings { slow_start: HOUR, ..PoolSettings::default() };
    let mut viewed = Viewed::weighing(&[1, 1], settings.clone());
    let due = viewed.local.weighing.get().unwrap();
    viewed.shares::<2>(&Balance::LeastRequest, 1);
    assert!(viewed.local.weighing.get() == Some(due) || Instant::now() >= due);
    viewed.local.weighing.set(Some(Instant::now()));
    viewed.shares::<2>(&Balance::LeastRequest, 1);
    assert!(viewed.local.weighing.get().unwrap() >= due);
    assert!(viewed.local.weighing.get().unwrap() <= Instant::now() + WEIGHING);
    viewed.pool.configure(Arc::default(), PoolSettings::default());
    viewed.shares::<2>(&Balance::LeastRequest, 1);
    assert_eq!(viewed.local.weighing.get(), None);
}

#[test]
fn in_a_panic_unhealthy_endpoints_get_requests_and_those_are_counted() {
    let settings = PoolSettings { panic_threshold: 60, ..PoolSettings::default() };
    let mut viewed = Viewed::weighing(&[1, 1, 1], settings);
    viewed.mark(0, Mark::Unhealthy, true);
    assert_eq!(viewed.shares(&Balance::RoundRobin, 8), [0, 4, 4]);
    assert_eq!(viewed.ignored(), 0);
    viewed.mark(1, Mark::Ejected, true);
    let [one, two, three] = viewed.shares(&Balance::RoundRobin, 9);
    assert_eq!((one, two, three, viewed.ignored()), (3, 3, 3, 9));
    // One that is going away gets nothing even then; of the two others one is enough for no panic.
    viewed.mark(0, Mark::Draining, true);
    let [one, two, three] = viewed.shares(&Balance::RoundRobin, 10);
    assert_eq!((one, two, three, viewed.ignored()), (0, 5, 5, 19));
    viewed.mark(1, Mark::Ejected, false);
    assert_eq!(viewed.shares(&Balance::RoundRobin, 8), [0, 4, 4]);
    assert_eq!(viewed.ignored(), 19);
}

#[test]
fn an_endpoint_that_fails_fast_attracts_nothing_if_latencies_are_asked_for() {
    let mut viewed = Viewed::even(3);
    let mut shares = [0_usize; 3];
    for _ in 0..300 {
        let place = viewed.take(&Balance::PeakEwma, &[]);
        let fails = port(&place) == 1;
        place.attempted(
            false,
            if fails { Outcome::ConnectFailure } else { Outcome::Success },
            true,
        );
        shares[port(&place) - 1] += 1;
    }
    assert!(shares[0] <= 1 && shares[1] > 50 && shares[2] > 50, "{shares:?}");
    // Whoever does not ask for latencies does not measure them.
    let mut viewed = Viewed::even(1);
    let place = viewed.take(&Balance::LeastRequest, &[]);
    place.attempted(false, Outcome::Reset, true);
    let known = place.endpoint().balancing.latency(Instant::now());
    assert!(known <= 0.03, "{known}");
}

#[tokio::test]
async fn an_endpoint_that_drains_keeps_no_connection_until_it_does_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let pool = Registry::new(Arc::new(Metrics::new(1))).pool("stable");
    pool.replace([address]);
    let pools = LocalPools::new(WorkerIndex(0)).adopt(&[Arc::clone(&pool)]);
    let local = pools.get(0).unwrap();
    let ask = Ask { balance: &Balance::Random, random: 0, hash: None, tried: &[] };
    let in_use = local.take(&ask).unwrap();
    let endpoint = in_use.endpoint();
    let connect = async || {
        clock::now();
        let connection = endpoint.connect(Duration::from_secs(9)).await.unwrap();
        (connection, listener.accept().await.unwrap().0)
    };
    let (idle, mut idle_there) = connect().await;
    let (used, mut used_there) = connect().await;
    endpoint.keep_idle(idle);
    pool.replace([Found { draining: true, ..address.into() }]);
    local.refresh();
    assert_eq!(idle_there.read(&mut [0]).await.unwrap(), 0);
    assert!(used_there.try_read(&mut [0]).is_err());
    endpoint.keep_idle(used);
    assert_eq!(used_there.read(&mut [0]).await.unwrap(), 0);
    pool.replace([address]);
    local.refresh();
    assert!(Rc::ptr_eq(local.take(&ask).unwrap().endpoint(), endpoint));
    let (idle, _there) = connect().await;
    endpoint.keep_idle(idle);
    assert!(endpoint.take_idle().is_some());
    assert_eq!(endpoint.shard().idle.value(), 0);
}

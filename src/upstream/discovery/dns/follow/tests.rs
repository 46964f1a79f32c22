//! The look-ups of one name, against answers that the test says, while the clock is the test's.

use super::{addresses, follow};
use crate::base::units;
use crate::telemetry::events::Discovery;
use crate::telemetry::series::PoolSeries;
use crate::upstream::discovery::dns::{Answer, DnsConfig, Family, LookUp};
use crate::upstream::discovery::{ENDPOINTS_MAX, Findings, Missed};
use crate::upstream::endpoint::Mark;
use crate::upstream::pool::Pool;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance};

const SECOND: Duration = Duration::from_secs(1);

/// A look-up that waits for the test's answer; without one it panics.
struct Ask {
    at: Instant,
    answer: oneshot::Sender<Result<Answer, Missed>>,
}

impl Ask {
    fn found(self, answer: Answer) {
        self.answer.send(Ok(answer)).unwrap();
    }

    fn missed(self, missed: Missed) {
        self.answer.send(Err(missed)).unwrap();
    }
}

struct Scripted(mpsc::UnboundedSender<Ask>);

impl LookUp for Scripted {
    async fn look_up(&mut self, _: Instant) -> Result<Answer, Missed> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Ask { at: Instant::now(), answer }).unwrap();
        answered.await.unwrap()
    }
}

struct Following {
    pool: Arc<Pool>,
    asks: mpsc::UnboundedReceiver<Ask>,
    running: JoinHandle<()>,
}

impl Following {
    fn start() -> Self {
        let config = DnsConfig {
            host: "a.test".to_owned(),
            port: 80,
            ttl_min: units::Duration::from_secs(5),
            ttl_max: units::Duration::from_secs(60),
            timeout: units::Duration::from_secs(5),
            servers: Vec::new(),
        };
        let pool = Arc::new(Pool::new(Arc::new(PoolSeries::new("assets", 1))));
        let (asked, asks) = mpsc::unbounded_channel();
        let (findings, _) = Findings::new(&pool, &"a.test");
        let running = tokio::spawn(async move { follow(&config, Scripted(asked), findings).await });
        Self { pool, asks, running }
    }

    /// The next look-up.
    async fn ask(&mut self) -> Ask {
        self.asks.recv().await.unwrap()
    }

    /// Answers the next look-up; says how long after that another one begins, which is not
    /// answered but fails.
    async fn pause_after(&mut self, answer: Answer) -> Duration {
        let ask = self.ask().await;
        ask.found(answer);
        let before = Instant::now();
        let next = self.ask().await;
        let pause = next.at - before;
        next.missed(Missed::Timeout);
        pause
    }

    fn count(&self, how: Discovery) -> u64 {
        self.pool.series.events.discoveries[how as usize].load(Relaxed)
    }

    fn found(&self) -> Vec<String> {
        self.pool.endpoints().iter().map(|endpoint| endpoint.address.ip().to_string()).collect()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn answer(addresses: &[&str], ttl: u64) -> Answer {
    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    Answer { addresses, ttl: Some(Duration::from_secs(ttl)), unknown: None }
}

#[tokio::test(start_paused = true)]
async fn a_name_is_looked_up_again_when_its_records_grow_old() {
    for (ttl, pause) in [(0, 5), (5, 5), (30, 30), (100, 60)] {
        let mut following = Following::start();
        let waited = following.pause_after(answer(&["10.0.0.1"], ttl)).await;
        assert!(waited.abs_diff(pause * SECOND) < SECOND, "{ttl}: {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_miss_keeps_the_endpoints_and_is_tried_again_after_a_pause_that_doubles() {
    let mut following = Following::start();
    following.ask().await.found(answer(&["10.0.0.1"], 5));
    let mut ask = following.ask().await;
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        let before = ask.at;
        ask.missed(Missed::NoSuchName);
        ask = following.ask().await;
        let (waited, most) = (ask.at - before, seconds * SECOND);
        assert!(waited > most * 7 / 10 && waited < most * 11 / 10, "{most:?}: {waited:?}");
    }
    assert_eq!(
        (following.found(), following.count(Discovery::NoSuchName)),
        (vec!["10.0.0.1".to_owned()], 8)
    );
    // An answer begins anew.
    ask.found(answer(&["10.0.0.2"], 5));
    let ask = following.ask().await;
    let before = ask.at;
    ask.missed(Missed::NoRecords);
    assert!(following.ask().await.at - before <= 2 * SECOND);
    assert_eq!(following.found(), ["10.0.0.2"]);
}

#[tokio::test(start_paused = true)]
async fn distress_is_answered_at_once_but_not_more_often_than_every_second() {
    let mut following = Following::start();
    following.ask().await.found(answer(&["10.0.0.1"], 60));
    // Long after the last look-up, the next is at once.
    advance(10 * SECOND).await;
    let pool = Arc::clone(&following.pool);
    let endpoint = Arc::clone(&pool.endpoints()[0]);
    let before = Instant::now();
    pool.mark(&endpoint, Mark::Ejected, true);
    let mut ask = following.ask().await;
    assert!(ask.at - before < SECOND / 10);
    for _ in 0..5 {
        let before = ask.at;
        // Said often, also while the answer is on its way.
        pool.distressed();
        ask.found(answer(&["10.0.0.1"], 60));
        tokio::task::yield_now().await;
        pool.distressed();
        ask = following.ask().await;
        assert!((ask.at - before).abs_diff(SECOND) < SECOND / 10);
    }
    // What was said before a look-up began is answered by that.
    let before = ask.at;
    ask.found(answer(&["10.0.0.1"], 30));
    assert!(following.ask().await.at - before >= 30 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_family_that_can_not_be_asked_for_keeps_its_addresses() {
    let mut following = Following::start();
    following.ask().await.found(answer(&["::1", "10.0.0.1"], 5));
    let partly = |unknown| Answer { unknown, ..answer(&["10.0.0.2"], 5) };
    following.pause_after(partly(Some(Family::V6))).await;
    assert_eq!(following.found(), ["10.0.0.2", "::1"]);
    following.pause_after(partly(None)).await;
    assert_eq!(following.found(), ["10.0.0.2"]);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_comes_back_keeps_its_history() {
    let mut following = Following::start();
    following.pause_after(answer(&["10.0.0.1"], 5)).await;
    let before = Arc::clone(&following.pool.endpoints()[0]);
    following.pool.mark(&before, Mark::Unhealthy, true);
    following.pause_after(answer(&["10.0.0.2"], 5)).await;
    following.pause_after(answer(&["10.0.0.1"], 5)).await;
    let back = Arc::clone(&following.pool.endpoints()[0]);
    assert!(Arc::ptr_eq(&before, &back) && back.is_marked(Mark::Unhealthy));
}

#[tokio::test(start_paused = true)]
async fn the_same_addresses_in_another_order_are_no_change() {
    let mut following = Following::start();
    following.ask().await.found(answer(&["10.0.0.1", "10.0.0.2"], 5));
    following.ask().await.found(answer(&["10.0.0.2", "10.0.0.1"], 5));
    following.ask().await.found(answer(&["0.0.0.0"], 5));
    following.ask().await;
    let counts = [Discovery::Changed, Discovery::Unchanged, Discovery::NoRecords];
    assert_eq!(counts.map(|how| following.count(how)), [1; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_look_up_that_panics_is_not_the_last() {
    let mut following = Following::start();
    drop(following.ask().await.answer);
    following.ask().await.found(answer(&["10.0.0.1"], 5));
    following.ask().await;
    assert_eq!(following.count(Discovery::Failure), 1);
    assert_eq!(following.found(), ["10.0.0.1"]);
}

fn ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
        any::<u16>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits.into()))),
        any::<u32>().prop_map(|bits| IpAddr::V6(Ipv4Addr::from_bits(bits).to_ipv6_mapped())),
    ]
}

proptest! {
    #[test]
    fn the_addresses_do_not_depend_on_their_order(
        new in prop::collection::vec(ip(), 0..50),
        before in prop::collection::vec(ip(), 0..50),
        turn in 0_usize..50,
    ) {
        let mut turned = new.clone();
        turned.rotate_left(turn.min(new.len()));
        let of = |addresses: Vec<IpAddr>| {
            super::addresses(&Answer { addresses, ttl: None, unknown: None }, &before)
        };
        let found = of(new);
        prop_assert_eq!(&found, &of(turned));
        if let Ok(found) = found {
            prop_assert!(found.is_sorted_by(|one, two| one < two));
            let ports = found.iter().map(|ip| SocketAddr::new(*ip, 80));
            prop_assert!(ports.is_sorted());
        }
    }
}

#[test]
fn a_name_has_only_so_many_endpoints() {
    let many = (1..20_000).map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)));
    let answer = Answer { addresses: many.collect(), ..Answer::default() };
    assert_eq!(addresses(&answer, &[]).unwrap().len(), ENDPOINTS_MAX);
}

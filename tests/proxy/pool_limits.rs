//! The most that a pool is asked for at one time: exact whatever the workers do, and fair.

use crate::support::{
    App, H2Client, H2Origin, Load, Origin, eventually, nobody, pool_of, pool_with, within,
};
use h2::server::Builder;
use http::{Request, StatusCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// What is inside at one time.
#[derive(Clone, Default)]
struct Census {
    inside: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Census {
    fn enter(&self) {
        self.most.fetch_max(self.inside.fetch_add(1, SeqCst) + 1, SeqCst);
    }

    fn leave(&self) {
        self.inside.fetch_sub(1, SeqCst);
    }

    fn inside(&self) -> usize {
        self.inside.load(SeqCst)
    }

    fn most(&self) -> usize {
        self.most.load(SeqCst)
    }
}

/// An origin that answers as many requests as it is told, and counts those that wait for it.
pub(crate) struct Gate {
    pub(crate) origin: Origin,
    open: Arc<Semaphore>,
    census: Census,
}

impl Gate {
    pub(crate) async fn new() -> Self {
        let (open, census) = (Arc::new(Semaphore::new(0)), Census::default());
        let (gate, counted) = (Arc::clone(&open), census.clone());
        let origin = Origin::start(move |mut connection| {
            let (gate, census) = (Arc::clone(&gate), counted.clone());
            async move {
                while let Ok((_, _)) = connection.request().await {
                    census.enter();
                    gate.acquire().await.unwrap().forget();
                    census.leave();
                    connection.answer("gate").await;
                }
            }
        })
        .await;
        Self { origin, open, census }
    }

    /// Answers so many requests.
    pub(crate) fn let_through(&self, requests: usize) {
        self.open.add_permits(requests);
    }

    /// Waits until so many requests are there.
    pub(crate) async fn has(&self, requests: usize) {
        eventually("they are at the origin", async || self.census.inside() == requests).await;
    }

    async fn app(&self, limits: &str) -> App {
        App::start(&self.config(limits, "")).await
    }

    fn config(&self, limits: &str, route: &str) -> String {
        pool_with(self.origin.address, &format!("limits: {{ {limits} }}"), route)
    }
}

/// A request on its way.
pub(crate) fn asking(client: &H2Client) -> JoinHandle<StatusCode> {
    let client = client.clone();
    tokio::spawn(async move { client.get("/").await.unwrap().head.status() })
}

pub(crate) async fn statuses(requests: Vec<JoinHandle<StatusCode>>) -> Vec<u16> {
    let mut statuses = Vec::new();
    for request in requests {
        statuses.push(within(request).await.unwrap().as_u16());
    }
    statuses
}

pub(crate) async fn pending(app: &App, requests: f64) {
    app.metric_is("serin_pool_pending_requests", &[("pool", "only")], requests).await;
}

async fn overflows(app: &App, limit: &str, count: f64) {
    let labels = [("pool", "only"), ("limit", limit)];
    app.metric_is("serin_pool_overflows_total", &labels, count).await;
}

/// An origin that counts its open connections, over all origins with the same census. One that is
/// over the limit is noted: those that the proxy has closed before are known to be by the time
/// that this one has waited.
async fn counting(census: &Census, limit: usize) -> Origin {
    let census = census.clone();
    Origin::start(move |mut connection| {
        let census = census.clone();
        async move {
            census.inside.fetch_add(1, SeqCst);
            for _ in 0..200 {
                if census.inside() <= limit {
                    break;
                }
                tokio::task::yield_now().await;
            }
            census.most.fetch_max(census.inside(), SeqCst);
            while let Ok((_, _)) = connection.request().await {
                connection.answer("one").await;
            }
            census.leave();
        }
    })
    .await
}

/// The connections of an origin, by state.
async fn connections(app: &App, state: &str, number: f64) {
    app.metric_is("serin_upstream_connections", &[("state", state)], number).await;
}

#[tokio::test]
async fn no_more_requests_are_in_flight_than_may_be_and_the_others_wait() {
    let gate = Gate::new().await;
    let app = gate.app("requests: 3").await;
    let mut requests = Vec::new();
    // On either worker, most likely.
    for _ in 0..4 {
        let client = H2Client::connect(app.address).await;
        requests.extend((0..4).map(|_| asking(&client)));
    }
    gate.has(3).await;
    pending(&app, 13.0).await;
    for answered in 1..=13 {
        gate.let_through(1);
        pending(&app, f64::from(13 - answered)).await;
        gate.has(3).await;
    }
    gate.let_through(3);
    assert_eq!(statuses(requests).await, [200; 16]);
    assert_eq!(gate.census.most(), 3);
}

#[tokio::test]
async fn the_limit_holds_under_load_and_everybody_is_answered() {
    let census = Census::default();
    let counted = census.clone();
    let origin = Origin::start(move |mut connection| {
        let census = counted.clone();
        async move {
            while let Ok((_, _)) = connection.request().await {
                census.enter();
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                census.leave();
                connection.answer("one").await;
            }
        }
    })
    .await;
    let app = App::start(&pool_with(origin.address, "limits: { requests: 2 }", "")).await;
    let load = Load::start(app.address, 16);
    eventually("there was much load", async || load.sent() > 2_000).await;
    assert_eq!(load.failures().await, Vec::<String>::new());
    assert_eq!(census.most(), 2);
    pending(&app, 0.0).await;
}

#[tokio::test]
async fn where_none_may_wait_the_next_gets_503_at_once() {
    let gate = Gate::new().await;
    let app = gate.app("requests: 1, pending: 0, pendingTimeout: 1h").await;
    let client = H2Client::connect(app.address).await;
    let held = asking(&client);
    gate.has(1).await;
    assert_eq!(app.get("/").await.status, 503);
    overflows(&app, "requests", 1.0).await;
    app.metric_is("serin_errors_total", &[("cause", "pool_overloaded")], 1.0).await;
    let call = Request::post("http://a.test/s/m").header("content-type", "application/grpc");
    let call = client.exchange(call.body(()).unwrap(), Some(b""), None).await.unwrap();
    // RESOURCE_EXHAUSTED.
    assert_eq!(call.head.headers()["grpc-status"], "8");
    overflows(&app, "requests", 2.0).await;
    gate.let_through(2);
    assert_eq!(statuses(vec![held]).await, [200]);
    assert_eq!(app.get("/").await.status, 200);
    // No attempt was made for those that were refused.
    app.metric_is("serin_attempts_total", &[], 2.0).await;
}

#[tokio::test]
async fn a_full_queue_refuses_and_serves_those_in_it() {
    let gate = Gate::new().await;
    let app = gate.app("requests: 1, pending: 2, pendingTimeout: 1h").await;
    let (one, other) = (H2Client::connect(app.address).await, H2Client::connect(app.address).await);
    let mut requests = vec![asking(&one)];
    gate.has(1).await;
    requests.extend([asking(&one), asking(&other)]);
    pending(&app, 2.0).await;
    assert_eq!(app.get("/").await.status, 503);
    overflows(&app, "pending", 1.0).await;
    gate.let_through(3);
    assert_eq!(statuses(requests).await, [200; 3]);
    pending(&app, 0.0).await;
}

#[tokio::test]
async fn who_waits_for_too_long_gets_503() {
    let gate = Gate::new().await;
    let app = gate.app("requests: 1, pendingTimeout: 50ms").await;
    let held = asking(&H2Client::connect(app.address).await);
    gate.has(1).await;
    assert_eq!(app.get("/").await.status, 503);
    overflows(&app, "pending_timeout", 1.0).await;
    pending(&app, 0.0).await;
    gate.let_through(1);
    assert_eq!(statuses(vec![held]).await, [200]);
}

#[tokio::test]
async fn the_time_for_the_whole_exchange_limits_the_wait_too() {
    let gate = Gate::new().await;
    let config = gate.config("requests: 1, pendingTimeout: 1h", "timeouts: { request: 100ms }");
    let app = App::start(&config).await;
    let held = asking(&H2Client::connect(app.address).await);
    gate.has(1).await;
    assert_eq!(app.get("/").await.status, 504);
    assert_eq!(statuses(vec![held]).await, [504]);
    app.metric_is("serin_errors_total", &[("cause", "request_timed_out")], 2.0).await;
    pending(&app, 0.0).await;
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_frees_its_place() {
    let gate = Gate::new().await;
    let app = gate.app("requests: 1, pending: 1, pendingTimeout: 1h").await;
    let client = H2Client::connect(app.address).await;
    let held = asking(&client);
    gate.has(1).await;
    let request = Request::get("http://a.test/").body(()).unwrap();
    let leaving = client.begin(request, true).await;
    pending(&app, 1.0).await;
    drop(leaving);
    pending(&app, 0.0).await;
    let waiting = asking(&client);
    pending(&app, 1.0).await;
    gate.let_through(2);
    assert_eq!(statuses(vec![held, waiting]).await, [200; 2]);
    assert_eq!(gate.origin.requests(), 2);
}

#[tokio::test]
async fn a_request_is_in_flight_until_the_last_byte_of_its_response() {
    let (sender, go) = tokio::sync::watch::channel(false);
    let origin = Origin::start(move |mut connection| {
        let mut go = go.clone();
        async move {
            while let Ok((_, _)) = connection.request().await {
                connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na").await;
                go.wait_for(|go| *go).await.unwrap();
                connection.send("b").await;
            }
        }
    })
    .await;
    let limits = "limits: { requests: 1, pendingTimeout: 1h }";
    let app = App::start(&pool_with(origin.address, limits, "")).await;
    let mut client = app.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().get("content-length"), Some("2"));
    let waiting = asking(&H2Client::connect(app.address).await);
    pending(&app, 1.0).await;
    assert_eq!(origin.requests(), 1);
    sender.send(true).unwrap();
    assert_eq!(client.take(2).await.unwrap(), b"ab");
    assert_eq!(statuses(vec![waiting]).await, [200]);
}

#[tokio::test]
async fn a_retry_needs_no_further_place() {
    let origin = Origin::named("one").await;
    let config = pool_of(
        &[nobody(), origin.address],
        "balance: roundRobin, limits: { requests: 1, pending: 0 }",
        "",
    );
    let app = App::start(&config).await;
    let mut client = app.connect().await;
    for _ in 0..8 {
        assert_eq!(client.get("/", "").await.status, 200);
    }
    let retried = app.metric("serin_attempts_total", &[("outcome", "retry_success")]).await;
    assert!(retried > 0.0);
}

/// A configuration whose pool `only`, with these endpoints, takes one request at a time, and whose
/// fallback is another; `more` is settings of that one.
#[tokio::test]
async fn other_numbers_hold_from_the_reload_on_and_touch_nothing_in_flight() {
    let gate = Gate::new().await;
    let limited = |requests| gate.config(&format!("requests: {requests}, pendingTimeout: 1h"), "");
    let app = App::start(&limited(4)).await;
    let client = H2Client::connect(app.address).await;
    let requests: Vec<_> = (0..12).map(|_| asking(&client)).collect();
    gate.has(4).await;
    pending(&app, 8.0).await;
    app.reload(&limited(2)).await;
    for left in [3, 2] {
        gate.let_through(1);
        gate.has(left).await;
        pending(&app, 8.0).await;
    }
    gate.let_through(1);
    pending(&app, 7.0).await;
    gate.has(2).await;
    app.reload(&limited(5)).await;
    gate.has(5).await;
    pending(&app, 4.0).await;
    app.reload(&limited(0)).await;
    gate.has(9).await;
    pending(&app, 0.0).await;
    app.reload(&limited(1)).await;
    gate.let_through(12);
    assert_eq!(statuses(requests).await, [200; 12]);
}

/// Answers a request for each of these, after which so many are at the origin and so many wait.
async fn one_by_one<const N: usize>(app: &App, gate: &Gate, steps: [(usize, f64); N]) {
    for (left, waiting) in steps {
        gate.let_through(1);
        pending(app, waiting).await;
        gate.has(left).await;
    }
}

#[tokio::test]
async fn requests_from_before_the_limit_count_too() {
    let gate = Gate::new().await;
    let limited = |requests| gate.config(&format!("requests: {requests}, pendingTimeout: 1h"), "");
    let app = App::start(&limited(0)).await;
    let client = H2Client::connect(app.address).await;
    let mut requests: Vec<_> = (0..4).map(|_| asking(&client)).collect();
    gate.has(4).await;
    app.reload(&limited(2)).await;
    requests.extend((0..4).map(|_| asking(&client)));
    pending(&app, 4.0).await;
    one_by_one(&app, &gate, [(3, 4.0), (2, 4.0), (2, 3.0), (2, 2.0)]).await;
    // Without a limit nobody is counted, and with another everybody is, once.
    app.reload(&limited(0)).await;
    gate.has(4).await;
    app.reload(&limited(3)).await;
    requests.extend((0..2).map(|_| asking(&client)));
    pending(&app, 2.0).await;
    one_by_one(&app, &gate, [(3, 2.0), (3, 1.0), (3, 0.0), (2, 0.0)]).await;
    requests.extend((0..2).map(|_| asking(&client)));
    pending(&app, 1.0).await;
    gate.let_through(4);
    assert_eq!(statuses(requests).await, [200; 12]);
}

#[tokio::test]
async fn requests_at_endpoints_that_have_left_count_too() {
    let (old, new) = (Gate::new().await, Gate::new().await);
    let none = "limits: { requests: 0 }";
    let app = App::start(&pool_with(old.origin.address, none, "")).await;
    let client = H2Client::connect(app.address).await;
    let mut requests: Vec<_> = (0..2).map(|_| asking(&client)).collect();
    old.has(2).await;
    app.reload(&pool_with(new.origin.address, none, "")).await;
    requests.push(asking(&client));
    new.has(1).await;
    let limits = "limits: { requests: 3, pendingTimeout: 1h }";
    app.reload(&pool_with(new.origin.address, limits, "")).await;
    requests.push(asking(&client));
    pending(&app, 1.0).await;
    old.let_through(1);
    new.has(2).await;
    requests.push(asking(&client));
    pending(&app, 1.0).await;
    old.let_through(1);
    new.has(3).await;
    new.let_through(3);
    assert_eq!(statuses(requests).await, [200; 5]);
}

#[tokio::test]
async fn a_request_from_before_the_limit_that_fails_gives_its_place_back() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let origin = Origin::start(move |mut connection| {
        let gate = Arc::clone(&held);
        async move {
            while let Ok((head, _)) = connection.request().await {
                if head.target() == "/fails" {
                    // The connection breaks without an answer.
                    gate.acquire().await.unwrap().forget();
                    return;
                }
                connection.answer("one").await;
            }
        }
    })
    .await;
    let retry = "retry: { attempts: 1, on: [503] }";
    let app = App::start(&pool_with(origin.address, "limits: { requests: 0 }", retry)).await;
    let mut failing = app.connect().await;
    failing.send("GET /fails HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    eventually("it is at the origin", async || origin.requests() == 1).await;
    let limited = "limits: { requests: 1, pending: 0 }";
    app.reload(&pool_with(origin.address, limited, retry)).await;
    eventually("it counts", async || app.get("/").await.status == 503).await;
    gate.add_permits(1);
    assert_eq!(failing.response().await.unwrap().status, 502);
    eventually("it counts no more", async || app.get("/").await.status == 200).await;
}

#[tokio::test]
async fn limits_that_change_under_load_fail_no_request() {
    let origin = Origin::named("one").await;
    let limited = |requests: u32, connections: u32| {
        let limits = format!(
            "limits: {{ requests: {requests}, connections: {connections}, pendingTimeout: 10s }}"
        );
        pool_with(origin.address, &limits, "")
    };
    let app = App::start(&limited(0, 0)).await;
    let load = Load::start(app.address, 12);
    for (requests, connections) in [(2, 0), (2, 3), (9, 2), (1, 9), (0, 1), (0, 0), (3, 1), (0, 0)]
    {
        app.reload(&limited(requests, connections)).await;
        let sent = load.sent();
        eventually("the load goes on", async || load.sent() > sent + 100).await;
    }
    assert_eq!(load.failures().await, Vec::<String>::new());
    pending(&app, 0.0).await;
}

#[tokio::test]
async fn no_more_connections_are_open_than_may_be_and_everybody_is_answered() {
    for limit in [1, 3] {
        let census = Census::default();
        let (one, two) = (counting(&census, limit).await, counting(&census, limit).await);
        let settings = format!("limits: {{ connections: {limit}, pendingTimeout: 10s }}");
        let app = App::start(&pool_of(&[one.address, two.address], &settings, "")).await;
        let load = Load::start(app.address, 24);
        eventually("there was much load", async || load.sent() > 1_000).await;
        assert_eq!(load.failures().await, Vec::<String>::new());
        assert_eq!(census.most(), limit);
        assert!(one.requests() > 0 && two.requests() > 0);
        pending(&app, 0.0).await;
    }
}

#[tokio::test]
async fn who_waits_is_handed_the_connection_that_becomes_idle() {
    let gate = Gate::new().await;
    let app = gate.app("connections: 1, pendingTimeout: 1h").await;
    let client = H2Client::connect(app.address).await;
    let requests: Vec<_> = (0..5).map(|_| asking(&client)).collect();
    gate.has(1).await;
    pending(&app, 4.0).await;
    gate.let_through(5);
    assert_eq!(statuses(requests).await, [200; 5]);
    assert_eq!((gate.origin.connections(), gate.census.most()), (1, 1));
    connections(&app, "idle", 1.0).await;
}

#[tokio::test]
async fn a_client_that_leaves_does_not_take_a_connection_with_it() {
    let gate = Gate::new().await;
    let app = gate.app("connections: 1, pendingTimeout: 1h").await;
    let client = H2Client::connect(app.address).await;
    let held = asking(&client);
    gate.has(1).await;
    let request = Request::get("http://a.test/").body(()).unwrap();
    let leaving = client.begin(request, true).await;
    pending(&app, 1.0).await;
    let waiting = asking(&client);
    pending(&app, 2.0).await;
    drop(leaving);
    pending(&app, 1.0).await;
    gate.let_through(2);
    assert_eq!(statuses(vec![held, waiting]).await, [200; 2]);
    assert_eq!(gate.origin.connections(), 1);
}

#[tokio::test]
async fn idle_connections_make_room_whatever_endpoint_and_worker_they_belong_to() {
    let census = Census::default();
    let (one, two) = (counting(&census, 1).await, counting(&census, 1).await);
    let settings = "balance: roundRobin, limits: { connections: 1, pendingTimeout: 10s }";
    let app = App::start(&pool_of(&[one.address, two.address], settings, "")).await;
    // Each client is on some worker, and its requests go to one endpoint after the other.
    for _ in 0..16 {
        let mut client = app.connect().await;
        assert_eq!(client.get("/", "").await.status, 200);
        assert_eq!(client.get("/", "").await.status, 200);
    }
    assert_eq!(census.most(), 1);
    assert!(one.connections() > 1 && two.connections() > 1);
    connections(&app, "idle", 1.0).await;
}

#[tokio::test]
async fn a_connection_that_is_never_idle_goes_from_worker_to_worker() {
    let origin = Origin::named("one").await;
    let limits = "limits: { connections: 1, pendingTimeout: 2s }";
    let app = App::start(&pool_with(origin.address, limits, "")).await;
    let load = Load::start(app.address, 24);
    eventually("it was each worker's turn", async || origin.connections() > 3).await;
    assert_eq!(load.failures().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_connection_that_is_needed_is_refused_without_blame_for_the_endpoint() {
    let gate = Gate::new().await;
    let limits = "connections: 1, pending: 0";
    let app = gate.app(limits).await;
    let client = H2Client::connect(app.address).await;
    let held = asking(&client);
    gate.has(1).await;
    assert_eq!(app.get("/").await.status, 503);
    overflows(&app, "connections", 1.0).await;
    app.metric_is("serin_errors_total", &[("cause", "pool_overloaded")], 1.0).await;
    app.metric_is("serin_attempts_total", &[("outcome", "cancelled")], 1.0).await;
    app.reload(&gate.config("connections: 1, pendingTimeout: 50ms", "")).await;
    assert_eq!(app.get("/").await.status, 503);
    overflows(&app, "pending_timeout", 1.0).await;
    gate.let_through(1);
    assert_eq!(statuses(vec![held]).await, [200]);
}

#[tokio::test]
async fn where_none_may_wait_an_idle_connection_elsewhere_makes_room_for_the_next() {
    let origin = Origin::named("one").await;
    let limits = "limits: { connections: 1, pending: 0 }";
    let app = App::start(&pool_with(origin.address, limits, "")).await;
    for _ in 0..16 {
        let mut client = app.connect().await;
        eventually("it is answered", async || client.get("/", "").await.status == 200).await;
    }
}

#[tokio::test]
async fn idle_connections_over_a_lower_number_are_closed() {
    let gate = Gate::new().await;
    let app = gate.app("connections: 5").await;
    let client = H2Client::connect(app.address).await;
    let requests: Vec<_> = (0..5).map(|_| asking(&client)).collect();
    gate.has(5).await;
    gate.let_through(5);
    assert_eq!(statuses(requests).await, [200; 5]);
    connections(&app, "idle", 5.0).await;
    app.reload(&gate.config("connections: 7", "")).await;
    connections(&app, "idle", 5.0).await;
    app.reload(&gate.config("connections: 2", "")).await;
    connections(&app, "idle", 2.0).await;
}

#[tokio::test]
async fn connections_from_before_the_limit_count_too() {
    let gate = Gate::new().await;
    let app = gate.app("").await;
    let client = H2Client::connect(app.address).await;
    let requests: Vec<_> = (0..5).map(|_| asking(&client)).collect();
    gate.has(5).await;
    app.reload(&gate.config("connections: 2, pendingTimeout: 1h", "")).await;
    let late = asking(&client);
    pending(&app, 1.0).await;
    gate.let_through(6);
    assert_eq!(statuses(requests).await, [200; 5]);
    assert_eq!(statuses(vec![late]).await, [200]);
    connections(&app, "active", 0.0).await;
    eventually("no more are kept", async || {
        app.metric("serin_upstream_connections", &[("state", "idle")]).await <= 2.0
    })
    .await;
}

#[tokio::test]
async fn http_2_connections_count_and_go_from_worker_to_worker() {
    let census = Census::default();
    let counted = census.clone();
    let origin = H2Origin::connections(Builder::new(), move |mut connection, _| {
        let census = counted.clone();
        async move {
            census.enter();
            while let Some(Ok(request)) = connection.accept().await {
                tokio::spawn(crate::support::Answering::new(request).say("two"));
            }
            census.leave();
        }
    })
    .await;
    let settings = "protocol: h2, limits: { connections: 1, pendingTimeout: 2s }";
    let app = App::start(&pool_with(origin.address, settings, "")).await;
    // Idle ones first.
    for _ in 0..16 {
        assert_eq!(app.get("/").await.status, 200);
    }
    let before = origin.accepted();
    assert!(before > 1);
    // Then such as are never idle.
    let load = Load::start(app.address, 24);
    eventually("it was each worker's turn", async || origin.accepted() > before + 2).await;
    assert_eq!(load.failures().await, Vec::<String>::new());
    pending(&app, 0.0).await;
}

#[tokio::test]
async fn an_http_2_connection_that_always_has_streams_is_given_up_in_time() {
    let (census, open) = (Census::default(), Arc::new(Semaphore::new(0)));
    let (counted, gate) = (census.clone(), Arc::clone(&open));
    let busy = H2Origin::requests(Builder::new(), move |answering| {
        let (census, gate) = (counted.clone(), Arc::clone(&gate));
        async move {
            census.enter();
            gate.acquire().await.unwrap().forget();
            census.leave();
            answering.say("busy").await;
        }
    })
    .await;
    let other = H2Origin::named("other").await;
    let limits = "limits: { connections: 1, pendingTimeout: 3s }";
    let settings = format!("protocol: h2, balance: roundRobin, {limits}");
    let app = App::start(&pool_of(&[busy.address, other.address], &settings, "")).await;
    // Every second request is for the other endpoint.
    let client = H2Client::connect(app.address).await;
    let mut requests = vec![asking(&client)];
    eventually("it is there", async || census.inside() == 1).await;
    let waiting = asking(&client);
    let mut for_other = 1;
    while !waiting.is_finished() {
        let (inside, is_pending) = (census.inside(), f64::from(for_other));
        requests.push(asking(&client));
        // While its connection takes requests there is always one.
        eventually("it is there, or waits", async || {
            let more = app.metric("serin_pool_pending_requests", &[]).await > is_pending;
            more || census.inside() > inside || waiting.is_finished()
        })
        .await;
        open.add_permits(1);
        requests.push(asking(&client));
        for_other += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    open.add_permits(1_000);
    assert_eq!(statuses(vec![waiting]).await, [200]);
    assert!(statuses(requests).await.iter().all(|status| *status == 200));
    pending(&app, 0.0).await;
}

#[tokio::test]
async fn without_room_for_another_http_2_connection_requests_wait_for_a_stream() {
    let open = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&open);
    let mut builder = Builder::new();
    builder.max_concurrent_streams(2);
    let origin = H2Origin::requests(builder, move |answering| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            answering.say("two").await;
        }
    })
    .await;
    let settings = "protocol: h2, limits: { connections: 1, pendingTimeout: 50ms }";
    let route = "timeouts: { connect: 10s }";
    let app = App::start(&pool_with(origin.address, settings, route)).await;
    let client = H2Client::connect(app.address).await;
    let requests: Vec<_> = (0..6).map(|_| asking(&client)).collect();
    connections(&app, "active", 1.0).await;
    open.add_permits(6);
    assert_eq!(statuses(requests).await, [200; 6]);
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn requests_for_a_first_http_2_connection_are_pending_until_there_is_room() {
    let other = H2Origin::named("two").await;
    let stuck = H2Origin::requests(Builder::new(), async |mut answering| {
        let _ = std::future::poll_fn(|cx| answering.respond.poll_reset(cx)).await;
    })
    .await;
    let limits = "limits: { connections: 1, pending: 2, pendingTimeout: 1h }";
    let settings = format!("protocol: h2, balance: roundRobin, {limits}");
    let endpoints = [stuck.address, other.address];
    let app = App::start(&pool_of(&endpoints, &settings, "retry: { attempts: 0 }")).await;
    let client = H2Client::connect(app.address).await;
    let request = || Request::get("http://a.test/").body(()).unwrap();
    let (first, _) = client.begin(request(), true).await;
    connections(&app, "active", 1.0).await;
    // Every second request is for the other endpoint.
    let waiting = asking(&client);
    pending(&app, 1.0).await;
    let (second, _) = client.begin(request(), true).await;
    let further = asking(&client);
    pending(&app, 2.0).await;
    let (third, _) = client.begin(request(), true).await;
    assert_eq!(statuses(vec![asking(&client)]).await, [503]);
    overflows(&app, "pending", 1.0).await;
    // The connection is idle when its requests are given up, and closed for those who wait.
    drop((first, second, third));
    assert_eq!(statuses(vec![waiting, further]).await, [200; 2]);
    pending(&app, 0.0).await;
}

//! Ejection of endpoints that fail, and their return by one request.

use crate::support::{App, Connection, H2Client, H2Origin, Load, Origin, eventually, nobody};
use h2::server::Builder;
use http::{Request, Response};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// A configuration of two pools of which the second is the first's fallback.
fn yaml(endpoints: &[SocketAddr], settings: &str, spare: &[SocketAddr], route: &str) -> String {
    let list = |endpoints: &[SocketAddr]| {
        let endpoints: Vec<_> = endpoints.iter().map(|address| format!("'{address}'")).collect();
        endpoints.join(", ")
    };
    format!(
        "listeners: [{{ name: web, address: '127.0.0.1:0', abortOnClose: true }}]\n\
         admin: {{ address: '127.0.0.1:0' }}\n\
         drain: {{ delay: 0s, timeout: 10s }}\n\
         pools:\n  - {{ name: only, endpoints: [{}], {settings} }}\n  \
         - {{ name: spare, endpoints: [{}] }}\n\
         routes: [{{ name: all, split: [{{ to: only }}], fallback: spare, {route} }}]\n",
        list(endpoints),
        list(spare)
    )
}

const NO_RETRY: &str = "retry: { attempts: 0 }";

/// An origin that does as it is told at the moment.
struct Moody {
    origin: Origin,
    /// The status; 0 to wait before the answer, which is then what is told in the meantime.
    status: Arc<AtomicU16>,
    go: Arc<Notify>,
    /// When requests came.
    times: Arc<Mutex<Vec<Instant>>>,
}

async fn moody(name: &'static str, status: u16) -> Moody {
    let status = Arc::new(AtomicU16::new(status));
    let (go, times) = (Arc::new(Notify::new()), Arc::new(Mutex::new(Vec::new())));
    let told = (Arc::clone(&status), Arc::clone(&go), Arc::clone(&times));
    let origin = Origin::start(move |mut connection: Connection| {
        let (status, go, times) = (Arc::clone(&told.0), Arc::clone(&told.1), Arc::clone(&told.2));
        async move {
            while connection.request().await.is_ok() {
                times.lock().push(Instant::now());
                if status.load(SeqCst) == 0 {
                    go.notified().await;
                }
                let status = status.load(SeqCst);
                let head = format!("HTTP/1.1 {status} So\r\nx-origin: {name}\r\n");
                connection.send(format!("{head}content-length: 0\r\n\r\n")).await;
            }
        }
    })
    .await;
    Moody { origin, status, go, times }
}

impl Moody {
    fn address(&self) -> SocketAddr {
        self.origin.address
    }

    fn requests(&self) -> usize {
        self.origin.requests()
    }

    fn set(&self, status: u16) {
        self.status.store(status, SeqCst);
    }
}

async fn states(app: &App, state: &str, number: f64) {
    let labels = [("pool", "only"), ("state", state)];
    app.metric_is("serin_endpoints", &labels, number).await;
}

/// A metric that is a whole number.
async fn number(app: &App, name: &str, labels: &[(&str, &str)]) -> usize {
    app.metric(name, labels).await.to_string().parse().unwrap()
}

async fn ejections(app: &App, reason: &str) -> usize {
    number(app, "serin_ejections_total", &[("pool", "only"), ("reason", reason)]).await
}

#[tokio::test]
async fn an_endpoint_that_fails_is_ejected_and_back_after_exactly_one_request() {
    let (a, b) = (moody("a", 500).await, moody("b", 200).await);
    let outlier = "outlier: { consecutiveFailures: 3, baseEjectionTime: 2s }";
    let app = App::start(&yaml(&[a.address(), b.address()], outlier, &[], NO_RETRY)).await;
    let load = Load::start(app.address, 8);
    states(&app, "ejected", 1.0).await;
    // What was on the way is over.
    let sent = load.sent();
    eventually("the load goes on", async || load.sent() > sent + 200).await;
    assert!(a.requests() >= 3);
    a.set(0);
    let before = a.requests();
    eventually("one request tries it", async || a.requests() == before + 1).await;
    let sent = load.sent();
    eventually("the load goes on", async || load.sent() > sent + 500).await;
    assert_eq!(a.requests(), before + 1);
    states(&app, "ejected", 1.0).await;
    a.set(200);
    a.go.notify_one();
    states(&app, "usable", 2.0).await;
    eventually("it has its part again", async || a.requests() > before + 50).await;
    let failures = load.failures().await;
    assert!(failures.iter().all(|failure| failure == "HTTP/1.1 500 So"), "{failures:?}");
    assert_eq!(ejections(&app, "consecutive_failures").await, 1);
    assert_eq!(ejections(&app, "trial_failed").await, 0);
}

#[tokio::test]
async fn each_trial_that_fails_makes_the_next_ejection_longer() {
    let (a, b) = (moody("a", 500).await, moody("b", 200).await);
    let outlier = "outlier: { consecutiveFailures: 3, baseEjectionTime: 100ms, \
                   maxEjectionTime: 250ms }";
    let app = App::start(&yaml(&[a.address(), b.address()], outlier, &[], NO_RETRY)).await;
    let load = Load::start(app.address, 4);
    let failed = async || ejections(&app, "trial_failed").await;
    eventually("trials fail", async || failed().await >= 4).await;
    drop(load.failures().await);
    // The last requests there were trials, the first of them after one ejection at least.
    let trials = failed().await;
    let times = a.times.lock().clone();
    let trials = &times[times.len() - trials..];
    for (pair, least) in trials.windows(2).zip([200, 250, 250]) {
        let pause = pair[1] - pair[0];
        assert!(pause >= Duration::from_millis(least), "{least}: {pause:?}");
    }
}

#[tokio::test]
async fn never_are_more_ejected_than_may_be() {
    let mut origins = Vec::new();
    for name in ["a", "b", "c", "d"] {
        origins.push(moody(name, 503).await);
    }
    let addresses: Vec<_> = origins.iter().map(Moody::address).collect();
    let outlier = "outlier: { consecutiveFailures: 2, baseEjectionTime: 20ms, \
                   maxEjectionTime: 40ms, maxEjectionPercent: 50 }";
    let app = App::start(&yaml(&addresses, outlier, &[], NO_RETRY)).await;
    let load = Load::start(app.address, 8);
    let ejected = [("pool", "only"), ("state", "ejected")];
    let mut most = 0;
    eventually("trials fail", async || {
        most = most.max(number(&app, "serin_endpoints", &ejected).await);
        ejections(&app, "trial_failed").await >= 10
    })
    .await;
    assert_eq!(most, 2);
    for origin in &origins {
        origin.set(200);
    }
    states(&app, "usable", 4.0).await;
    drop(load.failures().await);
}

#[tokio::test]
async fn a_lone_endpoint_is_ejected_only_if_all_may_be_and_the_fallback_serves_then() {
    let (a, spare) = (moody("a", 500).await, Origin::named("spare").await);
    let yaml = |percent: u8, more: &str| {
        let outlier = format!(
            "outlier: {{ consecutiveFailures: 3, baseEjectionTime: 200ms, \
             maxEjectionPercent: {percent}{more} }}"
        );
        yaml(&[a.address()], &outlier, &[spare.address], NO_RETRY)
    };
    let app = App::start(&yaml(50, "")).await;
    for _ in 0..10 {
        assert_eq!(app.get("/").await.status, 500);
    }
    states(&app, "usable", 1.0).await;
    app.reload(&yaml(100, "")).await;
    // What it failed before counts.
    states(&app, "ejected", 1.0).await;
    let (load, served) = (Load::start(app.address, 8), spare.requests());
    eventually("the fallback serves", async || spare.requests() > served + 50).await;
    let labels = [("route", "all"), ("pool", "spare"), ("reason", "fallback")];
    assert!(app.metric("serin_decisions_total", &labels).await > 0.0);
    eventually("trials fail", async || ejections(&app, "trial_failed").await >= 2).await;
    a.set(200);
    states(&app, "usable", 1.0).await;
    let back = a.requests();
    eventually("it serves alone again", async || a.requests() > back + 50).await;
    let trials = ejections(&app, "trial_failed").await;
    let failures = load.failures().await;
    let failed = failures.iter().filter(|failure| *failure == "HTTP/1.1 500 So").count();
    assert!(failed <= trials, "{failed} {trials}");
    assert_eq!(failures.len(), failed, "{failures:?}");
}

#[tokio::test]
async fn an_ejection_outlives_reloads_until_nothing_is_ejected_any_more() {
    let (a, b) = (moody("a", 500).await, moody("b", 200).await);
    let with = |endpoints: &[SocketAddr], more: &str, route: &str| {
        let outlier = format!("outlier: {{ baseEjectionTime: 1m, {more} }}");
        yaml(endpoints, &outlier, &[], route)
    };
    let both = [a.address(), b.address()];
    let app = App::start(&with(&both, "consecutiveFailures: 2", NO_RETRY)).await;
    eventually("a fails", async || {
        app.get("/").await;
        ejections(&app, "consecutive_failures").await > 0
    })
    .await;
    a.set(200);
    for (more, route) in [
        ("consecutiveFailures: 2", "timeouts: { connect: 2s }"),
        ("consecutiveFailures: 9, interval: 20ms", NO_RETRY),
    ] {
        app.reload(&with(&both, more, route)).await;
        states(&app, "ejected", 1.0).await;
        for _ in 0..10 {
            assert_eq!(app.get("/").await.origin(), "b");
        }
    }
    // Gone and back, with one endpoint less than it takes for one to be out.
    let c = moody("c", 200).await;
    app.reload(&with(&[b.address(), c.address()], "consecutiveFailures: 2", NO_RETRY)).await;
    states(&app, "ejected", 0.0).await;
    app.reload(&with(&[b.address(), a.address()], "consecutiveFailures: 2", NO_RETRY)).await;
    states(&app, "ejected", 1.0).await;
    let shown = app.admin("/api/pools").await.text();
    assert!(shown.contains(r#""ejectedSeconds":5"#), "{shown}");
    app.reload(&with(&both, "consecutiveFailures: 0", NO_RETRY)).await;
    states(&app, "usable", 2.0).await;
    eventually("a is back", async || app.get("/").await.origin() == "a").await;
}

#[tokio::test]
async fn without_a_word_only_endpoints_that_do_not_answer_are_ejected() {
    let (a, dead) = (moody("a", 500).await, nobody());
    let app = App::start(&yaml(&[a.address(), dead], "balance: random", &[], "")).await;
    eventually("the dead one is ejected", async || {
        assert_eq!(app.get("/").await.status, 500);
        ejections(&app, "consecutive_failures").await > 0
    })
    .await;
    let failed = [("outcome", "connect_failure")];
    let before = number(&app, "serin_attempts_total", &failed).await;
    for _ in 0..20 {
        assert_eq!(app.get("/").await.status, 500);
    }
    assert_eq!(number(&app, "serin_attempts_total", &failed).await, before);
    states(&app, "ejected", 1.0).await;
}

#[tokio::test]
async fn a_call_that_is_answered_with_a_failure_of_the_service_counts_as_one() {
    let origin = |status: &'static str| {
        H2Origin::requests(Builder::new(), move |mut answering| async move {
            let response = Response::builder()
                .header("content-type", "application/grpc")
                .header("grpc-status", status)
                .body(())
                .unwrap();
            answering.respond.send_response(response, true).unwrap();
        })
    };
    // NOT_FOUND is the caller's affair, UNAVAILABLE is not.
    let (good, bad) = (origin("5").await, origin("14").await);
    let settings = "protocol: h2, outlier: { consecutiveFailures: 3, baseEjectionTime: 1m }";
    let endpoints = [good.address, bad.address];
    let app = App::start(&yaml(&endpoints, settings, &[], NO_RETRY)).await;
    let client = H2Client::connect(app.address).await;
    let call = async || {
        let call = Request::post("http://a.test/a.B/C").header("content-type", "application/grpc");
        let answer = client.exchange(call.body(()).unwrap(), Some(b"\0\0\0\0\0"), None).await;
        answer.unwrap().head.headers()["grpc-status"].clone()
    };
    eventually("the bad one is ejected", async || {
        call().await;
        ejections(&app, "consecutive_failures").await > 0
    })
    .await;
    for _ in 0..10 {
        assert_eq!(call().await, "5");
    }
}

#[tokio::test]
async fn an_endpoint_that_succeeds_more_seldom_than_the_others_is_ejected() {
    let (a, b) = (moody("a", 200).await, moody("b", 200).await);
    let (asked, half) = (Arc::new(AtomicU16::new(0)), Arc::new(AtomicU16::new(1)));
    let (counted, failing) = (Arc::clone(&asked), Arc::clone(&half));
    let c = Origin::start(move |mut connection: Connection| {
        let (counted, failing) = (Arc::clone(&counted), Arc::clone(&failing));
        async move {
            while connection.request().await.is_ok() {
                let fails = counted.fetch_add(1, SeqCst) & failing.load(SeqCst) != 0;
                let status = if fails { 500 } else { 200 };
                let head = format!("HTTP/1.1 {status} So\r\nx-origin: c\r\n");
                connection.send(format!("{head}content-length: 0\r\n\r\n")).await;
            }
        }
    })
    .await;
    let settings = "balance: random, outlier: { consecutiveFailures: 0, interval: 100ms, \
                    baseEjectionTime: 1m, maxEjectionPercent: 34, \
                    successRate: { stdevFactor: 1000, minEndpoints: 3, minRequests: 10 } }";
    let endpoints = [a.address(), b.address(), c.address];
    let app = App::start(&yaml(&endpoints, settings, &[], NO_RETRY)).await;
    let load = Load::start(app.address, 8);
    eventually("it is ejected", async || ejections(&app, "success_rate").await > 0).await;
    states(&app, "ejected", 1.0).await;
    drop(load.failures().await);
    for _ in 0..10 {
        assert_ne!(app.get("/").await.origin(), "c");
    }
}

#[tokio::test]
async fn a_trial_that_its_client_gives_up_is_left_to_another() {
    let (a, spare) = (moody("a", 500).await, Origin::named("spare").await);
    let settings = "outlier: { consecutiveFailures: 1, baseEjectionTime: 50ms, \
                    maxEjectionPercent: 100 }";
    let route = format!("{NO_RETRY}, timeouts: {{ backendRequest: 1m }}");
    let app = App::start(&yaml(&[a.address()], settings, &[spare.address], &route)).await;
    app.get("/").await;
    a.set(0);
    let before = a.requests();
    let mut leaving = app.connect().await;
    eventually("one request tries it", async || {
        // Until its time is over the fallback answers.
        leaving.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
        let answer = tokio::time::timeout(Duration::from_millis(50), leaving.response()).await;
        answer.is_err() && a.requests() == before + 1
    })
    .await;
    assert_eq!(app.get("/").await.origin(), "spare");
    drop(leaving);
    app.metric_is("serin_attempts_total", &[("outcome", "cancelled")], 1.0).await;
    a.set(200);
    eventually("another one decides", async || app.get("/").await.origin() == "a").await;
    states(&app, "usable", 1.0).await;
    assert_eq!(ejections(&app, "trial_failed").await, 0);
}

/// An origin that can be down: it closes every connection then.
async fn restarting(name: &'static str) -> (Origin, Arc<AtomicBool>) {
    let down = Arc::new(AtomicBool::new(true));
    let told = Arc::clone(&down);
    let origin = Origin::start(move |mut connection: Connection| {
        let down = Arc::clone(&told);
        async move {
            while connection.request().await.is_ok() && !down.load(SeqCst) {
                connection.answer(name).await;
            }
        }
    })
    .await;
    (origin, down)
}

const FOR_LONG: &str = "outlier: { consecutiveFailures: 3, baseEjectionTime: 10m, \
                        maxEjectionTime: 10m }";
const CHECKED: &str = "health: { http: { path: /healthz, statuses: [2xx] }, interval: 20ms, \
                       unhealthyThreshold: 1000 }";

#[tokio::test]
async fn an_endpoint_that_was_gone_is_tried_as_soon_as_its_health_check_succeeds() {
    let ((a, down), b) = (restarting("a").await, Origin::named("b").await);
    let settings = format!("{FOR_LONG}, {CHECKED}");
    let app = App::start(&yaml(&[a.address, b.address], &settings, &[], "")).await;
    let load = Load::start(app.address, 4);
    states(&app, "ejected", 1.0).await;
    down.store(false, SeqCst);
    states(&app, "usable", 2.0).await;
    drop(load.failures().await);
    assert_eq!(ejections(&app, "trial_failed").await, 0);
}

#[tokio::test]
async fn an_endpoint_that_answers_badly_is_not_back_for_its_health_checks() {
    let a = Origin::start(async |mut connection: Connection| {
        while let Ok((head, _)) = connection.request().await {
            let status = if head.target() == "/healthz" { 200 } else { 500 };
            connection.send(format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\n\r\n")).await;
        }
    })
    .await;
    let b = Origin::named("b").await;
    let settings = format!("{FOR_LONG}, {CHECKED}");
    let app = App::start(&yaml(&[a.address, b.address], &settings, &[], NO_RETRY)).await;
    let load = Load::start(app.address, 4);
    states(&app, "ejected", 1.0).await;
    let checks = || a.heads().iter().filter(|head| head.target() == "/healthz").count();
    let before = checks();
    eventually("it is checked", async || checks() > before + 5).await;
    states(&app, "ejected", 1.0).await;
    drop(load.failures().await);
    assert_eq!(ejections(&app, "trial_failed").await, 0);
}

#[tokio::test]
async fn a_retry_goes_to_an_ejected_endpoint_when_all_others_were_tried() {
    let ((a, a_down), (b, b_down)) = (restarting("a").await, restarting("b").await);
    b_down.store(false, SeqCst);
    let retry = "retry: { attempts: 1, on: [reset] }";
    let app = App::start(&yaml(&[a.address, b.address], FOR_LONG, &[], retry)).await;
    eventually("a is ejected", async || {
        assert_eq!(app.get("/").await.origin(), "b");
        ejections(&app, "consecutive_failures").await > 0
    })
    .await;
    a_down.store(false, SeqCst);
    b_down.store(true, SeqCst);
    for _ in 0..3 {
        assert_eq!(app.get("/").await.origin(), "a");
    }
    states(&app, "ejected", 1.0).await;
}

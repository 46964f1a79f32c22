//! Active health checks: each kind, their thresholds, new endpoints, and changes of the settings.

use crate::support::{Answering, App, Authority, Connection, H2Origin, Origin, eventually, nobody};
use bytes::Bytes;
use h2::server::Builder;
use http::{HeaderMap, Response, StatusCode};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// A configuration whose route sends everything to the pool `only`, or else to `spare` if that is
/// among the pools.
fn yaml(endpoints: &[SocketAddr], settings: &str, more: &str) -> String {
    let endpoints: Vec<_> = endpoints.iter().map(|address| format!("'{address}'")).collect();
    let fallback = if more.contains("spare") { ", fallback: spare" } else { "" };
    format!(
        "listeners: [{{ name: web, address: '127.0.0.1:0' }}]\n\
         admin: {{ address: '127.0.0.1:0' }}\n\
         drain: {{ delay: 0s, timeout: 10s }}\n\
         pools:\n  - {{ name: only, endpoints: [{}], {settings} }}\n{more}\
         routes: [{{ name: all, split: [{{ to: only }}]{fallback} }}]\n",
        endpoints.join(", ")
    )
}

/// Often enough for a test.
const OFTEN: &str = "interval: 20ms, timeout: 2s";

async fn states(app: &App, state: &str, number: f64) {
    let labels = [("pool", "only"), ("state", state)];
    app.metric_is("serin_endpoints", &labels, number).await;
}

/// An origin that answers requests with its name, and checks with the status that is set.
async fn checked(name: &'static str) -> (Origin, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let said = Arc::clone(&status);
    let origin = Origin::start(move |mut connection: Connection| {
        let said = Arc::clone(&said);
        async move {
            while let Ok((head, _)) = connection.request().await {
                if head.target() == "/healthz?full" {
                    let status = said.load(SeqCst);
                    let head = format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\n\r\n");
                    connection.send(head).await;
                } else {
                    connection.answer(name).await;
                }
            }
        }
    })
    .await;
    (origin, status)
}

fn checks(origin: &Origin) -> usize {
    origin.heads().iter().filter(|head| head.target().starts_with("/healthz")).count()
}

const HTTP: &str = "http: { path: '/healthz?full', host: shop.internal, statuses: [2xx, 404] }";

#[tokio::test]
async fn an_endpoint_whose_status_is_wrong_gets_no_requests_until_it_is_right() {
    let ((a, status), (b, _)) = (checked("a").await, checked("b").await);
    let health = format!("health: {{ {HTTP}, {OFTEN} }}");
    let app = App::start(&yaml(&[a.address, b.address], &health, "")).await;
    eventually("both are checked", async || checks(&a) > 1 && checks(&b) > 1).await;
    states(&app, "usable", 2.0).await;
    status.store(503, SeqCst);
    states(&app, "unhealthy", 1.0).await;
    for _ in 0..20 {
        assert_eq!(app.get("/").await.origin(), "b");
    }
    let shown = app.admin("/api/pools").await.text();
    assert!(shown.contains(r#""state":"unhealthy""#), "{shown}");
    assert!(shown.contains("it answered with the status 503"), "{shown}");
    let failed = [("pool", "only"), ("result", "failure")];
    assert!(app.metric("serin_health_checks_total", &failed).await >= 3.0);
    status.store(404, SeqCst);
    states(&app, "usable", 2.0).await;
    eventually("it gets requests again", async || app.get("/").await.origin() == "a").await;
    let heads = a.heads();
    let head = heads.iter().find(|head| head.target().starts_with("/healthz")).unwrap();
    assert_eq!(head.first, "GET /healthz?full HTTP/1.1");
    assert_eq!(head.all("host"), ["shop.internal"]);
    assert_eq!(head.all("user-agent"), ["serin-health-check"]);
    // A connection for each check, closed after it.
    assert!(a.connections() >= checks(&a));
}

#[tokio::test]
async fn so_many_failures_in_a_row_are_needed_and_so_many_successes() {
    // Whether each check succeeds, in turn; then all do.
    const SCRIPT: [bool; 12] =
        [false, false, true, false, false, true, false, false, false, true, false, true];
    let (asked, asking) = watch::channel(0);
    let go = Arc::new(tokio::sync::Semaphore::new(0));
    let (asked, permits) = (Arc::new(asked), Arc::clone(&go));
    let origin = Origin::start(move |mut connection: Connection| {
        let (asked, permits) = (Arc::clone(&asked), Arc::clone(&permits));
        async move {
            if connection.request().await.is_ok() {
                let number = *asked.borrow();
                asked.send_replace(number + 1);
                permits.acquire().await.unwrap().forget();
                let well = SCRIPT.get(number).copied().unwrap_or(true);
                let status = if well { 200 } else { 500 };
                let head = format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\n\r\n");
                connection.send(head).await;
            }
        }
    })
    .await;
    let health = "health: { http: {}, interval: 1ms, timeout: 10s, unhealthyThreshold: 3, \
                  healthyThreshold: 2 }";
    let app = App::start(&yaml(&[origin.address], health, "")).await;
    let states = [1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1];
    for (number, usable) in (0..).zip(states) {
        // The next check is asked for when the one before is taken in.
        let mut asking = asking.clone();
        asking.wait_for(|asked| *asked > number).await.unwrap();
        let before: f64 = if number == 0 { 1.0 } else { f64::from(states[number - 1]) };
        let labels = [("state", "usable")];
        assert!((app.metric("serin_endpoints", &labels).await - before).abs() < 0.5, "{number}");
        go.add_permits(1);
        app.metric_is("serin_endpoints", &labels, f64::from(usable)).await;
    }
}

#[tokio::test]
async fn each_endpoint_is_checked_once_in_an_interval_however_many_workers_there_are() {
    const CHECKS: usize = 12;
    let (origin, _) = checked("a").await;
    let health = format!("health: {{ {HTTP}, interval: 50ms, jitterPercent: 0 }}");
    let app = App::start(&yaml(&[origin.address], &health, "")).await;
    eventually("the first check", async || checks(&origin) > 0).await;
    let (begun, first) = (Instant::now(), checks(&origin));
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = app.connect().await;
        client.get("/", "").await;
        clients.push(client);
    }
    eventually("more checks", async || checks(&origin) >= first + CHECKS).await;
    // Twice as many checks would have come in half the time.
    let elapsed = begun.elapsed();
    assert!(elapsed >= Duration::from_millis(50 * 12 * 3 / 4), "{elapsed:?}");
}

#[tokio::test]
async fn a_connection_is_all_that_the_tcp_check_asks_for() {
    let health = format!("health: {{ tcp: {{}}, {OFTEN} }}");
    let (origin, spare) = (Origin::named("a").await, Origin::named("spare").await);
    let app = App::start(&yaml(&[origin.address, nobody()], &health, "")).await;
    states(&app, "unhealthy", 1.0).await;
    let success = [("result", "success")];
    assert!(app.metric("serin_health_checks_total", &success).await >= 1.0);
    for _ in 0..10 {
        assert_eq!(app.get("/").await.origin(), "a");
    }
    // A pool of which nothing is healthy is left out.
    let more = format!("  - {{ name: spare, endpoints: ['{}'] }}\n", spare.address);
    app.reload(&yaml(&[nobody()], &health, &more)).await;
    states(&app, "unhealthy", 1.0).await;
    assert_eq!(app.get("/").await.origin(), "spare");
    app.metric_is("serin_decisions_total", &[("reason", "fallback")], 1.0).await;
}

#[tokio::test]
async fn a_check_that_takes_too_long_has_failed() {
    let silent =
        Origin::start(async |mut connection| while connection.request().await.is_ok() {}).await;
    let health = "health: { http: {}, interval: 10ms, timeout: 50ms }";
    let app = App::start(&yaml(&[silent.address], health, "")).await;
    states(&app, "unhealthy", 1.0).await;
    assert!(app.metric("serin_health_checks_total", &[("result", "timeout")]).await >= 3.0);
    let shown = app.admin("/api/pools").await.text();
    assert!(shown.contains(r#""healthy":false,"reason":"no answer within 50ms""#), "{shown}");
}

#[tokio::test]
async fn another_port_may_be_the_one_to_ask() {
    let ((origin, _), (sick, status)) = (checked("a").await, checked("sick").await);
    status.store(500, SeqCst);
    let port = sick.address.port();
    let health = format!("health: {{ {HTTP}, port: {port}, {OFTEN} }}");
    let app = App::start(&yaml(&[origin.address], &health, "")).await;
    states(&app, "unhealthy", 1.0).await;
    status.store(200, SeqCst);
    states(&app, "usable", 1.0).await;
    assert_eq!(app.get("/").await.origin(), "a");
    assert_eq!(checks(&origin), 0);
}

#[tokio::test]
async fn answers_that_no_request_would_take_are_not_healthy() {
    let health = format!("health: {{ http: {{}}, {OFTEN} }}");
    let large = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(100 * 1024));
    for wrong in ["nonsense\r\n\r\n", "HTTP/1.1 200 OK\r\n", large.as_str()] {
        let origin = Origin::saying(wrong, true).await;
        let app = App::start(&yaml(&[origin.address], &health, "")).await;
        states(&app, "unhealthy", 1.0).await;
    }
    // What comes before the answer is passed over.
    let early = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
    let origin = Origin::saying(early, true).await;
    let app = App::start(&yaml(&[origin.address], &health, "")).await;
    eventually("checks", async || origin.requests() > 5).await;
    states(&app, "usable", 1.0).await;
}

#[tokio::test]
async fn a_pool_of_http_2_is_asked_over_http_2() {
    let status = Arc::new(AtomicU16::new(200));
    let said = Arc::clone(&status);
    let seen = Arc::new(Mutex::new(None));
    let noted = Arc::clone(&seen);
    let origin = H2Origin::requests(Builder::new(), move |mut answering: Answering| {
        let status = StatusCode::from_u16(said.load(SeqCst)).unwrap();
        *noted.lock() = Some(answering.head);
        async move {
            let response = Response::builder().status(status).body(()).unwrap();
            answering.respond.send_response(response, true).unwrap();
        }
    })
    .await;
    let health = format!("protocol: h2, health: {{ {HTTP}, {OFTEN} }}");
    let app = App::start(&yaml(&[origin.address], &health, "")).await;
    let success = [("result", "success")];
    eventually("a check succeeds", async || {
        app.metric("serin_health_checks_total", &success).await > 0.0
    })
    .await;
    let head = seen.lock().take().unwrap();
    assert_eq!(head.uri, "http://shop.internal/healthz?full");
    assert_eq!(head.headers["user-agent"], "serin-health-check");
    status.store(500, SeqCst);
    states(&app, "unhealthy", 1.0).await;
}

/// Answers `Check` with this status, or any other call with UNIMPLEMENTED.
async fn answer_check(mut answering: Answering, status: u8) {
    let fields = |status: &'static str| {
        let fields = [("grpc-status", status)];
        let fields = fields.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        fields.into_iter().collect::<HeaderMap>()
    };
    let (message, _) = answering.read().await.unwrap();
    let head = &answering.head;
    let asked = head.uri.path() == "/grpc.health.v1.Health/Check"
        && head.headers["content-type"] == "application/grpc"
        && message == b"\0\0\0\0\x08\x0a\x06shop.V";
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    if !asked {
        response.headers_mut().extend(fields("12"));
        answering.respond.send_response(response, true).unwrap();
        return;
    }
    let mut stream = answering.respond.send_response(response, false).unwrap();
    stream.send_data(Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, status]), false).unwrap();
    stream.send_trailers(fields("0")).unwrap();
}

#[tokio::test]
async fn a_grpc_service_is_healthy_while_it_is_serving() {
    let status = Arc::new(AtomicU8::new(1));
    let said = Arc::clone(&status);
    let origin = H2Origin::requests(Builder::new(), move |answering| {
        answer_check(answering, said.load(SeqCst))
    })
    .await;
    let health =
        |service| format!("protocol: h2, health: {{ grpc: {{ service: {service} }}, {OFTEN} }}");
    let app = App::start(&yaml(&[origin.address], &health("shop.V"), "")).await;
    let success = [("result", "success")];
    eventually("a check succeeds", async || {
        app.metric("serin_health_checks_total", &success).await > 0.0
    })
    .await;
    states(&app, "usable", 1.0).await;
    status.store(2, SeqCst);
    states(&app, "unhealthy", 1.0).await;
    assert!(app.admin("/api/pools").await.text().contains("it is NOT_SERVING"));
    status.store(1, SeqCst);
    states(&app, "usable", 1.0).await;
    app.reload(&yaml(&[origin.address], &health("shop.W"), "")).await;
    states(&app, "unhealthy", 1.0).await;
    let shown = app.admin("/api/pools").await.text();
    assert!(shown.contains("the call ended with the status 12"), "{shown}");
}

#[tokio::test]
async fn checks_speak_the_tls_of_the_pool_and_grpc_offers_http_2_in_any_case() {
    let authority = Authority::new();
    let config = authority.issue(&["shop.test"]).server(&["h2", "http/1.1"], None);
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let serving = tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        loop {
            let Ok((stream, _)) = socket.accept().await else { return };
            let (acceptor, counted) = (acceptor.clone(), Arc::clone(&counted));
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                    return;
                }
                let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                while let Some(Ok(request)) = connection.accept().await {
                    counted.fetch_add(1, SeqCst);
                    tokio::spawn(answer_check(Answering::new(request), 1));
                }
            });
        }
    });
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), &authority.pem).unwrap();
    let settings = |name, health| {
        format!(
            "protocol: http1, tls: {{ serverName: {name}, ca: ca.pem }}, \
             health: {{ {health}, {OFTEN} }}"
        )
    };
    let file = folder.path().join("serin.yaml");
    let grpc = "grpc: { service: shop.V }";
    std::fs::write(&file, yaml(&[address], &settings("shop.test", grpc), "")).unwrap();
    let app = App::start_at(folder, file.clone(), file).await;
    eventually("calls", async || calls.load(SeqCst) > 5).await;
    states(&app, "usable", 1.0).await;
    app.metric_is("serin_health_checks_total", &[("result", "failure")], 0.0).await;
    for health in [grpc, "tcp: {}"] {
        app.reload(&yaml(&[address], &settings("else.test", health), "")).await;
        states(&app, "unhealthy", 1.0).await;
        let shown = app.admin("/api/pools").await.text();
        assert!(shown.contains("the TLS handshake failed"), "{shown}");
        app.reload(&yaml(&[address], &settings("shop.test", health), "")).await;
        states(&app, "usable", 1.0).await;
    }
    serving.abort();
}

#[tokio::test]
async fn a_new_endpoint_waits_for_its_first_check_if_it_has_to() {
    let (a, _) = checked("a").await;
    let (sick, status) = checked("sick").await;
    status.store(500, SeqCst);
    let (go, going) = watch::channel(false);
    let slow = Origin::start(move |mut connection: Connection| {
        let mut going = going.clone();
        async move {
            while let Ok((head, _)) = connection.request().await {
                if head.target().starts_with("/healthz") {
                    going.wait_for(|go| *go).await.unwrap();
                }
                connection.answer("slow").await;
            }
        }
    })
    .await;
    let settings = |first| {
        // Nothing but the first check decides here.
        format!(
            "health: {{ {HTTP}, checkFirst: {first}, interval: 1h, timeout: 10s, \
             unhealthyThreshold: 100 }}"
        )
    };
    let app = App::start(&yaml(&[a.address], &settings(true), "")).await;
    // At once, although the interval is long.
    states(&app, "usable", 1.0).await;
    app.reload(&yaml(&[a.address, slow.address], &settings(true), "")).await;
    states(&app, "unchecked", 1.0).await;
    eventually("it is asked", async || slow.requests() == 1).await;
    for _ in 0..20 {
        assert_eq!(app.get("/").await.origin(), "a");
    }
    go.send_replace(true);
    states(&app, "usable", 2.0).await;
    eventually("it gets requests", async || app.get("/").await.origin() == "slow").await;
    let all = [a.address, slow.address, sick.address];
    app.reload(&yaml(&all, &settings(true), "")).await;
    // One failure is enough.
    states(&app, "unhealthy", 1.0).await;
    states(&app, "unchecked", 0.0).await;
    // One that was seen before does not wait again, and keeps what is known of it.
    app.reload(&yaml(&[a.address], &settings(true), "")).await;
    app.reload(&yaml(&all, &settings(true), "")).await;
    states(&app, "usable", 2.0).await;
    states(&app, "unhealthy", 1.0).await;
    assert_eq!(sick.requests() + slow.heads().iter().filter(|h| h.target() != "/").count(), 4);
}

#[tokio::test]
async fn without_checks_nobody_is_unhealthy_or_waits() {
    let (a, status) = checked("a").await;
    status.store(500, SeqCst);
    let silent =
        Origin::start(async |mut connection| while connection.request().await.is_ok() {}).await;
    let health = format!("health: {{ {HTTP}, interval: 20ms, timeout: 10s, checkFirst: true }}");
    let both = [a.address, silent.address];
    let app = App::start(&yaml(&both, &health, "")).await;
    states(&app, "unhealthy", 1.0).await;
    states(&app, "unchecked", 1.0).await;
    assert_eq!(app.get("/").await.status, 503);
    // Gone meanwhile: what it bears is forgotten, too.
    app.reload(&yaml(&[silent.address], &health, "")).await;
    app.reload(&yaml(&both, "balance: random", "")).await;
    states(&app, "usable", 2.0).await;
    let (before, shown) = (checks(&a), app.admin("/api/pools").await.text());
    assert!(!shown.contains(r#""health":"#), "{shown}");
    eventually("a request", async || {
        let answer = tokio::time::timeout(Duration::from_millis(100), app.get("/")).await;
        answer.is_ok_and(|answer| answer.origin() == "a")
    })
    .await;
    assert_eq!(checks(&a), before);
}

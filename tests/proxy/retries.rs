//! Attempts after the first: what is asked for again, where, how often, and who is charged.

use crate::support::{Answering, App, Connection, H2Client, H2Origin, Origin};
use crate::support::{all_to, config, eventually, nobody, within};
use bytes::Bytes;
use h2::server;
use http::{HeaderMap, Request, Response};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

const BUSY: &str =
    "HTTP/1.1 503 Service Unavailable\r\nx-origin: busy\r\ncontent-length: 4\r\n\r\nbusy";

/// Answers every request with the same, after its body was read.
fn busy() -> impl Future<Output = Origin> {
    Origin::saying(BUSY, false)
}

/// Reads a request and closes without an answer.
fn resetting() -> impl Future<Output = Origin> {
    Origin::start(async |mut connection| drop(connection.request().await))
}

/// Answers every request with its body.
fn echo() -> impl Future<Output = Origin> {
    Origin::start(async |mut connection: Connection| {
        while let Ok((_, body)) = connection.request().await {
            let length = body.bytes.len();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            connection.send([head.as_bytes(), &body.bytes].concat()).await;
        }
    })
}

/// Two pools: what is decided for `first` may be sent again in `second`.
fn leaving(first: &[SocketAddr], second: &[SocketAddr], retry: &str) -> String {
    let route = format!(
        "  - {{ name: all, split: [{{ to: first }}], fallback: second, \
         override: {{ header: x-pool, trusted: [127.0.0.1] }}, retry: {{ {retry} }} }}"
    );
    config(&[("first", first), ("second", second)], &route)
}

#[tokio::test]
async fn a_status_that_the_route_names_is_asked_for_again_elsewhere() {
    let (bad, good) = (busy().await, Origin::named("good").await);
    let app = App::start(&all_to(&[bad.address, good.address], "retry: { on: [503] }")).await;
    let mut client = app.connect().await;
    while bad.requests() < 5 {
        let response = client.get("/", "").await;
        assert_eq!((response.status, response.origin()), (200, "good"));
    }
    let firsts = f64::from(u32::try_from(good.requests()).unwrap());
    // The first attempt is what the pool is charged with.
    app.metric_is("serin_attempts_total", &[("outcome", "server_error")], 5.0).await;
    app.metric_is("serin_attempts_total", &[("outcome", "retry_success")], 5.0).await;
    app.metric_is("serin_attempts_total", &[("outcome", "success")], firsts - 5.0).await;
    app.metric_is("serin_requests_total", &[("code", "200")], firsts).await;
    // The connection to the busy one was in step and is used again.
    assert_eq!(bad.connections(), 1);
}

#[tokio::test]
async fn what_the_route_does_not_name_is_passed_on() {
    let bad = busy().await;
    for retry in ["", "retry: { on: [500, reset] }", "retry: { attempts: 0, on: [503] }"] {
        let app = App::start(&all_to(&[bad.address], retry)).await;
        let response = app.get("/").await;
        assert_eq!((response.status, response.text().as_str()), (503, "busy"), "{retry}");
        app.metric_is("serin_attempts_total", &[], 1.0).await;
    }
}

#[tokio::test]
async fn when_all_attempts_are_answered_alike_the_last_answer_is_passed_on_whole() {
    let bad = busy().await;
    let app = App::start(&all_to(&[bad.address], "retry: { attempts: 3, on: [5xx] }")).await;
    let response = app.get("/").await;
    assert_eq!((response.status, response.text().as_str()), (503, "busy"));
    assert_eq!((response.origin(), bad.requests()), ("busy", 4));
    app.metric_is("serin_attempts_total", &[("outcome", "server_error")], 1.0).await;
    app.metric_is("serin_attempts_total", &[("outcome", "retry_server_error")], 3.0).await;
    app.metric_is("serin_errors_total", &[], 0.0).await;
}

#[tokio::test]
async fn only_methods_that_may_happen_twice_are_sent_again_unless_the_route_says_so() {
    let bad = busy().await;
    for (method, more, requests) in [
        ("GET", "", 2),
        ("PUT", "", 2),
        ("DELETE", "", 2),
        ("POST", "", 1),
        ("PATCH", "", 1),
        ("POST", ", methods: [POST]", 2),
        ("GET", ", methods: [POST]", 1),
    ] {
        let retry = format!("retry: {{ on: [503]{more} }}");
        let app = App::start(&all_to(&[bad.address], &retry)).await;
        let before = bad.requests();
        let mut client = app.connect().await;
        client.send(format!("{method} / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx")).await;
        assert_eq!(client.response().await.unwrap().status, 503);
        assert_eq!(bad.requests() - before, requests, "{method} {more}");
    }
}

#[tokio::test]
async fn a_body_is_sent_again_whole_or_not_at_all() {
    let (bad, good) = (busy().await, echo().await);
    let yaml = leaving(&[bad.address], &[good.address], "on: [503], pool: fallback");
    let app = App::start(&yaml).await;
    for (length, status) in [(1, 200), (64 * 1024, 200), (64 * 1024 + 1, 503), (1 << 20, 503)] {
        let body: Vec<u8> = (0..length).map(|byte| u8::try_from(byte % 251).unwrap()).collect();
        let fields = format!("content-length: {length}\r\n\r\n");
        let chunks = body
            .chunks(7_000)
            .map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
        let chunked = [chunks.collect::<Vec<_>>().concat(), b"0\r\n\r\n".to_vec()].concat();
        for (fields, sent) in
            [(fields, body.clone()), ("transfer-encoding: chunked\r\n\r\n".to_owned(), chunked)]
        {
            let mut client = app.connect().await;
            client.send(format!("PUT / HTTP/1.1\r\nhost: a\r\n{fields}")).await;
            client.send(sent).await;
            let response = client.response().await.unwrap();
            assert_eq!(response.status, status, "{length}");
            assert!(status != 200 || response.body.bytes == body, "{length}");
        }
    }
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_body_is_asked_for_again_with_all_of_it() {
    let early = Origin::start(async |mut connection: Connection| {
        while connection.head().await.is_ok() {
            connection.send(BUSY).await;
            // The rest is neither read nor is the connection used again.
            connection.rest().await;
        }
    })
    .await;
    let good = echo().await;
    let yaml = leaving(&[early.address], &[good.address], "on: [503], pool: fallback");
    let app = App::start(&yaml).await;
    let mut client = app.connect().await;
    client.send("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello").await;
    eventually("it is asked for again", async || good.requests() == 1).await;
    client.send("world").await;
    let response = client.response().await.unwrap();
    assert_eq!((response.status, response.text().as_str()), (200, "helloworld"));
}

#[tokio::test]
async fn a_connection_that_breaks_is_tried_again_where_the_route_says_so() {
    let (bad, good) = (resetting().await, Origin::named("good").await);
    for (retry, status) in
        [("on: [reset]", 200), ("on: [502]", 200), ("on: [503]", 502), ("on: []", 502)]
    {
        let yaml = leaving(&[bad.address], &[good.address], &format!("{retry}, pool: fallback"));
        let app = App::start(&yaml).await;
        assert_eq!(app.get("/").await.status, status, "{retry}");
        app.metric_is("serin_attempts_total", &[("outcome", "reset")], 1.0).await;
        let retried = if status == 200 { 1.0 } else { 0.0 };
        let labels = [("pool", "second"), ("outcome", "retry_success")];
        app.metric_is("serin_attempts_total", &labels, retried).await;
    }
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_in_time_is_what_504_stands_for() {
    let silent = Origin::start(async |mut connection| while connection.request().await.is_ok() {});
    let (silent, good) = (silent.await, Origin::named("good").await);
    let route = "  - { name: all, split: [{ to: first }], fallback: second, \
                 timeouts: { backendRequest: 50ms }, retry: { on: [504], pool: fallback } }";
    let yaml = config(&[("first", &[silent.address]), ("second", &[good.address])], route);
    let app = App::start(&yaml).await;
    assert_eq!(app.get("/").await.origin(), "good");
    app.metric_is("serin_attempts_total", &[("outcome", "response_timeout")], 1.0).await;
}

#[tokio::test]
async fn nothing_is_asked_for_again_once_the_answer_has_begun() {
    let broken = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc";
    let (bad, good) = (Origin::saying(broken, true).await, Origin::named("good").await);
    let yaml = leaving(&[bad.address], &[good.address], "attempts: 3, on: [reset, 5xx]");
    let app = App::start(&yaml).await;
    let mut client = app.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(client.response().await.is_err());
    assert_eq!((bad.requests(), good.requests()), (1, 0));
}

#[tokio::test]
async fn each_attempt_goes_to_an_endpoint_that_was_not_tried() {
    let (one, two, good) = (busy().await, busy().await, Origin::named("good").await);
    let endpoints = [one.address, two.address, good.address];
    let app = App::start(&all_to(&endpoints, "retry: { attempts: 2, on: [503] }")).await;
    for _ in 0..40 {
        assert_eq!(app.get("/").await.status, 200);
    }
    assert!(one.requests() > 0 && two.requests() > 0);
    assert_eq!(good.requests(), 40);
}

#[tokio::test]
async fn a_retry_leaves_the_canary_only_where_the_route_lets_it() {
    let (bad, good) = (busy().await, Origin::named("good").await);
    let (bad_at, good_at) = ([bad.address], [good.address]);
    let app = App::start(&leaving(&bad_at, &good_at, "on: [503], pool: same")).await;
    assert_eq!((app.get("/").await.status, bad.requests(), good.requests()), (503, 2, 0));

    let app = App::start(&leaving(&bad_at, &good_at, "on: [503], pool: fallback")).await;
    assert_eq!((app.get("/").await.status, bad.requests(), good.requests()), (200, 3, 1));
    // The decision and the first attempt are the canary's, the retry is the other pool's.
    for (pool, outcome, count) in [
        ("first", "server_error", 1.0),
        ("second", "retry_success", 1.0),
        ("second", "success", 0.0),
    ] {
        let labels = [("pool", pool), ("outcome", outcome)];
        app.metric_is("serin_attempts_total", &labels, count).await;
    }
    app.metric_is("serin_requests_total", &[("pool", "first"), ("code", "200")], 1.0).await;

    // Who names the pool wants that one.
    let response = app.fetch_with("/", "x-pool: first\r\n").await;
    assert_eq!((response.status, bad.requests(), good.requests()), (503, 5, 1));
}

#[tokio::test]
async fn a_request_that_nobody_has_seen_stays_in_its_pool_as_long_as_it_can() {
    let (canary, stable) = (Origin::named("canary").await, Origin::named("stable").await);
    let canaries = [nobody(), canary.address];
    let app = App::start(&leaving(&canaries, &[stable.address], "pool: fallback")).await;
    for _ in 0..20 {
        assert_eq!(app.get("/").await.origin(), "canary");
    }
    let app = App::start(&leaving(&[nobody()], &[stable.address], "pool: fallback")).await;
    assert_eq!(app.get("/").await.origin(), "stable");
}

#[tokio::test]
async fn when_all_were_tried_those_that_can_be_reached_come_first() {
    // It answers every other request.
    let odd = Origin::start(async |mut connection: Connection| {
        while connection.request().await.is_ok() {
            connection.send(BUSY).await;
            if connection.request().await.is_err() {
                return;
            }
            connection.answer("odd").await;
        }
    })
    .await;
    let retry = "retry: { attempts: 2, on: [503] }";
    let app = App::start(&all_to(&[nobody(), odd.address], retry)).await;
    // One connection, so that the endpoint sees the requests of one worker in their order.
    let mut client = app.connect().await;
    for _ in 0..40 {
        assert_eq!(client.get("/", "").await.origin(), "odd");
    }
}

/// Holds every request but the first of each connection, which it refuses if told.
async fn holding(gate: &Arc<Semaphore>, refuses: bool) -> Origin {
    let gate = Arc::clone(gate);
    Origin::start(move |mut connection: Connection| {
        let gate = Arc::clone(&gate);
        async move {
            let mut refuse = refuses;
            while connection.request().await.is_ok() {
                if std::mem::take(&mut refuse) {
                    connection.send(BUSY).await;
                } else {
                    gate.acquire().await.unwrap().forget();
                    connection.answer("held").await;
                }
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_retry_that_can_not_leave_its_pool_keeps_its_place_there() {
    let gate = Arc::new(Semaphore::new(0));
    let (first, second) = (holding(&gate, true).await, holding(&gate, false).await);
    let limits = "], limits: { requests: 1, pending: 0 } }";
    let yaml = leaving(&[first.address], &[second.address], "on: [503], pool: fallback")
        .replace("] }\nroutes", &format!("{limits}\nroutes"))
        .replace("] }\n  - { name: second", &format!("{limits}\n  - {{ name: second"));
    let app = App::start(&yaml).await;
    let (mut other, mut client) = (app.connect().await, app.connect().await);
    other.send("GET / HTTP/1.1\r\nhost: a\r\nx-pool: second\r\n\r\n").await;
    eventually("the other pool is full", async || second.requests() == 1).await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    eventually("the retry stays", async || first.requests() == 2).await;
    assert_eq!(app.fetch_with("/", "x-pool: first\r\n").await.status, 503);
    assert_eq!(first.requests(), 2);
    gate.add_permits(2);
    assert_eq!(client.response().await.unwrap().text(), "held");
    assert_eq!(other.response().await.unwrap().text(), "held");
}

#[tokio::test]
async fn what_nobody_has_seen_needs_no_budget() {
    let good = Origin::named("good").await;
    let retry = "retry: { attempts: 1, budget: { percent: 0, min: 0 } }";
    let app = App::start(&all_to(&[nobody(), good.address], retry)).await;
    for _ in 0..20 {
        assert_eq!(app.get("/").await.origin(), "good");
    }
    app.metric_is("serin_retries_refused_total", &[], 0.0).await;
}

#[tokio::test]
async fn what_has_left_the_canary_does_not_come_back_to_it() {
    let (one, two) = (busy().await, busy().await);
    let good = Origin::named("good").await;
    let second = [nobody(), good.address];
    let retry = "attempts: 2, on: [503], pool: fallback";
    let app = App::start(&leaving(&[one.address, two.address], &second, retry)).await;
    for _ in 0..20 {
        assert_eq!(app.get("/").await.origin(), "good");
    }
    assert_eq!((one.requests() + two.requests(), good.requests()), (20, 20));
}

#[tokio::test]
async fn a_request_does_not_use_up_the_budget_for_its_own_next_retry() {
    for answer in [BUSY, ""] {
        let bad = Origin::saying(answer, answer.is_empty()).await;
        let retry = "retry: { attempts: 3, on: [503, reset], budget: { percent: 0, min: 1 } }";
        let app = App::start(&all_to(&[bad.address], retry)).await;
        assert!(app.get("/").await.status >= 500);
        assert_eq!(bad.requests(), 4);
        app.metric_is("serin_retries_refused_total", &[], 0.0).await;
    }
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_is_sent_again_too() {
    let (bad, good) = (busy().await, echo().await);
    let yaml = leaving(&[bad.address], &[good.address], "on: [503], pool: fallback");
    let app = App::start(&yaml).await;
    let mut client = app.connect().await;
    client.send("PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for _ in 0..300 {
        client.send("1\r\nx\r\n").await;
        tokio::task::yield_now().await;
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.response().await.unwrap().text(), "x".repeat(300));
}

#[tokio::test]
async fn retries_at_one_time_are_limited_by_a_budget() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    // The first request is refused, the one after it is held.
    let origin = Origin::start(move |mut connection: Connection| {
        let gate = Arc::clone(&held);
        async move {
            let mut first = true;
            while let Ok((head, _)) = connection.request().await {
                if head.target() == "/held" && !std::mem::take(&mut first) {
                    gate.acquire().await.unwrap().forget();
                    connection.answer("held").await;
                } else {
                    connection.send(BUSY).await;
                }
            }
        }
    })
    .await;
    let retry = "retry: { on: [503], budget: { percent: 0, min: 1 } }";
    let app = App::start(&all_to(&[origin.address], retry)).await;
    let mut client = app.connect().await;
    client.send("GET /held HTTP/1.1\r\nhost: a\r\n\r\n").await;
    eventually("the retry has begun", async || origin.requests() == 2).await;
    assert_eq!(app.get("/").await.status, 503);
    assert_eq!(origin.requests(), 3);
    app.metric_is("serin_retries_refused_total", &[("reason", "budget")], 1.0).await;
    gate.add_permits(1);
    assert_eq!(client.response().await.unwrap().text(), "held");
    // What has ended leaves room.
    assert_eq!(app.get("/").await.status, 503);
    assert_eq!(origin.requests(), 5);
}

#[tokio::test]
async fn the_pause_before_a_retry_ends_with_the_time_for_the_request() {
    let bad = busy().await;
    let more = "timeouts: { request: 100ms }, \
                retry: { on: [503], backoff: { base: 1d, max: 1d } }";
    let app = App::start(&all_to(&[bad.address], more)).await;
    let started = Instant::now();
    assert_eq!(app.get("/").await.status, 504);
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(bad.requests(), 1);
    app.metric_is("serin_requests_in_flight", &[], 0.0).await;
}

#[tokio::test]
async fn when_nobody_can_take_a_request_the_client_is_told_when_to_ask_again() {
    let app = App::start(&all_to(&[], "")).await;
    let response = app.get("/").await;
    assert_eq!((response.status, response.head.get("retry-after")), (503, Some("1")));
}

/// An endpoint of HTTP/2 that answers all calls with this status of gRPC and nothing else.
async fn calls_ending_with(status: &'static str) -> H2Origin {
    H2Origin::requests(server::Builder::new(), move |mut answering: Answering| async move {
        let _ = answering.read().await;
        let response = Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", status)
            .body(())
            .unwrap();
        let _ = answering.respond.send_response(response, true);
    })
    .await
}

#[tokio::test]
async fn a_call_is_asked_for_again_by_its_own_status() {
    let good = calls_ending_with("0").await;
    for (on, bad, expected) in [
        ("UNAVAILABLE", "14", "0"),
        ("RESOURCE_EXHAUSTED, UNAVAILABLE", "8", "0"),
        ("UNAVAILABLE", "13", "13"),
        ("503", "14", "14"),
    ] {
        let bad = calls_ending_with(bad).await;
        let yaml = leaving(&[bad.address], &[good.address], &format!("on: [{on}], pool: fallback"))
            .replace("] }\nroutes", "], protocol: h2 }\nroutes")
            .replace("] }\n  - { name: second", "], protocol: h2 }\n  - { name: second");
        let app = App::start(&yaml).await;
        let client = H2Client::connect(app.address).await;
        let call = Request::post("http://a.test/call").header("content-type", "application/grpc");
        let answer = client.exchange(call.body(()).unwrap(), Some(&[0; 5]), None).await.unwrap();
        assert_eq!(answer.head.headers()["grpc-status"], expected, "{on}");
    }
}

#[tokio::test]
async fn over_http_2_a_body_is_sent_again_with_its_trailers() {
    let seen = Arc::new(Semaphore::new(0));
    let noted = Arc::clone(&seen);
    let bad = H2Origin::requests(server::Builder::new(), move |mut answering: Answering| {
        let seen = Arc::clone(&noted);
        async move {
            let _ = answering.read().await;
            seen.add_permits(1);
            let response = Response::builder().status(503).body(()).unwrap();
            let _ = answering.respond.send_response(response, true);
        }
    })
    .await;
    let good = H2Origin::requests(server::Builder::new(), async |mut answering: Answering| {
        let (body, trailers) = answering.read().await.unwrap();
        let response = Response::builder()
            .header("x-trailer", trailers.unwrap()["x-end"].clone())
            .body(())
            .unwrap();
        let mut stream = answering.respond.send_response(response, false).unwrap();
        stream.send_data(Bytes::from(body), true).unwrap();
    })
    .await;
    let yaml = leaving(&[bad.address], &[good.address], "on: [503], pool: fallback")
        .replace("] }\nroutes", "], protocol: h2 }\nroutes")
        .replace("] }\n  - { name: second", "], protocol: h2 }\n  - { name: second");
    let app = App::start(&yaml).await;
    let client = H2Client::connect(app.address).await;
    let trailers: HeaderMap =
        [("x-end".parse().unwrap(), "z".parse().unwrap())].into_iter().collect();
    let put = Request::put("http://a.test/").body(()).unwrap();
    let answer = client.exchange(put, Some(b"hello"), Some(trailers)).await.unwrap();
    assert_eq!(answer.head.headers()["x-trailer"], "z");
    assert_eq!(answer.body, b"hello");
    within(seen.acquire()).await.unwrap().forget();
}

#[tokio::test]
async fn a_retry_may_go_to_a_pool_that_speaks_another_version() {
    let bad = H2Origin::requests(server::Builder::new(), async |mut answering: Answering| {
        let _ = answering.read().await;
        let response = Response::builder().status(503).body(()).unwrap();
        let _ = answering.respond.send_response(response, true);
    })
    .await;
    let good = echo().await;
    let yaml = leaving(&[bad.address], &[good.address], "on: [503], pool: fallback")
        .replace("] }\n  - { name: second", "], protocol: h2 }\n  - { name: second");
    let app = App::start(&yaml).await;
    let mut client = app.connect().await;
    for _ in 0..3 {
        client.send("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello").await;
        assert_eq!(client.response().await.unwrap().text(), "hello");
    }
    assert_eq!(good.connections(), 1);

    let (bad, good) = (busy().await, H2Origin::named("good").await);
    let yaml = leaving(&[bad.address], &[good.address], "on: [503], pool: fallback")
        .replace("] }\nroutes", "], protocol: h2 }\nroutes");
    let app = App::start(&yaml).await;
    assert_eq!(app.get("/").await.origin(), "good");
}

//! What a route's requests may ask for: how long in all, how much, how slowly.

use crate::support::{App, Broken, H2Origin, Origin, all_to, eventually, pool_with, within};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// An origin that reads a head, says something if told, and tells what came until the connection
/// ended.
async fn listening(answer: &'static str) -> (Origin, UnboundedReceiver<Vec<u8>>) {
    let (tell, told) = unbounded_channel();
    let origin = Origin::start(move |mut connection| {
        let tell = tell.clone();
        async move {
            connection.head().await.unwrap();
            connection.send(answer).await;
            let _ = tell.send(connection.rest().await);
        }
    })
    .await;
    (origin, told)
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_504_and_its_attempt_is_broken_off() {
    let (origin, mut told) = listening("").await;
    let app = App::start(&all_to(&[origin.address], "timeouts: { request: 300ms }")).await;
    let started = Instant::now();
    let response = app.get("/").await;
    assert!((300..2_000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    assert_eq!(response.status, 504);
    assert_eq!(response.text(), "504 Gateway Timeout: the request took too long\n");
    assert_eq!(within(told.recv()).await.unwrap(), b"");
    app.metric_is("serin_errors_total", &[("cause", "request_timed_out")], 1.0).await;
    app.metric_is("serin_attempts_total", &[("outcome", "response_timeout")], 1.0).await;
    app.metric_is("serin_requests_total", &[("code", "504")], 1.0).await;
}

#[tokio::test]
async fn the_time_for_a_request_includes_its_body() {
    let (origin, mut told) = listening("").await;
    let app = App::start(&all_to(&[origin.address], "timeouts: { request: 300ms }")).await;
    let mut client = app.connect().await;
    let started = Instant::now();
    client.send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 10\r\n\r\nabc").await;
    assert_eq!(client.response().await.unwrap().status, 504);
    assert!((300..2_000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    assert_eq!(within(told.recv()).await.unwrap(), b"abc");
    // The client was what took the time.
    app.metric_is("serin_attempts_total", &[("outcome", "cancelled")], 1.0).await;
}

#[tokio::test]
async fn a_response_that_takes_too_long_is_broken_off() {
    let (origin, mut told) = listening("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").await;
    let app = App::start(&all_to(&[origin.address], "timeouts: { request: 300ms }")).await;
    let mut client = app.connect().await;
    let started = Instant::now();
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    assert_eq!(client.response().await.unwrap_err(), Broken);
    assert!((300..2_000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    assert_eq!(within(told.recv()).await.unwrap(), b"");
    app.metric_is("serin_errors_total", &[("cause", "request_timed_out")], 1.0).await;
    app.metric_is("serin_requests_total", &[("code", "200")], 1.0).await;
}

#[tokio::test]
async fn a_request_within_its_time_is_answered_and_its_connection_is_kept() {
    let origin = Origin::named("one").await;
    let app = App::start(&all_to(&[origin.address], "timeouts: { request: 10s }")).await;
    let mut client = app.connect().await;
    for _ in 0..3 {
        assert_eq!(client.get("/", "").await.text(), "one");
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_413_and_nothing_is_sent() {
    let origin = Origin::named("one").await;
    let app = App::start(&all_to(&[origin.address], "limits: { bodyBytes: 10 }")).await;
    let mut client = app.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 10\r\n\r\n0123456789").await;
    assert_eq!(client.response().await.unwrap().text(), "one");
    client.send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 11\r\n\r\n").await;
    let response = client.response().await.unwrap();
    assert_eq!(response.status, 413);
    assert_eq!(response.text(), "413 Payload Too Large: the request body is too large\n");
    assert_eq!(response.head.get("connection"), Some("close"));
    client.closed().await;
    assert_eq!(origin.requests(), 1);
    app.metric_is("serin_errors_total", &[("cause", "body_too_large")], 1.0).await;
}

#[tokio::test]
async fn a_body_that_becomes_too_large_is_413_and_the_origin_never_sees_its_end() {
    let (origin, mut told) = listening("").await;
    let app = App::start(&all_to(&[origin.address], "limits: { bodyBytes: 10 }")).await;
    let mut client = app.connect().await;
    let head = "POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n";
    client.send(format!("{head}4\r\nabcd\r\n")).await;
    eventually("the first part is there", async || origin.requests() == 1).await;
    client.send("7\r\nefghijk\r\n0\r\n\r\n").await;
    assert_eq!(client.response().await.unwrap().status, 413);
    assert_eq!(within(told.recv()).await.unwrap(), b"4\r\nabcd\r\n");
    app.metric_is("serin_errors_total", &[("cause", "body_too_large")], 1.0).await;
    app.metric_is("serin_attempts_total", &[("outcome", "cancelled")], 1.0).await;
}

#[tokio::test]
async fn a_body_that_becomes_too_large_breaks_off_a_response_that_has_begun() {
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";
    let (origin, mut told) = listening(answer).await;
    let app = App::start(&all_to(&[origin.address], "limits: { bodyBytes: 10 }")).await;
    let mut client = app.connect().await;
    let head = "POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n";
    client.send(format!("{head}4\r\nabcd\r\n")).await;
    client.head().await.unwrap();
    assert_eq!(client.chunk().await.unwrap().unwrap(), b"abc");
    client.send("7\r\nefghijk\r\n0\r\n\r\n").await;
    assert_eq!(client.chunk().await.unwrap_err(), Broken);
    assert_eq!(within(told.recv()).await.unwrap(), b"4\r\nabcd\r\n");
    app.metric_is("serin_errors_total", &[("cause", "body_too_large")], 1.0).await;
}

#[tokio::test]
async fn a_body_that_trickles_is_408_although_it_never_pauses_for_long() {
    let (origin, mut told) = listening("").await;
    let limits = "limits: { bodyRate: 1KiB, bodyGrace: 200ms }, timeouts: { idle: 10s }";
    let app = App::start(&all_to(&[origin.address], limits)).await;
    let mut client = app.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 1000\r\n\r\n").await;
    let started = Instant::now();
    let mut sent = 0;
    while started.elapsed() < Duration::from_secs(5) && client.try_send("x").await.is_ok() {
        sent += 1;
        let read = tokio::time::timeout(Duration::from_millis(20), client.fill());
        if read.await.is_ok() {
            break;
        }
    }
    let response = client.response().await.unwrap();
    assert_eq!(response.status, 408);
    assert_eq!(response.text(), "408 Request Timeout: the request body comes too slowly\n");
    assert!((200..2_000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    assert!(within(told.recv()).await.unwrap().len() <= sent);
    app.metric_is("serin_errors_total", &[("cause", "body_too_slow")], 1.0).await;
}

#[tokio::test]
async fn a_service_that_takes_a_body_slowly_is_not_the_clients_fault() {
    const LENGTH: usize = 24 * 1024 * 1024;
    let (go_on, waiting) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (going, waited) = (Arc::clone(&go_on), Arc::clone(&waiting));
    let origin = Origin::start(move |mut connection| {
        let (going, waited) = (Arc::clone(&going), Arc::clone(&waited));
        async move {
            let head = connection.head().await.unwrap();
            waited.store(1, SeqCst);
            going.notified().await;
            let body = connection.body(&head, false).await.unwrap();
            assert_eq!(body.bytes.len(), LENGTH);
            connection.answer("one").await;
        }
    })
    .await;
    let limits = "limits: { bodyRate: 1, bodyGrace: 100ms }";
    let app = App::start(&all_to(&[origin.address], limits)).await;
    let mut client = app.connect().await;
    let head = format!("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: {LENGTH}\r\n\r\n");
    let sending = tokio::spawn(async move {
        client.send(head).await;
        client.send(vec![7; LENGTH]).await;
        client
    });
    eventually("the head is there", async || waiting.load(SeqCst) == 1).await;
    // The slowness is the test.
    tokio::time::sleep(Duration::from_millis(600)).await;
    go_on.notify_one();
    let mut client = within(sending).await.unwrap();
    assert_eq!(client.response().await.unwrap().text(), "one");
}

#[tokio::test]
async fn a_body_that_becomes_too_large_resets_its_stream() {
    let (tell, mut told) = unbounded_channel();
    let origin = H2Origin::requests(h2::server::Builder::new(), move |mut answering| {
        let tell = tell.clone();
        async move {
            let _ = tell.send(answering.read().await.unwrap_err().reason());
        }
    })
    .await;
    let limits = "limits: { bodyBytes: 10 }";
    let app = App::start(&pool_with(origin.address, "protocol: h2", limits)).await;
    let mut client = app.connect().await;
    let head = "POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n";
    client.send(format!("{head}4\r\nabcd\r\n")).await;
    client.send("7\r\nefghijk\r\n0\r\n\r\n").await;
    assert_eq!(client.response().await.unwrap().status, 413);
    assert_eq!(within(told.recv()).await.unwrap(), Some(h2::Reason::CANCEL));
    app.metric_is("serin_errors_total", &[("cause", "body_too_large")], 1.0).await;
}

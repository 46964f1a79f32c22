//! HTTP/2 connections to endpoints: how many, when they end, what is sent again.

use crate::support::{
    Answering, App, H2Client, H2Origin, Load, Served, eventually, pool_with, within,
};
use bytes::Bytes;
use h2::Reason;
use h2::server::Builder;
use http::Response;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use tokio::sync::Notify;

async fn app(origin: &H2Origin, settings: &str, route: &str) -> App {
    App::start(&pool_with(origin.address, settings, route)).await
}

#[tokio::test]
async fn more_requests_than_a_connection_takes_open_another() {
    let go = Arc::new(Notify::new());
    let waiting = Arc::new(AtomicUsize::new(0));
    let (wait, counted) = (Arc::clone(&go), Arc::clone(&waiting));
    let mut builder = Builder::new();
    builder.max_concurrent_streams(2);
    let origin = H2Origin::requests(builder, move |answering| {
        let (wait, counted) = (Arc::clone(&wait), Arc::clone(&counted));
        async move {
            let notified = wait.notified();
            counted.fetch_add(1, SeqCst);
            notified.await;
            answering.say("two").await;
        }
    })
    .await;
    let app = app(&origin, "protocol: h2", "").await;
    // All on one connection of the client, so on one worker.
    let client = H2Client::connect(app.address).await;
    let requests: Vec<_> = (0..5)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.get("/").await.unwrap().head.status().as_u16() })
        })
        .collect();
    eventually("all are there", async || waiting.load(SeqCst) == 5).await;
    assert_eq!(origin.accepted(), 3);
    app.metric_is("serin_upstream_connections", &[("state", "active")], 3.0).await;
    go.notify_waiters();
    for request in requests {
        assert_eq!(within(request).await.unwrap(), 200);
    }
    app.metric_is("serin_upstream_connections", &[("state", "idle")], 3.0).await;
    app.metric_is("serin_upstream_connections", &[("state", "active")], 0.0).await;
}

#[tokio::test]
async fn who_finds_no_free_stream_in_time_gets_503() {
    let mut builder = Builder::new();
    builder.max_concurrent_streams(1);
    let origin = H2Origin::requests(builder, async |mut answering| {
        let _ = std::future::poll_fn(|cx| answering.respond.poll_reset(cx)).await;
    })
    .await;
    let app =
        app(&origin, "protocol: h2", "timeouts: { connect: 200ms }, retry: { attempts: 0 }").await;
    let client = H2Client::connect(app.address).await;
    let stuck: Vec<_> = (0..8)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.get("/").await })
        })
        .collect();
    app.metric_is("serin_upstream_connections", &[("state", "active")], 8.0).await;
    assert_eq!(client.get("/").await.unwrap().head.status(), 503);
    app.metric_is("serin_errors_total", &[("cause", "upstream_full")], 1.0).await;
    app.metric_is("serin_attempts_total", &[("outcome", "refused")], 1.0).await;
    stuck.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Serves until the connection ends; tells the client to go away after so many requests.
async fn leave_after(mut connection: Served, requests: usize) {
    let mut served = 0;
    while let Some(Ok(request)) = connection.accept().await {
        served += 1;
        tokio::spawn(Answering::new(request).say("two"));
        if served == requests {
            connection.graceful_shutdown();
        }
    }
}

#[tokio::test]
async fn connections_that_go_away_under_load_fail_no_request() {
    let origin = H2Origin::connections(Builder::new(), async |connection, _| {
        leave_after(connection, 20).await;
    })
    .await;
    let app = app(&origin, "protocol: h2", "retry: { attempts: 0 }").await;
    let load = Load::start(app.address, 8);
    eventually("many connections went away", async || origin.accepted() > 30).await;
    assert!(load.sent() > 300);
    assert_eq!(load.failures().await, Vec::<String>::new());
}

#[tokio::test]
async fn an_abrupt_goaway_fails_no_request_that_was_not_looked_at() {
    let origin = H2Origin::connections(Builder::new(), async |mut connection, number| {
        let mut served = 0;
        while let Some(Ok(request)) = connection.accept().await {
            served += 1;
            Answering::new(request).say("two").await;
            if served == 10 && number < 20 {
                // What comes after the ten is neither read nor answered.
                connection.graceful_shutdown();
            }
        }
    })
    .await;
    let app = app(&origin, "protocol: h2", "").await;
    let client = H2Client::connect(app.address).await;
    for _ in 0..20 {
        let asked = (0..20).map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.get("/").await.unwrap().head.status().as_u16() })
        });
        let asked: Vec<_> = asked.collect();
        for one in asked {
            assert_eq!(within(one).await.unwrap(), 200);
        }
    }
    assert!(origin.accepted() > 10);
}

/// Refuses the first streams, then answers.
async fn refusing(refusals: usize) -> (H2Origin, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let origin = H2Origin::requests(Builder::new(), move |mut answering| {
        let number = counted.fetch_add(1, SeqCst);
        async move {
            if number < refusals {
                answering.respond.send_reset(Reason::REFUSED_STREAM);
            } else {
                answering.say("two").await;
            }
        }
    })
    .await;
    (origin, asked)
}

#[tokio::test]
async fn a_refused_stream_is_sent_again() {
    let (origin, asked) = refusing(2).await;
    let app = app(&origin, "protocol: h2", "retry: { attempts: 0 }").await;
    assert_eq!(app.get("/").await.status, 200);
    assert_eq!(asked.load(SeqCst), 3);
    app.metric_is("serin_attempts_total", &[("outcome", "success")], 1.0).await;
}

#[tokio::test]
async fn a_stream_that_is_refused_for_ever_gets_503() {
    let (origin, asked) = refusing(usize::MAX).await;
    let app = app(&origin, "protocol: h2", "retry: { attempts: 0 }").await;
    assert_eq!(app.get("/").await.status, 503);
    assert_eq!(asked.load(SeqCst), 4);
    app.metric_is("serin_errors_total", &[("cause", "upstream_refused")], 1.0).await;
    app.metric_is("serin_attempts_total", &[("outcome", "refused")], 1.0).await;
}

/// Reads a part of the first requests' bodies and refuses them all the same, then answers.
async fn refusing_late() -> (H2Origin, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let origin = H2Origin::requests(Builder::new(), move |mut answering| {
        let number = counted.fetch_add(1, SeqCst);
        async move {
            if number < 2 {
                let part = answering.body.data().await.unwrap().unwrap();
                let _ = answering.body.flow_control().release_capacity(part.len());
                answering.respond.send_reset(Reason::REFUSED_STREAM);
                return;
            }
            let (body, _) = answering.read().await.unwrap();
            assert!(body.iter().all(|byte| *byte == b'x'));
            answering.say(if body.len() == 40_000 { "whole" } else { "other" }).await;
        }
    })
    .await;
    (origin, asked)
}

async fn put(app: &App, length: usize) -> crate::support::Response {
    let mut client = app.connect().await;
    client
        .send(format!("PUT / HTTP/1.1\r\nhost: a.test\r\ncontent-length: {length}\r\n\r\n"))
        .await;
    // Given up when the answer comes first.
    let _ = client.try_send(vec![b'x'; length]).await;
    client.response().await.unwrap()
}

#[tokio::test]
async fn a_refused_stream_with_a_short_body_is_sent_again() {
    let (origin, asked) = refusing_late().await;
    let app = app(&origin, "protocol: h2", "retry: { attempts: 0 }").await;
    let response = put(&app, 40_000).await;
    assert_eq!((response.status, response.origin()), (200, "whole"));
    assert_eq!(asked.load(SeqCst), 3);
}

#[tokio::test]
async fn a_refused_stream_with_a_long_body_is_not_sent_again() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let origin = H2Origin::requests(Builder::new(), move |mut answering| {
        counted.fetch_add(1, SeqCst);
        async move {
            let mut read = 0;
            while read < 100_000 {
                let part = answering.body.data().await.unwrap().unwrap();
                read += part.len();
                let _ = answering.body.flow_control().release_capacity(part.len());
            }
            answering.respond.send_reset(Reason::REFUSED_STREAM);
        }
    })
    .await;
    let app = app(&origin, "protocol: h2", "").await;
    assert_eq!(put(&app, 150_000).await.status, 503);
    assert_eq!(asked.load(SeqCst), 1);
}

#[tokio::test]
async fn a_connection_that_died_while_idle_fails_no_request() {
    let died = Arc::new(Notify::new());
    let die = Arc::clone(&died);
    let origin = H2Origin::connections(Builder::new(), move |mut connection, number| {
        let die = Arc::clone(&die);
        async move {
            while let Some(Ok(request)) = connection.accept().await {
                let mut answering = Answering::new(request);
                let response = Response::builder().body(()).unwrap();
                let mut stream = answering.respond.send_response(response, false).unwrap();
                stream.send_data(Bytes::from_static(b"x"), true).unwrap();
                if number == 0 {
                    // Writes what is to be written, and is gone without a word.
                    let closing = std::future::poll_fn(|cx| connection.poll_closed(cx));
                    tokio::select! { _ = closing => {}, () = die.notified() => {} }
                    return;
                }
            }
        }
    })
    .await;
    let app = app(&origin, "protocol: h2", "retry: { attempts: 0 }").await;
    let client = H2Client::connect(app.address).await;
    assert_eq!(client.get("/").await.unwrap().head.status(), 200);
    died.notify_one();
    for _ in 0..20 {
        assert_eq!(client.get("/").await.unwrap().head.status(), 200);
    }
    assert_eq!(origin.accepted(), 2);
}

#[tokio::test]
async fn a_pool_that_changes_its_protocol_uses_new_connections() {
    let origin = H2Origin::named("two").await;
    let old = crate::support::Origin::named("one").await;
    let app = App::start(&pool_with(old.address, "protocol: http1", "")).await;
    assert_eq!(app.get("/").await.origin(), "one");
    app.reload(&pool_with(origin.address, "protocol: h2", "")).await;
    assert_eq!(app.get("/").await.origin(), "two");
    app.metric_is("serin_upstream_connections", &[], 1.0).await;
    app.reload(&pool_with(old.address, "protocol: http1", "")).await;
    assert_eq!(app.get("/").await.origin(), "one");
    app.metric_is("serin_upstream_connections", &[], 1.0).await;
}

#[tokio::test]
async fn an_endpoint_that_speaks_no_http_2_gets_503_with_its_cause() {
    let origin = crate::support::Origin::named("one").await;
    let app = App::start(&pool_with(origin.address, "protocol: h2", "")).await;
    assert_eq!(app.get("/").await.status, 503);
    app.metric_is("serin_errors_total", &[("cause", "upstream_protocol")], 1.0).await;
}

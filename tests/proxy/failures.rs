//! Origins that fail and clients that leave: what the other side is told, and what is counted.

use crate::support::{App, Broken, Connection, Origin};
use crate::support::{all_to, config_with, eventually, nobody, within};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::Notify;

#[tokio::test]
async fn where_nobody_listens_the_answer_is_503_after_one_retry() {
    let app = App::start(&all_to(&[nobody(), nobody()], "")).await;
    let response = app.get("/").await;
    assert_eq!(response.status, 503);
    assert_eq!(response.text(), "503 Service Unavailable: the service can not be reached\n");
    for outcome in ["connect_failure", "retry_connect_failure"] {
        app.metric_is("serin_attempts_total", &[("outcome", outcome)], 1.0).await;
    }
    app.metric_is("serin_errors_total", &[("cause", "connect_failed")], 1.0).await;
}

#[tokio::test]
async fn an_answer_that_is_none_is_502() {
    let closed = (
        "upstream_reset",
        "502 Bad Gateway: the service closed the connection without an answer\n",
    );
    let invalid = ("invalid_response", "502 Bad Gateway: the service's answer is not valid HTTP\n");
    for (answer, (cause, text)) in [
        ("", closed),
        ("HTTP/1.1 200 OK\r\ncontent-le", closed),
        ("garbage\r\n\r\n", invalid),
        ("HTTP/1.1 2x0 OK\r\n\r\n", invalid),
        ("HTTP/3.1 200 OK\r\n\r\n", invalid),
        ("HTTP/1.1 200 OK\r\nbad name: 1\r\n\r\n", invalid),
        ("HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n", invalid),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", invalid),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nab", invalid),
        ("HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nab", invalid),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            invalid,
        ),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", invalid),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            invalid,
        ),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nhi", invalid),
        ("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", invalid),
        (
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
            invalid,
        ),
    ] {
        let origin = Origin::saying(answer, true).await;
        let app = App::start(&all_to(&[origin.address], "")).await;
        let mut client = app.connect().await;
        let response = client.get("/", "").await;
        assert_eq!((response.status, response.text().as_str()), (502, text), "{answer}");
        assert_eq!(client.get("/", "").await.status, 502, "{answer}");
        assert_eq!(origin.connections(), 2, "{answer}");
        app.metric_is("serin_errors_total", &[("cause", cause)], 2.0).await;
        app.metric_is("serin_attempts_total", &[], 2.0).await;
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_502() {
    let many = "x: y\r\n".repeat(200);
    for fields in [format!("x: {}\r\n", "y".repeat(70_000)), many] {
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}content-length: 0\r\n\r\n");
        let origin = Origin::saying(answer, false).await;
        let app = App::start(&all_to(&[origin.address], "")).await;
        assert_eq!(app.get("/").await.status, 502);
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_never_ends_cleanly() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nx\r\n",
    ] {
        let origin = Origin::saying(answer, true).await;
        let app = App::start(&all_to(&[origin.address], "")).await;
        let mut client = app.connect().await;
        client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
        assert_eq!(client.response().await.unwrap_err(), Broken, "{answer}");
        app.metric_is("serin_errors_total", &[("cause", "response_broken")], 1.0).await;
        app.metric_is("serin_requests_total", &[("code", "200")], 1.0).await;
        app.metric_is("serin_requests_in_flight", &[], 0.0).await;
    }
}

/// An origin that tells when a request came and when its connection was closed without an answer.
async fn waiting(before: &'static str) -> (Origin, Arc<Notify>, Arc<Notify>) {
    let (came, closed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let told = (Arc::clone(&came), Arc::clone(&closed));
    let origin = Origin::start(move |mut connection: Connection| {
        let (came, closed) = (Arc::clone(&told.0), Arc::clone(&told.1));
        async move {
            if connection.head().await.is_ok() {
                connection.send(before).await;
                came.notify_one();
                connection.rest().await;
                closed.notify_one();
            }
        }
    })
    .await;
    (origin, came, closed)
}

/// A listener that takes the end of a client's sending side for the client's end.
fn aborting(origin: SocketAddr) -> String {
    let listeners = "[{ name: web, address: '127.0.0.1:0', abortOnClose: true }]";
    let routes = "  - { name: all, split: [{ to: only }] }\n";
    config_with(listeners, "{ delay: 0s }", &[("only", &[origin])], routes)
}

#[tokio::test]
async fn when_the_client_leaves_before_the_answer_the_origin_sees_it_at_once() {
    let (origin, came, closed) = waiting("").await;
    let app = App::start(&aborting(origin.address)).await;
    let mut client = app.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    within(came.notified()).await;
    app.metric_is("serin_requests_in_flight", &[("route", "all")], 1.0).await;
    drop(client);
    within(closed.notified()).await;
    app.metric_is("serin_requests_total", &[("route", "all"), ("code", "499")], 1.0).await;
    app.metric_is("serin_attempts_total", &[("outcome", "cancelled")], 1.0).await;
    app.metric_is("serin_errors_total", &[("cause", "client_left")], 1.0).await;
    app.metric_is("serin_requests_in_flight", &[], 0.0).await;
    app.metric_is("serin_upstream_connections", &[], 0.0).await;
}

#[tokio::test]
async fn when_the_client_leaves_inside_the_response_the_origin_sees_it_at_once() {
    let (origin, came, closed) = waiting("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").await;
    let app = App::start(&aborting(origin.address)).await;
    let mut client = app.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    within(came.notified()).await;
    client.head().await.unwrap();
    assert_eq!(client.take(3).await.unwrap(), b"abc");
    drop(client);
    within(closed.notified()).await;
    app.metric_is("serin_requests_total", &[("code", "200")], 1.0).await;
    app.metric_is("serin_errors_total", &[("cause", "client_left")], 1.0).await;
    app.metric_is("serin_requests_in_flight", &[], 0.0).await;
}

#[tokio::test]
async fn when_the_client_leaves_inside_its_request_the_origin_never_sees_its_end() {
    for (framing, part) in
        [("content-length: 10", "abc"), ("transfer-encoding: chunked", "3\r\nabc\r\n")]
    {
        let (origin, came, closed) = waiting("").await;
        let app = App::start(&all_to(&[origin.address], "")).await;
        let mut client = app.connect().await;
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n{part}")).await;
        within(came.notified()).await;
        drop(client);
        within(closed.notified()).await;
        app.metric_is("serin_requests_in_flight", &[], 0.0).await;
        app.metric_is("serin_requests_total", &[], 1.0).await;
        app.metric_is("serin_attempts_total", &[("outcome", "cancelled")], 1.0).await;
    }
}

#[tokio::test]
async fn a_chunk_that_is_none_is_the_clients_fault() {
    for chunk in ["xyz\r\n", "3\r\nabcd\r\n", "-1\r\n", "0x3\r\nabc\r\n", "3\nabc\r\n"] {
        let (origin, _, closed) = waiting("").await;
        let app = App::start(&all_to(&[origin.address], "")).await;
        let mut client = app.connect().await;
        let head = "POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n";
        client.send(format!("{head}1\r\na\r\n")).await;
        eventually("the request arrives", async || origin.requests() == 1).await;
        client.send(chunk).await;
        let response = client.response().await.unwrap();
        assert_eq!(response.status, 400, "{chunk}");
        assert_eq!(response.text(), "400 Bad Request: the request body broke off\n");
        client.closed().await;
        within(closed.notified()).await;
        app.metric_is("serin_errors_total", &[("cause", "request_broken")], 1.0).await;
    }
}

#[tokio::test]
async fn a_request_that_is_broken_from_the_start_is_never_completed_by_a_retry() {
    for body in ["xyz\r\n", "5\r\nhello\r\nxyz\r\n"] {
        let origin = Origin::named("completed").await;
        let app = App::start(&all_to(&[origin.address], "")).await;
        let head = "POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n";
        // Over a new connection to the origin, then over one that is kept.
        for _ in 0..2 {
            let mut client = app.connect().await;
            client.send(format!("{head}{body}")).await;
            let response = client.response().await.unwrap();
            assert_eq!((response.status, response.origin()), (400, ""), "{body}");
            assert_eq!(app.get("/").await.status, 200);
        }
        app.metric_is("serin_attempts_total", &[("outcome", "cancelled")], 2.0).await;
        app.metric_is("serin_attempts_total", &[], 4.0).await;
    }
}

/// An origin that answers the first request of a connection and closes at the head of the second.
async fn closing_at_reuse() -> Origin {
    Origin::start(async move |mut connection| {
        if connection.request().await.is_ok() {
            connection.answer("a").await;
        }
        let _ = connection.head().await;
    })
    .await
}

#[tokio::test]
async fn a_kept_connection_that_closes_in_the_moment_of_reuse_fails_no_request() {
    let origin = closing_at_reuse().await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = app.connect().await;
    for _ in 0..50 {
        assert_eq!(client.get("/", "").await.status, 200);
    }
    // One attempt each: to try another connection is no retry.
    app.metric_is("serin_attempts_total", &[("outcome", "success")], 50.0).await;
}

#[tokio::test]
async fn a_request_that_may_not_happen_twice_is_not_sent_again() {
    for request in [
        "POST /again HTTP/1.1\r\nhost: a.test\r\n\r\n",
        "POST /again HTTP/1.1\r\nhost: a.test\r\ncontent-length: 1\r\n\r\nx",
        "PUT /again HTTP/1.1\r\nhost: a.test\r\ncontent-length: 1\r\n\r\nx",
    ] {
        let origin = closing_at_reuse().await;
        let app = App::start(&all_to(&[origin.address], "")).await;
        let mut client = app.connect().await;
        assert_eq!(client.get("/", "").await.status, 200);
        client.send(request).await;
        assert_eq!(client.response().await.unwrap().status, 502, "{request}");
        let again = origin.heads().iter().filter(|head| head.target() == "/again").count();
        assert_eq!(again, 1, "{request}");
    }
}

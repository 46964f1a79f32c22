//! What takes too long: connecting, answering, and pauses inside bodies.

use crate::support::{App, Broken, Origin, all_to, within};
use socket2::{Domain, Socket, Type};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// A listener whose queue is full, so that a further connection is neither made nor refused.
async fn full() -> (Socket, Vec<TcpStream>, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut waiting = Vec::new();
    loop {
        let connecting = TcpStream::connect(address);
        match tokio::time::timeout(Duration::from_millis(300), connecting).await {
            Ok(stream) => waiting.push(stream.unwrap()),
            Err(_) => return (socket, waiting, address),
        }
    }
}

#[tokio::test]
async fn an_endpoint_that_does_not_take_the_connection_in_time_is_504() {
    let (_socket, _waiting, address) = full().await;
    let timeouts = "timeouts: { connect: 200ms }, retry: { attempts: 0 }";
    let app = App::start(&all_to(&[address], timeouts)).await;
    let started = Instant::now();
    let response = app.get("/").await;
    assert!((200..2_000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    assert_eq!(response.status, 504);
    assert_eq!(response.text(), "504 Gateway Timeout: connecting to the service timed out\n");
    app.metric_is("serin_attempts_total", &[("outcome", "connect_timeout")], 1.0).await;
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_504() {
    let origin = Origin::start(
        async move |mut connection| {
            while let Ok((_, _)) = connection.request().await {}
        },
    )
    .await;
    let app = App::start(&all_to(&[origin.address], "timeouts: { backendRequest: 300ms }")).await;
    let mut client = app.connect().await;
    for request in [
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx",
    ] {
        let started = Instant::now();
        client.send(request).await;
        let response = client.response().await.unwrap();
        assert!((300..2_000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
        assert_eq!(response.status, 504);
        assert_eq!(response.text(), "504 Gateway Timeout: the service did not answer in time\n");
    }
    // It is not tried again: the service may be at work on it.
    app.metric_is("serin_attempts_total", &[("outcome", "response_timeout")], 2.0).await;
    app.metric_is("serin_attempts_total", &[], 2.0).await;
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn a_slow_upload_does_not_run_into_the_time_for_the_answer() {
    let origin = Origin::named("done").await;
    let app = App::start(&all_to(&[origin.address], "timeouts: { backendRequest: 100ms }")).await;
    let mut client = app.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 10\r\n\r\n").await;
    for _ in 0..10 {
        // The slowness is the test.
        tokio::time::sleep(Duration::from_millis(60)).await;
        client.send("x").await;
    }
    assert_eq!(client.response().await.unwrap().text(), "done");
}

#[tokio::test]
async fn a_response_that_pauses_for_too_long_is_broken_off() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let origin = Origin::saying(answer, false).await;
        let app = App::start(&all_to(&[origin.address], "timeouts: { idle: 200ms }")).await;
        let mut client = app.connect().await;
        let started = Instant::now();
        client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
        assert_eq!(client.response().await.unwrap_err(), Broken);
        assert!((200..2_000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
        app.metric_is("serin_errors_total", &[("cause", "response_broken")], 1.0).await;
    }
}

#[tokio::test]
async fn a_request_that_pauses_for_too_long_is_408_and_the_origin_sees_a_break() {
    let (closed, mut told) = tokio::sync::mpsc::unbounded_channel();
    let origin = Origin::start(move |mut connection| {
        let closed = closed.clone();
        async move {
            connection.head().await.unwrap();
            let _ = closed.send(connection.rest().await);
        }
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "timeouts: { idle: 200ms }")).await;
    let mut client = app.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 10\r\n\r\nabc").await;
    let response = client.response().await.unwrap();
    assert_eq!(response.status, 408);
    assert_eq!(response.text(), "408 Request Timeout: the request body stalled\n");
    assert_eq!(within(told.recv()).await.unwrap(), b"abc");
    client.closed().await;
    app.metric_is("serin_errors_total", &[("cause", "request_stalled")], 1.0).await;
}

#[tokio::test]
async fn a_client_that_reads_slowly_is_not_taken_for_a_pause_of_the_service() {
    const LENGTH: usize = 32 * 1024 * 1024;
    let origin = Origin::start(async move |mut connection| {
        connection.request().await.unwrap();
        connection.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n")).await;
        connection.send(vec![7; LENGTH]).await;
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "timeouts: { idle: 400ms }")).await;
    let mut client = crate::support::Client::connect_narrow(app.address).await;
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    client.head().await.unwrap();
    // The slowness is the test.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(client.take(LENGTH).await.unwrap().len(), LENGTH);
}

#[tokio::test]
async fn a_timeout_of_zero_is_none() {
    let origin = Origin::start(async move |mut connection| {
        while let Ok((_, _)) = connection.request().await {
            // The slowness is the test.
            tokio::time::sleep(Duration::from_millis(50)).await;
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nsl").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            connection.send("ow").await;
        }
    })
    .await;
    let timeouts = "timeouts: { connect: 0s, backendRequest: 0s, idle: 0s }";
    let app = App::start(&all_to(&[origin.address], timeouts)).await;
    let response = app.get("/").await;
    assert_eq!((response.status, response.text().as_str()), (200, "slow"));
}

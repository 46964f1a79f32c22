//! Other protocols towards endpoints that speak HTTP/2: by extended CONNECT (RFC 8441).

use crate::support::{ASKING, App, H2Origin, Upgraded, ask, connect, head, pool_with};
use bytes::Bytes;
use h2::ext::Protocol;
use h2::server::Builder;
use http::{Method, Response, StatusCode};
use std::time::{Duration, Instant};

/// Serves extended CONNECT.
fn extended() -> Builder {
    let mut builder = Builder::new();
    builder.enable_connect_protocol();
    builder
}

/// Says again what it is told, and ends its side after the client has ended its own.
async fn echoing() -> H2Origin {
    H2Origin::requests(extended(), async |mut answering| {
        let head = &answering.head;
        assert_eq!(head.method, Method::CONNECT);
        assert_eq!(head.uri.to_string(), "http://a.test/chat?room=1");
        let protocol = head.extensions.get::<Protocol>().unwrap();
        assert_eq!(protocol.as_str(), "websocket");
        assert_eq!(head.headers["sec-websocket-version"], "13");
        for name in ["connection", "upgrade", "sec-websocket-key", "host"] {
            assert!(!head.headers.contains_key(name), "{name}");
        }
        let mut sending = answering.respond.send_response(Response::new(()), false).unwrap();
        while let Some(Ok(data)) = answering.body.data().await {
            answering.body.flow_control().release_capacity(data.len()).unwrap();
            sending.send_data(data, false).unwrap();
        }
        let _ = sending.send_data(Bytes::new(), true);
    })
    .await
}

#[tokio::test]
async fn bytes_pass_both_ways_over_a_stream() {
    let origin = echoing().await;
    let app = App::start(&pool_with(origin.address, "protocol: h2", "")).await;
    for (count, version) in (1_u8..).zip(Upgraded::BOTH) {
        let mut client = Upgraded::open(&app, version).await;
        for part in ["hello", "there"] {
            client.send(part).await;
            assert_eq!(client.take(5).await, part.as_bytes());
        }
        app.metric_is("serin_requests_in_flight", &[], 1.0).await;
        client.finish().await;
        assert_eq!(client.rest().await, b"");
        app.metric_is("serin_requests_total", &[("code", "101")], count.into()).await;
        app.metric_is("serin_requests_in_flight", &[], 0.0).await;
    }
    app.metric_is("serin_errors_total", &[], 0.0).await;
    app.metric_is("serin_upstream_connections", &[("state", "active")], 0.0).await;
}

#[tokio::test]
async fn a_client_that_breaks_off_ends_the_stream_and_silence_does() {
    let origin = echoing().await;
    let idle = "timeouts: { idle: 300ms }";
    let app = App::start(&pool_with(origin.address, "protocol: h2", idle)).await;
    for version in Upgraded::BOTH {
        let mut client = Upgraded::open(&app, version).await;
        client.send("hello").await;
        assert_eq!(client.take(5).await, b"hello");
        client.reset();
        app.metric_is("serin_requests_in_flight", &[], 0.0).await;
        let mut client = Upgraded::open(&app, version).await;
        let silent = Instant::now();
        assert_eq!(client.rest().await, b"");
        assert!(silent.elapsed() > Duration::from_millis(290), "{:?}", silent.elapsed());
        app.metric_is("serin_requests_in_flight", &[], 0.0).await;
    }
}

#[tokio::test]
async fn what_an_endpoint_does_not_serve_is_502_and_what_it_refuses_is_passed_on() {
    let without = H2Origin::named("two").await;
    let refusing = H2Origin::requests(extended(), async |mut answering| {
        let response = Response::builder().status(403).body(()).unwrap();
        let mut sending = answering.respond.send_response(response, false).unwrap();
        sending.send_data(Bytes::from_static(b"no"), true).unwrap();
    })
    .await;
    for (origin, status) in [(&without, 502), (&refusing, 403)] {
        let app = App::start(&pool_with(origin.address, "protocol: h2", "")).await;
        let mut client = app.connect().await;
        client.send(ASKING).await;
        assert_eq!(client.response().await.unwrap().status, status);
        let client = connect(app.address).await;
        let answer = head(ask(&client, "websocket").await.0).await;
        assert_eq!(answer.0, StatusCode::from_u16(status).unwrap());
        let failed = if status == 502 { 2.0 } else { 0.0 };
        app.metric_is("serin_errors_total", &[("cause", "not_upgraded")], failed).await;
    }
}

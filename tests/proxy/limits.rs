//! How many connections a listener takes, in all and from one client, and requests on one of them.

use crate::support::{App, Client, Origin, Raw, config_with, eventually};
use std::net::SocketAddr;

fn limited(limits: &str, origin: SocketAddr) -> String {
    config_with(
        &format!("[{{ name: web, address: '127.0.0.1:0', limits: {{ {limits} }} }}]"),
        "{ delay: 0s, timeout: 10s }",
        &[("only", &[origin])],
        "  - { name: all, split: [{ to: only }] }",
    )
}

async fn start(limits: &str) -> (Origin, App) {
    let origin = Origin::named("one").await;
    let app = App::start(&limited(limits, origin.address)).await;
    (origin, app)
}

async fn refused(app: &App, reason: &str, count: f64) {
    let labels = [("listener", "web"), ("reason", reason)];
    app.metric_is("serin_downstream_refused_total", &labels, count).await;
}

#[tokio::test]
async fn connections_beyond_the_limit_get_503_until_one_ends() {
    let (_origin, app) = start("connections: 3").await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = app.connect().await;
        assert_eq!(client.get("/", "").await.status, 200);
        clients.push(client);
    }
    let mut late = app.connect().await;
    let answer = late.response().await.unwrap();
    assert_eq!((answer.status, answer.head.get("connection")), (503, Some("close")));
    late.closed().await;
    refused(&app, "connections", 1.0).await;
    app.metric_is("serin_downstream_connections", &[("listener", "web")], 3.0).await;
    for client in &mut clients {
        assert_eq!(client.get("/", "").await.status, 200);
    }
    clients.pop();
    eventually("there is room", async || {
        let mut client = app.connect().await;
        client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
        client.response().await.is_ok_and(|answer| answer.status == 200)
    })
    .await;
}

#[tokio::test]
async fn a_client_has_as_many_connections_as_it_may_and_others_have_theirs() {
    let (_origin, app) = start("connectionsPerAddress: 2").await;
    let mut clients = Vec::new();
    for ip in ["127.0.0.1", "127.0.0.1", "127.0.0.3"] {
        let mut client = Client::connect_from(ip, app.address).await;
        assert_eq!(client.get("/", "").await.status, 200);
        clients.push(client);
    }
    let mut late = app.connect().await;
    assert_eq!(late.response().await.unwrap().status, 429);
    late.closed().await;
    refused(&app, "connections_per_address", 1.0).await;
    drop(clients);
    eventually("the client has room", async || {
        let mut client = app.connect().await;
        client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
        client.response().await.is_ok_and(|answer| answer.status == 200)
    })
    .await;
}

#[tokio::test]
async fn a_changed_limit_counts_the_connections_that_are_there() {
    let (origin, app) = start("connections: 0").await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = app.connect().await;
        assert_eq!(client.get("/", "").await.status, 200);
        clients.push(client);
    }
    app.reload(&limited("connections: 4", origin.address)).await;
    assert_eq!(app.connect().await.response().await.unwrap().status, 503);
}

#[tokio::test]
async fn an_http_1_connection_ends_in_order_after_so_many_requests() {
    let (origin, app) = start("requestsPerConnection: 3").await;
    let mut client = app.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n".repeat(5)).await;
    for end in [None, None, Some("close")] {
        assert_eq!(client.response().await.unwrap().head.get("connection"), end);
    }
    client.closed().await;
    assert_eq!(origin.requests(), 3);
}

#[tokio::test]
async fn an_http_2_connection_ends_in_order_after_so_many_requests() {
    use crate::support::frames::{END_STREAM, GET, GOAWAY, HEADERS};
    let (origin, app) = start("requestsPerConnection: 3").await;
    let mut raw = Raw::connect(app.address).await;
    for stream in [1, 3, 5] {
        raw.head(stream, END_STREAM, &GET).await;
    }
    let (mut answers, mut last) = (0, None);
    while let Ok(frame) = raw.read().await {
        match frame.kind {
            HEADERS => answers += 1,
            // It is told with an open end first (RFC 9113 section 6.8), and pinged.
            GOAWAY => last = Some(frame.payload),
            6 if frame.flags == 0 => raw.send(6, 1, 0, &frame.payload).await,
            _ => {}
        }
    }
    assert_eq!((answers, origin.requests()), (3, 3));
    // Up to stream 5, without an error.
    assert_eq!(last.unwrap()[..8], [0, 0, 0, 5, 0, 0, 0, 0]);
}

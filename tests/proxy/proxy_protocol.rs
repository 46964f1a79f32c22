//! The PROXY protocol on a listener: whose header counts, and what the address in it is used for.

use crate::support::{App, Client, Origin, config_with};
use std::net::SocketAddr;

const V1: &str = "PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n";
const GET: &str = "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n";

fn behind_proxies(more: &str, route: &str, origin: SocketAddr) -> String {
    config_with(
        &format!(
            "[{{ name: web, address: '127.0.0.1:0', proxyProtocol: {{ trusted: [127.0.0.1] }}{more} }}]"
        ),
        "{ delay: 0s, timeout: 10s }",
        &[("only", &[origin])],
        &format!("  - {{ name: all, split: [{{ to: only }}]{route} }}"),
    )
}

async fn start(more: &str) -> (Origin, App) {
    let origin = Origin::named("one").await;
    let app = App::start(&behind_proxies(more, "", origin.address)).await;
    (origin, app)
}

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[0x20 | command, family][..], &length, rest].concat()
}

async fn refused(app: &App, reason: &str, count: f64) {
    let labels = [("listener", "web"), ("reason", reason)];
    app.metric_is("serin_downstream_refused_total", &labels, count).await;
}

#[tokio::test]
async fn a_trusted_peer_says_who_the_client_is() {
    let (origin, app) = start("").await;
    let four = [192, 0, 2, 8, 10, 0, 0, 1, 1, 1, 2, 2];
    let six = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[7], &[0; 16], &[1, 1, 2, 2]].concat();
    let more = [&four[..], &[0xee, 3, 0xe8], &[7; 1000]].concat();
    for (header, expected) in [
        (V1.as_bytes().to_vec(), "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::9 ::1 1 2\r\n".to_vec(), "2001:db8::9"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (v2(1, 0x11, &four), "192.0.2.8"),
        (v2(1, 0x11, &more), "192.0.2.8"),
        (v2(1, 0x21, &six), "2001:db8::7"),
        (v2(0, 0, &[]), "127.0.0.1"),
    ] {
        let mut client = app.connect().await;
        // What follows in the same segment is the first request.
        client.send([&header[..], GET.as_bytes()].concat()).await;
        assert_eq!(client.response().await.unwrap().status, 200);
        assert_eq!(origin.last().get("x-forwarded-for"), Some(expected));
        assert_eq!(client.get("/", "").await.status, 200);
        assert_eq!(origin.last().get("x-forwarded-for"), Some(expected));
    }
}

#[tokio::test]
async fn a_header_that_comes_byte_by_byte_is_read_to_its_end_and_no_further() {
    let (origin, app) = start("").await;
    let mut client = app.connect().await;
    for byte in V1.bytes() {
        client.send([byte]).await;
    }
    assert_eq!(client.get("/", "").await.status, 200);
    assert_eq!(origin.last().get("x-forwarded-for"), Some("192.0.2.7"));
}

#[tokio::test]
async fn the_client_of_the_header_is_the_peer_for_conditions_and_trust() {
    let origin = Origin::named("one").await;
    let route = ", override: { header: x-pool, trusted: [192.0.2.0/24] }, \
                 matches: [{ clientIp: { in: [192.0.2.7, 198.51.100.1] } }]";
    let trust = ", trustedProxies: [192.0.2.9]";
    let app = App::start(&behind_proxies(trust, route, origin.address)).await;
    let mut client = app.connect().await;
    client.send(V1).await;
    assert_eq!(client.get("/", "x-pool: only\r\n").await.status, 200);
    app.metric_is("serin_decisions_total", &[("reason", "override")], 1.0).await;
    let mut client = app.connect().await;
    client.send("PROXY UNKNOWN\r\n").await;
    assert_eq!(client.get("/", "").await.status, 404);
    // The client of the header is a proxy that is trusted in its turn.
    let mut client = app.connect().await;
    client.send("PROXY TCP4 192.0.2.9 10.0.0.1 1 2\r\n").await;
    assert_eq!(client.get("/", "x-forwarded-for: 198.51.100.1\r\n").await.status, 200);
}

#[tokio::test]
async fn a_trusted_peer_without_a_header_is_closed_and_counted() {
    let (origin, app) = start("").await;
    for bytes in [GET, "PROXY TCP4 1.2.3.4\r\n", "\r\n\r\nGET", "\u{16}\u{3}\u{1}"] {
        let mut client = app.connect().await;
        client.send(bytes).await;
        client.closed().await;
    }
    let mut client = app.connect().await;
    client.send(v2(1, 0x11, &[0; 4096])).await;
    client.closed().await;
    refused(&app, "proxy_protocol", 5.0).await;
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn a_header_that_does_not_come_in_time_is_not_waited_for() {
    let (_origin, app) = start(", timeouts: { tlsHandshake: 50ms }").await;
    let mut client = app.connect().await;
    client.send(&V1[..20]).await;
    client.closed().await;
    refused(&app, "proxy_protocol_timed_out", 1.0).await;
}

#[tokio::test]
async fn nobody_else_can_say_who_the_client_is() {
    let (origin, app) = start("").await;
    for header in [V1.as_bytes().to_vec(), v2(1, 0x11, &[0; 12])] {
        let mut client = Client::connect_from("127.0.0.2", app.address).await;
        client.send([&header[..], GET.as_bytes()].concat()).await;
        assert_eq!(client.response().await.unwrap().status, 400);
    }
    assert_eq!(origin.requests(), 0);
    let mut client = Client::connect_from("127.0.0.2", app.address).await;
    assert_eq!(client.get("/", "").await.status, 200);
    assert_eq!(origin.last().get("x-forwarded-for"), Some("127.0.0.2"));
}

#[tokio::test]
async fn connections_are_counted_by_the_client_of_the_header() {
    let (_origin, app) = start(", limits: { connectionsPerAddress: 1 }").await;
    let mut first = app.connect().await;
    first.send(V1).await;
    assert_eq!(first.get("/", "").await.status, 200);
    let mut second = app.connect().await;
    second.send(V1).await;
    assert_eq!(second.response().await.unwrap().status, 429);
    let mut other = app.connect().await;
    other.send("PROXY TCP4 192.0.2.99 10.0.0.1 1 2\r\n").await;
    assert_eq!(other.get("/", "").await.status, 200);
    refused(&app, "connections_per_address", 1.0).await;
}

//! Requests about whose end two readers could disagree: refused, and nothing after them is read.

use crate::support::{App, Origin, all_to};
use std::time::Duration;

const NEXT: &str = "GET /smuggled HTTP/1.1\r\nhost: a.test\r\n\r\n";

/// Requests about whose body two readers could disagree.
fn bodies() -> Vec<(u16, String)> {
    let post = |fields: &str| format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n0\r\n\r\n");
    vec![
        (400, post("transfer-encoding: xchunked\r\n")),
        (400, post("transfer-encoding: identity\r\n")),
        (400, post("transfer-encoding: identity, chunked\r\n")),
        (400, post("transfer-encoding: chunked, identity\r\n")),
        (400, post("transfer-encoding: chunked, chunked\r\n")),
        (400, post("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n")),
        (400, post("transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n")),
        (400, post("transfer-encoding: \"chunked\"\r\n")),
        (400, post("transfer-encoding: \x0bchunked\r\n")),
        (400, post("transfer-encoding: chunked;a=b\r\n")),
        (400, post("transfer-encoding: ,chunked\r\n")),
        (400, post("transfer-encoding:\r\n transfer-encoding: chunked\r\n")),
        (400, post("transfer-encoding : chunked\r\n")),
        (400, post("transfer-encoding\x00: chunked\r\n")),
        (501, post("transfer-encoding: gzip, chunked\r\n")),
        (501, post("transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n")),
        (400, "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".into()),
        (400, post("content-length: 5\r\ncontent-length: 6\r\n")),
        (400, post("content-length: 5, 5\r\n")),
        (400, post("content-length: +5\r\n")),
        (400, post("content-length: -5\r\n")),
        (400, post("content-length: 5 5\r\n")),
        (400, post("content-length: 0x5\r\n")),
        (400, post("content-length:\r\n")),
        (400, post("content-length: 99999999999999999999\r\n")),
    ]
}

/// Requests about whose target or fields two readers could disagree.
fn heads() -> Vec<(u16, String)> {
    let get = |fields: &str| format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
    let target = |target: &str| format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n");
    let hosts = |fields: &str| format!("GET / HTTP/1.1\r\n{fields}\r\n");
    vec![
        (400, get("x: a\rb\r\n")),
        (400, get("x: a\0b\r\n")),
        (400, get("x: a\x01b\r\n")),
        (400, get("x: a\r\n b\r\n")),
        (400, get("x : a\r\n")),
        (400, get(": a\r\n")),
        (400, get("x[y]: a\r\n")),
        (400, get("no colon\r\n")),
        (431, get(&format!("x: {}\r\n", "y".repeat(70_000)))),
        (431, get(&"x: y\r\n".repeat(200))),
        (414, target(&format!("/{}", "y".repeat(40_000)))),
        (400, "GET /\r\nhost: a\r\n\r\n".into()),
        (400, "GET  / HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        (400, "GET / a HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        (400, "GET / HTTP/1.2\r\nhost: a\r\n\r\n".into()),
        (400, "GET / HTTP/2.0\r\nhost: a\r\n\r\n".into()),
        (400, "GE(T / HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        (400, target("/\u{e4}")),
        (400, target("/\u{7f}")),
        (400, target("a.test:80")),
        (400, target("a.test")),
        (400, target("*")),
        (400, target("http://user@a.test/")),
        (400, hosts("")),
        (400, hosts("host: a\r\nhost: a\r\n")),
        (400, hosts("host: a, b\r\n")),
        (400, hosts("host: a/b\r\n")),
        (400, hosts("host: user@a\r\n")),
        (400, hosts("host: a b\r\n")),
        (405, "CONNECT a.test:443 HTTP/1.1\r\nhost: a.test:443\r\n\r\n".into()),
    ]
}

#[tokio::test]
async fn ambiguous_requests_are_refused_and_nothing_of_them_is_passed_on() {
    let origin = Origin::named("a").await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut wrong = Vec::new();
    for (status, request) in bodies().into_iter().chain(heads()) {
        let mut client = app.connect().await;
        client.send(format!("{request}{NEXT}")).await;
        let shown = &request[..request.len().min(90)];
        // All that comes until the connection ends: one answer, and nothing after it.
        let answer = tokio::time::timeout(Duration::from_secs(2), client.rest()).await;
        let answer = String::from_utf8(answer.unwrap_or_else(|_| b"no end".into())).unwrap();
        let refused = answer.starts_with(&format!("HTTP/1.1 {status} "));
        if !refused || answer.matches("HTTP/1.1").count() != 1 {
            wrong.push(format!("{shown:?}: {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let heads: Vec<_> = origin.heads().into_iter().map(|head| head.first).collect();
    assert!(heads.is_empty(), "{heads:?}");
}

#[tokio::test]
async fn a_refused_framing_is_counted_by_its_cause() {
    let app = App::start(&all_to(&[], "")).await;
    let mut client = app.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n").await;
    assert_eq!(
        client.response().await.unwrap().text(),
        "400 Bad Request: the end of the request's body is not clear\n"
    );
    app.metric_is("serin_errors_total", &[("cause", "bad_framing")], 1.0).await;
    app.metric_is("serin_requests_total", &[("route", ""), ("code", "400")], 1.0).await;
}

#[tokio::test]
async fn a_length_beside_chunks_does_not_count_and_ends_the_connection() {
    // Hyper removes the length before anybody sees it; what RFC 9112 section 6.3 asks for then is
    // that the chunks count and that the connection is closed.
    for fields in [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
    ] {
        let origin = Origin::named("a").await;
        let app = App::start(&all_to(&[origin.address], "")).await;
        let mut client = app.connect().await;
        let chunks = "3\r\nabc\r\n0\r\n\r\n";
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n{chunks}{NEXT}")).await;
        assert_eq!(client.response().await.unwrap().status, 200);
        client.closed().await;
        let head = origin.last();
        assert_eq!(origin.requests(), 1);
        assert_eq!(head.get("transfer-encoding"), Some("chunked"));
        assert_eq!(head.get("content-length"), None);
    }
}

#[tokio::test]
async fn what_is_unusual_but_clear_is_passed_on() {
    let origin = Origin::named("a").await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = app.connect().await;
    for request in [
        "\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding:  Chunked \r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\nExpect: 100-Continue\r\ncontent-length: 0\r\n\r\n",
        "PURGE /x?y HTTP/1.1\r\nhost: [::1]:80\r\n\r\n",
        "GET / HTTP/1.1\r\nhost:\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: caf\u{e9}\tb\r\nempty:\r\n\r\n",
    ] {
        client.send(request).await;
        assert_eq!(client.response().await.unwrap().status, 200, "{request}");
    }
}

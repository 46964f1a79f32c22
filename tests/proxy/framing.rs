//! Requests about whose end two readers could disagree: refused, and nothing after them is read.

use crate::support::{App, Origin, all_to, eventually, within};
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
        (400, post("content-length: 9223372036854775808\r\n")),
        (400, post("content-length: 5\r\ncontent-length: 5\r\n")),
        (400, post("content-length:\t5\r\n")),
        (400, post("content-length: 4\r\ntransfer-encoding: chunked\r\n")),
        (400, post("transfer-encoding: chunked\r\ncontent-length: 4\r\n")),
        (400, post("transfer-encoding: chunked\r\nContent-Length: 0\r\n")),
        (400, post("transfer-encoding:\tchunked\r\n")),
        (400, post("transfer-encoding: chunked\t\r\n")),
        (400, post("transfer-encoding:\r\n")),
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
        (400, "GET /  HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        (400, " GET / HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        (400, "GET\t/ HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        (400, "GET / HTTP/1.1 \r\nhost: a\r\n\r\n".into()),
        (400, "GET / http/1.1\r\nhost: a\r\n\r\n".into()),
        (400, "GET / HTTP/11\r\nhost: a\r\n\r\n".into()),
        (505, "GET / HTTP/1.2\r\nhost: a\r\n\r\n".into()),
        (505, "GET / HTTP/2.0\r\nhost: a\r\n\r\n".into()),
        (505, "GET / HTTP/0.9\r\nhost: a\r\n\r\n".into()),
        (400, "\r\n\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        (400, "\nGET / HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        (400, "GET / HTTP/1.1\nhost: a\n\n".into()),
        (400, "GET / HTTP/1.1\r\nhost: a\nx: y\r\n\r\n".into()),
        (400, "GET / HTTP/1.1\r\nhost: a\r\n\n".into()),
        (400, "GET / HTTP/1.1\rhost: a\r\n\r\n".into()),
        (400, "GET / HTTP/1.1\r\n host: a\r\n\r\n".into()),
        (400, "GE(T / HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        (400, target("/\u{e4}")),
        (400, target("/\u{7f}")),
        (400, target("/a#b")),
        (400, target("/a\u{b}b")),
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
async fn a_refused_framing_is_counted_by_its_reason() {
    let app = App::start(&all_to(&[], "")).await;
    let mut client = app.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n").await;
    let response = client.response().await.unwrap();
    assert_eq!(response.text(), "400 Bad Request: the end of the request's body is not clear\n");
    assert_eq!(response.head.get("connection"), Some("close"));
    assert_eq!(response.head.get("content-type"), Some("text/plain; charset=utf-8"));
    let labels = [("listener", "web"), ("reason", "bad_framing")];
    app.metric_is("serin_downstream_refused_total", &labels, 1.0).await;
    app.metric_is("serin_requests_total", &[], 0.0).await;
}

#[tokio::test]
async fn a_bad_chunk_is_the_clients_fault_and_the_origin_never_sees_an_end() {
    for wrong in [
        "+3\r\nabc\r\n",
        "0x3\r\nabc\r\n",
        " 3\r\nabc\r\n",
        "3 \r\nabc\r\n",
        "3\nabc\r\n",
        "00000000000000003\r\nabc\r\n",
        "3\r\nabcdef\r\n",
        "3\r\nabc\n",
        "3;a=\rb\r\nabc\r\n",
        "g\r\n",
        "\r\n3\r\nabc\r\n",
        "0\r\nx : y\r\n\r\n",
        "0\r\nx: y\n\r\n",
        &format!("3;{}\r\nabc\r\n", "x".repeat(300)),
    ] {
        // In one piece with the head, and after a part that was passed on already.
        for before in ["", "5\r\nhello\r\n"] {
            let (closed, mut told) = tokio::sync::mpsc::unbounded_channel();
            let origin = Origin::start(move |mut connection| {
                let closed = closed.clone();
                async move {
                    if connection.head().await.is_ok() {
                        let _ = closed.send(connection.rest().await);
                    }
                }
            })
            .await;
            let app = App::start(&all_to(&[origin.address], "")).await;
            let mut client = app.connect().await;
            let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
            client.send(format!("{head}{before}")).await;
            if !before.is_empty() {
                eventually("it is passed on", async || origin.requests() == 1).await;
            }
            client.send(format!("{wrong}0\r\n\r\n{NEXT}")).await;
            assert_eq!(client.response().await.unwrap().status, 400, "{before:?} {wrong:?}");
            client.closed().await;
            app.metric_is("serin_errors_total", &[("cause", "request_broken")], 1.0).await;
            if origin.requests() == 1 {
                let rest = String::from_utf8(within(told.recv()).await.unwrap()).unwrap();
                assert!(!rest.ends_with("0\r\n\r\n") && !rest.contains("smuggled"), "{rest:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_unusual_but_clear_is_passed_on() {
    let origin = Origin::named("a").await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = app.connect().await;
    for request in [
        "\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
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

//! HTTP/2 as RFC 9113 has it, frame by frame: what is malformed never reaches a service.

use crate::support::frames::*;
use crate::support::{App, Origin, Raw, all_to};

async fn start() -> (Origin, App) {
    let origin = Origin::named("one").await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    (origin, app)
}

/// A head without one of the fields that everybody has.
fn without(name: &str, more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let rest = GET.into_iter().filter(|(known, _)| *known != name);
    rest.chain(more.iter().copied()).collect()
}

/// Section 8: what is malformed is reset with `PROTOCOL_ERROR` or answered 400, and the connection
/// goes on.
#[tokio::test]
async fn malformed_heads_are_refused_and_never_reach_a_service() {
    let (origin, app) = start().await;
    let with = |field| without("", &[field]);
    let path = |path| without(":path", &[(":path", path)]);
    let authority = |name| without(":authority", &[(":authority", name)]);
    let cases = [
        // 8.2.1: names and values.
        with(("X-Upper", "1")),
        with(("x a", "1")),
        with(("x:a", "1")),
        with(("x\u{7f}", "1")),
        with(("", "1")),
        with(("x-a", "1\r\nx-b: 2")),
        with(("x-a", "1\n2")),
        with(("x-a", "1\r2")),
        with(("x-a", "1\u{0}2")),
        with((":path ", "/")),
        // 8.2.2: fields of the connection.
        with(("connection", "close")),
        with(("keep-alive", "5")),
        with(("proxy-connection", "close")),
        with(("transfer-encoding", "chunked")),
        with(("upgrade", "websocket")),
        with(("te", "gzip")),
        with(("te", "trailers, deflate")),
        // 8.3: pseudo-headers.
        with((":method", "POST")),
        with((":path", "/b")),
        with((":authority", "b.test")),
        with((":scheme", "https")),
        with((":status", "200")),
        with((":unknown", "1")),
        with((":protocol", "websocket")),
        without(":path", &[("x-a", "1"), (":path", "/late")]),
        without(":method", &[]),
        without(":scheme", &[]),
        without(":path", &[]),
        without(":method", &[(":method", "")]),
        without(":method", &[(":method", "G T")]),
        without(":method", &[(":method", "GET / HTTP/1.1\r\nx: y")]),
        without(":scheme", &[(":scheme", "")]),
        without(":scheme", &[(":scheme", "ht tp")]),
        path(""),
        path("a"),
        path("*"),
        path("/a b"),
        path("/a\tb"),
        path("/a\r\nx: y"),
        path("/a\u{0}"),
        path("/a\u{7f}"),
        path("/a#b"),
        path("http://b.test/"),
        authority("user@a.test"),
        authority("user:secret@a.test"),
        authority("a.test, b.test"),
        authority("a b"),
        authority("a.test/x"),
        authority("a.test:x"),
        authority(""),
        without(":authority", &[]),
        with(("host", "b.test")),
        without(":authority", &[("host", "a.test"), ("host", "b.test")]),
        // 8.1.1: lengths that can not be.
        with(("content-length", "1")),
        with(("content-length", "-1")),
        with(("content-length", "1, 1")),
    ];
    for (index, fields) in cases.iter().enumerate() {
        let mut raw = Raw::connect(app.address).await;
        raw.head(1, END_STREAM, fields).await;
        let outcome = raw.outcome(1).await;
        let refused = [Outcome::Status(400), Outcome::Reset(PROTOCOL_ERROR)];
        assert!(refused.contains(&outcome), "{index} {fields:?}: {outcome:?}");
        // Nothing of it: the next request of the connection is the first that a service sees.
        assert_eq!(raw.get(3).await, Outcome::Status(200), "{fields:?}");
        assert_eq!(origin.requests(), index + 1, "{fields:?}");
    }
}

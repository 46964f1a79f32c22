//! Requests over HTTP/2 whose bodies are not as long as they say: complete for no service.

use super::http2_conformance::{counting, start, without};
use crate::support::frames::*;
use crate::support::{App, H2Origin, Origin, Raw, all_to, pool_with};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Section 8.1.1, however the frames come: together, or when the service was long asked for what
/// had come until then.
#[tokio::test]
async fn a_body_that_is_not_as_long_as_was_said_is_never_completed() {
    let cases: [(&str, &[&[u8]]); 9] = [
        ("5", &[b"abcd"]),
        ("5", &[b"abcd", b""]),
        ("3", &[b"abcd"]),
        ("3", &[b"ab", b"cd"]),
        ("3", &[b"abc", b"d"]),
        ("0", &[b"a"]),
        ("0", &[b"", b"a"]),
        ("5", &[b""]),
        ("5", &[b"ab", b"cd"]),
    ];
    for (said, parts) in cases {
        for in_turns in [false, true] {
            let (origin, app, whole) = counting().await;
            let mut raw = Raw::connect(app.address).await;
            let fields = without(":method", &[(":method", "POST")]);
            raw.head(1, 0, &[&fields[..], &[("content-length", said)]].concat()).await;
            let mut others = 0;
            for (index, part) in parts.iter().enumerate() {
                if in_turns {
                    others += 1;
                    assert_eq!(raw.get(1 + 2 * others).await, Outcome::Status(200));
                }
                let end = if index + 1 == parts.len() { END_STREAM } else { 0 };
                raw.send(DATA, end, 1, part).await;
            }
            let outcome = raw.outcome(1).await;
            let refused = [Outcome::Status(400), Outcome::Reset(PROTOCOL_ERROR)];
            assert!(refused.contains(&outcome), "{said} {parts:?}: {outcome:?}");
            others += 1;
            assert_eq!(raw.get(1 + 2 * others).await, Outcome::Status(200));
            let heads = origin.heads();
            assert_eq!(whole.load(SeqCst), others as usize, "{said} {parts:?} {heads:?}");
        }
    }
}

/// Its end may come in a frame of its own, with trailers or without.
#[tokio::test]
async fn a_body_as_long_as_was_said_is_complete_with_the_end_of_its_stream() {
    for (said, data) in [("3", &b"abc"[..]), ("0", b""), ("00", b"")] {
        for trailers in [false, true] {
            let (origin, app, whole) = counting().await;
            let mut raw = Raw::connect(app.address).await;
            let fields = without(":method", &[(":method", "POST")]);
            raw.head(1, 0, &[&fields[..], &[("content-length", said)]].concat()).await;
            raw.send(DATA, 0, 1, data).await;
            assert_eq!(raw.get(3).await, Outcome::Status(200));
            assert_eq!(whole.load(SeqCst), 1, "{said}");
            // What is complete with its head takes nothing before its end.
            assert_eq!(origin.connections(), if data.is_empty() { 1 } else { 2 });
            if trailers {
                raw.head(1, END_STREAM, &[("x-sum", "7")]).await;
            } else {
                raw.send(DATA, END_STREAM, 1, &[]).await;
            }
            assert_eq!(raw.outcome(1).await, Outcome::Status(200));
            assert_eq!(whole.load(SeqCst), 2, "{said}");
        }
    }
}

/// A service that speaks HTTP/2 sees a reset in place of an end.
#[tokio::test]
async fn a_body_that_is_too_long_is_completed_for_no_service_of_http_2_either() {
    for (said, parts) in [("3", &[&b"abc"[..], b"d"][..]), ("0", &[b"a"])] {
        let whole = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&whole);
        let origin = H2Origin::requests(h2::server::Builder::new(), move |mut answering| {
            let counted = Arc::clone(&counted);
            async move {
                if answering.read().await.is_ok() {
                    counted.fetch_add(1, SeqCst);
                    answering.say("two").await;
                }
            }
        })
        .await;
        let app = App::start(&pool_with(origin.address, "protocol: h2", "")).await;
        let mut raw = Raw::connect(app.address).await;
        let fields = without(":method", &[(":method", "POST")]);
        raw.head(1, 0, &[&fields[..], &[("content-length", said)]].concat()).await;
        for (stream, part) in (3..).step_by(2).zip(parts) {
            assert_eq!(raw.get(stream).await, Outcome::Status(200));
            raw.send(DATA, 0, 1, part).await;
        }
        assert_eq!(raw.outcome(1).await, Outcome::Reset(PROTOCOL_ERROR));
        assert_eq!(raw.get(99).await, Outcome::Status(200));
        assert_eq!(whole.load(SeqCst), parts.len() + 1, "{said}");
    }
}

/// Services read them in other ways than the parser, or not at all.
#[tokio::test]
async fn lengths_that_are_no_number_to_others_are_refused_before_a_body_comes() {
    for said in ["", "0000000000000000000"] {
        let (origin, app) = start().await;
        let mut raw = Raw::connect(app.address).await;
        let fields = without(":method", &[(":method", "POST")]);
        raw.head(1, 0, &[&fields[..], &[("content-length", said)]].concat()).await;
        assert_eq!(raw.outcome(1).await, Outcome::Status(400), "{said:?}");
        assert_eq!(origin.requests(), 0);
    }
}

/// The end is not waited for longer than any other part of a body.
#[tokio::test]
async fn a_stream_that_says_to_be_empty_and_does_not_end_is_408() {
    let origin = Origin::named("one").await;
    let app = App::start(&all_to(&[origin.address], "timeouts: { idle: 50ms }")).await;
    let mut raw = Raw::connect(app.address).await;
    let fields = without(":method", &[(":method", "POST")]);
    raw.head(1, 0, &[&fields[..], &[("content-length", "0")]].concat()).await;
    assert_eq!(raw.outcome(1).await, Outcome::Status(408));
    assert_eq!(origin.connections(), 0);
}

/// Section 8.1.1.
#[tokio::test]
async fn a_body_that_ends_early_with_trailers_is_not_completed() {
    let (_origin, app, whole) = counting().await;
    let mut raw = Raw::connect(app.address).await;
    let fields = without(":method", &[(":method", "POST")]);
    raw.head(1, 0, &[&fields[..], &[("content-length", "5")]].concat()).await;
    raw.send(DATA, 0, 1, b"abcd").await;
    raw.head(1, END_STREAM, &[("x-sum", "7")]).await;
    let outcome = raw.outcome(1).await;
    let refused = [Outcome::Status(400), Outcome::Reset(PROTOCOL_ERROR)];
    assert!(refused.contains(&outcome), "{outcome:?}");
    assert_eq!(raw.get(3).await, Outcome::Status(200));
    assert_eq!(whole.load(SeqCst), 1);
}

//! Heads of requests, whole and in pieces.

use super::{Head, parse_request};
use crate::base::http1::decode::Decoder;
use crate::listener::limits::Limits;
use crate::listener::refusal::Refusal;
use bytes::BytesMut;
use http::{Method, Version};
use proptest::prelude::*;

fn parse(text: impl AsRef<[u8]>) -> Result<Option<Head>, Refusal> {
    parse_request(&mut BytesMut::from(text.as_ref()), &mut 0, &Limits::default())
}

fn head(text: &str) -> Head {
    parse(text).unwrap().unwrap()
}

fn with(fields: &str) -> Result<Option<Head>, Refusal> {
    parse(format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n"))
}

#[test]
fn a_request_is_read() {
    let head =
        head("\r\nPUT /a?b HTTP/1.1\r\nHost: a\r\nX: 1\r\nx:2 \r\ncontent-length: 3\r\n\r\n");
    assert_eq!((head.parts.method, head.parts.version), (Method::PUT, Version::HTTP_11));
    assert_eq!(head.parts.uri, "/a?b");
    let values: Vec<_> = head.parts.headers.get_all("x").iter().collect();
    assert_eq!(values, ["1", "2"]);
    assert_eq!(head.decoder, Decoder::length(3));
    assert!(head.keep_alive && !head.expects && !head.upgrade);
}

#[test]
fn what_comes_after_a_head_is_left() {
    let mut received = BytesMut::from("GET / HTTP/1.1\r\n\r\nGET /next");
    assert!(parse_request(&mut received, &mut 0, &Limits::default()).unwrap().is_some());
    assert_eq!(received, "GET /next");
}

#[test]
fn what_no_end_could_make_right_is_refused_at_once() {
    for wrong in
        ["GET / HTTP/1.1\n", "GET / HTTP/1.1\r\na: b\rc", "\x16\x03\x01", "\n", "\r\n\r\n\r\n"]
    {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
    for unclear in ["", "G", "\r", "\r\n", "GET / HTTP/1.1\r", "GET / HTTP/1.1\r\n\r"] {
        assert!(matches!(parse(unclear), Ok(None)), "{unclear:?}");
    }
}

#[test]
fn blanks_around_a_length_or_a_coding_are_spaces_or_refused() {
    for value in ["\tchunked", "chunked\t", " \t chunked", "chunked \t"] {
        let refused = with(&format!("transfer-encoding: {value}\r\n")).unwrap_err();
        assert_eq!(refused, Refusal::BadFraming, "{value:?}");
    }
    assert!(with("content-length:\t5\r\n").is_err());
    assert!(with("content-length: 5\t\r\n").is_err());
    assert_eq!(with("content-length:  5  \r\n").unwrap().unwrap().decoder, Decoder::length(5));
    assert_eq!(with("transfer-encoding:chunked\r\n").unwrap().unwrap().decoder, Decoder::chunked());
}

#[test]
fn each_limit_has_its_refusal() {
    let long = "y".repeat(70_000);
    let refused = |text: String| parse(text).unwrap_err();
    assert_eq!(refused(format!("GET /{long}")), Refusal::TargetTooLong);
    assert_eq!(
        refused(format!("GET /{} HTTP/1.1\r\n\r\n", &long[..40_000])),
        Refusal::TargetTooLong
    );
    assert_eq!(refused(format!("GET / HTTP/1.1\r\na: {long}")), Refusal::HeadTooLarge);
    assert_eq!(refused(format!("GET / HTTP/1.1\r\na: {long}\r\n\r\n")), Refusal::HeadTooLarge);
    assert_eq!(refused(long), Refusal::BadRequestLine);
    let many = "a: b\r\n".repeat(129);
    assert_eq!(refused(format!("GET / HTTP/1.1\r\n{many}\r\n")), Refusal::TooManyFields);
    let more = Limits { headers: 1000, ..Limits::default() };
    let text = format!("GET / HTTP/1.1\r\n{many}\r\n");
    let head = parse_request(&mut BytesMut::from(&text[..]), &mut 0, &more).unwrap().unwrap();
    assert_eq!(head.parts.headers.len(), 129);
}

#[test]
fn an_upgrade_is_offered_by_both_fields_in_http_1_1_without_a_body() {
    let offers = |text: &str| with(text).unwrap().unwrap().upgrade;
    assert!(offers("connection: keep-alive, Upgrade\r\nupgrade: websocket\r\n"));
    assert!(!offers("connection: keep-alive\r\nupgrade: websocket\r\n"));
    assert!(!offers("connection: upgrade\r\n"));
    assert!(!offers("connection: upgrade\r\nupgrade: websocket\r\ncontent-length: 1\r\n"));
    let old = head("GET / HTTP/1.0\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    assert!(!old.upgrade);
}

proptest! {
    #[test]
    fn a_head_that_comes_in_pieces_is_read_the_same(
        cuts in proptest::collection::vec(0_usize..80, 0..5),
    ) {
        let text = "\r\nPOST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nx: y\r\n\r\nabc";
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
        cuts.push(text.len());
        cuts.sort_unstable();
        let (mut received, mut searched, mut from) = (BytesMut::new(), 0, 0);
        let mut found = None;
        for cut in cuts {
            received.extend_from_slice(&text.as_bytes()[from..cut]);
            from = cut;
            if found.is_none() {
                found = parse_request(&mut received, &mut searched, &Limits::default()).unwrap();
            }
        }
        let head = found.unwrap();
        prop_assert_eq!(&head.parts.headers["x"], "y");
        prop_assert_eq!(head.decoder, Decoder::length(3));
        prop_assert_eq!(&received[..], b"abc");
    }

    #[test]
    fn arbitrary_bytes_are_answered(
        line in "[ -~\r\n\t]{0,40}",
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        whole in any::<bool>(),
    ) {
        let mut text = line.into_bytes();
        text.extend(b" HTTP/1.1\r\n");
        text.extend(bytes);
        if whole {
            text.extend(b"\r\n\r\n");
        }
        let _ = parse(&text);
    }

    #[test]
    fn what_is_read_is_plain(
        text in "(GET|PO\0ST|X) [/#a \t\r\n\u{e4}]{1,5} HTTP/1\\.[01]\r\n\
                 ([a\t :\r\n\0]{1,6}\r\n){0,3}\r\n",
    ) {
        if let Ok(Some(head)) = parse(&text) {
            let target = head.parts.uri.to_string();
            prop_assert!(target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'));
            for value in head.parts.headers.values() {
                let plain = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 127);
                prop_assert!(value.as_bytes().iter().all(plain));
            }
        }
    }
}

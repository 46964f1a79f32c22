//! Heads of requests: what is accepted follows the grammar to the letter, and has one meaning.

use super::naive;
use bytes::BytesMut;
use http::Version;
use serin::base::http1::decode::Decoder;
use serin::listener::http1::head::{Head, is_begun, parse_request};
use serin::listener::limits::Limits;

/// The first byte says how the rest is cut.
pub fn run(bytes: &[u8]) {
    let Some((seed, bytes)) = bytes.split_first() else { return };
    let limits = Limits::default();
    let whole = read(&[bytes], &limits);
    let cut = read(&naive::pieces(bytes, *seed), &limits);
    match (&whole, &cut) {
        (Some((one, length)), Some((two, other))) => {
            assert_eq!(length, other, "a head that comes in pieces ends elsewhere");
            assert_eq!(one.parts.uri, two.parts.uri);
            assert_eq!(one.parts.headers, two.parts.headers);
            let rest = |head: &Head| (head.decoder, head.keep_alive, head.expects, head.upgrade);
            assert_eq!(rest(one), rest(two), "a head that comes in pieces means something else");
        }
        (None, None) => {}
        _ => panic!("a head is read whole or in pieces, but not both"),
    }
    let Some((head, length)) = whole else { return };
    assert!(is_begun(bytes));
    let text = &bytes[..length];
    let start = text.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).expect("a head");
    assert!(text[..start].chunks(2).all(|line| line == b"\r\n"), "half an empty line before it");
    assert_eq!(Some(length - start), naive::end_of_head(&text[start..]), "the head ends elsewhere");
    check(&head, &text[start..], &limits);
}

fn check(head: &Head, text: &[u8], limits: &Limits) {
    assert!(text.len() <= limits.header_bytes);
    let lines = naive::lines(text).expect("only CR LF ends lines");
    let (first, fields) = lines.split_first().expect("a request line");
    request_line(head, first, limits);
    let fields: Vec<_> = fields.iter().map(|line| naive::field(line).expect("a field")).collect();
    assert!(fields.len() <= limits.headers);
    assert_eq!(fields.len(), head.parts.headers.len(), "a field was lost or made");
    for (name, value) in &fields {
        let name = std::str::from_utf8(name).expect("a token");
        let mut read = head.parts.headers.get_all(name).iter();
        assert!(read.any(|read| read.as_bytes() == value), "{name} differs");
    }
    let all = |name: &[u8]| -> Vec<&[u8]> {
        fields.iter().filter(|field| field.0 == name).map(|field| &*field.1).collect()
    };
    let (lengths, codings) = (all(b"content-length"), all(b"transfer-encoding"));
    let expected = match (&*lengths, &*codings) {
        ([], []) => Decoder::Done,
        ([length], []) => {
            assert!(!length.is_empty() && length.iter().all(u8::is_ascii_digit));
            Decoder::length(std::str::from_utf8(length).expect("digits").parse().expect("a length"))
        }
        ([], [coding]) => {
            assert!(coding.eq_ignore_ascii_case(b"chunked"), "another coding");
            assert_eq!(head.parts.version, Version::HTTP_11, "chunks in HTTP/1.0");
            Decoder::chunked()
        }
        _ => panic!("an ambiguous end was accepted"),
    };
    assert_eq!(head.decoder, expected, "the body ends elsewhere");
    assert_eq!(head.expects, !all(b"expect").is_empty());
    let options = all(b"connection").join(&b","[..]).to_ascii_lowercase();
    let has =
        |option: &[u8]| options.split(|byte| *byte == b',').any(|one| naive::trim(one) == option);
    let persists = head.parts.version == Version::HTTP_11 || has(b"keep-alive");
    assert_eq!(head.keep_alive, persists && !has(b"close"), "the connection's end is misread");
    let upgrade = has(b"upgrade") && !all(b"upgrade").is_empty();
    assert!(!head.upgrade || (upgrade && head.decoder == Decoder::Done), "nobody asked to upgrade");
}

fn request_line(head: &Head, line: &[u8], limits: &Limits) {
    let parts: Vec<_> = line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = *parts else {
        panic!("not three parts with one space between")
    };
    assert!(naive::is_token(method));
    assert_eq!(head.parts.method.as_str().as_bytes(), method);
    let known = if head.parts.version == Version::HTTP_11 { b"HTTP/1.1" } else { b"HTTP/1.0" };
    assert_eq!(version, known);
    assert!(!target.is_empty() && target.len() <= limits.uri_bytes);
    assert!(target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#'));
    if target.starts_with(b"/") {
        assert_eq!(head.parts.uri.to_string().as_bytes(), target, "the target differs");
    }
}

/// The head, and how long it was.
fn read(pieces: &[&[u8]], limits: &Limits) -> Option<(Head, usize)> {
    let (mut received, mut searched, mut before) = (BytesMut::new(), 0, 0);
    for piece in pieces {
        received.extend_from_slice(piece);
        before += piece.len();
        if let Some(head) = parse_request(&mut received, &mut searched, limits).ok()? {
            return Some((head, before - received.len()));
        }
    }
    None
}

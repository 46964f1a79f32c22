//! Heads of responses: what is accepted follows the grammar, and has one meaning.

use super::naive;
use bytes::BytesMut;
use http::{Method, Version};
use serin::base::http1::decode::Decoder;
use serin::base::http1::lines::{OF_CONNECTION, each_field};
use serin::upstream::http1::head::{Form, HEAD_BYTES_MAX, HEADERS_MAX, Head, take_response};

/// The first byte chooses the request's method and how the rest is cut.
pub fn run(bytes: &[u8]) {
    let Some((seed, bytes)) = bytes.split_first() else { return };
    let method = if seed & 1 == 0 { Method::GET } else { Method::HEAD };
    let whole = read(&[bytes], &method, Form::Map);
    let cut = read(&naive::pieces(bytes, seed >> 1), &method, Form::Map);
    let shown = |read: &Option<(Head, usize)>| {
        read.as_ref().map(|(head, length)| {
            (head.parts.status, head.parts.headers.clone(), head.decoder, head.keep_alive, *length)
        })
    };
    assert_eq!(shown(&whole), shown(&cut), "a head that comes in pieces is another one");
    let lines = read(&[bytes], &method, Form::Lines);
    assert_eq!(whole.is_some(), lines.is_some(), "one form is accepted, the other is not");
    let (Some((head, length)), Some((lines, _))) = (whole, lines) else { return };
    compare(&head, &lines);
    assert!(length <= HEAD_BYTES_MAX);
    assert_eq!(Some(length), naive::end_of_head(bytes), "the head ends elsewhere");
    check(&head, &bytes[..length], &method);
}

/// Both forms say the same, but for the fields of the connection.
fn compare(map: &Head, lines: &Head) {
    let shown =
        |head: &Head| (head.parts.status, head.parts.version, head.decoder, head.keep_alive);
    assert_eq!(shown(map), shown(lines), "the forms differ");
    let Some(lines) = &lines.lines else {
        assert_eq!(map.parts.headers, lines.parts.headers);
        return;
    };
    let passed = |name: &str| !OF_CONNECTION.contains(&name.as_bytes());
    let mut expected: Vec<_> = map.parts.headers.iter().collect();
    expected.retain(|(name, _)| passed(name.as_str()));
    let mut expected: Vec<_> = expected
        .iter()
        .map(|(name, value)| (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect();
    let mut found = Vec::new();
    let mut written = Vec::new();
    lines.write(&mut written);
    each_field(&written, |field| {
        found.push((field.name.to_ascii_lowercase(), field.value.to_vec()));
        Ok(())
    })
    .expect("what is passed on is well-formed");
    // A map keeps the order of the fields of one name alone.
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "the fields differ");
    assert_eq!(lines.has_date, map.parts.headers.contains_key("date"));
}

fn check(head: &Head, text: &[u8], method: &Method) {
    let lines = naive::lines(text).expect("only CR LF ends lines");
    let (status, fields) = lines.split_first().expect("a status line");
    let minor = match head.parts.version {
        Version::HTTP_10 => b'0',
        Version::HTTP_11 => b'1',
        other => panic!("{other:?}"),
    };
    let start = format!("HTTP/1.{} {}", minor as char, head.parts.status.as_str());
    assert!(status.starts_with(start.as_bytes()), "the status line differs");
    assert!(naive::is_value(status), "control characters in the status line");
    let fields: Vec<_> = fields.iter().map(|line| naive::field(line).expect("a field")).collect();
    assert!(fields.len() <= HEADERS_MAX);
    assert_eq!(fields.len(), head.parts.headers.len(), "a field was lost or made");
    for (name, value) in &fields {
        let name = std::str::from_utf8(name).expect("a token");
        let read = head.parts.headers.get_all(name);
        assert!(read.iter().any(|read| read.as_bytes() == value), "{name} differs");
    }
    let all = |name: &[u8]| -> Vec<&Vec<u8>> {
        fields.iter().filter(|field| field.0 == name).map(|field| &field.1).collect()
    };
    let (lengths, codings) = (all(b"content-length"), all(b"transfer-encoding"));
    assert!(lengths.len() + codings.len() <= 1, "an ambiguous end was accepted");
    let status = head.parts.status.as_u16();
    let bodiless = method == Method::HEAD || matches!(status, 100..=199 | 204 | 304);
    let expected = match (bodiless, lengths.first(), codings.first()) {
        (true, ..) => Decoder::Done,
        (false, Some(length), _) => {
            assert!(length.iter().all(u8::is_ascii_digit));
            let length = std::str::from_utf8(length).expect("digits").parse().expect("a length");
            Decoder::length(length)
        }
        (false, None, Some(coding)) => {
            assert!(coding.eq_ignore_ascii_case(b"chunked"));
            Decoder::chunked()
        }
        (false, None, None) => Decoder::UntilClose,
    };
    assert_eq!(head.decoder, expected, "the body ends elsewhere");
    assert!(!head.keep_alive || head.decoder != Decoder::UntilClose);
}

/// The head, and how long it was.
fn read(pieces: &[&[u8]], method: &Method, form: Form) -> Option<(Head, usize)> {
    let (mut received, mut searched, mut before) = (BytesMut::new(), 0, 0);
    for piece in pieces {
        received.extend_from_slice(piece);
        before += piece.len();
        if let Some(head) = take_response(&mut received, &mut searched, method, form).ok()? {
            return Some((head, before - received.len()));
        }
    }
    None
}

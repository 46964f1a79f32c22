//! Cookies: what a condition sees is what a second reader sees.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use serin::predicate::{cookie, cookies};

/// Each line is a `Cookie` field; what can not be a field's value is left out.
pub fn run(bytes: &[u8]) {
    let fields =
        bytes.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok());
    let headers: HeaderMap = fields.map(|value| (COOKIE, value)).collect();
    let read: Vec<_> = cookies(&headers).collect();
    let plain = plain(&headers);
    assert_eq!(read.len(), plain.len(), "{read:?} {plain:?}");
    for ((name, value), (plain_name, plain_value)) in read.iter().zip(&plain) {
        assert_eq!((*name, *value), (&**plain_name, &**plain_value));
    }
    for (name, _) in &read {
        let Ok(text) = std::str::from_utf8(name) else { continue };
        let first = plain.iter().find(|(other, _)| other == name).map(|(_, value)| &**value);
        assert_eq!(cookie(&headers, text), first);
    }
}

/// One byte after the other: a name up to `=`, a value up to `;`.
fn plain(headers: &HeaderMap) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    for field in headers.get_all(COOKIE) {
        let (mut name, mut value, mut in_value) = (Vec::new(), Vec::new(), false);
        for byte in field.as_bytes().iter().chain(b";") {
            match (byte, in_value) {
                (b';', _) => {
                    let (key, mut text) = (trimmed(&name), trimmed(&value));
                    if text.len() > 1 && text.first() == Some(&b'"') && text.last() == Some(&b'"') {
                        text = text[1..text.len() - 1].to_vec();
                    }
                    if in_value && !key.is_empty() {
                        found.push((key, text));
                    }
                    (name, value, in_value) = (Vec::new(), Vec::new(), false);
                }
                (b'=', false) => in_value = true,
                (_, false) => name.push(*byte),
                (_, true) => value.push(*byte),
            }
        }
    }
    found
}

fn trimmed(text: &[u8]) -> Vec<u8> {
    // No other blank can stand in a field.
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = text.iter().position(|byte| !blank(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    text[start..end].to_vec()
}

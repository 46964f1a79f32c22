//! Header and trailer fields as both sides write and read them, and those that frame messages.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Version};
use memchr::memmem::Finder;
use std::sync::LazyLock;

/// Finds the end of a head; made once, because making it costs more than a search.
static HEAD_END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));

/// Where the empty line after a head, or after trailers, begins with the line end before it.
pub fn head_end(bytes: &[u8]) -> Option<usize> {
    HEAD_END.find(bytes)
}

/// What is wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub &'static str);

/// Writes the last chunk with its trailers; those that would change the message are left out.
pub fn write_last_chunk(trailers: Option<HeaderMap>) -> Bytes {
    let Some(mut trailers) = trailers else { return Bytes::from_static(b"0\r\n\r\n") };
    remove_forbidden(&mut trailers);
    let mut tail = BytesMut::with_capacity(256);
    tail.put_slice(b"0\r\n");
    write_fields(&mut tail, &trailers);
    tail.freeze()
}

/// Writes fields, and the empty line after them.
pub fn write_fields(head: &mut BytesMut, headers: &HeaderMap) {
    for (name, value) in headers {
        head.put_slice(name.as_str().as_bytes());
        head.put_slice(b": ");
        head.put_slice(value.as_bytes());
        head.put_slice(b"\r\n");
    }
    head.put_slice(b"\r\n");
}

/// Removes trailer fields that frame, route or authorise (RFC 9110 section 6.5.1).
pub fn remove_forbidden(trailers: &mut HeaderMap) {
    use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, COOKIE};
    use http::header::{HOST, SET_COOKIE, TE, TRAILER};
    for name in [
        AUTHORIZATION,
        CONNECTION,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_RANGE,
        CONTENT_TYPE,
        COOKIE,
        HOST,
        SET_COOKIE,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
    ] {
        trailers.remove(name);
    }
}

/// Writes a number in decimal; `write!` costs ten times as much.
pub fn put_decimal(to: &mut Vec<u8>, number: u64) {
    /// The digits of the largest number.
    const DIGITS_MAX: usize = 20;
    let (mut digits, mut rest) = ([b'0'; DIGITS_MAX], number);
    let mut length = 0;
    for digit in digits.iter_mut().rev() {
        // Less than 10.
        *digit += u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
        length += 1;
        if rest == 0 {
            break;
        }
    }
    to.extend_from_slice(digits.get(DIGITS_MAX - length..).unwrap_or_default());
}

/// Whether a line of the head ends in a line feed alone.
pub fn has_bare_line_feed(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head)
        .any(|at| at.checked_sub(1).and_then(|before| head.get(before)) != Some(&b'\r'))
}

/// Whether this is `chunked`, once: the one coding that everybody reads alike.
pub fn is_chunked(coding: &HeaderValue) -> bool {
    coding.as_bytes().eq_ignore_ascii_case(b"chunked")
}

/// The length of a body; digits alone (RFC 9110 section 8.6).
pub fn content_length(value: &HeaderValue) -> Result<u64, Invalid> {
    let digits = value.as_bytes();
    let wrong = Invalid("the length is malformed");
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(wrong);
    }
    value.to_str().ok().and_then(|text| text.parse().ok()).ok_or(wrong)
}

/// Whether the connection persists (RFC 9112 section 9.3).
pub fn keeps_alive(headers: &HeaderMap, version: Version) -> bool {
    let mut close = false;
    let mut keep = false;
    for value in headers.get_all(CONNECTION) {
        for option in value.as_bytes().split(|byte| *byte == b',') {
            close |= option.trim_ascii().eq_ignore_ascii_case(b"close");
            keep |= option.trim_ascii().eq_ignore_ascii_case(b"keep-alive");
        }
    }
    !close && (version == Version::HTTP_11 || keep)
}

#[cfg(test)]
mod tests {
    use super::{put_decimal, write_last_chunk};
    use http::{HeaderMap, HeaderValue};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_number_is_written_as_everybody_writes_it(number: u64, shift in 0..64_u32) {
            let mut written = b"n".to_vec();
            put_decimal(&mut written, number >> shift);
            prop_assert_eq!(String::from_utf8(written).unwrap(), format!("n{}", number >> shift));
        }
    }

    #[test]
    fn trailers_can_not_change_the_message() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("1"));
        trailers.insert("content-length", HeaderValue::from_static("5"));
        assert_eq!(write_last_chunk(Some(trailers)), &b"0\r\nx-sum: 1\r\n\r\n"[..]);
    }
}

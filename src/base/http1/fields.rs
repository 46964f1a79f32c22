//! Header and trailer fields as both sides write and read them, and those that frame messages.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Version};

/// Where the empty line after a head, or after trailers, begins with the line end before it.
pub fn head_end(bytes: &[u8]) -> Option<usize> {
    // From line to line: to search for all four bytes at once costs more in heads of a few lines.
    let is_end = |at: &usize| bytes.get(*at..).is_some_and(|rest| rest.starts_with(b"\r\n\r\n"));
    memchr::memchr_iter(b'\n', bytes).filter_map(|end| end.checked_sub(1)).find(is_end)
}

/// What is wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub &'static str);

/// Writes the last chunk with its trailers; those that would change the message are left out.
pub fn write_last_chunk(trailers: Option<HeaderMap>) -> Bytes {
    let Some(mut trailers) = trailers else { return Bytes::from_static(b"0\r\n\r\n") };
    remove_forbidden(&mut trailers);
    let mut tail = b"0\r\n".to_vec();
    write_fields(&mut tail, &trailers);
    tail.into()
}

/// Writes fields, and the empty line after them.
pub fn write_fields(head: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        write_field(head, name.as_str().as_bytes(), value.as_bytes());
    }
    head.extend_from_slice(b"\r\n");
}

/// What a field takes beside its name and value, as it is written here.
pub const FIELD_BYTES: usize = ": \r\n".len();

/// Writes one field.
pub fn write_field(to: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    // Once for all parts.
    to.reserve(name.len() + value.len() + FIELD_BYTES);
    to.extend_from_slice(name);
    to.extend_from_slice(b": ");
    to.extend_from_slice(value);
    to.extend_from_slice(b"\r\n");
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

/// Whether a line of the head ends in a line feed alone. Without a way out in between, so that the
/// compiler can look at many bytes at a time.
pub fn has_bare_line_feed(head: &[u8]) -> bool {
    let after = head.get(1..).unwrap_or_default();
    let pairs = head.iter().zip(after);
    let bare =
        pairs.fold(false, |bare, pair| bare | matches!(pair, (before, b'\n') if *before != b'\r'));
    bare || head.first() == Some(&b'\n')
}

/// Whether this is `chunked`, once: the one coding that everybody reads alike.
pub fn is_chunked(coding: &[u8]) -> bool {
    coding.eq_ignore_ascii_case(b"chunked")
}

/// The length of a body; digits alone (RFC 9110 section 8.6), and no more than any body has.
pub fn content_length(digits: &[u8]) -> Result<u64, Invalid> {
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Invalid("the length is malformed"));
    }
    Ok(digits.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
}

/// What `Connection` says (RFC 9110 section 7.6.1).
#[derive(Debug, Clone, Copy, Default)]
pub struct ConnectionOptions {
    close: bool,
    keep_alive: bool,
    /// Whether it names anything else: fields, or an upgrade.
    pub others: bool,
}

impl ConnectionOptions {
    /// Takes a field in.
    pub fn note(&mut self, options: &[u8]) {
        if options == b"keep-alive" {
            // What most say need not be taken apart.
            self.keep_alive = true;
            return;
        }
        for option in options.split(|byte| *byte == b',') {
            let option = option.trim_ascii();
            if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else {
                self.others |= !option.is_empty();
            }
        }
    }

    /// Whether the connection persists (RFC 9112 section 9.3).
    pub fn persists(self, version: Version) -> bool {
        !self.close && (version == Version::HTTP_11 || self.keep_alive)
    }
}

#[cfg(test)]
mod tests {
    use super::{head_end, put_decimal, write_last_chunk};
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

    proptest! {
        #[test]
        fn a_head_ends_with_the_first_empty_line(text in "[\r\na]{0,24}") {
            prop_assert_eq!(head_end(text.as_bytes()), text.find("\r\n\r\n"));
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

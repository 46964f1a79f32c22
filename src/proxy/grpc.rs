//! What gRPC over HTTP/2 says in header fields (PROTOCOL-HTTP2.md): its statuses and its deadlines.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::time::Duration;

/// How a call ended, for gRPC.
pub const STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// The same in words.
pub const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// How long a call may take.
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// The content type of calls and of their answers.
pub const CONTENT: HeaderValue = HeaderValue::from_static("application/grpc");

/// The statuses that Serin answers with (`google.rpc.Code`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The client broke the call off.
    Cancelled = 1,
    /// The time for the call is over.
    DeadlineExceeded = 4,
    /// The call asks for more than is allowed.
    ResourceExhausted = 8,
    /// Nobody serves this call.
    Unimplemented = 12,
    /// The call is not well-formed.
    Internal = 13,
    /// The service can not be had at the moment.
    Unavailable = 14,
}

impl Status {
    /// As the value of `grpc-status`.
    pub const fn value(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Cancelled => "1",
            Self::DeadlineExceeded => "4",
            Self::ResourceExhausted => "8",
            Self::Unimplemented => "12",
            Self::Internal => "13",
            Self::Unavailable => "14",
        })
    }
}

/// Whether a request is a gRPC call: a POST of `application/grpc`, alone or with `+` and how
/// messages are written. gRPC-Web is something else, with statuses of its own inside the body.
pub fn is_call(method: &Method, headers: &HeaderMap) -> bool {
    const KIND: &[u8] = b"application/grpc";
    *method == Method::POST
        && headers.get(CONTENT_TYPE).is_some_and(|value| {
            let value = value.as_bytes();
            value.get(..KIND.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(KIND))
                && matches!(value.get(KIND.len()), None | Some(b'+' | b';' | b' '))
        })
}

/// How long the client gives the call. A field that is malformed or there twice says nothing, as
/// with other proxies: the service gets it too, and can refuse it.
pub fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let mut fields = headers.get_all(TIMEOUT).iter();
    let field = fields.next().filter(|_| fields.next().is_none())?;
    parse_timeout(field.as_bytes())
}

/// The number of a call's status, if its response has one; what is no known number is 2, UNKNOWN.
pub fn status(fields: &HeaderMap) -> Option<u16> {
    const UNKNOWN: u16 = 2;
    const LAST: u16 = 16;
    let status = fields.get(STATUS)?.to_str().ok().and_then(|status| status.parse().ok());
    Some(status.filter(|status| *status <= LAST).unwrap_or(UNKNOWN))
}

/// Whether the head of a response says that the call has failed, and that this is the service's
/// fault: `UNKNOWN`, `DEADLINE_EXCEEDED`, `INTERNAL`, `UNAVAILABLE` or `DATA_LOSS`.
pub fn is_server_error(fields: &HeaderMap) -> bool {
    matches!(status(fields), Some(2 | 4 | 13 | 14 | 15))
}

/// At most eight digits and a unit.
fn parse_timeout(field: &[u8]) -> Option<Duration> {
    const DIGITS_MAX: usize = 8;
    let (unit, digits) = field.split_last()?;
    if digits.is_empty() || digits.len() > DIGITS_MAX {
        return None;
    }
    let mut value = 0_u64;
    for digit in digits {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        value = value * 10 + u64::from(digit);
    }
    Some(match unit {
        b'H' => Duration::from_secs(value * 3600),
        b'M' => Duration::from_secs(value * 60),
        b'S' => Duration::from_secs(value),
        b'm' => Duration::from_millis(value),
        b'u' => Duration::from_micros(value),
        b'n' => Duration::from_nanos(value),
        _ => return None,
    })
}

/// A text as the value of `grpc-message`: what is not visible ASCII or a blank, and `%`, is
/// percent-encoded.
pub fn message(text: &str) -> HeaderValue {
    const HEX: [u8; 16] = *b"0123456789ABCDEF";
    let digit = |value: u8| HEX.get(usize::from(value)).copied().unwrap_or(b'0');
    let mut encoded = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | 0..=0x1f | 0x7f.. => {
                encoded.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
            }
            _ => encoded.push(byte),
        }
    }
    HeaderValue::from_bytes(&encoded).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::{Status, is_call, is_server_error, message, parse_timeout};
    use http::header::CONTENT_TYPE;
    use http::{HeaderMap, Method};
    use proptest::prelude::*;
    use std::time::Duration;

    fn call(content_type: &str) -> bool {
        let headers = [(CONTENT_TYPE, content_type.parse().unwrap())].into_iter().collect();
        is_call(&Method::POST, &headers)
    }

    #[test]
    fn calls_are_known_by_their_content_type() {
        for call in ["application/grpc", "application/grpc+proto", "Application/gRPC; a=b"] {
            assert!(self::call(call), "{call}");
        }
        for other in ["application/grpc-web", "application/grpc-web+proto", "text/plain", ""] {
            assert!(!call(other), "{other}");
        }
        assert!(!is_call(&Method::POST, &HeaderMap::new()));
    }

    #[test]
    fn timeouts_have_a_unit_and_at_most_eight_digits() {
        for (field, milliseconds) in
            [("1H", 3_600_000), ("2M", 120_000), ("3S", 3_000), ("00000004m", 4), ("5000u", 5)]
        {
            let expected = Some(Duration::from_millis(milliseconds));
            assert_eq!(parse_timeout(field.as_bytes()), expected, "{field}");
        }
        assert_eq!(parse_timeout(b"7n"), Some(Duration::from_nanos(7)));
        for field in ["", "S", "1", "1s", "123456789S", "-1S", "+1S", "1.5S", " 1S", "1S ", "١S"] {
            assert_eq!(parse_timeout(field.as_bytes()), None, "{field}");
        }
    }

    #[test]
    fn a_status_is_sent_as_its_number() {
        for status in [
            Status::Cancelled,
            Status::DeadlineExceeded,
            Status::ResourceExhausted,
            Status::Unimplemented,
            Status::Internal,
            Status::Unavailable,
        ] {
            assert_eq!(status.value(), (status as u8).to_string());
        }
    }

    #[test]
    fn a_failure_of_the_service_is_told_from_one_of_the_call() {
        let failed = |status: &str| {
            let fields = [(super::STATUS, status.parse().unwrap())].into_iter().collect();
            is_server_error(&fields)
        };
        let numbers: Vec<u8> = (0..=16).filter(|number| failed(&number.to_string())).collect();
        assert_eq!(numbers, [2, 4, 13, 14, 15]);
        assert!(failed("x") && !is_server_error(&HeaderMap::new()));
    }

    fn decoded(text: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = text;
        while let [first, tail @ ..] = rest {
            rest = tail;
            if *first == b'%' {
                let (hex, tail) = tail.split_at(2);
                bytes.push(u8::from_str_radix(std::str::from_utf8(hex).unwrap(), 16).unwrap());
                rest = tail;
            } else {
                bytes.push(*first);
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn any_timeout_is_read_or_ignored(field in proptest::collection::vec(any::<u8>(), 0..12)) {
            let _ = parse_timeout(&field);
        }

        #[test]
        fn what_is_within_the_grammar_is_read(value in 0_u64..100_000_000, unit in "[HMSmun]") {
            let field = format!("{value}{unit}");
            prop_assert!(parse_timeout(field.as_bytes()).is_some());
        }

        #[test]
        fn any_text_comes_out_of_a_message_as_it_was(text in "\\PC*|.*") {
            let value = message(&text);
            prop_assert!(value.as_bytes().iter().all(|byte| (0x20..0x7f).contains(byte)));
            prop_assert_eq!(decoded(value.as_bytes()), text.as_bytes());
        }
    }
}

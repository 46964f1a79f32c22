//! Where a message ends: one that two readers could understand differently is refused.

use super::error::Error;
use http::header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Version, request};

/// The longest path and query, in bytes; 414 beyond (RFC 9110 section 4.1 asks for 8,000 at least).
const TARGET_BYTES_MAX: usize = 32 * 1024;

/// Checks what a client asks, beyond what its parser refuses already.
pub fn check_request(parts: &request::Parts) -> Result<(), Error> {
    if parts.method == Method::CONNECT {
        return Err(Error::Connect);
    }
    if parts.uri.path_and_query().is_some_and(|target| target.as_str().len() > TARGET_BYTES_MAX) {
        return Err(Error::TargetTooLong);
    }
    if !is_target(parts) {
        return Err(Error::BadTarget);
    }
    // RFC 9110 section 10.1.1.
    let expects = parts.headers.get_all(EXPECT);
    if expects.iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(Error::Expectation);
    }
    if parts.version == Version::HTTP_2 && is_malformed(&parts.headers) {
        return Err(Error::BadFraming);
    }
    match coding(&parts.headers) {
        Coding::None | Coding::Chunked => Ok(()),
        Coding::Known => Err(Error::UnknownCoding),
        Coding::Other => Err(Error::BadFraming),
    }
}

/// Whether the target is a path, an absolute URI or, for OPTIONS, the asterisk, in visible ASCII
/// (RFC 9112 section 3.2).
fn is_target(parts: &request::Parts) -> bool {
    let Some(target) = parts.uri.path_and_query() else { return false };
    let target = target.as_str();
    let form = target.starts_with('/') || (target == "*" && parts.method == Method::OPTIONS);
    form && target.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether a request by HTTP/2 gives its length twice, or a value that begins or ends with a blank
/// (RFC 9113 section 8.2.1); its parser lets both pass.
fn is_malformed(headers: &HeaderMap) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let padded = |value: &[u8]| is_blank(value.first()) || is_blank(value.last());
    headers.get_all(CONTENT_LENGTH).iter().nth(1).is_some()
        || headers.values().any(|value| padded(value.as_bytes()))
}

/// The transfer codings of a message.
enum Coding {
    None,
    /// `chunked`, once: the one way that everybody reads alike.
    Chunked,
    /// Others that RFC 9112 section 7 knows, and `chunked` at the end.
    Known,
    /// Anything else.
    Other,
}

fn coding(headers: &HeaderMap) -> Coding {
    let mut fields = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(first) = fields.next() else { return Coding::None };
    if fields.next().is_none() && first.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Coding::Chunked;
    }
    let fields = headers.get_all(TRANSFER_ENCODING).iter();
    let mut codings = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b','));
    let last = codings.next_back().unwrap_or_default().trim_ascii();
    let known = |coding: &[u8]| {
        [&b"gzip"[..], b"x-gzip", b"deflate", b"compress", b"x-compress"]
            .iter()
            .any(|known| coding.trim_ascii().eq_ignore_ascii_case(known))
    };
    let chunked = last.eq_ignore_ascii_case(b"chunked");
    if chunked && codings.all(known) { Coding::Known } else { Coding::Other }
}

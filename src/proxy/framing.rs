//! What a client asks: a request that two readers could understand differently is refused.

use super::downstream::Forwarding;
use super::error::Error;
use crate::base::http1::fields::content_length;
use http::header::{CONTENT_LENGTH, COOKIE, EXPECT};
use http::{HeaderMap, Method, Version, request};

/// Checks what a client asks, beyond what its parser refuses already; the framing is the parser's.
pub fn check_request(parts: &request::Parts, limits: &Forwarding) -> Result<(), Error> {
    let (uri_bytes, fields_max) = (limits.uri_bytes, limits.fields_max);
    if parts.version == Version::HTTP_2
        && fields_max
            .is_some_and(|most| parts.headers.len() > most && fields(&parts.headers) > most)
    {
        return Err(Error::TooManyFields);
    }
    if parts.method == Method::CONNECT {
        return Err(Error::Connect);
    }
    if parts.uri.path_and_query().is_some_and(|target| target.as_str().len() > uri_bytes) {
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
        return Err(Error::BadField);
    }
    Ok(())
}

/// The number of fields; those that a cookie was split into are one (RFC 9113 section 8.2.3).
fn fields(headers: &HeaderMap) -> usize {
    let crumbs = headers.get_all(COOKIE).iter().count();
    headers.len() - crumbs.saturating_sub(1)
}

/// Whether the target is a path, an absolute URI or, for OPTIONS, the asterisk, in visible ASCII
/// (RFC 9112 section 3.2).
fn is_target(parts: &request::Parts) -> bool {
    // RFC 9113 section 8.3.1: there is always one.
    if parts.uri.scheme_str() == Some("") {
        return false;
    }
    let Some(target) = parts.uri.path_and_query() else { return false };
    let target = target.as_str();
    let form = target.starts_with('/') || (target == "*" && parts.method == Method::OPTIONS);
    form && target.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether a request by HTTP/2 gives its length twice, or one that services may not understand, or
/// a value that begins or ends with a blank (RFC 9113 section 8.2.1); its parser lets all pass.
fn is_malformed(headers: &HeaderMap) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let padded = |value: &[u8]| is_blank(value.first()) || is_blank(value.last());
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    lengths.next().is_some_and(|length| content_length(length.as_bytes()).is_err())
        || lengths.next().is_some()
        || headers.values().any(|value| padded(value.as_bytes()))
}

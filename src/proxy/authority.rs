//! The host that a request is for, out of its target and its `Host` field.

use super::error::Error;
use http::header::HOST;
use http::{HeaderMap, Uri, Version};
use std::borrow::Cow;
use std::net::Ipv6Addr;
use std::str::from_utf8;

/// The longest host that is looked at (RFC 1035 section 2.3.4, with room for a port).
const HOST_BYTES_MAX: usize = 260;

/// The host in lower case, without port and trailing dot, an IPv6 address in brackets.
///
/// The authority of an absolute-form target wins over `Host` (RFC 9112 section 3.2.2); in HTTP/2
/// the two must agree (RFC 9113 section 8.3.1). Several `Host` fields, or one that is no host and
/// port, are an error (RFC 9112 section 3.2), and so is none, except in HTTP/1.0 and beside the
/// `:authority` of HTTP/2.
pub fn host<'a>(
    uri: &'a Uri,
    headers: &'a HeaderMap,
    version: Version,
) -> Result<Cow<'a, str>, Error> {
    let mut fields = headers.get_all(HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(Error::BadHost);
    }
    let field = match field {
        Some(value) => Some(from_utf8(value.as_bytes()).map_err(|_| Error::BadHost)?),
        None if version == Version::HTTP_11 => return Err(Error::BadHost),
        None if version != Version::HTTP_10 && uri.authority().is_none() => {
            return Err(Error::BadHost);
        }
        None => None,
    };
    let host = field.map(without_port).transpose()?;
    let Some(authority) = uri.authority() else { return Ok(host.unwrap_or_default()) };
    let authority = without_port(authority.as_str())?;
    match host {
        Some(host) if version == Version::HTTP_2 && host != authority => Err(Error::BadHost),
        _ => Ok(authority),
    }
}

/// The host of an authority; the rest must be a port.
fn without_port(authority: &str) -> Result<Cow<'_, str>, Error> {
    if authority.len() > HOST_BYTES_MAX {
        return Err(Error::BadHost);
    }
    if let Some(host) = plain(authority) {
        return Ok(Cow::Borrowed(host));
    }
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or(Error::BadHost)?;
        let address: Ipv6Addr = address.parse().map_err(|_| Error::BadHost)?;
        (Cow::Owned(format!("[{address}]")), port)
    } else {
        let end = authority.find(':').unwrap_or(authority.len());
        let (host, port) = authority.split_at(end);
        (name(host)?, port)
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    let valid = port.is_empty() || port.len() > digits.len();
    if !valid || digits.len() > 5 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Error::BadHost);
    }
    Ok(host)
}

/// The host of an authority of the usual kind: letters in lower case, digits, dots inside and
/// hyphens, and maybe a port. Nothing of others, which want a closer look.
fn plain(authority: &str) -> Option<&str> {
    let is_plain = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
    let bytes = authority.as_bytes();
    let end = bytes.iter().position(|byte| !is_plain(byte)).unwrap_or(bytes.len());
    let (host, port) = authority.split_at_checked(end)?;
    let port = port.as_bytes();
    let valid = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    (valid && !host.ends_with('.')).then_some(host)
}

/// A name or IPv4 address in lower case, without a trailing dot.
fn name(host: &str) -> Result<Cow<'_, str>, Error> {
    let mut upper = false;
    for byte in host.bytes() {
        upper |= byte.is_ascii_uppercase();
        if !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')) {
            return Err(Error::BadHost);
        }
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    Ok(if upper { Cow::Owned(host.to_ascii_lowercase()) } else { Cow::Borrowed(host) })
}

#[cfg(test)]
mod tests {
    use super::{host, plain, without_port};
    use http::header::HOST;
    use http::{HeaderMap, HeaderValue, Version};
    use proptest::prelude::*;

    fn of(uri: &str, fields: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(HOST, HeaderValue::from_str(field).unwrap());
        }
        host(&uri.parse().unwrap(), &headers, Version::HTTP_11)
            .ok()
            .map(std::borrow::Cow::into_owned)
    }

    #[test]
    fn port_case_and_trailing_dot_are_ignored() {
        assert_eq!(of("/", &["Shop.Example.COM:8080"]).as_deref(), Some("shop.example.com"));
        assert_eq!(of("/", &["shop.example.com."]).as_deref(), Some("shop.example.com"));
        assert_eq!(of("/", &["[2001:DB8::1]:80"]).as_deref(), Some("[2001:db8::1]"));
        assert_eq!(of("/", &["10.0.0.1"]).as_deref(), Some("10.0.0.1"));
        assert_eq!(of("/", &[""]).as_deref(), Some(""));
    }

    #[test]
    fn the_target_wins_over_the_field() {
        assert_eq!(of("http://a.example/", &["b.example"]).as_deref(), Some("a.example"));
        assert_eq!(of("http://a.example/", &[]), None);
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for field in ["a b", "a,b", "a/b", "user@a", "a:b", "a:123456", "[::1", "[x]", "a:80:80"] {
            assert_eq!(of("/", &[field]), None, "{field}");
        }
        assert_eq!(of("/", &[]), None);
        assert_eq!(of("/", &["a", "a"]), None);
        assert_eq!(of("/", &["a".repeat(300).as_str()]), None);
    }

    proptest! {
        #[test]
        fn the_short_way_leads_where_the_long_one_does(authority in "[a-cA.:0-9\\[_-]{0,12}") {
            if let Some(short) = plain(&authority) {
                // Upper case takes the long way, and is lowered again.
                let upper = format!("A{authority}");
                let long = without_port(&upper).unwrap();
                prop_assert_eq!(long, format!("a{short}"));
            }
        }

        #[test]
        fn any_field_is_answered(field in "[ -~]{0,40}") {
            if let Some(host) = of("/", &[&field]) {
                prop_assert!(!host.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b' '));
            }
        }
    }
}

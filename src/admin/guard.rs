//! Who may ask: no page of another origin, and on loopback nobody who came by a foreign name.

use crate::proxy::authority;
use http::header::{HOST, HeaderMap, HeaderName, ORIGIN};
use http::uri::Authority;
use http::{Request, StatusCode};
use std::net::{Ipv4Addr, Ipv6Addr};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a request is refused.
type Refusal = (StatusCode, &'static str);

/// Refuses what a browser sends on behalf of a foreign page: another origin's requests, and on a
/// loopback listener those by a name that somebody else made to mean this machine (DNS rebinding).
pub(super) fn check<B>(request: &Request<B>, loopback: bool) -> Result<(), Refusal> {
    const BAD: Refusal = (StatusCode::BAD_REQUEST, "the Host field is missing, repeated or wrong");
    let (uri, headers) = (request.uri(), request.headers());
    let field = only(headers, &HOST).and_then(|field| field.to_str().ok()).ok_or(BAD)?;
    let host = authority::host(uri, headers, http::Version::HTTP_11).map_err(|_| BAD)?;
    if loopback && !is_loopback(&host) {
        let text = "this listener is on loopback: ask for localhost or a loopback address";
        return Err((StatusCode::FORBIDDEN, text));
    }
    let authority = uri.authority().map_or(field, Authority::as_str);
    if headers.contains_key(ORIGIN) {
        let origin = only(headers, &ORIGIN).and_then(|origin| origin.to_str().ok());
        if !origin.is_some_and(|origin| is_same(origin, authority)) {
            return Err((StatusCode::FORBIDDEN, "pages of another origin may not ask"));
        }
    }
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
    if sites.any(|site| site.as_bytes().eq_ignore_ascii_case(b"cross-site")) {
        let text = "pages of another site may not ask, nor link here: enter the address yourself";
        return Err((StatusCode::FORBIDDEN, text));
    }
    Ok(())
}

/// The value of a field that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a http::HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Whether a host, as [`authority::host`] gives it, can only mean this machine.
fn is_loopback(host: &str) -> bool {
    let v6 = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    host == "localhost"
        || host.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback())
        || v6.and_then(|v6| v6.parse().ok()).is_some_and(|v6: Ipv6Addr| v6.is_loopback())
}

/// Whether an origin (RFC 6454 section 6.2) is of this authority, ports included.
fn is_same(origin: &str, authority: &str) -> bool {
    let Some((scheme, origin)) = origin.split_once("://") else { return false };
    let default = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    let parts = |authority: &str| {
        let authority: Authority = authority.parse().ok()?;
        let port = authority.port_u16().unwrap_or(default);
        Some((authority.host().to_ascii_lowercase(), port))
    };
    parts(origin).is_some_and(|origin| Some(origin) == parts(authority))
}

#[cfg(test)]
mod tests {
    use super::check;
    use http::Request;

    fn status(loopback: bool, fields: &[(&str, &str)]) -> u16 {
        let mut request = Request::get("/livez");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let checked = check(&request.body(()).unwrap(), loopback);
        checked.map_or_else(|(status, _)| status.as_u16(), |()| 200)
    }

    #[test]
    fn on_loopback_only_names_of_loopback_are_answered() {
        for host in ["localhost", "LOCALHOST:9901", "127.0.0.1:1", "127.8.8.8", "[::1]:9901"] {
            assert_eq!(status(true, &[("host", host)]), 200, "{host}");
        }
        for host in ["evil.example", "10.0.0.1", "localhost.evil.example", "[::2]", "0.0.0.0", ""] {
            assert_eq!(status(true, &[("host", host)]), 403, "{host}");
            assert_eq!(status(false, &[("host", host)]), 200, "{host}");
        }
    }

    #[test]
    fn a_host_that_is_missing_repeated_or_wrong_is_refused() {
        for loopback in [true, false] {
            assert_eq!(status(loopback, &[]), 400);
            assert_eq!(status(loopback, &[("host", "localhost"), ("host", "localhost")]), 400);
            assert_eq!(status(loopback, &[("host", "user@localhost")]), 400);
            assert_eq!(status(loopback, &[("host", "localhost:x")]), 400);
        }
    }

    #[test]
    fn the_target_of_an_absolute_request_is_what_counts() {
        let request = Request::get("http://evil.example/").header("host", "localhost");
        assert_eq!(check(&request.body(()).unwrap(), true).unwrap_err().0, 403);
        let request = Request::get("http://evil.example/").header("host", "localhost:1");
        let request = request.header("origin", "http://localhost:1");
        assert_eq!(check(&request.body(()).unwrap(), false).unwrap_err().0, 403);
    }

    #[test]
    fn a_page_of_another_origin_is_refused() {
        let with = |host, origin| status(false, &[("host", host), ("origin", origin)]);
        assert_eq!(with("admin.example:9901", "http://admin.example:9901"), 200);
        assert_eq!(with("admin.example", "https://Admin.Example"), 200);
        assert_eq!(with("admin.example:443", "https://admin.example"), 200);
        assert_eq!(with("[::1]:9901", "http://[::1]:9901"), 200);
        for origin in [
            "null",
            "",
            "http://evil.example",
            "http://admin.example",
            "http://admin.example:3000",
            "http://admin.example:9901.evil.example",
            "chrome-extension://admin.example:9901",
        ] {
            assert_eq!(with("admin.example:9901", origin), 403, "{origin}");
        }
        let same = ("origin", "http://localhost:1");
        assert_eq!(status(true, &[("host", "localhost:1"), same, same]), 403);
    }

    #[test]
    fn a_request_of_another_site_is_refused() {
        for (site, expected) in
            [("cross-site", 403), ("same-origin", 200), ("same-site", 200), ("none", 200)]
        {
            assert_eq!(status(true, &[("host", "localhost"), ("sec-fetch-site", site)]), expected);
        }
    }
}

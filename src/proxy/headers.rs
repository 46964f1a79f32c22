//! What Serin changes in the head of a message on its way through.

use super::downstream::{Downstream, FORWARDED_FOR};
use super::upgrade::Upgrade;
use crate::upstream::http1::head::Added;
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HOST, PROXY_AUTHENTICATE, TE, TRANSFER_ENCODING, UPGRADE,
    VIA,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, Version};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// What comes with an upgrade to HTTP/2 (RFC 7540 section 3.2.1), which is neither followed nor
/// passed on.
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static HTTP: HeaderValue = HeaderValue::from_static("http");
static HTTPS: HeaderValue = HeaderValue::from_static("https");
const CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
/// The fields that Serin may have to remove, those that concern only one connection first, then
/// what is said of the client or of what it asked.
static REMOVABLE: [HeaderName; 17] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    PROXY_AUTHENTICATE,
    HTTP2_SETTINGS,
    FORWARDED,
    HeaderName::from_static("x-real-ip"),
    CLIENT_CERT,
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-host"),
];

/// Those of [`REMOVABLE`] that a head has, a bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found(u32);

impl Found {
    const CONNECTION: Self = Self(1);
    const TE: Self = Self(1 << 3);
    const HOP_BY_HOP: Self = Self(0xff);
    const SAID_BY_OTHERS: Self = Self(0x1_ff00);

    /// Looks through the head once, which costs less than asking for each.
    fn of(headers: &HeaderMap) -> Self {
        let bits = headers.keys().map(|name| Self::bit(name.as_str()));
        Self(bits.fold(0, |found, bit| found | bit))
    }

    /// The bit of a name, if it is one of them.
    fn bit(name: &str) -> u32 {
        // In text, because comparing lengths first settles nearly all.
        let place = match name {
            "connection" => 0,
            "keep-alive" => 1,
            "proxy-connection" => 2,
            "te" => 3,
            "transfer-encoding" => 4,
            "upgrade" => 5,
            "proxy-authenticate" => 6,
            "http2-settings" => 7,
            "forwarded" => 8,
            "x-real-ip" => 9,
            "x-forwarded-client-cert" => 10,
            "x-forwarded-port" => 11,
            "x-forwarded-prefix" => 12,
            "x-forwarded-server" => 13,
            "x-forwarded-for" => 14,
            "x-forwarded-proto" => 15,
            "x-forwarded-host" => 16,
            _ => return 0,
        };
        1 << place
    }

    fn has(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    /// Removes those that are there and among `others`.
    fn remove(self, others: Self, headers: &mut HeaderMap) {
        if !self.has(others) {
            return;
        }
        for (place, name) in REMOVABLE.iter().enumerate() {
            if self.0 & others.0 & 1 << place != 0 {
                headers.remove(name);
            }
        }
    }
}

/// Makes the client's request the one that goes to the service, with an upgrade that is let
/// through. What is returned is to be said beside the fields of its map.
pub fn prepare_request<'d>(
    parts: &mut Parts,
    downstream: &'d Downstream,
    refused_override: Option<&HeaderName>,
    upgrade: Option<&Upgrade>,
) -> Forwarded<'d> {
    let mut host = parts.headers.get(HOST).cloned();
    if let Some(authority) = parts.uri.authority() {
        // The target's authority wins, and the service gets the origin form (RFC 9112 3.2.2).
        if let Ok(authority) = HeaderValue::from_str(authority.as_str()) {
            parts.headers.insert(HOST, authority.clone());
            host = Some(authority);
        }
        let path = parts.uri.path_and_query().cloned();
        parts.uri = Uri::from(path.unwrap_or(PathAndQuery::from_static("/")));
    }
    let host = host.unwrap_or_else(|| {
        // HTTP/1.0 may do without; HTTP/1.1, which the service gets, may not (RFC 9112 3.2).
        let none = HeaderValue::from_static("");
        parts.headers.insert(HOST, none.clone());
        none
    });
    if parts.version == Version::HTTP_2 {
        join_cookies(&mut parts.headers);
    }
    parts.version = Version::HTTP_11;
    let found = Found::of(&parts.headers);
    let trailers = found.has(Found::TE) && wants_trailers(&parts.headers);
    remove_hop_by_hop(&mut parts.headers, found);
    if trailers {
        parts.headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(upgrade) = upgrade {
        upgrade.ask(&mut parts.headers);
    }
    if let Some(name) = refused_override {
        parts.headers.remove(name);
    }
    if let Some(via) = &downstream.forwarding.via {
        parts.headers.append(VIA, via.clone());
    }
    forward(&mut parts.headers, host, downstream, found)
}

/// Makes the service's response the one that goes to the client, with the upgrade that it takes up.
pub fn prepare_response(
    parts: &mut http::response::Parts,
    downstream: &Downstream,
    upgrade: Option<&Upgrade>,
) {
    parts.version = Version::HTTP_11;
    let found = Found::of(&parts.headers);
    remove_hop_by_hop(&mut parts.headers, found);
    if parts.status == StatusCode::NO_CONTENT {
        // RFC 9110 section 8.6 forbids it, and clients of HTTP/2 refuse it.
        parts.headers.remove(CONTENT_LENGTH);
    }
    if let Some(upgrade) = upgrade {
        upgrade.take_up(parts);
    }
    if let Some(via) = &downstream.forwarding.via {
        parts.headers.append(VIA, via.clone());
    }
}

/// HTTP/2 may split the cookies into several fields; HTTP/1.1 has one (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    if let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) {
        let mut joined = first.as_bytes().to_vec();
        for crumb in std::iter::once(second).chain(crumbs) {
            joined.extend_from_slice(b"; ");
            joined.extend_from_slice(crumb.as_bytes());
        }
        if let Ok(joined) = HeaderValue::from_bytes(&joined) {
            headers.insert(COOKIE, joined);
        }
    }
}

/// Who the client is, by what protocol and for which host it asks: nothing if the map says it.
///
/// Most clients are not trusted, and what they say themselves is removed. Then these fields need
/// not be in the map, where each would cost more than all of them do as text.
#[derive(Debug)]
pub struct Forwarded<'d>(Option<(&'d HeaderValue, &'static HeaderValue, HeaderValue)>);

impl Forwarded<'_> {
    /// The fields that say it.
    pub fn fields(&self) -> Option<[Added<'_>; 3]> {
        let (client, proto, host) = self.0.as_ref()?;
        Some([(&FORWARDED_FOR, *client), (&FORWARDED_PROTO, *proto), (&FORWARDED_HOST, host)])
    }
}

/// Says who the client is, and what host it asks for; what an untrusted peer says of that is
/// replaced.
fn forward<'d>(
    headers: &mut HeaderMap,
    host: HeaderValue,
    downstream: &'d Downstream,
    found: Found,
) -> Forwarded<'d> {
    let proto = if downstream.secure { &HTTPS } else { &HTTP };
    if !downstream.trusted {
        found.remove(Found::SAID_BY_OTHERS, headers);
        if let Some(certificate) = downstream.certificate_field() {
            headers.insert(CLIENT_CERT, certificate.clone());
        }
        return Forwarded(Some((&downstream.peer_text, proto, host)));
    }
    if let Some(certificate) = downstream.certificate_field() {
        headers.insert(CLIENT_CERT, certificate.clone());
    }
    let chain = chain(headers, downstream);
    headers.insert(&FORWARDED_FOR, chain);
    if !headers.contains_key(&FORWARDED_PROTO) {
        headers.insert(&FORWARDED_PROTO, proto.clone());
    }
    if !headers.contains_key(&FORWARDED_HOST) {
        headers.insert(&FORWARDED_HOST, host);
    }
    Forwarded(None)
}

/// The `X-Forwarded-For` that a trusted peer sent, and the peer.
fn chain(headers: &HeaderMap, downstream: &Downstream) -> HeaderValue {
    let mut chain = Vec::new();
    for value in headers.get_all(&FORWARDED_FOR) {
        chain.extend_from_slice(value.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(downstream.peer_text.as_bytes());
    HeaderValue::from_bytes(&chain).unwrap_or_else(|_| downstream.peer_text.clone())
}

/// Removes what concerns only the connection it came on, and what `Connection` names
/// (RFC 9110 section 7.6.1).
fn remove_hop_by_hop(headers: &mut HeaderMap, found: Found) {
    if found.has(Found::CONNECTION) {
        for name in named_by_connection(headers) {
            headers.remove(name);
        }
    }
    found.remove(Found::HOP_BY_HOP, headers);
}

/// The fields that `Connection` names, other than the usual options, which name none.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter(|value| !matches!(value.as_bytes(), b"keep-alive" | b"close"))
        // One that is no name must not keep the others: a value may have any bytes above ASCII.
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        // Without its host a request would mean something else.
        .filter(|name| name != HOST)
        .collect()
}

/// Whether the client takes trailers: the one `TE` value that is passed on.
fn wants_trailers(headers: &HeaderMap) -> bool {
    headers
        .get_all(TE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case("trailers"))
}

#[cfg(test)]
mod tests {
    use super::{Found, REMOVABLE, prepare_request, remove_hop_by_hop};
    use crate::base::http1::lines::OF_CONNECTION;
    use crate::proxy::downstream::{Downstream, Forwarding};
    use http::{HeaderMap, HeaderName, HeaderValue, Request};
    use std::sync::Arc;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn sent(uri: &str, fields: &[(&'static str, &str)], trusted: &str) -> (String, Vec<String>) {
        let mut parts = Request::get(uri).body(()).unwrap().into_parts().0;
        parts.headers = headers(fields);
        let forwarding = Forwarding {
            trusted_proxies: serde_json::from_str(trusted).unwrap(),
            ..Forwarding::default()
        };
        let peer = "10.0.0.9:555".parse().unwrap();
        let downstream = Downstream::new(peer, Arc::new(forwarding));
        let refused = HeaderName::from_static("x-pool");
        let forwarded = prepare_request(&mut parts, &downstream, Some(&refused), None);
        let added = forwarded.fields();
        let added = added.as_slice().as_flattened().iter().copied();
        let mut fields: Vec<_> = parts
            .headers
            .iter()
            .chain(added)
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        fields.sort_unstable();
        (parts.uri.to_string(), fields)
    }

    #[test]
    fn each_removable_name_has_the_bit_of_its_place() {
        for (place, name) in REMOVABLE.iter().enumerate() {
            assert_eq!(Found::bit(name.as_str()), 1 << place, "{name}");
        }
        let te = REMOVABLE.iter().position(|name| name == http::header::TE).unwrap();
        assert_eq!(Found::TE, Found(1 << te));
        assert_eq!(REMOVABLE[0], http::header::CONNECTION);
        assert_eq!(Found::HOP_BY_HOP.0 | Found::SAID_BY_OTHERS.0, (1 << REMOVABLE.len()) - 1);
        let forwarded = REMOVABLE.iter().position(|name| name == "forwarded").unwrap();
        assert_eq!(Found::SAID_BY_OTHERS.0.trailing_zeros() as usize, forwarded);
    }

    #[test]
    fn lines_leave_out_the_same_fields() {
        let framing: &[u8] = b"content-length";
        let left_out = OF_CONNECTION.iter().filter(|name| **name != framing);
        let found =
            left_out.fold(0, |found, name| found | Found::bit(std::str::from_utf8(name).unwrap()));
        assert_eq!(Found(found), Found::HOP_BY_HOP);
        assert_eq!(OF_CONNECTION.len(), Found::HOP_BY_HOP.0.count_ones() as usize + 1);
    }

    #[test]
    fn hop_by_hop_fields_and_those_that_connection_names_are_removed() {
        let mut fields = headers(&[
            ("connection", "close, X-Secret , host"),
            ("x-secret", "1"),
            ("host", "a"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABk"),
            ("transfer-encoding", "chunked"),
            ("x-kept", "1"),
        ]);
        let found = Found::of(&fields);
        remove_hop_by_hop(&mut fields, found);
        let mut left: Vec<_> = fields.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["host", "x-kept"]);
    }

    #[test]
    fn what_is_no_name_does_not_hide_those_that_connection_names() {
        let mut fields = headers(&[("x-secret", "1")]);
        fields.append("connection", HeaderValue::from_bytes(b"\xe4, x-secret").unwrap());
        let found = Found::of(&fields);
        remove_hop_by_hop(&mut fields, found);
        assert!(fields.is_empty(), "{fields:?}");
    }

    #[test]
    fn an_untrusted_peer_can_not_say_who_the_client_is() {
        let (_, fields) = sent(
            "/",
            &[
                ("host", "shop"),
                ("x-forwarded-for", "6.6.6.6"),
                ("x-forwarded-proto", "https"),
                ("x-real-ip", "6.6.6.6"),
                ("forwarded", "for=6.6.6.6"),
                ("connection", "x-forwarded-for"),
                ("x-pool", "canary"),
            ],
            "[]",
        );
        assert_eq!(
            fields,
            [
                "host: shop",
                "x-forwarded-for: 10.0.0.9",
                "x-forwarded-host: shop",
                "x-forwarded-proto: http"
            ]
        );
    }

    #[test]
    fn a_trusted_peer_is_appended_to_what_it_says() {
        let (_, fields) = sent(
            "/",
            &[("host", "in"), ("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https")],
            r#"["10.0.0.0/8"]"#,
        );
        assert_eq!(
            fields,
            [
                "host: in",
                "x-forwarded-for: 1.2.3.4, 10.0.0.9",
                "x-forwarded-host: in",
                "x-forwarded-proto: https"
            ]
        );
    }

    #[test]
    fn an_absolute_target_becomes_the_origin_form_and_the_host() {
        let (uri, fields) = sent("http://a.example:81/x?y", &[("host", "b")], "[]");
        assert_eq!(uri, "/x?y");
        assert!(fields.contains(&"host: a.example:81".to_owned()));
    }
}

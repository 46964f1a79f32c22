//! Requests as they go on: nothing that a client says of itself or of its connection survives.

use super::naive;
use http::header::{HOST, TE, VIA};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, Version};
use serin::proxy::authority;
use serin::proxy::downstream::{Downstream, Forwarding};
use serin::proxy::framing::check_request;
use serin::proxy::headers::prepare_request;
use serin::proxy::upgrade::Upgrade;
use serin::upstream::http1::head::write_request;
use std::sync::Arc;

const PEER: &str = "192.0.2.7";
/// The header of an override that this peer may not use.
static OVERRIDE: HeaderName = HeaderName::from_static("x-pool");
/// What never goes on.
const HOP_BY_HOP: [&str; 7] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
    "proxy-authenticate",
    "http2-settings",
];
/// What only a trusted peer may say.
const IDENTITY: [&str; 6] = [
    "forwarded",
    "x-real-ip",
    "x-forwarded-client-cert",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-server",
];
/// What we set ourselves, so that `Connection` can not take it away.
const OURS: [&str; 6] =
    ["host", "te", "via", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"];

/// A byte of switches, and the head of a request.
pub fn run(bytes: &[u8]) {
    let Some((switches, text)) = bytes.split_first() else { return };
    let switch = |bit: u8| switches >> bit & 1 == 1;
    let version = match (switch(0), switch(1)) {
        (true, _) => Version::HTTP_2,
        (false, true) => Version::HTTP_10,
        (false, false) => Version::HTTP_11,
    };
    let Some(mut parts) = parsed(text, version) else { return };
    let (trusted, via) = (switch(2), switch(3));
    let downstream = downstream(trusted, via, switch(4));
    downstream.client(&parts.headers);
    if check_request(&parts, &downstream.forwarding).is_err() {
        return;
    }
    let Ok(host) = authority::host(&parts.uri, &parts.headers, version) else { return };
    let host = host.into_owned();
    let before = parts.headers.clone();
    let refused = switch(5).then_some(&OVERRIDE);
    let upgrade = switch(6).then(|| Upgrade::read(&mut parts, || 7)).flatten();
    let forwarded = prepare_request(&mut parts, &downstream, refused, upgrade.as_deref());
    let added = forwarded.fields();
    let added = added.as_slice().as_flattened();
    let written = write_request(&parts, added);
    for (name, value) in added.iter().copied() {
        assert!(!parts.headers.contains_key(name), "{name} is said twice");
        parts.headers.insert(name, value.clone());
    }
    target_and_host(&parts, &host);
    for name in HOP_BY_HOP {
        // An upgrade that is let through is asked for anew, once.
        let asked = upgrade.is_some() && (name == "connection" || name == "upgrade");
        let values = parts.headers.get_all(name).iter().count();
        assert_eq!(values, usize::from(asked), "{name} goes on");
    }
    let te: Vec<_> = parts.headers.get_all(TE).iter().collect();
    assert!(te.is_empty() || te == ["trailers"], "{te:?}");
    assert!(
        refused.is_none() || !parts.headers.contains_key(&OVERRIDE),
        "a refused override goes on"
    );
    identity(&parts.headers, &downstream);
    let entries = |headers: &HeaderMap| headers.get_all(VIA).iter().count();
    assert!(entries(&parts.headers) <= entries(&before) + usize::from(via));
    connection_names(&before, &parts.headers);
    same_on_the_wire(&written, &parts);
}

fn downstream(trusted: bool, via: bool, secure: bool) -> Downstream {
    let networks = if trusted { "[\"192.0.2.0/24\"]" } else { "[]" };
    let forwarding = Forwarding {
        trusted_proxies: serde_json::from_str(networks).expect("networks"),
        via: via.then(|| HeaderValue::from_static("1.1 edge")),
        uri_bytes: 8192,
        ..Forwarding::default()
    };
    let peer = (PEER.parse::<std::net::IpAddr>().expect("an address"), 5555).into();
    let downstream = Downstream::new(peer, Arc::new(forwarding));
    if secure { downstream.secured(None) } else { downstream }
}

fn parsed(text: &[u8], version: Version) -> Option<Parts> {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut fields);
    if !matches!(request.parse(text), Ok(httparse::Status::Complete(_))) {
        return None;
    }
    let mut parts = Request::new(()).into_parts().0;
    parts.method = request.method?.parse().ok()?;
    parts.uri = request.path?.parse::<Uri>().ok()?;
    parts.version = version;
    for field in &*request.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        parts.headers.append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    Some(parts)
}

fn target_and_host(parts: &Parts, host: &str) {
    assert_eq!(parts.version, Version::HTTP_11);
    assert!(parts.uri.authority().is_none() && parts.uri.scheme().is_none(), "{}", parts.uri);
    let target = parts.uri.path_and_query().expect("a target").as_str();
    assert!(target.starts_with('/') || target == "*", "{target}");
    assert!(target.bytes().all(|byte| byte.is_ascii_graphic()), "{target}");
    assert_eq!(parts.headers.get_all(HOST).iter().count(), 1, "one host");
    let after = authority::host(&parts.uri, &parts.headers, Version::HTTP_11);
    assert_eq!(after.as_deref(), Ok(host), "routed by one host, sent to another");
}

fn identity(headers: &HeaderMap, downstream: &Downstream) {
    let all = |name: &str| headers.get_all(name).iter().cloned().collect::<Vec<_>>();
    let addresses = all("x-forwarded-for");
    assert_eq!(addresses.len(), 1, "one chain of addresses");
    assert!(addresses[0].as_bytes().ends_with(PEER.as_bytes()), "the chain ends with the peer");
    if downstream.trusted {
        return;
    }
    assert_eq!(addresses, [PEER]);
    assert_eq!(all("x-forwarded-proto"), [if downstream.secure { "https" } else { "http" }]);
    assert_eq!(all("x-forwarded-host"), all("host"));
    for name in IDENTITY {
        assert!(!headers.contains_key(name), "{name} of an untrusted peer goes on");
    }
}

/// What `Connection` names is gone, and nothing else is.
fn connection_names(before: &HeaderMap, after: &HeaderMap) {
    let mut named = Vec::new();
    for value in before.get_all("connection") {
        // A value with bytes that are no text names nothing.
        let Ok(value) = value.to_str() else { continue };
        named.extend(value.split(',').map(|name| name.trim().to_ascii_lowercase()));
    }
    for name in before.keys().map(HeaderName::as_str) {
        let special = OURS.contains(&name)
            || HOP_BY_HOP.contains(&name)
            || IDENTITY.contains(&name)
            || name == OVERRIDE.as_str()
            || name == "cookie";
        if special {
            continue;
        }
        if named.iter().any(|named| named == name) {
            assert!(!after.contains_key(name), "{name} is named by Connection and goes on");
        } else {
            let all =
                |headers: &HeaderMap| headers.get_all(name).iter().cloned().collect::<Vec<_>>();
            assert_eq!(all(before), all(after), "{name} is changed");
        }
    }
}

/// What is written is one head, and says the same.
fn same_on_the_wire(written: &[u8], parts: &Parts) {
    assert_eq!(naive::end_of_head(written), Some(written.len()), "the head ends early");
    let lines = naive::lines(written).expect("only CR LF ends lines");
    let (first, fields) = lines.split_first().expect("a request line");
    assert_eq!(first.split(|byte| *byte == b' ').count(), 3, "a line of three parts");
    assert_eq!(fields.len(), parts.headers.len());
    assert!(fields.iter().all(|line| naive::field(line).is_some()));
}

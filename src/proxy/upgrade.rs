//! Which requests ask for another protocol, and which of those are let through (RFC 9110 section
//! 7.8); what is asked for over HTTP/2 (RFC 8441) is asked for as in HTTP/1.1.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64ct::{Base64, Encoding};
use h2::ext::Protocol;
use http::header::{CONNECTION, CONTENT_LENGTH, UPGRADE};
use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use http::{request, response};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use std::borrow::Cow;

const WEBSOCKET: &str = "websocket";
/// What is no protocol beside HTTP but HTTP itself, or TLS below it: by the first part of the name.
const NEVER: [&[u8]; 4] = [b"h2c", b"h2", b"http", b"tls"];
/// What a WebSocket's key is hashed with (RFC 6455 section 1.3).
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// How many bytes the base64 of a key has, and of a SHA-1.
const BASE64_BYTES_MAX: usize = 28;

/// A protocol that clients may change to, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct ProtocolName(String);

impl ProtocolName {
    /// What a route allows that says nothing of it.
    pub fn default_list() -> Vec<Self> {
        vec![Self(WEBSOCKET.to_owned())]
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ProtocolName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let shown = name.escape_debug();
        if !is_protocol(name.as_bytes()) {
            return Err(format!("`{shown}` is no protocol: it is a name like `websocket`"));
        }
        if is_never(name.as_bytes()) {
            return Err(format!("`{shown}` can not be upgraded to through a proxy"));
        }
        Ok(Self(name.to_ascii_lowercase()))
    }
}

impl JsonSchema for ProtocolName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Protocol".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let token = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
        json_schema!({ "type": "string", "pattern": format!("^{token}(/{token})?$") })
    }
}

impl serde::Serialize for ProtocolName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// What a client asks for.
#[derive(Debug)]
pub struct Upgrade {
    protocol: HeaderValue,
    /// The key of a WebSocket's handshake.
    key: Option<HeaderValue>,
    /// Whether it is asked for by an extended CONNECT (RFC 8441 section 4): the key is ours then.
    extended: bool,
}

impl Upgrade {
    /// What is asked for by a request whose client is ready for it. An extended CONNECT becomes the
    /// request of HTTP/1.1 that means the same; a WebSocket's key is made of `random` then.
    pub fn read(parts: &mut request::Parts, random: impl FnMut() -> u64) -> Option<Box<Self>> {
        if let Some(protocol) = parts.extensions.remove::<Protocol>() {
            return extend(parts, &protocol, random).map(Box::new);
        }
        let mut values = parts.headers.get_all(UPGRADE).iter();
        let protocol = values.next().filter(|_| values.next().is_none())?;
        let name = protocol.as_bytes();
        let asks = parts.version == Version::HTTP_11
            && names_upgrade(&parts.headers)
            && is_protocol(name)
            && !is_never(name)
            // RFC 6455 section 4.1.
            && (parts.method == Method::GET || !name.eq_ignore_ascii_case(WEBSOCKET.as_bytes()));
        asks.then(|| {
            let key = parts.headers.get(SEC_WEBSOCKET_KEY).cloned();
            Box::new(Self { protocol: protocol.clone(), key, extended: false })
        })
    }

    /// Whether one of these is what is asked for, in any version that it may name.
    pub fn is_one_of(&self, allowed: &[ProtocolName]) -> bool {
        let asked = self.protocol.as_bytes();
        let name = asked.split(|byte| *byte == b'/').next().unwrap_or_default();
        allowed.iter().any(|ProtocolName(allowed)| {
            let allowed = allowed.as_bytes();
            allowed.eq_ignore_ascii_case(asked) || allowed.eq_ignore_ascii_case(name)
        })
    }

    /// Whether it is asked for by an extended CONNECT, which has no meaning without it.
    pub fn is_extended(&self) -> bool {
        self.extended
    }

    /// Asks the service: what concerns only one connection was removed before.
    pub fn ask(&self, headers: &mut HeaderMap) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, self.protocol.clone());
    }

    /// Whether an answer with 101 takes up what was asked for.
    pub fn is_taken_up(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(UPGRADE).iter();
        let (Some(protocol), None) = (values.next(), values.next()) else { return false };
        // In HTTP/1.1 the client looks at this (RFC 6455 section 4.1).
        let key = self.key.as_ref().filter(|_| self.extended);
        protocol.as_bytes().eq_ignore_ascii_case(self.protocol.as_bytes())
            && key.is_none_or(|key| {
                let accepted = headers.get(SEC_WEBSOCKET_ACCEPT);
                accepted.is_some_and(|accepted| accepted.as_bytes() == accept(key).as_bytes())
            })
    }

    /// Makes the success that takes up an extended CONNECT the answer of HTTP/1.1 that means the
    /// same: it was asked of the service in that way.
    pub fn translate(&self, parts: &mut response::Parts) {
        if !parts.status.is_success() {
            return;
        }
        parts.status = StatusCode::SWITCHING_PROTOCOLS;
        parts.headers.insert(UPGRADE, self.protocol.clone());
        if let Some(key) = &self.key {
            parts.headers.insert(SEC_WEBSOCKET_ACCEPT, accept(key));
        }
    }

    /// Tells the client that it is taken up: what concerns only one connection was removed before.
    pub fn take_up(&self, parts: &mut response::Parts) {
        // RFC 9110 section 8.6: there is no body that this could be the length of.
        parts.headers.remove(CONTENT_LENGTH);
        if self.is_extended() {
            // RFC 8441 section 5.
            parts.status = StatusCode::OK;
            parts.headers.remove(SEC_WEBSOCKET_ACCEPT);
        } else {
            self.ask(&mut parts.headers);
        }
    }
}

fn extend(
    parts: &mut request::Parts,
    protocol: &Protocol,
    mut random: impl FnMut() -> u64,
) -> Option<Upgrade> {
    let name = protocol.as_str();
    if parts.method != Method::CONNECT || !is_protocol(name.as_bytes()) {
        return None;
    }
    let protocol = HeaderValue::from_str(name).ok()?;
    parts.method = Method::GET;
    let key = name.eq_ignore_ascii_case(WEBSOCKET).then(|| {
        let random = (u128::from(random()) << 64) | u128::from(random());
        base64(&random.to_be_bytes())
    });
    if let Some(key) = &key {
        parts.headers.insert(SEC_WEBSOCKET_KEY, key.clone());
    }
    Some(Upgrade { protocol, key, extended: true })
}

/// What a server answers to this key (RFC 6455 section 4.2.2).
fn accept(key: &HeaderValue) -> HeaderValue {
    let hashed = [key.as_bytes(), KEY_SUFFIX].concat();
    base64(digest(&SHA1_FOR_LEGACY_USE_ONLY, &hashed).as_ref())
}

fn base64(bytes: &[u8]) -> HeaderValue {
    let mut space = [0; BASE64_BYTES_MAX];
    let text = Base64::encode(bytes, &mut space).unwrap_or_default();
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// Whether `Connection` says that `Upgrade` is meant for us.
fn names_upgrade(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CONNECTION).iter();
    let mut options = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
}

/// A name and perhaps a version, both of them tokens (RFC 9110 section 7.8).
fn is_protocol(text: &[u8]) -> bool {
    let mut parts = text.splitn(2, |byte| *byte == b'/');
    parts.all(|part| !part.is_empty() && part.iter().copied().all(is_token))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_never(protocol: &[u8]) -> bool {
    let name = protocol.split(|byte| *byte == b'/').next().unwrap_or_default();
    NEVER.iter().any(|never| never.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::{ProtocolName, Upgrade, accept};
    use h2::ext::Protocol;
    use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version, request, response};
    use proptest::prelude::*;

    fn parts(method: Method, fields: &[(&'static str, &str)]) -> request::Parts {
        let mut parts = Request::new(()).into_parts().0;
        parts.method = method;
        for (name, value) in fields {
            parts.headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        parts
    }

    fn asked(mut parts: request::Parts) -> Option<String> {
        let upgrade = Upgrade::read(&mut parts, || 7)?;
        Some(upgrade.protocol.to_str().unwrap().to_owned())
    }

    #[test]
    fn an_upgrade_is_asked_for_by_one_protocol_and_the_connection_option() {
        let get = |fields: &[(&'static str, &str)]| asked(parts(Method::GET, fields));
        let plain = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
        assert_eq!(get(&plain).as_deref(), Some("WebSocket"));
        assert_eq!(
            get(&[("connection", "upgrade"), ("upgrade", "irc/6.9")]).as_deref(),
            Some("irc/6.9")
        );
        for wrong in [
            &[("upgrade", "websocket")][..],
            &[("connection", "upgrade")],
            &[("connection", "close"), ("upgrade", "websocket")],
            &[("connection", "upgrades"), ("upgrade", "websocket")],
            &[("connection", "upgrade"), ("upgrade", "websocket, irc/6.9")],
            &[("connection", "upgrade"), ("upgrade", "websocket"), ("upgrade", "irc/6.9")],
            &[("connection", "upgrade"), ("upgrade", "")],
            &[("connection", "upgrade"), ("upgrade", "a/")],
            &[("connection", "upgrade"), ("upgrade", "a/b/c")],
            &[("connection", "upgrade, http2-settings"), ("upgrade", "H2C")],
            &[("connection", "upgrade"), ("upgrade", "TLS/1.0")],
            &[("connection", "upgrade"), ("upgrade", "HTTP/2.0")],
        ] {
            assert_eq!(get(wrong), None, "{wrong:?}");
        }
        assert_eq!(asked(parts(Method::POST, &plain)), None);
        let mut old = parts(Method::GET, &plain);
        old.version = Version::HTTP_10;
        assert_eq!(asked(old), None);
    }

    #[test]
    fn only_what_is_listed_is_allowed() {
        let upgrade = |protocol: &str| {
            let fields = [("connection", "upgrade"), ("upgrade", protocol)];
            Upgrade::read(&mut parts(Method::GET, &fields), || 7).unwrap()
        };
        let names = |names: &[&str]| -> Vec<ProtocolName> {
            names.iter().map(|name| ProtocolName::try_from((*name).to_owned()).unwrap()).collect()
        };
        assert!(upgrade("WebSocket").is_one_of(&ProtocolName::default_list()));
        assert!(!upgrade("irc").is_one_of(&ProtocolName::default_list()));
        assert!(upgrade("IRC/6.9").is_one_of(&names(&["websocket", "irc"])));
        assert!(upgrade("IRC/6.9").is_one_of(&names(&["irc/6.9"])));
        assert!(!upgrade("IRC/6.8").is_one_of(&names(&["irc/6.9"])));
        assert!(!upgrade("websocket").is_one_of(&[]));
        for wrong in ["", "*/", "a b", "h2c", "TLS/1.3", "http/3", "é"] {
            assert!(ProtocolName::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_accepted_key_is_the_one_of_the_rfc() {
        // RFC 6455 section 1.3.
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept(&key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn an_extended_connect_becomes_a_handshake_of_http_1_1_and_back() {
        let mut parts = parts(Method::CONNECT, &[("sec-websocket-version", "13")]);
        parts.version = Version::HTTP_2;
        parts.extensions.insert(Protocol::from_static("websocket"));
        let upgrade = Upgrade::read(&mut parts, || 7).unwrap();
        upgrade.ask(&mut parts.headers);
        assert_eq!(parts.method, Method::GET);
        assert_eq!(parts.headers["connection"], "upgrade");
        assert_eq!(parts.headers["upgrade"], "websocket");
        assert_eq!(parts.headers["sec-websocket-version"], "13");
        let key = &parts.headers["sec-websocket-key"];
        assert_eq!(key, "AAAAAAAAAAcAAAAAAAAABw==");

        let mut response = http::Response::new(()).into_parts().0;
        response.status = StatusCode::SWITCHING_PROTOCOLS;
        response.headers.insert("upgrade", HeaderValue::from_static("websocket"));
        assert!(!upgrade.is_taken_up(&response.headers));
        response.headers.insert("sec-websocket-accept", HeaderValue::from_static("other"));
        assert!(!upgrade.is_taken_up(&response.headers));
        response.headers.insert("sec-websocket-accept", accept(key));
        assert!(upgrade.is_taken_up(&response.headers));
        response.headers.remove("upgrade");
        assert!(!upgrade.is_taken_up(&response.headers));
        upgrade.take_up(&mut response);
        let response::Parts { status, headers, .. } = response;
        assert_eq!((status, headers), (StatusCode::OK, HeaderMap::new()));
    }

    proptest! {
        #[test]
        fn arbitrary_fields_are_answered(
            upgrade in "[ -~]{0,20}",
            connection in "[ -~]{0,20}",
        ) {
            let fields = [("connection", &*connection), ("upgrade", &*upgrade)];
            if let Some(asked) = asked(parts(Method::GET, &fields)) {
                prop_assert_eq!(&asked, &upgrade);
                prop_assert!(!asked.contains([',', ' ']));
            }
        }
    }
}

//! What is known of the client's connection, and through trusted proxies of the client behind it.

use super::error::Error;
use crate::base::http1::fields::put_decimal;
use crate::predicate::Cidrs;
use crate::tls::Covered;
use crate::tls::identity::Identity;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// `X-Forwarded-For`.
pub static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// How a listener treats what its peers say of the client, and what it says of itself.
#[derive(Debug)]
pub struct Forwarding {
    /// The peers whose forwarded fields count.
    pub trusted_proxies: Cidrs,
    /// The `Via` entry to add to requests and responses, if any.
    pub via: Option<HeaderValue>,
    /// The longest path and query, in bytes.
    pub uri_bytes: usize,
    /// The most fields of a request over HTTP/2, if there is a limit; HTTP/1.1 has its own where it
    /// is read.
    pub fields_max: Option<usize>,
}

impl Default for Forwarding {
    fn default() -> Self {
        Self {
            trusted_proxies: Cidrs::default(),
            via: None,
            uri_bytes: usize::MAX,
            fields_max: None,
        }
    }
}

/// What a peer's verified certificate says.
#[derive(Debug)]
pub struct Certificate {
    /// Its subject alternative names.
    pub names: Vec<String>,
    /// What the service is told of it, if that can be written as a field.
    pub forwarded: Option<HeaderValue>,
}

/// One client connection.
#[derive(Debug)]
pub struct Downstream {
    /// The peer's address.
    pub peer: IpAddr,
    /// The peer's address as text.
    pub peer_text: HeaderValue,
    /// Whether the peer's forwarded fields count.
    pub trusted: bool,
    /// Whether TLS is spoken with the peer.
    pub secure: bool,
    /// What the peer's verified certificate says, if it has shown one; in a box, because an idle
    /// connection's memory counts and most have none.
    pub certificate: Option<Box<Certificate>>,
    /// The hosts that the peer may ask for on this connection, if not all.
    pub covered: Option<Covered>,
    /// The listener's settings when the connection was accepted.
    pub forwarding: Arc<Forwarding>,
}

/// An address as text. One of IPv4 is written by hand: `Display` takes 1,600 instructions for it, a
/// tenth of what a new connection costs beside its request.
fn text(address: IpAddr) -> Bytes {
    let IpAddr::V4(address) = address else { return address.to_string().into() };
    let mut text = Vec::with_capacity("255.255.255.255".len());
    for (place, octet) in address.octets().into_iter().enumerate() {
        if place > 0 {
            text.push(b'.');
        }
        put_decimal(&mut text, octet.into());
    }
    text.into()
}

impl Downstream {
    /// A connection from this peer.
    pub fn new(peer: SocketAddr, forwarding: Arc<Forwarding>) -> Self {
        let peer = peer.ip().to_canonical();
        let peer_text = HeaderValue::from_maybe_shared(text(peer))
            .unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        let trusted = forwarding.trusted_proxies.contains(peer);
        Self {
            peer,
            peer_text,
            trusted,
            secure: false,
            certificate: None,
            covered: None,
            forwarding,
        }
    }

    /// The same over TLS, with what the peer's certificate says if it has shown one.
    #[must_use]
    pub fn secured(mut self, identity: Option<Identity>) -> Self {
        self.secure = true;
        self.certificate = identity.map(|Identity { names, forwarded }| {
            Box::new(Certificate { names, forwarded: HeaderValue::from_str(&forwarded).ok() })
        });
        self
    }

    /// The names in the peer's verified certificate.
    pub fn certificate_names(&self) -> &[String] {
        self.certificate.as_ref().map_or(&[], |certificate| &certificate.names)
    }

    /// What the service is told of that certificate.
    pub fn certificate_field(&self) -> Option<&HeaderValue> {
        self.certificate.as_ref()?.forwarded.as_ref()
    }

    /// Checks that a host may be asked for on this connection.
    pub fn check_host(&self, host: &str) -> Result<(), Error> {
        match &self.covered {
            Some(covered) if !covered.has(host) => Err(Error::Misdirected),
            _ => Ok(()),
        }
    }

    /// The client: the peer, or behind trusted proxies the right-most address of
    /// `X-Forwarded-For` that is not one of them.
    pub fn client(&self, headers: &HeaderMap) -> IpAddr {
        if self.trusted { self.forwarded(headers) } else { self.peer }
    }

    fn forwarded(&self, headers: &HeaderMap) -> IpAddr {
        let mut client = self.peer;
        let values: Vec<_> = headers.get_all(&FORWARDED_FOR).iter().collect();
        for value in values.into_iter().rev() {
            let Ok(text) = value.to_str() else { return client };
            for entry in text.rsplit(',') {
                let Some(address) = address(entry.trim()) else { return client };
                client = address;
                if !self.forwarding.trusted_proxies.contains(address) {
                    return client;
                }
            }
        }
        client
    }
}

/// An address as proxies write it: bare, with a port, or in brackets.
fn address(entry: &str) -> Option<IpAddr> {
    let address = entry
        .parse()
        .ok()
        .or_else(|| entry.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok())?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use super::{Downstream, Forwarding, text};
    use http::HeaderMap;
    use proptest::prelude::*;
    use std::net::IpAddr;
    use std::sync::Arc;

    proptest! {
        #[test]
        fn an_address_is_written_as_everybody_writes_it(address: IpAddr) {
            prop_assert_eq!(text(address), address.to_string());
        }
    }

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let forwarding = Forwarding {
            trusted_proxies: serde_json::from_str(r#"["10.0.0.0/8"]"#).unwrap(),
            ..Forwarding::default()
        };
        let downstream = Downstream::new(peer.parse().unwrap(), Arc::new(forwarding));
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        downstream.client(&headers).to_string()
    }

    #[test]
    fn the_client_is_the_right_most_untrusted_address() {
        assert_eq!(client("10.0.0.1:1", &["6.6.6.6, 1.2.3.4, 10.9.9.9"]), "1.2.3.4");
        assert_eq!(client("10.0.0.1:1", &["6.6.6.6", "1.2.3.4", "10.9.9.9"]), "1.2.3.4");
        assert_eq!(client("10.0.0.1:1", &["10.1.1.1, 10.2.2.2"]), "10.1.1.1");
        assert_eq!(client("[::ffff:10.0.0.1]:1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(client("10.0.0.1:1", &["1.2.3.4, junk, 10.2.2.2"]), "10.2.2.2");
        assert_eq!(client("10.0.0.1:1", &[]), "10.0.0.1");
    }

    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_says() {
        assert_eq!(client("9.9.9.9:1", &["1.2.3.4"]), "9.9.9.9");
    }
}

//! The request head as predicates see it: borrowed, already normalised, nothing to await.

use http::{HeaderMap, Method};
use std::net::IpAddr;

/// Everything that a decision may depend on, apart from the random number.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// The method; case-sensitive (RFC 9110 section 9.1).
    pub method: &'a Method,
    /// The host in lower case, without port and without a trailing dot; empty if there is none.
    pub host: &'a str,
    /// The path as sent, percent-encoding untouched; starts with `/`, or is `*`.
    pub path: &'a str,
    /// The query as sent, without the `?`.
    pub query: Option<&'a str>,
    /// The header fields.
    pub headers: &'a HeaderMap,
    /// The client: the peer, or the right-most untrusted forwarded address behind trusted proxies.
    pub client: IpAddr,
    /// The connection's peer.
    pub peer: IpAddr,
    /// The subject alternative names of the client's verified certificate; empty without one.
    pub certificate_names: &'a [String],
}

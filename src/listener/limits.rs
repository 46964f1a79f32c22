//! How much a listener's clients may ask for, and how long they may take.

use crate::base::units;
use schemars::JsonSchema;
use serde::Deserialize;
use std::num::NonZeroU32;
use std::time::Duration;

/// The most that clients may ask for; what is over it is refused and counted by reason.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ListenerLimitsConfig {
    /// The largest request head, the request line included; 431 beyond.
    pub header_bytes: units::ByteSize,
    /// The most header fields of a request; 431 beyond.
    #[schemars(range(min = 1))]
    pub headers: u16,
    /// The longest target of a request; 414 beyond. At most 65,534 bytes, whatever is given.
    pub uri_bytes: units::ByteSize,
    /// The most connections of the listener, all workers together; 503 and closed beyond, with TLS
    /// only closed. 0 for no limit.
    pub connections: u32,
    /// The most connections of one client address, an IPv6 one counted by its /64; 429 and closed
    /// beyond, with TLS only closed. 0 for no limit.
    pub connections_per_address: u32,
    /// The most requests at one time on an HTTP/2 connection (RFC 9113 section 6.5.2).
    #[schemars(range(min = 1))]
    pub streams: u32,
    /// How many requests of an HTTP/2 connection a client may reset, or make us reset, at once; a
    /// tenth as many more each second, and one more for every two requests. It is told to go away
    /// beyond (CVE-2023-44487, CVE-2025-8671).
    #[schemars(range(min = 1))]
    pub stream_resets: u32,
    /// The most requests of a connection, after which it ends in order; 0 for no limit.
    pub requests_per_connection: u32,
}

impl Default for ListenerLimitsConfig {
    fn default() -> Self {
        Self {
            header_bytes: units::ByteSize(64 * 1024),
            headers: 128,
            uri_bytes: units::ByteSize(32 * 1024),
            connections: 20_000,
            connections_per_address: 0,
            streams: 128,
            stream_resets: 1000,
            requests_per_connection: 0,
        }
    }
}

/// How long clients may take; 0 for as long as they like.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ListenerTimeoutsConfig {
    /// A request's head, from its first byte to its last; 408 after it. Also the time within which
    /// the first head must begin; the connection is closed after it.
    pub header: units::Duration,
    /// The pause between two requests; the connection is closed after it.
    pub keep_alive: units::Duration,
    /// The longest pause in which a client takes nothing of what there is to write; the connection
    /// is closed after it.
    pub write: units::Duration,
    /// A TLS handshake, and a PROXY protocol header; the connection is closed after it.
    pub tls_handshake: units::Duration,
}

impl Default for ListenerTimeoutsConfig {
    fn default() -> Self {
        Self {
            header: units::Duration::from_secs(30),
            keep_alive: units::Duration::from_secs(75),
            write: units::Duration::from_secs(300),
            tls_handshake: units::Duration::from_secs(10),
        }
    }
}

/// The compiled form of [`ListenerLimitsConfig`] and [`ListenerTimeoutsConfig`].
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest request head, in bytes.
    pub header_bytes: usize,
    /// The most header fields.
    pub headers: usize,
    /// The longest target, in bytes.
    pub uri_bytes: usize,
    /// The most connections at one time; 0 for no limit.
    pub connections: usize,
    /// The most connections of one client, if there is a limit.
    pub connections_per_address: Option<NonZeroU32>,
    /// The most streams at one time.
    pub streams: u32,
    /// The most streams that are reset at once.
    pub stream_resets: u32,
    /// The most requests of a connection, if there is a limit.
    pub requests_per_connection: Option<NonZeroU32>,
    /// A request's head.
    pub header: Duration,
    /// Between two requests.
    pub keep_alive: Duration,
    /// Without anything being taken of what there is to write.
    pub write: Duration,
    /// A TLS handshake.
    pub tls_handshake: Duration,
    /// Whether the end of a client's sending side ends the request that it waits for.
    pub abort_on_close: bool,
}

impl Limits {
    /// Takes the settings of a listener into use.
    pub fn new(limits: &ListenerLimitsConfig, timeouts: &ListenerTimeoutsConfig) -> Self {
        let limit = |time: units::Duration| {
            if time.0.is_zero() { units::Duration::MAX } else { time.0 }
        };
        Self {
            header_bytes: usize::try_from(limits.header_bytes.0).unwrap_or(usize::MAX),
            headers: limits.headers.into(),
            uri_bytes: usize::try_from(limits.uri_bytes.0).unwrap_or(usize::MAX),
            connections: usize::try_from(limits.connections).unwrap_or(usize::MAX),
            connections_per_address: NonZeroU32::new(limits.connections_per_address),
            streams: limits.streams,
            stream_resets: limits.stream_resets,
            requests_per_connection: NonZeroU32::new(limits.requests_per_connection),
            header: limit(timeouts.header),
            keep_alive: limit(timeouts.keep_alive),
            write: limit(timeouts.write),
            tls_handshake: limit(timeouts.tls_handshake),
            abort_on_close: false,
        }
    }

    /// The same with another meaning of the end of a client's sending side.
    #[must_use]
    pub fn abort_on_close(mut self, abort: bool) -> Self {
        self.abort_on_close = abort;
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new(&ListenerLimitsConfig::default(), &ListenerTimeoutsConfig::default())
    }
}

//! How much a listener's clients may ask for, and how long they may take.

use crate::base::units;
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

/// The most that clients may ask for; what is over it is refused and counted by reason.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ListenerLimitsConfig {
    /// The largest request head, the request line included; 431 beyond.
    pub header_bytes: units::ByteSize,
    /// The most header fields of a request; 431 beyond.
    pub headers: u16,
    /// The most requests at one time on an HTTP/2 connection (RFC 9113 section 6.5.2).
    #[schemars(range(min = 1))]
    pub streams: u32,
}

impl Default for ListenerLimitsConfig {
    fn default() -> Self {
        Self { header_bytes: units::ByteSize(64 * 1024), headers: 128, streams: 128 }
    }
}

/// How long clients may take; 0 for as long as they like.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ListenerTimeoutsConfig {
    /// A TLS handshake; the connection is closed after it.
    pub tls_handshake: units::Duration,
}

impl Default for ListenerTimeoutsConfig {
    fn default() -> Self {
        Self { tls_handshake: units::Duration::from_secs(10) }
    }
}

/// The compiled form of [`ListenerLimitsConfig`] and [`ListenerTimeoutsConfig`].
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest request head, in bytes.
    pub header_bytes: usize,
    /// The most header fields.
    pub headers: usize,
    /// The most streams at one time.
    pub streams: u32,
    /// A TLS handshake.
    pub tls_handshake: Duration,
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
            streams: limits.streams,
            tls_handshake: limit(timeouts.tls_handshake),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new(&ListenerLimitsConfig::default(), &ListenerTimeoutsConfig::default())
    }
}

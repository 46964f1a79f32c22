//! How much a request may send, and how slowly.

use super::error::Error;
use crate::base::bounds::{Bounds, Floor};
use crate::base::units;
use http_body::Body;
use schemars::JsonSchema;
use serde::Deserialize;

/// The most that requests of a route may ask for; 0 for no limit.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RouteLimitsConfig {
    /// The largest body of a request; 413 beyond. Off by default.
    pub body_bytes: units::ByteSize,
    /// The slowest that a request's body may come, in bytes a second; 408 below. Off by default.
    pub body_rate: units::ByteSize,
    /// How long a body may be waited for in all, beside what it earns by `bodyRate`.
    pub body_grace: units::Duration,
}

impl Default for RouteLimitsConfig {
    fn default() -> Self {
        Self {
            body_bytes: units::ByteSize(0),
            body_rate: units::ByteSize(0),
            body_grace: units::Duration::from_secs(30),
        }
    }
}

/// The compiled form of [`RouteLimitsConfig`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    body_bytes: Option<u64>,
    floor: Option<Floor>,
}

impl From<&RouteLimitsConfig> for Limits {
    fn from(config: &RouteLimitsConfig) -> Self {
        let (rate, grace) = (config.body_rate.0, config.body_grace.0);
        Self {
            body_bytes: Some(config.body_bytes.0).filter(|bytes| *bytes > 0),
            floor: (rate > 0).then_some(Floor { bytes_per_second: rate, grace }),
        }
    }
}

impl Limits {
    /// Refuses a body that says itself that it is too large.
    pub fn admit(&self, body: &impl Body) -> Result<(), Error> {
        match self.body_bytes {
            Some(bytes_max) if body.size_hint().lower() > bytes_max => Err(Error::BodyTooLarge),
            _ => Ok(()),
        }
    }

    /// The bounds of a request's body, if it has any.
    pub fn bounds(&self) -> Option<Bounds> {
        if self.body_bytes.is_none() && self.floor.is_none() {
            return None;
        }
        let mut bounds = Bounds::default();
        if let Some(bytes_max) = self.body_bytes {
            bounds.bytes_max(bytes_max);
        }
        if let Some(floor) = self.floor {
            bounds.floor(floor);
        }
        Some(bounds)
    }
}

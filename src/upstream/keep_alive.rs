//! How long connections to endpoints are kept and used again.

use crate::base::units;
use schemars::JsonSchema;
use serde::Deserialize;

/// How long a connection to an endpoint is used; 0 for as long as the endpoint likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KeepAliveConfig {
    /// How long it is kept without a request; let it be shorter than what the endpoints do.
    pub idle: units::Duration,
    /// The age after which it takes no more requests, a tenth more or less by chance.
    pub age: units::Duration,
    /// The requests after which it takes no more.
    pub requests: u32,
}

impl Default for KeepAliveConfig {
    fn default() -> Self {
        Self {
            idle: units::Duration::from_secs(55),
            age: units::Duration::from_secs(0),
            requests: 0,
        }
    }
}

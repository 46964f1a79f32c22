//! The most that a pool is asked for at one time: connections, requests, requests that wait.

use crate::base::units;
use schemars::JsonSchema;
use serde::Deserialize;

/// The most that a pool is asked for at one time, all workers together; 0 for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PoolLimitsConfig {
    /// Open connections to its endpoints, idle ones included.
    pub connections: u32,
    /// Requests in flight there.
    pub requests: u32,
    /// Requests that wait because one of the other limits is reached; 503 at once beyond.
    pub pending: u32,
    /// How long a request waits at most; 503 after it.
    pub pending_timeout: units::Duration,
}

impl Default for PoolLimitsConfig {
    fn default() -> Self {
        Self {
            connections: 0,
            requests: 0,
            pending: 1024,
            pending_timeout: units::Duration::from_secs(1),
        }
    }
}

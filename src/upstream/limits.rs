//! The most that a pool is asked for at one time: connections, requests, requests that wait.

use super::quota::Quota;
use crate::base::units;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

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

/// What a pool is asked for now, held against its limits; outlives reloads.
#[derive(Debug, Default)]
pub struct Limiter {
    /// Requests in flight; counted only while they are limited, those from before too.
    pub requests: Arc<Quota>,
    /// Open connections, which are always counted.
    pub connections: Arc<Quota>,
    pending: AtomicU32,
}

/// A limit is reached, and the request can not wait, or has waited for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overloaded;

impl Limiter {
    /// Takes other limits over.
    pub fn apply(&self, limits: &PoolLimitsConfig) {
        self.requests.resize(limits.requests);
        self.connections.resize(limits.connections);
    }

    /// Counts a request that waits, unless there are as many as there may be.
    pub(super) fn enter(&self, pending_max: u32) -> bool {
        let enter = |pending| (pending < pending_max).then(|| pending + 1);
        self.pending.fetch_update(Relaxed, Relaxed, enter).is_ok()
    }

    /// Counts it no longer.
    pub(super) fn exit(&self) {
        self.pending.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::Limiter;

    #[test]
    fn only_so_many_wait() {
        let limiter = Limiter::default();
        assert!(!limiter.enter(0));
        assert!(limiter.enter(2) && limiter.enter(2) && !limiter.enter(2));
        limiter.exit();
        assert!(!limiter.enter(1) && limiter.enter(2));
    }
}

//! How long connections to endpoints are kept and used again.

use crate::base::units;
use schemars::JsonSchema;
use serde::Deserialize;
use std::cell::Cell;
use std::time::Instant;

/// How long a connection to an endpoint is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KeepAliveConfig {
    /// How long it is kept without a request; let it be shorter than what the endpoints do. 0
    /// keeps none.
    pub idle: units::Duration,
    /// The age after which it takes no more requests, a tenth more or less by chance; 0 for no
    /// limit.
    pub age: units::Duration,
    /// The requests after which it takes no more; 0 for no limit.
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

/// How long a connection has been used so far.
#[derive(Debug)]
pub(super) struct Life {
    born: Instant,
    /// When it last had no request, if it has none now.
    rested: Cell<Instant>,
    requests: Cell<u32>,
    /// Its luck: the lowest number for a tenth less than the age, the highest for a tenth more.
    chance: u16,
}

impl Life {
    /// Begins now.
    pub(super) fn new(now: Instant, chance: u16) -> Self {
        Self { born: now, rested: Cell::new(now), requests: Cell::new(0), chance }
    }

    /// Counts a request.
    pub(super) fn serve(&self) {
        self.requests.set(self.requests.get().saturating_add(1));
    }

    /// It has no request from now on.
    pub(super) fn rest(&self, now: Instant) {
        self.rested.set(now);
    }

    /// Since when it has had no request, if it has none.
    pub(super) fn rested(&self) -> Instant {
        self.rested.get()
    }

    /// Whether it takes no more requests.
    pub(super) fn is_over(&self, limits: &KeepAliveConfig, now: Instant) -> bool {
        let requests = limits.requests;
        if requests > 0 && self.requests.get() >= requests {
            return true;
        }
        let age = limits.age.0;
        if age.is_zero() {
            return false;
        }
        let age = age.mul_f64(0.9 + 0.2 * f64::from(self.chance) / f64::from(u16::MAX));
        now.saturating_duration_since(self.born) >= age
    }

    /// Whether one that has no request has had none for too long. One that was just made for a
    /// request is not, however short that is.
    pub(super) fn is_stale(&self, limits: &KeepAliveConfig, now: Instant) -> bool {
        let idle = limits.idle.0;
        let new = idle.is_zero() && self.requests.get() == 0;
        !new && now.saturating_duration_since(self.rested.get()) >= idle
    }
}

#[cfg(test)]
mod tests {
    use super::{KeepAliveConfig, Life};
    use crate::base::units;
    use std::time::{Duration, Instant};

    #[test]
    fn the_age_is_a_tenth_more_or_less() {
        let age = units::Duration::from_secs(100);
        let limits = KeepAliveConfig { age, ..KeepAliveConfig::default() };
        let now = Instant::now();
        for (chance, seconds) in [(0, 90), (u16::MAX / 2, 99), (u16::MAX, 110)] {
            let life = Life::new(now, chance);
            assert!(!life.is_over(&limits, now + Duration::from_millis(seconds * 1000 - 1)));
            assert!(life.is_over(&limits, now + Duration::from_secs(seconds + 1)), "{chance}");
            assert!(!life.is_over(&KeepAliveConfig::default(), now + Duration::from_hours(1)));
        }
    }

    #[test]
    fn the_longest_age_there_is_does_no_harm() {
        let age = units::Duration(units::Duration::MAX);
        let limits = KeepAliveConfig { age, idle: age, ..KeepAliveConfig::default() };
        let life = Life::new(Instant::now(), u16::MAX);
        assert!(!life.is_over(&limits, Instant::now()) && !life.is_stale(&limits, Instant::now()));
    }

    #[test]
    fn requests_are_counted_and_rests_measured() {
        let limits = KeepAliveConfig { requests: 2, ..KeepAliveConfig::default() };
        let now = Instant::now();
        let life = Life::new(now, 0);
        life.serve();
        assert!(!life.is_over(&limits, now));
        life.serve();
        assert!(life.is_over(&limits, now));
        let later = now + Duration::from_secs(54);
        assert!(!life.is_stale(&limits, later));
        life.rest(later);
        assert!(!life.is_stale(&limits, later + Duration::from_secs(54)));
        assert!(life.is_stale(&limits, later + Duration::from_secs(55)));
        let none = KeepAliveConfig { idle: units::Duration::from_secs(0), ..limits };
        assert!(life.is_stale(&none, later));
    }
}

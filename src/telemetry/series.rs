//! The series that requests count into: resolved when a snapshot is compiled, kept while in use.

use super::events::{Overflow, PoolEvents};
use super::shard::{Codes, Counter, Durations, Gauge, Shards};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// An arm's and a pool's name.
type Pair = (Arc<str>, Arc<str>);

/// The labels of [`ChoiceShard::reasons`], in their order.
pub const REASONS: [&str; 6] =
    ["override", "cohort", "weight", "single", "fallback", "missing_key"];

/// What is counted for one route.
#[derive(Debug)]
pub struct RouteSeries {
    /// The route's name; empty for requests that no route took.
    pub route: Arc<str>,
    /// Per worker.
    pub shards: Shards<RouteShard>,
    workers: usize,
    /// By arm and pool.
    choices: Mutex<HashMap<Pair, Weak<ChoiceSeries>>>,
    durations: Mutex<HashMap<Arc<str>, Weak<DurationSeries>>>,
}

/// One worker's part of a [`RouteSeries`].
#[derive(Debug, Default)]
pub struct RouteShard {
    /// Requests between their head and their last byte.
    pub in_flight: Gauge,
    /// Override headers that did not count.
    pub overrides_refused: Counter,
}

/// What is counted for one pool as an arm of a route chose it.
#[derive(Debug)]
pub struct ChoiceSeries {
    /// The arm; empty if none decided.
    pub arm: Arc<str>,
    /// The pool; empty if there was none.
    pub pool: Arc<str>,
    /// Whether the configuration names this pair, so that it is shown even at zero.
    pub declared: bool,
    /// Per worker.
    pub shards: Shards<ChoiceShard>,
}

/// One worker's part of a [`ChoiceSeries`]. The reasons and the codes met first share a cache line.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct ChoiceShard {
    /// Decisions by reason, in the order of the reasons' numbers.
    pub reasons: [Counter; REASONS.len()],
    /// Finished requests by status.
    pub codes: Codes,
}

/// How long a route's requests to one pool took, and how its gRPC calls ended.
#[derive(Debug)]
pub struct DurationSeries {
    /// The pool; empty if there was none.
    pub pool: Arc<str>,
    /// Per worker.
    pub shards: Shards<Durations>,
    /// Statuses of gRPC calls per worker; a call without one is counted under [`NO_STATUS`].
    pub grpc: Shards<Codes>,
}

/// Stands for a gRPC call whose response had no status.
pub const NO_STATUS: u16 = u16::MAX;

/// What is counted for one pool.
#[derive(Debug)]
pub struct PoolSeries {
    /// The pool's name.
    pub pool: Arc<str>,
    /// How many workers there are.
    pub workers: usize,
    /// Per worker.
    pub shards: Shards<PoolShard>,
    /// What the control plane counts.
    pub events: PoolEvents,
}

/// One worker's part of a [`PoolSeries`].
#[derive(Debug, Default)]
pub struct PoolShard {
    /// First attempts by outcome.
    pub attempts: [Counter; Outcome::ALL.len()],
    /// Retries by outcome.
    pub retries: [Counter; Outcome::ALL.len()],
    /// Open connections, idle ones included.
    pub connections: Gauge,
    /// Idle connections.
    pub idle: Gauge,
    /// Attempts that are going on, until the last byte of their response.
    pub in_flight: Gauge,
    /// Retries that wait, or whose response has not begun.
    pub retrying: Gauge,
    /// Requests that wait because a limit is reached.
    pub pending: Gauge,
    /// Requests refused because a limit was reached, by [`Overflow`].
    pub overflows: [Counter; Overflow::LABELS.len()],
    /// Attempts for which health was ignored.
    pub health_ignored: Counter,
    /// Retries that were not made because the budget was used up.
    pub retries_refused: Counter,
}

impl PoolShard {
    /// Counts the end of an attempt.
    pub fn attempt(&self, retry: bool, outcome: Outcome) {
        let outcomes = if retry { &self.retries } else { &self.attempts };
        if let Some(counter) = outcomes.get(outcome as usize) {
            counter.increment();
        }
    }

    /// Counts a request that was refused because a limit was reached.
    pub fn overflowed(&self, limit: Overflow) {
        if let Some(counter) = self.overflows.get(limit as usize) {
            counter.increment();
        }
    }
}

/// How one attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A response came, and it is no failure of the service.
    Success,
    /// A response came, and its status is 500 or above, or it is nothing but a failure of gRPC that
    /// is the service's.
    ServerError,
    /// No connection could be made.
    ConnectFailure,
    /// No connection was made in time.
    ConnectTimeout,
    /// The TLS handshake failed.
    TlsFailure,
    /// No response head came in time.
    ResponseTimeout,
    /// The connection broke before the response head was complete.
    Reset,
    /// What came was no valid response.
    InvalidResponse,
    /// The endpoint refused the stream or the protocol, or has no room for a stream.
    Refused,
    /// The client left, or broke off its request, before a response came; or the pool may have no
    /// more connections. Nothing of it is the endpoint's doing.
    Cancelled,
}

impl Outcome {
    /// Every outcome, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Success,
        Self::ServerError,
        Self::ConnectFailure,
        Self::ConnectTimeout,
        Self::TlsFailure,
        Self::ResponseTimeout,
        Self::Reset,
        Self::InvalidResponse,
        Self::Refused,
        Self::Cancelled,
    ];

    /// The labels: of a first attempt, and of a retry.
    pub const fn labels(self) -> (&'static str, &'static str) {
        match self {
            Self::Success => ("success", "retry_success"),
            Self::ServerError => ("server_error", "retry_server_error"),
            Self::ConnectFailure => ("connect_failure", "retry_connect_failure"),
            Self::ConnectTimeout => ("connect_timeout", "retry_connect_timeout"),
            Self::TlsFailure => ("tls_failure", "retry_tls_failure"),
            Self::ResponseTimeout => ("response_timeout", "retry_response_timeout"),
            Self::Reset => ("reset", "retry_reset"),
            Self::InvalidResponse => ("invalid_response", "retry_invalid_response"),
            Self::Refused => ("refused", "retry_refused"),
            Self::Cancelled => ("cancelled", "retry_cancelled"),
        }
    }
}

impl RouteSeries {
    /// Nothing counted yet.
    pub fn new(route: &str, workers: usize) -> Self {
        Self {
            route: route.into(),
            shards: Shards::new(workers),
            workers,
            choices: Mutex::default(),
            durations: Mutex::default(),
        }
    }

    /// The series of one arm and pool, the one in use if there is one.
    pub fn choice(&self, arm: &Arc<str>, pool: &Arc<str>, declared: bool) -> Arc<ChoiceSeries> {
        let key = (Arc::clone(arm), Arc::clone(pool));
        shared(&mut self.choices.lock(), key, || ChoiceSeries {
            arm: Arc::clone(arm),
            pool: Arc::clone(pool),
            declared,
            shards: Shards::new(self.workers),
        })
    }

    /// The durations of one pool, the ones in use if there are any.
    pub fn duration(&self, pool: &Arc<str>) -> Arc<DurationSeries> {
        shared(&mut self.durations.lock(), Arc::clone(pool), || DurationSeries {
            pool: Arc::clone(pool),
            shards: Shards::new(self.workers),
            grpc: Shards::new(self.workers),
        })
    }

    /// The choices in use.
    pub fn choices(&self) -> Vec<Arc<ChoiceSeries>> {
        live(&mut self.choices.lock())
    }

    /// The durations in use.
    pub fn durations(&self) -> Vec<Arc<DurationSeries>> {
        live(&mut self.durations.lock())
    }
}

impl PoolSeries {
    /// Nothing counted yet.
    pub fn new(pool: &str, workers: usize) -> Self {
        Self {
            pool: pool.into(),
            workers,
            shards: Shards::new(workers),
            events: PoolEvents::default(),
        }
    }
}

/// The value that somebody still holds under this key, else a new one.
pub(super) fn shared<K: Eq + std::hash::Hash, V>(
    map: &mut HashMap<K, Weak<V>>,
    key: K,
    make: impl FnOnce() -> V,
) -> Arc<V> {
    if let Some(value) = map.get(&key).and_then(Weak::upgrade) {
        return value;
    }
    let value = Arc::new(make());
    map.insert(key, Arc::downgrade(&value));
    value
}

/// All values that somebody still holds; the others are forgotten.
pub(super) fn live<K: Eq + std::hash::Hash, V>(map: &mut HashMap<K, Weak<V>>) -> Vec<Arc<V>> {
    map.retain(|_, value| value.strong_count() > 0);
    map.values().filter_map(Weak::upgrade).collect()
}

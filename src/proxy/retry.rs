//! When, where and how often a failed attempt is repeated.

use super::error::Error;
use super::grpc;
use crate::base::status::StatusPattern;
use crate::base::units;
use http::{HeaderMap, Method, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// When, where and how often a failed attempt is repeated.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RetryConfig {
    /// The most retries of one request, from 0 to 10.
    #[schemars(range(max = 10))]
    pub attempts: u8,
    /// What is retried beside requests that no endpoint has seen: `reset`, `refusedStream`, a
    /// status that the client would get, or a status of gRPC such as `UNAVAILABLE`.
    pub on: Vec<RetryOn>,
    /// The methods of requests that may be sent again although an endpoint may have acted on them.
    /// Default: the idempotent ones.
    pub methods: Option<Vec<String>>,
    /// Whether a retry may leave the pool that was chosen.
    pub pool: RetryPool,
    /// The pause before a retry.
    pub backoff: BackoffConfig,
    /// The most retries at one time.
    pub budget: BudgetConfig,
}

/// Whether a retry may leave the pool that was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RetryPool {
    /// It goes to another endpoint of the same pool.
    #[default]
    Same,
    /// It goes where the request would have gone without this pool.
    Fallback,
}

/// The pause before a retry: by chance between 0 and a time that doubles with each retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BackoffConfig {
    /// The longest pause before the first retry.
    pub base: units::Duration,
    /// The longest pause before any.
    pub max: units::Duration,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self {
            base: units::Duration(Duration::from_millis(25)),
            max: units::Duration(Duration::from_millis(250)),
        }
    }
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            attempts: 1,
            on: vec![RetryOn::ConnectFailure],
            methods: None,
            pool: RetryPool::default(),
            backoff: BackoffConfig::default(),
            budget: BudgetConfig::default(),
        }
    }
}

/// The most retries at one time, as a part of the active requests of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BudgetConfig {
    /// The part of the active requests, in percent.
    #[schemars(range(max = 100))]
    pub percent: u8,
    /// The number that is always allowed.
    pub min: u32,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self { percent: 20, min: 3 }
    }
}

/// What is retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryOn {
    /// No connection could be made: always retried, since no endpoint has seen the request.
    ConnectFailure,
    /// The connection broke before a response came.
    Reset,
    /// The endpoint refused the stream (HTTP/2): always retried, since it did not look at it.
    RefusedStream,
    /// A status that the client would get, the endpoint's or for its failure.
    Status(StatusPattern),
    /// A status of a gRPC call that is all there is of the response.
    Grpc(u16),
}

/// The statuses of gRPC by their numbers (`google.rpc.Code`); 0 is no failure.
const GRPC: [&str; 16] = [
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
/// The words that are no status of gRPC.
const WORDS: [&str; 3] = ["connectFailure", "reset", "refusedStream"];

impl std::str::FromStr for RetryOn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "connectFailure" => return Ok(Self::ConnectFailure),
            "reset" => return Ok(Self::Reset),
            "refusedStream" => return Ok(Self::RefusedStream),
            _ => {}
        }
        if let Some((number, _)) = (1..).zip(GRPC).find(|(_, name)| *name == text) {
            return Ok(Self::Grpc(number));
        }
        match text.parse::<StatusPattern>() {
            Ok(pattern) if pattern.least() >= 400 => Ok(Self::Status(pattern)),
            Ok(_) => Err("a status to retry on is from 400 to 599".to_owned()),
            Err(_) => Err(format!(
                "`{text}` is nothing to retry on: it is one of {}, a status from 400 to 599, a \
                 class of them such as `5xx`, or a status of gRPC such as `UNAVAILABLE`",
                WORDS.join(", ")
            )),
        }
    }
}

impl<'de> Deserialize<'de> for RetryOn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Trigger;

        impl Visitor<'_> for Trigger {
            type Value = RetryOn;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("`connectFailure`, `reset`, `refusedStream` or a status")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RetryOn, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, status: u64) -> Result<RetryOn, E> {
                self.visit_str(&status.to_string())
            }
        }

        deserializer.deserialize_any(Trigger)
    }
}

impl Serialize for RetryOn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::ConnectFailure => serializer.serialize_str("connectFailure"),
            Self::Reset => serializer.serialize_str("reset"),
            Self::RefusedStream => serializer.serialize_str("refusedStream"),
            Self::Status(pattern) => pattern.serialize(serializer),
            Self::Grpc(number) => {
                let name = usize::from(*number).checked_sub(1).and_then(|index| GRPC.get(index));
                serializer.serialize_str(name.copied().unwrap_or_default())
            }
        }
    }
}

impl JsonSchema for RetryOn {
    fn schema_name() -> Cow<'static, str> {
        "RetryOn".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "What is retried: a failed attempt, or a response with this status.",
            "anyOf": [
                { "type": "string", "enum": WORDS },
                { "type": "integer", "minimum": 400, "maximum": 599 },
                { "type": "string", "pattern": "^[45]([0-9][0-9]|xx)$" },
                { "type": "string", "enum": GRPC }
            ]
        })
    }
}

/// The compiled form of [`RetryConfig`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Retry {
    /// The most retries of one request.
    pub attempts: u8,
    /// Whether a retry may leave the pool.
    pub pool: RetryPool,
    /// The most retries at one time.
    pub budget: BudgetConfig,
    /// Whether any response is retried.
    pub looks_at_responses: bool,
    backoff: BackoffConfig,
    on: Box<[RetryOn]>,
    /// The methods that may happen twice; none for the idempotent ones.
    methods: Option<Box<[Method]>>,
}

impl Retry {
    /// Compiles it. The methods have been checked before.
    pub fn new(config: &RetryConfig) -> Self {
        let methods = config.methods.as_ref();
        Self {
            attempts: config.attempts,
            pool: config.pool,
            budget: config.budget,
            looks_at_responses: (config.on.iter())
                .any(|on| matches!(on, RetryOn::Status(_) | RetryOn::Grpc(_))),
            backoff: config.backoff,
            on: config.on.as_slice().into(),
            methods: methods.map(|names| names.iter().filter_map(|m| m.parse().ok()).collect()),
        }
    }

    /// Whether a request of this method may be sent again although an endpoint may have acted on
    /// it (RFC 9110 section 9.2.2, unless the route says otherwise).
    pub fn may_repeat(&self, method: &Method) -> bool {
        match &self.methods {
            None => method.is_idempotent(),
            Some(methods) => methods.contains(method),
        }
    }

    /// Whether a body is worth keeping: something that an endpoint has seen may be sent again.
    pub fn keeps_body(&self, method: &Method, call: bool) -> bool {
        self.attempts > 0
            && self.on.iter().any(|on| match on {
                RetryOn::ConnectFailure | RetryOn::RefusedStream => false,
                RetryOn::Reset | RetryOn::Status(_) => self.may_repeat(method),
                RetryOn::Grpc(_) => call,
            })
    }

    /// Whether a failure is to be retried that an endpoint may have acted on.
    pub fn retries(&self, cause: Error, method: &Method) -> bool {
        let status = cause.meaning().status.as_u16();
        self.may_repeat(method)
            && self.on.iter().any(|on| match on {
                RetryOn::Reset => cause == Error::UpstreamReset,
                RetryOn::Status(pattern) => cause.may_succeed_elsewhere() && pattern.holds(status),
                RetryOn::ConnectFailure | RetryOn::RefusedStream | RetryOn::Grpc(_) => false,
            })
    }

    /// Whether a response is to be retried. A call's status counts where the response has no body.
    pub fn retries_response(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        method: &Method,
        call: bool,
    ) -> bool {
        if status.as_u16() < 400 && !call {
            return false;
        }
        self.on.iter().any(|on| match on {
            RetryOn::Status(pattern) => pattern.holds(status.as_u16()) && self.may_repeat(method),
            RetryOn::Grpc(number) => call && grpc::status(headers) == Some(*number),
            RetryOn::ConnectFailure | RetryOn::Reset | RetryOn::RefusedStream => false,
        })
    }

    /// The pause before the retry of this number, from 1: exponential with full jitter (Brooker,
    /// "Exponential Backoff And Jitter", 2015).
    pub fn pause(&self, retry: u8, random: u64) -> Duration {
        let doublings = u32::from(retry).saturating_sub(1).min(16);
        let longest = self.backoff.base.0.saturating_mul(1 << doublings).min(self.backoff.max.0);
        let nanoseconds = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        let product = u128::from(random) * u128::from(nanoseconds);
        Duration::from_nanos(u64::try_from(product >> 64).unwrap_or(u64::MAX))
    }

    /// Whether another retry is within the budget, with so many requests and retries in flight.
    pub fn is_within_budget(&self, requests: i64, retries: i64) -> bool {
        let part = requests.saturating_mul(i64::from(self.budget.percent)) / 100;
        retries < part.max(i64::from(self.budget.min))
    }
}

#[cfg(test)]
mod tests {
    use super::{BackoffConfig, BudgetConfig, Retry, RetryConfig, RetryOn};
    use crate::base::units;
    use crate::proxy::error::Error;
    use http::{HeaderMap, Method, StatusCode};
    use proptest::prelude::*;
    use std::time::Duration;

    fn retry(on: &[&str]) -> Retry {
        let on = on.iter().map(|text| text.parse().unwrap()).collect();
        Retry::new(&RetryConfig { on, ..RetryConfig::default() })
    }

    #[test]
    fn what_is_retried_is_a_word_a_status_or_a_status_of_grpc() {
        assert_eq!("UNAVAILABLE".parse(), Ok(RetryOn::Grpc(14)));
        assert_eq!("UNAUTHENTICATED".parse(), Ok(RetryOn::Grpc(16)));
        assert_eq!("reset".parse(), Ok(RetryOn::Reset));
        for wrong in ["OK", "200", "2xx", "399", "600", "timeout", "unavailable", ""] {
            assert!(wrong.parse::<RetryOn>().is_err(), "{wrong}");
        }
        for text in ["\"ABORTED\"", "\"5xx\"", "\"refusedStream\""] {
            let on: RetryOn = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&on).unwrap(), text);
        }
    }

    #[test]
    fn only_what_may_happen_twice_is_sent_again() {
        let retry = retry(&["503", "reset"]);
        let retries = |method: &Method, status: StatusCode| {
            retry.retries_response(status, &HeaderMap::new(), method, false)
        };
        assert!(retries(&Method::GET, StatusCode::SERVICE_UNAVAILABLE));
        assert!(!retries(&Method::POST, StatusCode::SERVICE_UNAVAILABLE));
        assert!(!retries(&Method::GET, StatusCode::BAD_GATEWAY));
        assert!(retry.retries(Error::UpstreamReset, &Method::PUT));
        assert!(!retry.retries(Error::UpstreamReset, &Method::POST));
        assert!(!retry.retries(Error::ResponseTimedOut, &Method::GET));
        let methods = Some(vec!["POST".to_owned()]);
        let said = RetryConfig { on: vec![RetryOn::Reset], methods, ..RetryConfig::default() };
        let said = Retry::new(&said);
        assert!(said.retries(Error::UpstreamReset, &Method::POST));
        assert!(!said.retries(Error::UpstreamReset, &Method::GET));
    }

    #[test]
    fn a_status_stands_for_the_failures_that_are_answered_with_it() {
        let retry = retry(&["504"]);
        assert!(retry.retries(Error::ResponseTimedOut, &Method::GET));
        // The time for the whole exchange leaves none for another attempt.
        assert!(!retry.retries(Error::RequestTimedOut, &Method::GET));
        assert!(!retry.retries(Error::UpstreamReset, &Method::GET));
    }

    #[test]
    fn a_call_is_retried_by_its_own_status() {
        let retry = retry(&["UNAVAILABLE"]);
        let status = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", http::HeaderValue::from_static(value));
            headers
        };
        let ok = StatusCode::OK;
        assert!(retry.retries_response(ok, &status("14"), &Method::POST, true));
        assert!(!retry.retries_response(ok, &status("13"), &Method::POST, true));
        assert!(!retry.retries_response(ok, &status("14"), &Method::POST, false));
        assert!(retry.keeps_body(&Method::POST, true) && !retry.keeps_body(&Method::POST, false));
    }

    #[test]
    fn the_budget_is_a_part_of_the_requests_but_never_less_than_its_least() {
        let retry = retry(&[]);
        assert_eq!(retry.budget, BudgetConfig { percent: 20, min: 3 });
        assert!(retry.is_within_budget(1, 2) && !retry.is_within_budget(1, 3));
        assert!(retry.is_within_budget(100, 19) && !retry.is_within_budget(100, 20));
    }

    proptest! {
        #[test]
        fn a_pause_is_within_its_bounds(retry_number in 1_u8..=10, random: u64) {
            let backoff = BackoffConfig {
                base: units::Duration(Duration::from_millis(20)),
                max: units::Duration(Duration::from_millis(100)),
            };
            let retry = Retry::new(&RetryConfig { backoff, ..RetryConfig::default() });
            let pause = retry.pause(retry_number, random);
            let longest = Duration::from_millis(20 << (retry_number - 1)).min(backoff.max.0);
            prop_assert!(pause <= longest);
        }
    }
}

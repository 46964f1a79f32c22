//! One try to get a response from an endpoint, counted by how it ended.

use super::error::Error;
use super::framing::check_response;
use crate::base::body::{Body, Progress, State};
use crate::telemetry::series::Outcome;
use crate::upstream::connections::{ConnectError, Lease};
use crate::upstream::local::{LocalEndpoint, Place};
use http::{Request, Response};
use hyper::body::Incoming;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// When and how often a failed attempt is repeated.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RetryConfig {
    /// The most retries of one request, from 0 to 10.
    #[schemars(range(max = 10))]
    pub attempts: u8,
    /// What is retried: `connectFailure`, `reset`, `refusedStream` or a status from 400 to 599.
    pub on: Vec<RetryOn>,
    /// The most retries at one time.
    pub budget: BudgetConfig,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self { attempts: 1, on: vec![RetryOn::ConnectFailure], budget: BudgetConfig::default() }
    }
}

/// The most retries at one time, as a part of the active requests.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryOn {
    /// No connection could be made.
    ConnectFailure,
    /// The connection broke before a response came.
    Reset,
    /// The endpoint refused the stream (HTTP/2).
    RefusedStream,
    /// A response with this status.
    Status(u16),
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
                match text {
                    "connectFailure" => Ok(RetryOn::ConnectFailure),
                    "reset" => Ok(RetryOn::Reset),
                    "refusedStream" => Ok(RetryOn::RefusedStream),
                    other => Err(E::unknown_variant(
                        other,
                        &["connectFailure", "reset", "refusedStream"],
                    )),
                }
            }

            fn visit_u64<E: de::Error>(self, status: u64) -> Result<RetryOn, E> {
                match u16::try_from(status) {
                    Ok(status @ 400..=599) => Ok(RetryOn::Status(status)),
                    _ => Err(E::custom("a status to retry on is from 400 to 599")),
                }
            }
        }

        deserializer.deserialize_any(Trigger)
    }
}

impl JsonSchema for RetryOn {
    fn schema_name() -> Cow<'static, str> {
        "RetryOn".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "enum": ["connectFailure", "reset", "refusedStream"] },
                { "type": "integer", "minimum": 400, "maximum": 599 }
            ]
        })
    }
}

/// The compiled form of [`RetryConfig`].
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// The most retries of one request.
    pub attempts: u8,
}

/// How long the parts of an attempt may take.
#[derive(Debug, Clone, Copy)]
pub struct AttemptLimits {
    /// Making a connection.
    pub connect: Duration,
    /// Waiting for the response's head once the request is sent.
    pub response: Duration,
}

/// A response with the connection that it is coming over.
#[derive(Debug)]
pub struct Answer {
    /// The response; its body is still on the way.
    pub response: Response<Incoming>,
    /// The connection.
    pub lease: Lease,
}

/// A failed attempt; the request is handed back if nothing of it was sent.
#[derive(Debug)]
pub struct Failure {
    /// Why.
    pub cause: Error,
    /// The request, if another attempt is safe.
    pub unsent: Option<Request<Body>>,
}

/// Counts an attempt when it is over, as cancelled if its future was dropped.
struct Counted<'a> {
    endpoint: &'a LocalEndpoint,
    retry: bool,
    outcome: Outcome,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.endpoint.shard().attempt(self.retry, self.outcome);
    }
}

/// Sends the request to the place's endpoint and waits for the head of the response.
pub async fn attempt(
    place: &Place,
    request: Request<Body>,
    upload: Option<&Progress>,
    limits: AttemptLimits,
    retry: bool,
) -> Result<Answer, Failure> {
    let endpoint = place.endpoint();
    let mut counted = Counted { endpoint, retry, outcome: Outcome::Cancelled };
    let result = exchange(endpoint, request, upload, limits).await;
    counted.outcome = match &result {
        Ok(answer) if answer.response.status().is_server_error() => Outcome::ServerError,
        Ok(_) => Outcome::Success,
        Err(failure) => match failure.cause {
            Error::ConnectFailed => Outcome::ConnectFailure,
            Error::ConnectTimedOut => Outcome::ConnectTimeout,
            Error::ResponseTimedOut => Outcome::ResponseTimeout,
            Error::InvalidResponse => Outcome::InvalidResponse,
            Error::UpstreamReset => Outcome::Reset,
            _ => Outcome::Cancelled,
        },
    };
    result
}

/// Tries a kept connection first; if that turns out to be closed, a new one.
async fn exchange(
    endpoint: &Rc<LocalEndpoint>,
    mut request: Request<Body>,
    upload: Option<&Progress>,
    limits: AttemptLimits,
) -> Result<Answer, Failure> {
    let mut kept = Lease::kept(endpoint);
    loop {
        let connected = match kept.take() {
            Some(lease) => Ok(lease),
            // In a box, because most requests find a kept connection and need no room for this.
            None => Box::pin(Lease::connect(endpoint, limits.connect)).await,
        };
        let mut lease = match connected {
            Ok(lease) => lease,
            Err(error) => return Err(not_connected(&error, request)),
        };
        // The service may close a kept connection in the moment in which it is used again. If the
        // request asks for nothing that may not happen twice (RFC 9110 section 9.2.2) and can be
        // made again, that is none of the client's business.
        let replay = (lease.is_reused() && upload.is_none() && request.method().is_idempotent())
            .then(|| copy(&request));
        match send(&mut lease, request, upload, limits.response).await {
            Ok(response) => return Ok(Answer { response, lease }),
            Err(Failure { cause: Error::UpstreamReset, unsent }) if lease.is_reused() => {
                match unsent.or(replay) {
                    Some(again) => request = again,
                    None => return Err(Failure { cause: Error::UpstreamReset, unsent: None }),
                }
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// Sends over one connection. The time for the response runs while the client is not the one that
/// is waited for.
async fn send(
    lease: &mut Lease,
    request: Request<Body>,
    upload: Option<&Progress>,
    limit: Duration,
) -> Result<Response<Incoming>, Failure> {
    let mut sending = std::pin::pin!(lease.send(request));
    let mut seen = upload.map(Progress::parts);
    let mut error = loop {
        match tokio::time::timeout(limit, &mut sending).await {
            Ok(Ok(response)) => {
                let (parts, body) = response.into_parts();
                return match check_response(&parts) {
                    Ok(()) => Ok(Response::from_parts(parts, body)),
                    Err(cause) => Err(Failure { cause, unsent: None }),
                };
            }
            Ok(Err(error)) => break error,
            Err(_) => {
                let moved = upload.is_some_and(|upload| {
                    upload.is_waiting() || seen.replace(upload.parts()) != Some(upload.parts())
                });
                if !moved {
                    return Err(Failure { cause: Error::ResponseTimedOut, unsent: None });
                }
            }
        }
    };
    let unsent = error.take_message();
    let cause = match upload.map(Progress::state) {
        Some(State::Broken) => Error::RequestBroken,
        Some(State::Stalled) => Error::RequestStalled,
        _ if error.error().is_parse() => Error::InvalidResponse,
        _ => Error::UpstreamReset,
    };
    tracing::debug!(error = %error.error(), %cause, "attempt failed");
    Err(Failure { cause, unsent })
}

fn not_connected(error: &ConnectError, request: Request<Body>) -> Failure {
    let cause = match error {
        ConnectError::Failed(error) => {
            tracing::debug!(%error, "connect failed");
            Error::ConnectFailed
        }
        ConnectError::TimedOut(_) => Error::ConnectTimedOut,
    };
    Failure { cause, unsent: Some(request) }
}

/// The same request again, without a body.
fn copy(request: &Request<Body>) -> Request<Body> {
    let mut again = Request::new(Body::empty());
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.headers_mut() = request.headers().clone();
    again
}

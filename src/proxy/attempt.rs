//! One try to get a response from an endpoint, counted by how it ended.

use super::error::Error;
use crate::base::body::{Body, Progress, State};
use crate::base::clock;
use crate::base::deadline::Deadlines;
use crate::telemetry::series::Outcome;
use crate::upstream::connections::{ConnectError, Lease};
use crate::upstream::local::{LocalEndpoint, Place};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

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

impl Serialize for RetryOn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::ConnectFailure => serializer.serialize_str("connectFailure"),
            Self::Reset => serializer.serialize_str("reset"),
            Self::RefusedStream => serializer.serialize_str("refusedStream"),
            Self::Status(status) => serializer.serialize_u16(*status),
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
                { "type": "string", "enum": ["connectFailure", "reset", "refusedStream"] },
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

/// What an attempt is made with, beside the request.
#[derive(Debug)]
pub struct Means<'a> {
    /// How far the request's body got, if it has one.
    pub upload: Option<&'a Progress>,
    /// How long making a connection may take.
    pub connect: Duration,
    /// How long waiting for the response may take.
    pub response: &'a Rc<Deadlines>,
    /// Whether this is a retry.
    pub retry: bool,
    /// When the request came.
    pub started: Instant,
}

/// A response with the connection that it is coming over.
#[derive(Debug)]
pub struct Answer {
    /// The response; its body is still on the way.
    pub response: Response<Incoming>,
    /// The connection.
    pub lease: Lease,
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

/// Sends the request to the place's endpoint and waits for the head of the response. After a
/// failure the request is there again if nothing of it was sent.
pub async fn attempt(
    place: &Place,
    request: &mut Option<Request<Body>>,
    means: &Means<'_>,
) -> Result<Answer, Error> {
    let endpoint = place.endpoint();
    let mut counted = Counted { endpoint, retry: means.retry, outcome: Outcome::Cancelled };
    let result = exchange(endpoint, request, means).await;
    counted.outcome = match &result {
        Ok(answer) if answer.response.status().is_server_error() => Outcome::ServerError,
        Ok(_) => Outcome::Success,
        Err(Error::ConnectFailed) => Outcome::ConnectFailure,
        Err(Error::ConnectTimedOut) => Outcome::ConnectTimeout,
        Err(Error::ResponseTimedOut) => Outcome::ResponseTimeout,
        Err(Error::InvalidResponse) => Outcome::InvalidResponse,
        Err(Error::UpstreamReset) => Outcome::Reset,
        Err(_) => Outcome::Cancelled,
    };
    result
}

/// Tries a kept connection first; if that turns out to be closed, a new one.
async fn exchange(
    endpoint: &Rc<LocalEndpoint>,
    request: &mut Option<Request<Body>>,
    means: &Means<'_>,
) -> Result<Answer, Error> {
    let mut lease = Lease::take(endpoint, means.connect).await.map_err(not_connected)?;
    // The service may close a kept connection in the moment in which it is used again. If the
    // request asks for nothing that may not happen twice (RFC 9110 section 9.2.2) and can be
    // made again, that is none of the client's business.
    let replay = match request {
        Some(request) if lease.is_reused() && means.upload.is_none() => {
            request.method().is_idempotent().then(|| copy(request))
        }
        _ => None,
    };
    match send(&mut lease, request, means).await {
        Ok(response) => return Ok(Answer { response, lease }),
        Err(Error::UpstreamReset) if lease.is_reused() => {}
        Err(cause) => return Err(cause),
    }
    if request.is_none() {
        *request = replay;
    }
    if request.is_none() {
        return Err(Error::UpstreamReset);
    }
    let mut lease = Lease::connect(endpoint, means.connect).await.map_err(not_connected)?;
    let response = send(&mut lease, request, means).await?;
    Ok(Answer { response, lease })
}

/// Sends over one connection. The time for the response runs while the client is not the one that
/// is waited for.
async fn send(
    lease: &mut Lease,
    request: &mut Option<Request<Body>>,
    means: &Means<'_>,
) -> Result<Response<Incoming>, Error> {
    let upload = means.upload;
    // Over a kept connection the request goes out as it came: the clock need not be read again.
    let fresh = means.retry || !lease.is_reused();
    let mut deadline = means.response.begin(if fresh { clock::now() } else { means.started });
    let Some(unsent) = request.take() else { return Err(Error::UpstreamReset) };
    let mut sending = pin!(lease.send(unsent));
    let mut seen = upload.map(Progress::parts);
    let mut error = loop {
        let sent = poll_fn(|cx| match sending.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending => Pin::new(&mut deadline).poll(cx).map(|()| None),
        });
        match sent.await {
            Some(Ok(response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                // Nobody asked for it: `Upgrade` is not passed on.
                return Err(Error::InvalidResponse);
            }
            Some(Ok(response)) => return Ok(response),
            Some(Err(error)) => break error,
            None => {
                let moved = upload.is_some_and(|upload| {
                    upload.is_waiting() || seen.replace(upload.parts()) != Some(upload.parts())
                });
                if !moved {
                    return Err(Error::ResponseTimedOut);
                }
                deadline = means.response.begin(clock::now());
            }
        }
    };
    *request = error.take_message();
    let cause = match upload.map(Progress::state) {
        Some(State::Broken) => Error::RequestBroken,
        Some(State::Stalled) => Error::RequestStalled,
        _ if error.error().is_parse() => Error::InvalidResponse,
        _ => Error::UpstreamReset,
    };
    tracing::debug!(error = %error.error(), %cause, "attempt failed");
    Err(cause)
}

fn not_connected(error: ConnectError) -> Error {
    match error {
        ConnectError::Failed(error) => {
            tracing::debug!(%error, "connect failed");
            Error::ConnectFailed
        }
        ConnectError::TimedOut(_) => Error::ConnectTimedOut,
    }
}

/// The same request again, without a body.
fn copy(request: &Request<Body>) -> Request<Body> {
    let mut again = Request::new(Body::empty());
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.headers_mut() = request.headers().clone();
    again
}

//! How long the parts of an exchange may take, and the whole of it.

use super::error::Error;
use super::grpc;
use crate::base::units;
use http::HeaderMap;
use schemars::JsonSchema;
use serde::Deserialize;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::time::Sleep;

/// How long the parts of an exchange may take; 0 for as long as they like.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TimeoutsConfig {
    /// The whole exchange, from the head of the request to the last byte of the response; 504
    /// after it, or the response is broken off. Off by default.
    pub request: units::Duration,
    /// Making a connection to an endpoint; 504 after it.
    pub connect: units::Duration,
    /// From the last byte of the request to the head of the response; 504 after it.
    pub backend_request: units::Duration,
    /// The longest pause inside a body, in either direction; the message is broken off after it.
    pub idle: units::Duration,
}

impl Default for TimeoutsConfig {
    fn default() -> Self {
        Self {
            request: units::Duration::from_secs(0),
            connect: units::Duration::from_secs(1),
            backend_request: units::Duration::from_secs(15),
            idle: units::Duration::from_secs(300),
        }
    }
}

/// The compiled form of [`TimeoutsConfig`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Timeouts {
    /// The whole exchange, if it is limited.
    pub request: Option<Duration>,
    /// Making a connection.
    pub connect: Duration,
    /// Waiting for the response's head once the request is sent.
    pub response: Duration,
    /// The longest pause inside a body.
    pub idle: Duration,
}

impl From<&TimeoutsConfig> for Timeouts {
    fn from(config: &TimeoutsConfig) -> Self {
        // As in the Gateway API (GEP-1742), where zero turns a timeout off.
        let limit = |time: units::Duration| {
            if time.0.is_zero() { units::Duration::MAX } else { time.0 }
        };
        Self {
            request: Some(config.request.0).filter(|time| !time.is_zero()),
            connect: limit(config.connect),
            response: limit(config.backend_request),
            idle: limit(config.idle),
        }
    }
}

/// How long the client of a call has to break it off itself when its deadline is over.
const DEADLINE_GRACE: Duration = Duration::from_millis(500);

/// The end of an exchange whose time is limited, by the route or by the client of a gRPC call.
#[derive(Debug)]
pub struct End {
    /// Fires when the time is over.
    pub timer: Pin<Box<Sleep>>,
    /// What it means then.
    pub cause: Error,
}

impl End {
    /// The earlier of what the route and the call say; begins to run now.
    pub fn of(timeouts: &Timeouts, call: bool, headers: &HeaderMap) -> Option<Self> {
        let asked = call.then(|| grpc::timeout(headers)).flatten();
        let (time, cause) = match (timeouts.request, asked) {
            (None, None) => return None,
            (Some(request), Some(asked)) if request <= asked => (request, Error::RequestTimedOut),
            (Some(request), None) => (request, Error::RequestTimedOut),
            (_, Some(asked)) => (asked, Error::DeadlineExceeded),
        };
        // A call may name thousands of years.
        let timer = Box::pin(tokio::time::sleep(time.min(units::Duration::MAX)));
        Some(Self { timer, cause })
    }

    /// The end of the response that has begun. Once its head has gone out, a call can only be
    /// broken off, which says less to its client than the deadline that it sees itself: so it may
    /// go first.
    #[must_use]
    pub fn of_response(mut self) -> Self {
        if self.cause == Error::DeadlineExceeded {
            let at = self.timer.deadline() + DEADLINE_GRACE;
            self.timer.as_mut().reset(at);
        }
        self
    }

    /// Does what the exchange has to do, but no longer than to its end.
    pub async fn limit<T, E: From<Error>>(
        end: &mut Option<Self>,
        mut work: Pin<&mut impl Future<Output = Result<T, E>>>,
    ) -> Result<T, E> {
        poll_fn(|cx| {
            if let Poll::Ready(result) = work.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            match end {
                Some(end) => end.timer.as_mut().poll(cx).map(|()| Err(end.cause.into())),
                None => Poll::Pending,
            }
        })
        .await
    }
}

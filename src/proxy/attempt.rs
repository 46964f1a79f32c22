//! One try to get a response from an endpoint, counted by how it ended.

use super::again::Judge;
use super::either::exchange_either;
use super::error::Error;
use super::grpc;
use super::timeouts::End;
use super::upgrade::Upgrade;
use crate::base::body::Progress;
use crate::base::clock;
use crate::base::deadline::Deadlines;
use crate::base::http1::decode::Decoder;
use crate::base::http1::wire::Informational;
use crate::base::incoming::Incoming;
use crate::telemetry::series::Outcome;
use crate::upstream::http1::head::Form;
use crate::upstream::http1::{Connection, SendError, Sending, Upload};
use crate::upstream::local::{LocalEndpoint, Place};
use crate::upstream::outgoing::Outgoing;
use crate::upstream::receiving::Receiving;
use crate::upstream::transport::{ConnectError, Protocol};
use http::{Method, StatusCode, response};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// What an attempt is made with, beside what is sent.
#[derive(Debug)]
pub struct Means<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// The protocol that it asks for, if any.
    pub upgrade: Option<&'a Upgrade>,
    /// How far the request's body got, if it has one.
    pub progress: Option<&'a Progress>,
    /// Where informational responses go, if the client understands them.
    pub informational: Option<&'a Informational>,
    /// How long making a connection may take.
    pub connect: Duration,
    /// How long waiting for the response may take.
    pub response: &'a Rc<Deadlines>,
    /// Whether this is a retry.
    pub retry: bool,
    /// Whether the request may be sent again although an endpoint may have acted on it.
    pub repeat: Repeat,
    /// Whether it is a gRPC call.
    pub call: bool,
    /// In which form the fields of the response are wanted.
    pub form: Form,
    /// Who says which responses are not to be passed on; nobody if another attempt may not be made.
    pub judge: Option<&'a Judge<'a>>,
    /// When the request came.
    pub started: Instant,
}

/// Whether a request may be sent again although an endpoint may have acted on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// It may not.
    Never,
    /// It may, for as long as nothing of its body is gone.
    Early,
    /// It may, and all of it is kept.
    Always,
}

/// A response: its head, and its body that is still on the way. In a box, because it is handed on a
/// dozen times before anybody looks at it.
pub type Answer = Box<(response::Parts, Receiving)>;

/// Why an attempt brought no response to pass on.
#[derive(Debug, Clone, Copy)]
pub enum Failure {
    /// It failed.
    Cause(Error),
    /// A response came that is asked for again.
    Unwanted(Outcome),
}

impl From<Error> for Failure {
    fn from(cause: Error) -> Self {
        Self::Cause(cause)
    }
}

/// Counts an attempt when it is over, as cancelled if its future was dropped.
struct Counted<'a> {
    place: &'a Place,
    retry: bool,
    outcome: Outcome,
    /// Whether it says anything of the endpoint.
    tells: bool,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.place.attempted(self.retry, self.outcome, self.tells);
    }
}

/// Sends the request to the place's endpoint and waits for the head of the response. What is left
/// in `outgoing` after a failure says whether anything was sent.
pub async fn attempt(
    place: &Place,
    outgoing: &mut Outgoing<Incoming>,
    end: &mut Option<End>,
    means: &Means<'_>,
) -> Result<Answer, Failure> {
    let endpoint = place.endpoint();
    let outcome = Outcome::Cancelled;
    let mut counted = Counted { place, retry: means.retry, outcome, tells: true };
    let result = match &outgoing.message {
        None => End::limit(end, pin!(exchange(endpoint, &mut outgoing.upload, means))).await,
        // In a box, because most requests need no room for this.
        Some(_) => {
            End::limit(end, Box::pin(exchange_either(endpoint, outgoing, means)).as_mut()).await
        }
    };
    counted.outcome = match &result {
        Ok(answer) => answered_with(&answer.0, means.call),
        Err(Failure::Unwanted(outcome)) => *outcome,
        Err(Failure::Cause(cause)) => failed_with(*cause, means),
    };
    // A client may give its call next to no time.
    counted.tells = !matches!(result, Err(Failure::Cause(Error::DeadlineExceeded)))
        || means.started.elapsed() >= FAIR_WAIT;
    result
}

/// What a response says of its endpoint. A gRPC call whose head is all there is of its response
/// ("Trailers-Only") is known by its status.
fn answered_with(parts: &response::Parts, call: bool) -> Outcome {
    let failed = call && grpc::status(&parts.headers).is_some_and(grpc::is_server_error);
    if failed || parts.status.is_server_error() { Outcome::ServerError } else { Outcome::Success }
}

/// How long an endpoint has at least before a client's own deadline speaks against it.
const FAIR_WAIT: Duration = Duration::from_secs(1);

/// What a failure says of its endpoint.
fn failed_with(cause: Error, means: &Means<'_>) -> Outcome {
    match cause {
        Error::ConnectFailed | Error::UpstreamProtocol => Outcome::ConnectFailure,
        Error::ConnectTimedOut => Outcome::ConnectTimeout,
        // The client may be what took the time.
        Error::RequestTimedOut | Error::DeadlineExceeded
            if means.progress.is_some_and(Progress::is_waiting) =>
        {
            Outcome::Cancelled
        }
        Error::ResponseTimedOut | Error::RequestTimedOut | Error::DeadlineExceeded => {
            Outcome::ResponseTimeout
        }
        Error::UpstreamTls => Outcome::TlsFailure,
        // To serve other protocols is not what makes an endpoint a good one.
        Error::UpstreamFull | Error::UpstreamRefused | Error::NotUpgraded => Outcome::Refused,
        Error::InvalidResponse => Outcome::InvalidResponse,
        Error::UpstreamReset => Outcome::Reset,
        _ => Outcome::Cancelled,
    }
}

/// Tries a kept connection first; if that turns out to be closed, a new one.
async fn exchange(
    endpoint: &Rc<LocalEndpoint>,
    upload: &mut Option<Upload<Incoming>>,
    means: &Means<'_>,
) -> Result<Answer, Failure> {
    if endpoint.transport().protocol != Protocol::Http1 {
        // The pool was told to speak HTTP/2 since the request was written.
        return Err(Error::UpstreamProtocol.into());
    }
    let mut kept = endpoint.take_idle();
    if means.repeat != Repeat::Always {
        // What may not be sent twice is worth a system call to see whether the endpoint has closed.
        while kept.as_ref().is_some_and(|connection| !connection.is_open_now()) {
            kept = endpoint.take_idle();
        }
    }
    loop {
        // Over a kept connection the request goes out as it came: the clock need not be read again.
        let fresh = means.retry || kept.is_none();
        let connection = match kept.take() {
            Some(connection) => connection,
            // In a box, because most requests find a kept connection and need no room for this.
            None => {
                Box::pin(endpoint.connect(means.connect)).await.map_err(|e| not_connected(&e))?
            }
        };
        let reused = connection.is_reused();
        match send(connection, endpoint, upload, means, fresh).await {
            Err(Failure::Cause(Error::UpstreamReset))
                if reused && can_repeat(upload.as_mut(), means) => {}
            result => return result,
        }
    }
}

/// The service may close a kept connection in the moment in which it is used again. If nothing
/// was sent, or if the request asks for nothing that may not happen twice (RFC 9110 section 9.2.2)
/// and can be made again, that is none of the client's business.
pub(super) fn can_repeat(upload: Option<&mut Upload<Incoming>>, means: &Means<'_>) -> bool {
    upload.is_some_and(|upload| {
        upload.is_unsent() || (means.repeat != Repeat::Never && upload.rewind())
    })
}

/// Sends over one connection. The time for the response runs from now if `fresh`, else from when
/// the request came, while the client is not the one that is waited for.
pub(super) async fn send(
    connection: Box<Connection>,
    endpoint: &Rc<LocalEndpoint>,
    upload: &mut Option<Upload<Incoming>>,
    means: &Means<'_>,
    fresh: bool,
) -> Result<Answer, Failure> {
    let mut sending =
        Sending::new(connection, upload, means.method, means.informational, means.form);
    let head = match answered(means, fresh, |cx| sending.poll(cx)).await {
        Ok(head) => head,
        Err(Failed::Sending(error)) => return Err(not_answered(&error).into()),
        Err(Failed::TimedOut) => return Err(Error::ResponseTimedOut.into()),
    };
    check_upgrade(&head.parts, means)?;
    let all = head.decoder == Decoder::Done;
    if let Some(outcome) = unwanted(&head.parts, all, means, sending.can_repeat()) {
        sending.discard(head, endpoint);
        return Err(Failure::Unwanted(outcome));
    }
    let (parts, receiving) = sending.accept(head, endpoint);
    Ok(Box::new((parts, Receiving::Http1(receiving))))
}

/// What a response says of its endpoint if it is not to be passed on; `all` says whether its head
/// is all there is of it.
pub(super) fn unwanted(
    parts: &response::Parts,
    all: bool,
    means: &Means<'_>,
    can_repeat: bool,
) -> Option<Outcome> {
    let judge = means.judge.filter(|judge| can_repeat && judge.discards(parts, all));
    judge.map(|_| answered_with(parts, means.call))
}

/// Why a request that is being sent gets no response.
pub(super) enum Failed<E> {
    /// The sending failed.
    Sending(E),
    /// The response did not come in time.
    TimedOut,
}

/// Polls until there is a response or its time is up. The time runs while the client is not the
/// one that is waited for.
pub(super) async fn answered<T, E>(
    means: &Means<'_>,
    fresh: bool,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<Result<T, E>>,
) -> Result<T, Failed<E>> {
    let progress = means.progress;
    let mut deadline = means.response.begin(if fresh { clock::now() } else { means.started });
    let mut seen = progress.map(Progress::parts);
    loop {
        let sent = poll_fn(|cx| match poll(cx) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending => Pin::new(&mut deadline).poll(cx).map(|()| None),
        });
        if let Some(result) = sent.await {
            return result.map_err(Failed::Sending);
        }
        let moved = progress.is_some_and(|progress| {
            progress.is_waiting() || seen.replace(progress.parts()) != Some(progress.parts())
        });
        if !moved {
            return Err(Failed::TimedOut);
        }
        deadline = means.response.begin(clock::now());
    }
}

/// Whether a change of protocol is the one that was asked for, and is there if it has to be.
fn check_upgrade(parts: &response::Parts, means: &Means<'_>) -> Result<(), Error> {
    let Some(upgrade) = means.upgrade else { return Ok(()) };
    match parts.status {
        StatusCode::SWITCHING_PROTOCOLS if !upgrade.is_taken_up(&parts.headers) => {
            Err(Error::InvalidResponse)
        }
        // To its client any success would mean that the protocol is spoken (RFC 8441 section 5).
        status if status.is_success() && upgrade.is_extended() => Err(Error::NotUpgraded),
        _ => Ok(()),
    }
}

pub(super) fn not_connected(error: &ConnectError) -> Error {
    tracing::debug!(?error, "connect failed");
    match error {
        ConnectError::Failed(_) => Error::ConnectFailed,
        ConnectError::TimedOut => Error::ConnectTimedOut,
        ConnectError::Tls(_) => Error::UpstreamTls,
        ConnectError::Protocol(_) => Error::UpstreamProtocol,
        ConnectError::Full => Error::UpstreamFull,
        ConnectError::Overloaded => Error::PoolOverloaded,
    }
}

fn not_answered(error: &SendError) -> Error {
    tracing::debug!(?error, "no response");
    match error {
        SendError::Broken(_) | SendError::Closed => Error::UpstreamReset,
        SendError::Invalid(_) => Error::InvalidResponse,
        SendError::Body(error) => Error::of_body(error),
    }
}

//! An attempt at an endpoint that speaks HTTP/2, or may.

use super::attempt::{
    Answer, Failed, Failure, Means, Repeat, answered, can_repeat, not_connected, send, unwanted,
};
use super::error::Error;
use crate::base::incoming::Incoming;
use crate::upstream::http2::{self, Lease};
use crate::upstream::local::LocalEndpoint;
use crate::upstream::opening::Opened;
use crate::upstream::outgoing::Outgoing;
use crate::upstream::receiving::Receiving;
use crate::upstream::transport::Protocol;
use std::rc::Rc;

/// Sends over a stream, or over a connection of its own if the endpoint speaks HTTP/1.1. What was
/// surely not looked at is sent again, over another connection if there is one.
pub(super) async fn exchange_either(
    endpoint: &Rc<LocalEndpoint>,
    outgoing: &mut Outgoing<Incoming>,
    means: &Means<'_>,
) -> Result<Answer, Failure> {
    /// How often a request is sent again to the same endpoint.
    const REPEATS_MAX: u8 = 3;
    let mut repeats = 0;
    loop {
        let opened = open(endpoint, means).await?;
        let lease = match opened {
            // As in `exchange`: what may not be sent twice is worth a look at the connection. Each
            // look takes one of those that are kept, so this comes to an end.
            Opened::Http1(connection)
                if connection.is_reused()
                    && means.repeat != Repeat::Always
                    && !connection.is_open_now() =>
            {
                continue;
            }
            Opened::Http1(connection) => {
                if !outgoing.write_http1() {
                    return Err(Error::UpstreamRefused.into());
                }
                let reused = connection.is_reused();
                let result = send(connection, endpoint, &mut outgoing.upload, means, true).await;
                let Err(failure) = result else { return result };
                let broken = matches!(failure, Failure::Cause(Error::UpstreamReset)) && reused;
                let again =
                    broken && repeats < REPEATS_MAX && can_repeat(outgoing.upload.as_mut(), means);
                outgoing.unwrite_http1();
                if again {
                    repeats += 1;
                    continue;
                }
                return Err(failure);
            }
            Opened::Http2(lease) => lease,
        };
        let reused = lease.is_reused();
        let error = match stream(lease, endpoint, outgoing, means).await {
            Ok(answer) => return Ok(answer),
            Err(Unanswered::Failure(failure)) => return Err(failure),
            Err(Unanswered::Sending(error)) => error,
        };
        tracing::debug!(?error, "no response over HTTP/2");
        let Some(message) = outgoing.message.as_deref_mut() else {
            return Err(not_answered(&error).into());
        };
        // A connection may end in the moment in which it is used again, as with HTTP/1.1.
        let unseen = matches!(error, http2::SendError::Refused(_));
        let harmless = matches!(error, http2::SendError::Broken(ref error) if error.is_io())
            && reused
            && means.repeat != Repeat::Never
            && message.body.is_untouched();
        let again = unseen || harmless;
        if !message.body.is_whole() || repeats == REPEATS_MAX || !again {
            message.spent = !unseen;
            return Err(not_answered(&error).into());
        }
        // What may happen twice may also do so elsewhere, should this endpoint be gone: as if
        // nobody had seen it.
        repeats += 1;
    }
}

/// A connection for a request that can go in either version.
async fn open(endpoint: &Rc<LocalEndpoint>, means: &Means<'_>) -> Result<Opened, Error> {
    if endpoint.transport().protocol != Protocol::Http1 {
        return endpoint.open(means.connect).await.map_err(|error| not_connected(&error));
    }
    // The pool of another attempt speaks HTTP/2, this one does not.
    let connection = match endpoint.take_idle() {
        Some(connection) => connection,
        None => endpoint.connect(means.connect).await.map_err(|error| not_connected(&error))?,
    };
    Ok(Opened::Http1(connection))
}

/// Why there is no response over a stream.
enum Unanswered {
    /// Decided already.
    Failure(Failure),
    /// The request may have to be sent again over another connection.
    Sending(http2::SendError),
}

impl From<http2::SendError> for Unanswered {
    fn from(error: http2::SendError) -> Self {
        Self::Sending(error)
    }
}

/// Sends over a stream.
async fn stream(
    lease: Lease,
    endpoint: &Rc<LocalEndpoint>,
    outgoing: &mut Outgoing<Incoming>,
    means: &Means<'_>,
) -> Result<Answer, Unanswered> {
    let protocol = || Unanswered::Failure(Error::UpstreamProtocol.into());
    if !outgoing.unwrite_http1() {
        return Err(protocol());
    }
    let message = outgoing.message.as_deref_mut().ok_or_else(protocol)?;
    let secure = endpoint.transport().tls.is_some();
    let mut sending = http2::Sending::new(lease, message, secure)?;
    // The request may have waited for the stream.
    let head = match answered(means, true, |cx| sending.poll(cx, means.informational)).await {
        Ok(head) => head,
        Err(Failed::Sending(error)) => return Err(error.into()),
        Err(Failed::TimedOut) => {
            sending.timed_out();
            drop(sending);
            message.spent = true;
            return Err(Unanswered::Failure(Error::ResponseTimedOut.into()));
        }
    };
    if let Some(outcome) = unwanted(&head.parts, head.is_all(), means, sending.can_repeat()) {
        sending.discard(head);
        message.spent = true;
        return Err(Unanswered::Failure(Failure::Unwanted(outcome)));
    }
    let (mut parts, receiving) = sending.accept(head)?;
    if let Some(upgrade) = means.upgrade {
        upgrade.translate(&mut parts);
    }
    Ok(Box::new((parts, Receiving::Http2(Box::new(receiving)))))
}

fn not_answered(error: &http2::SendError) -> Error {
    match error {
        http2::SendError::Refused(_) => Error::UpstreamRefused,
        http2::SendError::Broken(_) => Error::UpstreamReset,
        http2::SendError::Invalid(_) => Error::InvalidResponse,
        http2::SendError::NotExtended => Error::NotUpgraded,
        http2::SendError::Unsendable(_) => Error::BadHost,
        http2::SendError::Body(error) => Error::of_body(error),
    }
}

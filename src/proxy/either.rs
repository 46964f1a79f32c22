//! An attempt at an endpoint that speaks HTTP/2, or may.

use super::attempt::{Answer, Failed, Means, answered, can_repeat, not_connected, send};
use super::error::Error;
use crate::base::incoming::Incoming;
use crate::upstream::http2;
use crate::upstream::local::LocalEndpoint;
use crate::upstream::opening::Opened;
use crate::upstream::outgoing::Outgoing;
use crate::upstream::receiving::Receiving;
use std::rc::Rc;

/// Sends over a stream, or over a connection of its own if the endpoint speaks HTTP/1.1. What was
/// surely not looked at is sent again, over another connection if there is one.
pub(super) async fn exchange_either(
    endpoint: &Rc<LocalEndpoint>,
    outgoing: &mut Outgoing<Incoming>,
    means: &Means<'_>,
) -> Result<Answer, Error> {
    /// How often a request is sent again to the same endpoint.
    const REPEATS_MAX: u8 = 3;
    let secure = endpoint.transport().tls.is_some();
    let mut repeats = 0;
    loop {
        let opened = endpoint.open(means.connect).await.map_err(|error| not_connected(&error))?;
        let lease = match opened {
            Opened::Http1(connection) => {
                if !outgoing.write_http1() {
                    return Err(Error::UpstreamRefused);
                }
                let reused = connection.is_reused();
                let result = send(connection, endpoint, &mut outgoing.upload, means, true).await;
                let broken = matches!(result, Err(Error::UpstreamReset)) && reused;
                if broken && repeats < REPEATS_MAX && can_repeat(outgoing.upload.as_mut(), means) {
                    repeats += 1;
                    outgoing.unwrite_http1();
                    continue;
                }
                outgoing.unwrite_http1();
                return result;
            }
            Opened::Http2(lease) => lease,
        };
        if !outgoing.unwrite_http1() {
            return Err(Error::UpstreamProtocol);
        }
        let Some(message) = outgoing.message.as_deref_mut() else {
            return Err(Error::UpstreamProtocol);
        };
        let reused = lease.is_reused();
        let result = match http2::Sending::new(lease, message, secure) {
            Ok(mut sending) => {
                let informational = means.informational;
                // The request may have waited for the stream.
                let result = answered(means, true, |cx| sending.poll(cx, informational)).await;
                if matches!(result, Err(Failed::TimedOut)) {
                    sending.timed_out();
                }
                result
            }
            Err(error) => Err(Failed::Sending(error)),
        };
        let error = match result {
            Ok((mut parts, receiving)) => {
                if let Some(upgrade) = means.upgrade {
                    upgrade.translate(&mut parts);
                }
                return Ok((parts, Receiving::Http2(Box::new(receiving))));
            }
            Err(Failed::TimedOut) => {
                message.spent = true;
                return Err(Error::ResponseTimedOut);
            }
            Err(Failed::Sending(error)) => error,
        };
        tracing::debug!(?error, "no response over HTTP/2");
        // A connection may end in the moment in which it is used again, as with HTTP/1.1.
        let unseen = matches!(error, http2::SendError::Refused(_));
        let harmless = matches!(error, http2::SendError::Broken(ref error) if error.is_io())
            && reused
            && means.method.is_idempotent()
            && message.body.is_untouched();
        let again = unseen || harmless;
        if !message.body.is_whole() || repeats == REPEATS_MAX || !again {
            message.spent = !unseen;
            return Err(not_answered(&error));
        }
        repeats += 1;
    }
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

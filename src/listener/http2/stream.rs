//! One stream: its request is given to the service, and the response sent as the client lets it.

use super::tunnel;
use crate::base::body::Source;
use crate::base::incoming::Incoming;
use crate::listener::connections::Busy;
use crate::listener::date;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE};
use http::{HeaderMap, HeaderValue, Request, Response};
use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tower::Service;

/// How long the client of a tunnel may take nothing of what there is for it.
const STUCK_TIMEOUT: Duration = Duration::from_mins(5);

/// Why nothing more is sent on a stream.
#[derive(Debug)]
enum Ended {
    /// The client has reset it, or its connection is gone.
    Gone,
    /// The client takes nothing of what there is for it.
    Stuck,
    /// The service's response broke off.
    Broken(Reason),
    /// What the service sends can not be said in HTTP/2.
    Refused(h2::Error),
}

impl From<h2::Error> for Ended {
    fn from(error: h2::Error) -> Self {
        Self::Refused(error)
    }
}

/// Answers one request. A stream on which not all was sent is reset when this is dropped.
pub(super) async fn answer<S, B>(
    mut service: S,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    busy: Busy,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Source,
{
    let (request, switch) = tunnel::open(request);
    let answered = {
        // The service is a function, which is always ready.
        let mut call = pin!(service.call(request));
        poll_fn(|cx| match call.as_mut().poll(cx) {
            Poll::Ready(Ok(response)) => Poll::Ready(Some(response)),
            // The client may reset the stream meanwhile.
            Poll::Pending => respond.poll_reset(cx).map(|_| None),
        })
        .await
    };
    let Some(response) = answered else { return };
    let (mut parts, mut body) = response.into_parts();
    complete(&mut parts.headers);
    let reading = switch.filter(|_| parts.status.is_success()).map(|switch| switch.grant());
    let empty = reading.is_none() && body.is_end_stream();
    if reading.is_some() {
        parts.headers.remove(CONTENT_LENGTH);
    } else if !empty
        && !parts.headers.contains_key(CONTENT_LENGTH)
        && let Some(length) = body.size_hint().exact()
    {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let mut to = match respond.send_response(Response::from_parts(parts, ()), empty) {
        Ok(to) => to,
        Err(error) => {
            tracing::debug!(%error, "response that can not be sent");
            respond.send_reset(Reason::INTERNAL_ERROR);
            return;
        }
    };
    if empty {
        return;
    }
    match send(&mut body, &mut to, &busy, reading.is_some()).await {
        Ok(()) => {
            // The client may go on; the exchange ends with its body.
            if let Some(reading) = reading {
                let _ = reading.await;
            }
        }
        Err(Ended::Broken(reason)) => to.send_reset(reason),
        Err(Ended::Refused(error)) => tracing::debug!(%error, "response that can not be sent"),
        Err(ended @ (Ended::Gone | Ended::Stuck)) => tracing::debug!(?ended, "client stream"),
    }
}

/// Makes a response's fields those of HTTP/2, in which no field is about the connection, and of a
/// response that has its date.
fn complete(headers: &mut HeaderMap) {
    headers.remove(CONNECTION);
    if !headers.contains_key(DATE) {
        headers.insert(DATE, date::value());
    }
}

/// Sends a response's body; `tunnel` says whether it is one direction of a tunnel.
async fn send<B: Source>(
    body: &mut B,
    to: &mut SendStream<Bytes>,
    busy: &Busy,
    tunnel: bool,
) -> Result<(), Ended> {
    loop {
        let frame = poll_fn(|cx| match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Ok(frame)),
            Poll::Pending => to.poll_reset(cx).map(|_| Err(Ended::Gone)),
        });
        let Some(frame) = frame.await? else {
            return Ok(to.send_data(Bytes::new(), true)?);
        };
        let frame = frame.map_err(|error| Ended::Broken(reason(&*error.into(), tunnel)))?;
        match frame.into_data() {
            Ok(data) => {
                let last = body.is_end_stream();
                if !data.is_empty() && !has_room(to) {
                    if tunnel {
                        // In a box, because a timer needs room and most streams are no tunnel.
                        let room = Box::pin(tokio::time::timeout(
                            STUCK_TIMEOUT,
                            poll_fn(|cx| poll_room(to, cx)),
                        ));
                        room.await.unwrap_or(Err(Ended::Stuck))?;
                    } else {
                        let held = busy.hold();
                        let room = poll_fn(|cx| match held.poll_given_up(cx) {
                            Poll::Ready(()) => Poll::Ready(Err(Ended::Stuck)),
                            Poll::Pending => poll_room(to, cx),
                        });
                        room.await?;
                    }
                }
                to.send_data(data, last)?;
                if last {
                    return Ok(());
                }
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    return Ok(to.send_trailers(trailers)?);
                }
            }
        }
    }
}

/// Asks for room for what there is to send, and says whether there is some already. What goes
/// beyond it waits in h2; nothing is asked for before it is needed, as others may need it.
fn has_room(to: &mut SendStream<Bytes>) -> bool {
    to.reserve_capacity(1);
    to.capacity() > 0
}

/// Waits until the client lets something pass.
fn poll_room(to: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
    if to.poll_reset(cx).is_ready() {
        return Poll::Ready(Err(Ended::Gone));
    }
    loop {
        match ready!(to.poll_capacity(cx)) {
            Some(Ok(0)) => {}
            Some(Ok(_)) => return Poll::Ready(Ok(())),
            Some(Err(_)) | None => return Poll::Ready(Err(Ended::Gone)),
        }
    }
}

/// What the client is told of a response that broke off: what the endpoint told, if it told a
/// reason; of a tunnel, that it did (RFC 8441 section 5).
fn reason(error: &(dyn Error + 'static), tunnel: bool) -> Reason {
    let mut causes = std::iter::successors(Some(error), |error| Error::source(*error));
    let told = causes.find_map(|cause| cause.downcast_ref::<h2::Error>()?.reason());
    told.unwrap_or(if tunnel { Reason::CANCEL } else { Reason::INTERNAL_ERROR })
}

#[cfg(test)]
mod tests {
    use super::answer;
    use crate::base::body::Source;
    use crate::base::incoming::Incoming;
    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Full;
    use std::convert::Infallible;
    use tower::Service;

    /// What a stream needs beside what the service does: all of it is moved when it begins.
    const STATE_BYTES_MAX: usize = 1024;

    fn output_size<A, B, C, D, F>(_: impl FnOnce(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    fn state_size<S, B>(_: &S) -> usize
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        B: Source,
    {
        output_size(answer::<S, B>) - size_of::<S::Future>()
    }

    #[test]
    fn a_stream_needs_little_more_than_the_service() {
        let service = tower::service_fn(async |_: Request<Incoming>| {
            let large = [1; 2048];
            tokio::task::yield_now().await;
            let body = Full::new(Bytes::copy_from_slice(&large));
            Ok::<_, Infallible>(Response::new(body))
        });
        let size = state_size(&service);
        assert!(size <= STATE_BYTES_MAX, "{size} bytes");
    }
}

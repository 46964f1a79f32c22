//! One connection: a head is read, its request is served, the response is written, and again.

use super::head::Head;
use super::respond::{Broken, Framing, Persistence, Responder};
use super::waiting::{Next, Waiting};
use crate::base::body::Reply;
use crate::base::clock;
use crate::base::deadline::Deadline;
use crate::base::http1::wire::{Client, Wire};
use crate::base::incoming::Incoming;
use crate::base::io::Io;
use crate::listener::connections::Connection;
use crate::listener::http::Terms;
use crate::listener::refusal::Refusal;
use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, Version};
use http_body_util::Full;
use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tower::Service;

/// How much we read on, without looking at it, from a client that we have told that its connection
/// closes.
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// How a connection begins.
#[derive(Debug)]
pub(in crate::listener) struct Start {
    /// The connection, from which something may have been read.
    pub(in crate::listener) io: Io,
    /// The time for the first head, if that has begun.
    pub(in crate::listener) deadline: Option<Deadline>,
}

/// What becomes of a connection after an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// The next request is read.
    KeepAlive,
    /// It closes.
    Close,
    /// It closes, and that is the end of the response's body.
    End,
    /// It closes, but the client may be sending still.
    Linger,
    /// It is broken, or was told to end at once.
    Drop,
}

/// Serves until the client leaves, the connection breaks, or it is told to end.
pub(in crate::listener) async fn serve<S, B>(
    start: Start,
    service: S,
    known: &Connection,
    terms: Terms<'_>,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone,
    B: Reply,
{
    let Start { mut io, deadline } = start;
    let received = BytesMut::from(io.take_read());
    let wire = Wire::new(io, received);
    let mut waiting = Waiting::new(&wire, known, terms, deadline);
    let requests_max = terms.limits.requests_per_connection;
    let mut requests: u32 = 0;
    let after = loop {
        let next = poll_fn(|cx| {
            waiting.poll(cx).map(|next| match next {
                Next::Request(head) => {
                    let last = requests_max.is_some_and(|most| requests >= most.get() - 1);
                    let (exchange, request) = Exchange::new(&wire, known, &terms, head, last);
                    // In a box, because most of a connection's time there is none. Made in its
                    // place: else all of it would be copied there, although little of it is used.
                    let place = Box::new_uninit();
                    let exchange = Box::write(place, exchange.run(service.clone(), request));
                    Next::Request(Box::into_pin(exchange))
                }
                Next::Refused(refusal) => Next::Refused(refusal),
                Next::End => Next::End,
            })
        });
        match next.await {
            Next::Request(exchange) => match exchange.await {
                After::KeepAlive => {
                    requests = requests.saturating_add(1);
                    waiting.again();
                }
                after => break after,
            },
            Next::Refused(refusal) => {
                terms.shard.refusals.count(refusal);
                break Box::pin(refuse(&wire, known, terms, refusal)).await;
            }
            Next::End => break After::Close,
        }
    };
    if after == After::Drop || (after == After::Close && wire.ends_when_dropped()) {
        return;
    }
    Box::pin(close(&wire, known, terms, after)).await;
}

/// A request and its response.
#[expect(clippy::struct_excessive_bools, reason = "each is another fact")]
struct Exchange<'a> {
    wire: &'a Rc<Wire>,
    known: &'a Connection,
    terms: &'a Terms<'a>,
    version: Version,
    is_head: bool,
    /// Whether the client wants the connection to stay.
    persistent: bool,
    /// Whether it may stay afterwards.
    keep_alive: bool,
    /// Whether the client waits for a response before it sends the body.
    expects: bool,
    /// When the runtime is told of the client's socket, to see what it does.
    glance: Cell<Option<Deadline>>,
}

/// A response whose head is written, or about to be.
struct Begun {
    framing: Framing,
    /// Whether the connection may stay afterwards.
    keep: bool,
    /// What became of writing it so far.
    written: Poll<Result<(), Broken>>,
}

impl<'a> Exchange<'a> {
    /// Begins a request; `last` says whether no other may follow.
    fn new(
        wire: &'a Rc<Wire>,
        known: &'a Connection,
        terms: &'a Terms<'a>,
        head: Head,
        last: bool,
    ) -> (Self, Request<Incoming>) {
        let Head { parts, decoder, keep_alive, expects, upgrade } = head;
        let (version, is_head) = (parts.version, parts.method == Method::HEAD);
        let body = wire.begin(decoder, version == Version::HTTP_11, upgrade);
        let exchange = Self {
            wire,
            known,
            terms,
            version,
            is_head,
            persistent: keep_alive,
            keep_alive: keep_alive && !last,
            expects,
            glance: Cell::default(),
        };
        (exchange, Request::from_parts(parts, Incoming::Http1(body)))
    }

    async fn run<S, B>(self, mut service: S, request: Request<Incoming>) -> After
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        B: Reply,
    {
        let mut responder = Responder::new(self.wire, &self.terms.timers.write);
        let begun = {
            // The service is a function, which is always ready.
            let serving = pin!(service.call(request));
            self.answer(serving, &mut responder).await
        };
        let Some(Begun { framing, keep, written }) = begun else { return After::Drop };
        match self.write(&mut responder, written).await {
            Err(Broken) => {
                if framing == Framing::UntilClose {
                    // A regular end would be the end of the body.
                    self.wire.reset();
                }
                return After::Drop;
            }
            Ok(()) if framing == Framing::Raw => return Box::pin(self.end_tunnel(responder)).await,
            Ok(()) => {}
        }
        let whole = self.wire.finish();
        let nothing = self.wire.with_received(|received| received.is_empty());
        match (keep && whole, whole && nothing) {
            (true, _) => After::KeepAlive,
            (false, true) if framing == Framing::UntilClose => After::End,
            (false, true) => After::Close,
            (false, false) => After::Linger,
        }
    }

    /// Waits for the service's response and begins to write it; meanwhile passes informational ones
    /// on. Nothing if the client leaves, or is not to be answered.
    async fn answer<F, B>(
        &self,
        mut serving: Pin<&mut F>,
        responder: &mut Responder<'_, B>,
    ) -> Option<Begun>
    where
        F: Future<Output = Result<Response<B>, Infallible>>,
        B: Reply,
    {
        let mut early = BytesMut::new();
        poll_fn(|cx| {
            self.known.wake(cx.waker());
            if self.known.is_cut() {
                return Poll::Ready(None);
            }
            let polled = serving.as_mut().poll(cx);
            if let Some(more) = self.wire.take_early() {
                early.unsplit(more);
            }
            if let Poll::Ready(Ok(response)) = polled {
                responder.put_before(std::mem::take(&mut early));
                return Poll::Ready(self.begin(cx, response, responder));
            }
            if self.write_early(cx, &mut early).is_err() || self.is_left(cx) {
                return Poll::Ready(None);
            }
            Poll::Pending
        })
        .await
    }

    /// Begins to write a response; nothing if it answers what nobody has asked for.
    fn begin<B: Reply>(
        &self,
        cx: &mut Context<'_>,
        response: Response<B>,
        responder: &mut Responder<'_, B>,
    ) -> Option<Begun> {
        let (parts, body) = response.into_parts();
        let framing = responder.put(&parts, body, self.version, self.is_head);
        if framing == Framing::Raw && !self.wire.open_tunnel() {
            return None;
        }
        let unread = self.expects && self.wire.is_unread();
        let keep = self.keep_alive
            && !self.known.is_finishing()
            && !matches!(framing, Framing::UntilClose | Framing::Raw)
            && !closes(parts.headers.get(CONNECTION))
            && !self.wire.is_over()
            && !unread
            && !self.wire.is_abandoned();
        let persistence = match (keep, self.version) {
            (false, _) => Persistence::Closes,
            (true, Version::HTTP_11) => Persistence::Stays,
            (true, _) => Persistence::Kept,
        };
        let mut written = responder.begin(cx, &parts, persistence);
        if written.is_pending() && self.is_left(cx) {
            written = Poll::Ready(Err(Broken));
        }
        Some(Begun { framing, keep, written })
    }

    /// Writes the rest of a response; `written` is what became of it in this turn.
    async fn write<B: Reply>(
        &self,
        responder: &mut Responder<'_, B>,
        written: Poll<Result<(), Broken>>,
    ) -> Result<(), Broken> {
        let mut written = Some(written);
        poll_fn(|cx| {
            // Nothing more has come since.
            if let Some(written) = written.take() {
                return written;
            }
            self.known.wake(cx.waker());
            if self.known.is_cut() {
                return Poll::Ready(Err(Broken));
            }
            let polled = responder.poll(cx);
            if polled.is_pending() && self.is_left(cx) {
                return Poll::Ready(Err(Broken));
            }
            polled
        })
        .await
    }

    /// Writes informational responses, as far as the client takes them.
    fn write_early(&self, cx: &mut Context<'_>, early: &mut BytesMut) -> Result<(), Broken> {
        if early.is_empty() {
            return Ok(());
        }
        while !early.is_empty() {
            match self.wire.poll_write(cx, &[IoSlice::new(early)]) {
                Poll::Ready(Ok(written @ 1..)) => early.advance(written),
                Poll::Ready(_) => return Err(Broken),
                Poll::Pending => return Ok(()),
            }
        }
        match self.wire.poll_flush(cx) {
            Poll::Ready(Err(_)) => Err(Broken),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    /// Whether the client is known to wait no longer.
    fn is_left(&self, cx: &mut Context<'_>) -> bool {
        // A connection that stays is waited for afterwards anyway.
        if !self.persistent && !self.wire.is_registered() && self.poll_glance(cx).is_pending() {
            return false;
        }
        match self.wire.watch(cx) {
            Client::There => false,
            Client::Ended => self.terms.limits.abort_on_close,
            Client::Gone => true,
        }
    }

    /// Waits until it is worth it to tell the runtime of a socket that closes after this response;
    /// may be a little early.
    fn poll_glance(&self, cx: &mut Context<'_>) -> Poll<()> {
        let begin = || self.terms.timers.glance.begin(clock::recent());
        let mut glance = self.glance.take().unwrap_or_else(begin);
        let polled = Pin::new(&mut glance).poll(cx);
        self.glance.set(Some(glance));
        polled
    }

    /// The service's side of a tunnel has ended: the client is told, and may send on to the end of
    /// its own.
    async fn end_tunnel<B>(&self, responder: Responder<'_, B>) -> After {
        // A client that takes nothing does not take the end either, which TLS has to write.
        let mut deadline = self.terms.timers.write.begin(clock::now());
        let shut = poll_fn(|cx| {
            self.known.wake(cx.waker());
            if self.known.is_cut() {
                return Poll::Ready(false);
            }
            match self.wire.poll_shutdown(cx) {
                Poll::Ready(shut) => Poll::Ready(shut.is_ok()),
                Poll::Pending => Pin::new(&mut deadline).poll(cx).map(|()| false),
            }
        })
        .await;
        drop(deadline);
        if shut {
            poll_fn(|cx| {
                self.known.wake(cx.waker());
                if self.known.is_cut() {
                    return Poll::Ready(());
                }
                self.wire.poll_tunnel_over(cx)
            })
            .await;
        }
        drop(responder);
        After::Drop
    }
}

/// Whether the service wants the connection closed.
fn closes(connection: Option<&HeaderValue>) -> bool {
    connection.is_some_and(|options| {
        let mut options = options.as_bytes().split(|byte| *byte == b',');
        options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
    })
}

/// Answers a request that can not be served.
async fn refuse(wire: &Rc<Wire>, known: &Connection, terms: Terms<'_>, refusal: Refusal) -> After {
    let Some((status, text)) = refusal.answer() else { return After::Close };
    let text = format!("{status}: {text}\n");
    let mut response = Response::new(());
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    let (parts, ()) = response.into_parts();
    let mut responder = Responder::new(wire, &terms.timers.write);
    responder.put(&parts, Full::new(Bytes::from(text)), Version::HTTP_11, false);
    let mut begun = false;
    let written = poll_fn(|cx| {
        known.wake(cx.waker());
        if known.is_cut() {
            return Poll::Ready(Err(Broken));
        }
        if std::mem::replace(&mut begun, true) {
            responder.poll(cx)
        } else {
            responder.begin(cx, &parts, Persistence::Closes)
        }
    });
    if written.await.is_ok() { After::Linger } else { After::Drop }
}

/// Ends a connection. A client that may be sending still is read from for a while, since closing
/// would reset its connection before it has read the response (RFC 9112 section 9.6).
async fn close(wire: &Rc<Wire>, known: &Connection, terms: Terms<'_>, after: After) {
    let mut deadline = terms.timers.linger.begin(clock::now());
    let mut shut = false;
    let mut read = 0;
    poll_fn(|cx| {
        known.wake(cx.waker());
        if known.is_cut() || Pin::new(&mut deadline).poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if !shut {
            let ended = ready!(wire.poll_shutdown(cx));
            shut = true;
            if ended.is_err() || after != After::Linger {
                return Poll::Ready(());
            }
        }
        while read < LINGER_BYTES_MAX {
            match ready!(wire.poll_discard(cx)) {
                Ok(bytes @ 1..) => read += bytes,
                Ok(0) | Err(_) => break,
            }
        }
        Poll::Ready(())
    })
    .await;
}

#[cfg(test)]
mod tests;

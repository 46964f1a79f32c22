//! A client's HTTP/1.1 connection, as its task and the body of the request on it share it.
//!
//! The body is read straight from the socket by whoever sends it on, without a channel in between:
//! in the connection's task, or beside it once a response has begun. Only one of them reads at any
//! time.

use super::PIECE_BYTES;
use super::decode::Decoder;
use super::informational::write_informational;
use super::scratch;
use crate::base::io::Io;
use bytes::{Bytes, BytesMut};
use http::response;
use http_body::{Body, Frame, SizeHint};
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::ReadBuf;

/// How much of a body is read at once at first.
const BODY_READ_BYTES_MIN: usize = 8 * 1024;
/// How much is taken from a client that sends ahead while a request of it is served.
const AHEAD_BYTES_MAX: usize = 16 * 1024;
/// How much of informational responses may wait for the client to take it.
const EARLY_BYTES_MAX: usize = 64 * 1024;

/// Why a body or a tunnel has no more to give.
type BoxError = Box<dyn Error + Send + Sync>;

/// A connection.
#[derive(Debug)]
pub struct Wire {
    state: RefCell<State>,
    /// The request that is being served; bodies of earlier ones give nothing any more.
    number: Cell<u64>,
    /// Whether nobody reads the body of that request any more.
    abandoned: Cell<bool>,
    tunnel: Cell<Offer>,
    /// Who waits for the beginning of the tunnel, and then for its end.
    waiting: RefCell<Option<Waker>>,
}

/// Whether the client's bytes after a request belong to another protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offer {
    /// They do not.
    None,
    /// They do if the response is 101, and somebody wants them.
    Offered,
    /// They do if the response is 101.
    Claimed,
    /// They do.
    Taken,
    /// They did, and nobody reads them any more.
    Over,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is another fact")]
struct State {
    io: Io,
    /// What was received and belongs to nothing yet.
    received: BytesMut,
    /// How much of a body is read at once.
    read_size: usize,
    /// Whether more had come than was read last.
    more: bool,
    /// What is left of the request's body.
    decoder: Decoder,
    /// Whether the body is framed wrongly or was cut short, so that nothing after it is read.
    broken: bool,
    /// Whether the client has ended its sending side.
    ended: bool,
    /// Whether the connection broke inside a body.
    lost: bool,
    /// Informational responses that are to be written.
    early: BytesMut,
}

/// The body of a request.
#[derive(Debug)]
pub struct RequestBody {
    wire: Rc<Wire>,
    number: u64,
    /// Whether the client understands informational responses: not before HTTP/1.1.
    informed: bool,
}

/// The client's bytes after a request that was answered with 101.
#[derive(Debug)]
pub struct RawBytes {
    wire: Rc<Wire>,
    number: u64,
}

/// Where the informational responses to a request go.
#[derive(Debug, Clone)]
pub struct Informational(Rc<Wire>);

/// What the client did while its request was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// It waits.
    There,
    /// It has ended its sending side.
    Ended,
    /// Its connection broke.
    Gone,
}

impl Wire {
    /// A connection from which `received` was read already.
    pub fn new(io: Io, received: BytesMut) -> Rc<Self> {
        let state = State {
            io,
            received,
            read_size: BODY_READ_BYTES_MIN,
            more: false,
            decoder: Decoder::Done,
            broken: false,
            ended: false,
            lost: false,
            early: BytesMut::new(),
        };
        Rc::new(Self {
            state: RefCell::new(state),
            number: Cell::new(0),
            abandoned: Cell::new(false),
            tunnel: Cell::new(Offer::None),
            waiting: RefCell::new(None),
        })
    }

    /// Looks at what was received and belongs to nothing yet.
    pub fn with_received<T>(&self, look: impl FnOnce(&mut BytesMut) -> T) -> T {
        look(&mut self.state.borrow_mut().received)
    }

    /// Reads some more of a head; 0 when the client has ended its sending side.
    pub fn poll_fill(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.state.borrow_mut().poll_fill(cx)
    }

    /// Begins a request whose head was taken from what was received.
    pub fn begin(self: &Rc<Self>, decoder: Decoder, informed: bool, upgrade: bool) -> RequestBody {
        let number = self.number.get() + 1;
        self.number.set(number);
        self.abandoned.set(false);
        self.tunnel.set(if upgrade { Offer::Offered } else { Offer::None });
        self.state.borrow_mut().decoder = decoder;
        RequestBody { wire: Rc::clone(self), number, informed }
    }

    /// Ends a request: its body gives nothing any more. Says whether its body was read to its end,
    /// so that what comes next is another request.
    pub fn finish(&self) -> bool {
        self.number.set(self.number.get() + 1);
        self.tunnel.set(Offer::None);
        self.pass_over();
        let mut state = self.state.borrow_mut();
        state.read_size = BODY_READ_BYTES_MIN;
        if state.received.is_empty() {
            state.received = BytesMut::new();
        }
        state.decoder == Decoder::Done && !state.broken
    }

    /// Passes over what is there already of the body, no more than what may be received at once.
    fn pass_over(&self) {
        let mut state = self.state.borrow_mut();
        let State { decoder, received, broken, .. } = &mut *state;
        while *decoder != Decoder::Done && !received.is_empty() && !*broken {
            match decoder.take(received) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => *broken = true,
            }
        }
    }

    /// Whether something of the request's body is still to be read.
    pub fn is_unread(&self) -> bool {
        self.state.borrow().decoder != Decoder::Done
    }

    /// Whether the body of the request was not read to its end, nobody reads it, and the rest is
    /// not there yet either.
    pub fn is_abandoned(&self) -> bool {
        if !self.abandoned.get() {
            return false;
        }
        self.pass_over();
        self.is_unread()
    }

    /// Whether the client has ended its sending side and nothing is left of what it sent.
    pub fn is_over(&self) -> bool {
        let state = self.state.borrow();
        state.ended && state.received.is_empty()
    }

    /// Sees what the client does while its request is served. What it sends ahead is taken within a
    /// bound; of a body that is still to come, nothing.
    pub fn watch(&self, cx: &mut Context<'_>) -> Client {
        let mut state = self.state.borrow_mut();
        // The end of the sending side is no more than that in a tunnel.
        let tunnel = matches!(self.tunnel.get(), Offer::Taken | Offer::Over);
        if state.lost {
            return Client::Gone;
        }
        if tunnel || (state.decoder != Decoder::Done && !state.ended) {
            return Client::There;
        }
        while !state.ended && state.received.len() < AHEAD_BYTES_MAX {
            match state.poll_fill(cx) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Client::Gone,
                Poll::Pending => break,
            }
        }
        if state.ended { Client::Ended } else { Client::There }
    }

    /// Whether the runtime knows the socket, so that to see what the client does costs nothing.
    pub fn is_registered(&self) -> bool {
        self.state.borrow().io.is_registered()
    }

    /// Takes the informational responses that are to be written.
    pub fn take_early(&self) -> Option<BytesMut> {
        let mut state = self.state.borrow_mut();
        if state.early.is_empty() { None } else { Some(std::mem::take(&mut state.early)) }
    }

    /// Writes the parts of a message, as many bytes of them as the client takes.
    pub fn poll_write(
        &self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.state.borrow_mut().io.poll_send(cx, parts)
    }

    /// Writes what was taken and held back.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state.borrow_mut().io.poll_send_rest(cx)
    }

    /// Ends our sending side.
    pub fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state.borrow_mut().io.poll_end(cx)
    }

    /// Whether to drop this tells the client what [`Wire::poll_shutdown`] does, in a system call
    /// less: TLS has an end of its own to write first (RFC 8446 section 6.1). Where something has
    /// come that nobody has read, the client may see a reset and no end before it.
    pub fn ends_when_dropped(self: &Rc<Self>) -> bool {
        Rc::strong_count(self) == 1 && self.state.borrow().io.is_plain()
    }

    /// Lets the connection end by a reset when it is dropped.
    pub fn reset(&self) {
        if let Err(error) = self.state.borrow().io.reset() {
            tracing::debug!(%error, "can not reset");
        }
    }

    /// Reads and forgets; 0 when the client has ended its sending side.
    pub fn poll_discard(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut state = self.state.borrow_mut();
        state.received.clear();
        state.poll_fill(cx)
    }

    /// The response is 101: what the client sends belongs to the tunnel.
    /// Says whether there is one.
    pub fn open_tunnel(&self) -> bool {
        let claimed = self.tunnel.get() == Offer::Claimed;
        if claimed {
            self.tunnel.set(Offer::Taken);
            self.wake();
        }
        claimed
    }

    /// Waits until nobody reads the client's side of the tunnel any more: its end is passed on.
    pub fn poll_tunnel_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.tunnel.get() != Offer::Taken {
            return Poll::Ready(());
        }
        *self.waiting.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    fn wake(&self) {
        let waiting = self.waiting.borrow_mut().take();
        if let Some(waker) = waiting {
            waker.wake();
        }
    }
}

impl State {
    /// Reads into memory of the thread, and keeps a copy of what came.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        scratch::read(|memory| {
            let mut read = ReadBuf::new(memory);
            ready!(self.io.poll_receive(cx, &mut read))?;
            let filled = read.filled();
            if self.received.is_empty() {
                self.received = BytesMut::from(filled);
            } else {
                self.received.extend_from_slice(filled);
            }
            self.ended = filled.is_empty();
            self.more = read.remaining() == 0;
            Poll::Ready(Ok(read.filled().len()))
        })
    }

    /// Reads more of a body: as much as is to come, as far as that is known and not too much at
    /// once, else in larger and larger pieces if that much comes.
    fn poll_fill_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        if self.received.capacity() == self.received.len() {
            let expected = self.decoder.piece().saturating_sub(self.received.len());
            // A read that leaves room tells the runtime that nothing more is there, which asking
            // again would cost a system call.
            self.received.reserve(expected.max(self.read_size) + 1);
        }
        let room = self.received.capacity() - self.received.len();
        let read = ready!(self.io.poll_receive_into(cx, &mut self.received))?;
        if read == room {
            self.read_size = (self.read_size * 2).min(PIECE_BYTES);
        }
        self.ended = read == 0;
        Poll::Ready(Ok(read))
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            if self.broken {
                return Poll::Ready(Some(Err("the body broke before".into())));
            }
            if std::mem::take(&mut self.more) && self.received.len() < self.decoder.piece() {
                // What came with the head goes out with what is there of the rest.
                if let Poll::Ready(Err(error)) = self.poll_fill_body(cx) {
                    (self.broken, self.lost) = (true, true);
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
            match self.decoder.take(&mut self.received) {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) if self.decoder == Decoder::Done => return Poll::Ready(None),
                Ok(None) => {}
                Err(error) => {
                    self.broken = true;
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
            let read = ready!(self.poll_fill_body(cx));
            if !matches!(read, Ok(1..)) {
                self.broken = true;
                self.lost = read.is_err();
                let error = read.err().unwrap_or(io::ErrorKind::UnexpectedEof.into());
                return Poll::Ready(Some(Err(error.into())));
            }
        }
    }
}

impl RequestBody {
    /// Where informational responses go, if the client understands them.
    pub fn informational(&self) -> Option<Informational> {
        self.informed.then(|| Informational(Rc::clone(&self.wire)))
    }

    /// Whether the client offers to speak another protocol.
    pub fn offers_raw_bytes(&self) -> bool {
        self.is_current() && self.wire.tunnel.get() == Offer::Offered
    }

    /// The bytes after the request, if the client offers to speak another protocol.
    pub fn raw_bytes(&self) -> Option<RawBytes> {
        self.offers_raw_bytes().then(|| {
            self.wire.tunnel.set(Offer::Claimed);
            RawBytes { wire: Rc::clone(&self.wire), number: self.number }
        })
    }

    fn is_current(&self) -> bool {
        self.wire.number.get() == self.number
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if !self.is_current() {
            return Poll::Ready(Some(Err("the request is over".into())));
        }
        self.wire.state.borrow_mut().poll_body(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.is_current() && self.wire.state.borrow().decoder == Decoder::Done
    }

    fn size_hint(&self) -> SizeHint {
        match self.wire.state.borrow().decoder {
            Decoder::Done => SizeHint::with_exact(0),
            Decoder::Length(left) => SizeHint::with_exact(left),
            Decoder::Chunked(_) | Decoder::UntilClose => SizeHint::default(),
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if self.is_current() {
            self.wire.abandoned.set(true);
        }
    }
}

impl RawBytes {
    fn offer(&self) -> Offer {
        let current = self.wire.number.get() == self.number;
        if current { self.wire.tunnel.get() } else { Offer::None }
    }
}

impl Body for RawBytes {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.offer() {
            Offer::Taken => {}
            // Nothing is read before the response.
            Offer::Offered | Offer::Claimed => {
                *self.wire.waiting.borrow_mut() = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Offer::None | Offer::Over => {
                return Poll::Ready(Some(Err("the protocol was not switched".into())));
            }
        }
        let mut state = self.wire.state.borrow_mut();
        if state.received.is_empty() {
            let read = ready!(state.poll_fill_body(cx))?;
            if read == 0 {
                drop(state);
                self.wire.wake();
                return Poll::Ready(None);
            }
        }
        Poll::Ready(Some(Ok(Frame::data(state.received.split().freeze()))))
    }
}

impl Drop for RawBytes {
    fn drop(&mut self) {
        match self.offer() {
            Offer::Taken => self.wire.tunnel.set(Offer::Over),
            Offer::Claimed => self.wire.tunnel.set(Offer::Offered),
            Offer::None | Offer::Offered | Offer::Over => {}
        }
        self.wire.wake();
    }
}

impl Informational {
    /// Passes an informational response on, as soon as the connection's task runs; what does not
    /// fit beside others is left out.
    pub fn send(&self, parts: &response::Parts) {
        let mut state = self.0.state.borrow_mut();
        if state.early.len() < EARLY_BYTES_MAX {
            write_informational(&mut state.early, parts);
        }
    }
}

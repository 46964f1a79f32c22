//! The one body type: what travels in either direction, watched for stalls and never collected.

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use std::cell::Cell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// Why a body broke off.
#[derive(Debug)]
pub enum BodyError {
    /// The connection that it came from failed, or the message was framed wrongly.
    Source(hyper::Error),
    /// Nothing came for this long.
    Stalled(Duration),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Source(error) => write!(f, "the body broke off: {error}"),
            Self::Stalled(idle) => write!(f, "no part of the body came for {idle:?}"),
        }
    }
}

impl std::error::Error for BodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Source(error) => Some(error),
            Self::Stalled(_) => None,
        }
    }
}

/// A body that is streamed from a connection, or a short one of our own.
#[derive(Debug)]
pub enum Body {
    /// Our own bytes; empty for no body.
    Own(Bytes),
    /// Streamed.
    Stream(Stream),
}

impl Body {
    /// No body.
    pub fn empty() -> Self {
        Self::Own(Bytes::new())
    }

    /// What a connection is receiving; it is broken off when nothing comes for `idle`.
    pub fn stream(incoming: Incoming, idle: Duration) -> Self {
        if incoming.is_end_stream() {
            return Self::empty();
        }
        Self::Stream(Stream { incoming, idle, moved: false, timer: None, progress: None })
    }

    /// Lets another task see how far this body got; nothing to see for a body of our own.
    pub fn progress(&mut self) -> Option<Rc<Progress>> {
        match self {
            Self::Own(_) => None,
            Self::Stream(stream) => Some(Rc::clone(stream.progress.get_or_insert_default())),
        }
    }
}

/// How far a body got, seen from the task that waits for its consequence.
#[derive(Debug, Default)]
pub struct Progress {
    state: Cell<State>,
    parts: Cell<u64>,
    waiting: Cell<bool>,
}

/// The end of a body, or that there was none yet.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// More is to come.
    #[default]
    Open,
    /// It ended as it should.
    Ended,
    /// The connection that it came from failed.
    Broken,
    /// Nothing came in time.
    Stalled,
}

impl Progress {
    /// Where the body is.
    pub fn state(&self) -> State {
        self.state.get()
    }

    /// How many parts have passed.
    pub fn parts(&self) -> u64 {
        self.parts.get()
    }

    /// Whether the next part was asked for and has not come yet.
    pub fn is_waiting(&self) -> bool {
        self.waiting.get() && self.state() == State::Open
    }
}

/// A body coming from a connection.
#[derive(Debug)]
pub struct Stream {
    incoming: Incoming,
    idle: Duration,
    /// Whether anything came since the timer was set; saves reading the clock for every part.
    moved: bool,
    /// Set when the body first has to wait: most bodies never do.
    timer: Option<Pin<Box<Sleep>>>,
    progress: Option<Rc<Progress>>,
}

impl Stream {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.moved = true;
                if let Some(progress) = &self.progress {
                    progress.parts.set(progress.parts.get() + 1);
                    progress.waiting.set(false);
                    if self.incoming.is_end_stream() {
                        progress.state.set(State::Ended);
                    }
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.note(State::Broken);
                Poll::Ready(Some(Err(BodyError::Source(error))))
            }
            Poll::Ready(None) => {
                self.note(State::Ended);
                Poll::Ready(None)
            }
            Poll::Pending => self.poll_stall(cx),
        }
    }

    /// Waits for the stall timer; a stall is noticed after one to two times `idle`.
    fn poll_stall(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(progress) = &self.progress {
            progress.waiting.set(true);
        }
        let idle = self.idle;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        loop {
            ready!(timer.as_mut().poll(cx));
            if !std::mem::take(&mut self.moved) {
                break;
            }
            timer.as_mut().reset(Instant::now() + idle);
        }
        self.note(State::Stalled);
        Poll::Ready(Some(Err(BodyError::Stalled(idle))))
    }

    fn note(&self, state: State) {
        if let Some(progress) = &self.progress {
            progress.state.set(state);
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Own(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Own(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(stream) => stream.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_empty(),
            Self::Stream(stream) => stream.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(stream) => stream.incoming.size_hint(),
        }
    }
}

/// A body whose owner is dropped with it, told before whether the body ended or failed.
#[derive(Debug)]
pub struct Owned<O: Owner> {
    body: Body,
    owner: O,
}

/// What keeps an exchange's resources until its body is through.
pub trait Owner: Unpin {
    /// The body was passed on to its last byte.
    fn ended(&mut self);

    /// The source of the body failed; the receiver will see the break.
    fn failed(&mut self, error: &BodyError);
}

impl<O: Owner> Owned<O> {
    /// Binds the owner's life to the body's.
    pub fn new(body: Body, mut owner: O) -> Self {
        if body.is_end_stream() {
            owner.ended();
        }
        Self { body, owner }
    }
}

impl<O: Owner> http_body::Body for Owned<O> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        match &frame {
            // The server stops asking after the last byte, so the end must be seen here.
            Some(Ok(_)) if this.body.is_end_stream() => this.owner.ended(),
            Some(Ok(_)) => {}
            Some(Err(error)) => this.owner.failed(error),
            None => this.owner.ended(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! The one body type: what travels in either direction, watched for stalls and never collected.

use super::bounds::{Bounds, Exceeded};
use super::http1::lines::Lines;
use super::quiet::Quiet;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Sleep;

/// Why a body broke off.
#[derive(Debug)]
pub enum BodyError {
    /// The connection that it came from failed, or the message was framed wrongly.
    Source(Box<dyn std::error::Error + Send + Sync>),
    /// Nothing came for this long.
    Stalled(Duration),
    /// It ran into one of its bounds.
    Exceeded(Exceeded),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Source(error) => write!(f, "the body broke off: {error}"),
            Self::Stalled(idle) => write!(f, "no part of the body came for {idle:?}"),
            Self::Exceeded(exceeded) => exceeded.fmt(f),
        }
    }
}

impl std::error::Error for BodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Source(error) => Some(&**error),
            Self::Stalled(_) | Self::Exceeded(_) => None,
        }
    }
}

/// Where a streamed body comes from: a client's or an endpoint's connection.
pub trait Source:
    http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin
{
}

impl<S> Source for S
where
    S: http_body::Body<Data = Bytes> + Unpin,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
}

/// A response's body. It may bring fields of the head along, which nobody has taken apart.
pub trait Reply: Source {
    /// Takes those fields: they are to be written with those of the head.
    fn take_lines(&mut self) -> Option<Box<Lines>> {
        None
    }
}

impl Reply for http_body_util::Full<Bytes> {}
impl Reply for http_body_util::Empty<Bytes> {}
impl<S> Reply for http_body_util::StreamBody<S> where Self: Source {}

/// A body that is streamed from a connection, or a short one of our own.
#[derive(Debug)]
pub enum Body<S> {
    /// Our own bytes; empty for no body.
    Own(Bytes),
    /// Streamed.
    Stream(Stream<S>),
}

impl<S: Source> Body<S> {
    /// No body.
    pub fn empty() -> Self {
        Self::Own(Bytes::new())
    }

    /// What a connection is receiving; it is broken off when nothing comes for `idle`.
    pub fn stream(source: S, idle: Duration) -> Self {
        if source.is_end_stream() {
            return Self::empty();
        }
        let (pause, progress, bounds) = (None, None, None);
        Self::Stream(Stream { source, idle, parts: 0, pause, progress, bounds })
    }

    /// Ends when nothing has moved for as long as the body may pause, whoever is waited for.
    pub fn stalled(&mut self) -> Stalled {
        let idle = match self {
            Self::Own(_) => Duration::MAX,
            Self::Stream(stream) => stream.idle,
        };
        let progress = self.progress().unwrap_or_default();
        Stalled { idle, pause: Pause::new(idle, progress.parts()), progress }
    }

    /// Makes what moves in either of two bodies keep both from being broken off.
    #[must_use]
    pub fn beside(mut self, progress: Rc<Progress>) -> Self {
        if let Self::Stream(stream) = &mut self {
            stream.progress = Some(progress);
        }
        self
    }

    /// Breaks the body off at these bounds; a body of our own has none.
    pub fn bound(&mut self, bounds: Bounds) {
        if let Self::Stream(stream) = self {
            stream.bounds = Some(Box::new(bounds));
        }
    }

    /// Nobody will ask for more: its sender is not the one that is waited for.
    pub fn abandon(&self) {
        if let Self::Stream(Stream { progress: Some(progress), .. }) = self {
            progress.waiting.set(false);
        }
    }

    /// Nobody asks for more for now: its sender is not the one that is waited for.
    pub fn pause(&mut self) {
        self.abandon();
        if let Self::Stream(Stream { bounds: Some(bounds), .. }) = self {
            bounds.pause();
        }
    }

    /// Lets another task see how far this body got; nothing to see for a body of our own.
    pub fn progress(&mut self) -> Option<Rc<Progress>> {
        match self {
            Self::Own(_) => None,
            Self::Stream(stream) => Some(Rc::clone(stream.progress.get_or_insert_default())),
        }
    }
}

/// How far a body got, or two beside each other, seen from the task that waits for its consequence.
#[derive(Debug, Default)]
pub struct Progress {
    parts: Cell<u64>,
    waiting: Cell<bool>,
    exceeded: Cell<Option<Exceeded>>,
}

impl Progress {
    /// How many parts have passed.
    pub fn parts(&self) -> u64 {
        self.parts.get()
    }

    /// Whether the next part was asked for and has not come yet.
    pub fn is_waiting(&self) -> bool {
        self.waiting.get()
    }

    /// The bound that the body ran into.
    pub fn exceeded(&self) -> Option<Exceeded> {
        self.exceeded.get()
    }
}

/// A pause in what moves. That it is too long is noticed after one to two times as long; the clock
/// is not read for every part.
#[derive(Debug)]
struct Pause {
    timer: Quiet<Pin<Box<Sleep>>>,
    /// How many parts had passed when the timer was set.
    seen: u64,
}

impl Pause {
    fn new(idle: Duration, parts: u64) -> Self {
        Self { timer: Quiet::after(idle), seen: parts }
    }

    /// Waits until no further part has passed for long.
    fn poll(&mut self, cx: &mut Context<'_>, idle: Duration, parts: u64) -> Poll<BodyError> {
        loop {
            ready!(self.timer.poll(cx));
            if std::mem::replace(&mut self.seen, parts) == parts {
                return Poll::Ready(BodyError::Stalled(idle));
            }
            self.timer.reset(idle);
        }
    }
}

/// How long nothing may move of a body, or of two beside each other.
#[derive(Debug)]
pub struct Stalled {
    idle: Duration,
    pause: Pause,
    progress: Rc<Progress>,
}

impl Stalled {
    /// Polls to the end, or until nothing has moved for too long.
    pub async fn limit<T>(
        mut self,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Result<T, BodyError> {
        poll_fn(|cx| match poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.pause.poll(cx, self.idle, self.progress.parts()).map(Err),
        })
        .await
    }
}

/// A body coming from a connection.
#[derive(Debug)]
pub struct Stream<S> {
    source: S,
    idle: Duration,
    /// How many parts have come.
    parts: u64,
    /// Begun when the body first has to wait: most bodies never do.
    pause: Option<Pause>,
    progress: Option<Rc<Progress>>,
    /// In a box, because most bodies have none.
    bounds: Option<Box<Bounds>>,
}

impl<S: Source> Stream<S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.bounds.is_none() {
            return self.poll_source(cx);
        }
        let polled = self.poll_bounded(cx);
        if let Poll::Ready(Some(Err(BodyError::Exceeded(exceeded)))) = &polled
            && let Some(progress) = &self.progress
        {
            progress.exceeded.set(Some(*exceeded));
        }
        polled
    }

    fn poll_bounded(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(bounds) = &mut self.bounds {
            bounds.check(cx)?;
        }
        let polled = self.poll_source(cx);
        let Some(bounds) = &mut self.bounds else { return polled };
        match &polled {
            Poll::Pending => bounds.wait(cx)?,
            Poll::Ready(Some(Ok(frame))) => {
                bounds.came(frame.data_ref().map_or(0, Bytes::len))?;
            }
            Poll::Ready(_) => {}
        }
        polled
    }

    fn poll_source(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.source).poll_frame(cx) else {
            return self.poll_stall(cx);
        };
        self.parts += 1;
        if let Some(progress) = &self.progress {
            progress.parts.set(progress.parts.get() + 1);
            progress.waiting.set(false);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|error| BodyError::Source(error.into()))))
    }

    /// Waits until nothing has moved for too long.
    fn poll_stall(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(progress) = &self.progress {
            progress.waiting.set(true);
        }
        // Only whether it has changed matters: who looks on may come later, with another count.
        let parts = self.parts + self.progress.as_ref().map_or(0, |progress| progress.parts());
        let pause = self.pause.get_or_insert_with(|| Pause::new(self.idle, parts));
        pause.poll(cx, self.idle, parts).map(|error| Some(Err(error)))
    }
}

impl<S: Source> http_body::Body for Body<S> {
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
            Self::Stream(stream) => stream.source.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(stream) => stream.source.size_hint(),
        }
    }
}

/// A body whose owner is dropped with it, told before whether the body ended or failed.
#[derive(Debug)]
pub struct Owned<S, O> {
    body: Body<S>,
    owner: O,
    lines: Option<Box<Lines>>,
}

fn trailers<E>(frame: Option<&Result<Frame<Bytes>, E>>) -> Option<&HeaderMap> {
    frame?.as_ref().ok()?.trailers_ref()
}

/// What keeps an exchange's resources until its body is through.
pub trait Owner: Unpin {
    /// The body was passed on to its last byte.
    fn ended(&mut self);

    /// The source of the body failed; the receiver will see the break.
    fn failed(&mut self, error: &BodyError);

    /// The body ends with these trailers.
    fn trailed(&mut self, trailers: &HeaderMap);

    /// Why the body is to be broken off now, for reasons other than its own.
    fn interrupted(&self) -> Option<BodyError>;
}

impl<S: Source, O: Owner> Owned<S, O> {
    /// Binds the owner's life to the body's.
    pub fn new(body: Body<S>, owner: O) -> Self {
        Self::with_lines(body, owner, None)
    }

    /// The same with fields of the head that were not taken apart.
    pub fn with_lines(body: Body<S>, mut owner: O, lines: Option<Box<Lines>>) -> Self {
        if body.is_end_stream() {
            owner.ended();
        }
        Self { body, owner, lines }
    }
}

impl<S: Source, O: Owner> Reply for Owned<S, O> {
    fn take_lines(&mut self) -> Option<Box<Lines>> {
        self.lines.take()
    }
}

impl<S: Source, O: Owner> http_body::Body for Owned<S, O> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        let frame = match this.owner.interrupted() {
            Some(error) => Some(Err(error)),
            None => ready!(polled),
        };
        if let Some(trailers) = trailers(frame.as_ref()) {
            this.owner.trailed(trailers);
        }
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

#[cfg(test)]
mod tests {
    use super::{Body, BodyError};
    use bytes::Bytes;
    use futures_util::stream;
    use http_body::{Body as _, Frame};
    use http_body_util::{BodyExt, StreamBody};
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::rc::Rc;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;
    use tokio::sync::mpsc;
    use tokio::time::{Instant, timeout};

    #[derive(Debug)]
    struct Silent;

    impl http_body::Body for Silent {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_moves_keeps_a_body_and_a_pause_ends_it() {
        const IDLE: Duration = Duration::from_secs(10);
        let (sender, mut parts) = mpsc::unbounded_channel();
        let source = StreamBody::new(stream::poll_fn(move |cx| parts.poll_recv(cx)));
        let mut body = Body::stream(source, IDLE);
        for _ in 0..3 {
            // Longer than it may pause in all, but never at once.
            let next = timeout(IDLE * 3 / 4, body.frame()).await;
            assert!(next.is_err(), "nothing came yet");
            sender.send(Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"a")))).unwrap();
            assert!(body.frame().await.unwrap().is_ok());
            // Seen by another from now on, who counts anew.
            body = body.beside(Rc::default());
        }
        let moved = Instant::now();
        let stalled = body.frame().await.unwrap().unwrap_err();
        assert!(matches!(stalled, BodyError::Stalled(IDLE)), "{stalled}");
        let paused = moved.elapsed();
        assert!(paused >= IDLE && paused <= 2 * IDLE, "{paused:?}");
    }

    #[tokio::test]
    async fn a_body_that_nobody_wants_is_not_waited_for() {
        let mut body = Body::stream(Silent, Duration::from_secs(1));
        let progress = body.progress().unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut body).poll_frame(&mut cx).is_pending());
        assert!(progress.is_waiting());
        body.abandon();
        assert!(!progress.is_waiting());
    }
}

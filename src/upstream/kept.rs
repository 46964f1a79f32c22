//! A request's body of which the beginning may be kept, so that it can be sent again.

use crate::base::body::{Body, BodyError, Source, Stalled};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as _, Frame};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// How much of a body is kept until its response begins; one that is longer is not sent again.
pub const KEPT_BYTES_MAX: usize = 64 * 1024;
/// Parts that are smaller are kept together: a client may send a byte at a time, and each part
/// holds on to the memory that it was read into.
const PART_BYTES_MIN: usize = 1024;

/// A body that can begin anew as long as it is short.
#[derive(Debug)]
pub struct Kept<S> {
    body: Body<S>,
    /// What is kept, if anything is to be; in a box, because most bodies pass.
    beginning: Option<Box<Beginning>>,
    state: State,
    /// Whether the body has told of its end.
    ended: bool,
}

#[derive(Debug, Default)]
struct Beginning {
    parts: Vec<Part>,
    /// How many of the parts were passed on since the beginning.
    passed: usize,
    bytes: usize,
}

#[derive(Debug, Clone)]
enum Part {
    Data(Bytes),
    /// Several small ones.
    Joined(BytesMut),
    Trailers(HeaderMap),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody has asked for any of it.
    Untouched,
    /// All of it so far is kept.
    Whole,
    /// Some of it is gone.
    Gone,
}

impl<S: Source> Kept<S> {
    /// Keeps the beginning of this body once it is asked for.
    pub fn new(body: Body<S>) -> Self {
        Self { beginning: Some(Box::default()), ..Self::passing(body) }
    }

    /// Keeps nothing of this body: it can begin anew only as long as nobody has asked for it.
    pub fn passing(body: Body<S>) -> Self {
        Self { body, beginning: None, state: State::Untouched, ended: false }
    }

    /// Whether it comes from a connection.
    pub fn is_streamed(&self) -> bool {
        matches!(self.body, Body::Stream(_))
    }

    /// Ends when nothing has moved for as long as the body may pause, whoever is waited for.
    pub fn stalled(&mut self) -> Stalled {
        self.body.stalled()
    }

    /// Whether nobody has asked for any of it.
    pub fn is_untouched(&self) -> bool {
        self.state == State::Untouched
    }

    /// Whether it can begin anew.
    pub fn is_whole(&self) -> bool {
        self.state != State::Gone
    }

    /// Begins anew.
    pub fn rewind(&mut self) {
        self.pause();
        if let Some(beginning) = &mut self.beginning {
            beginning.passed = 0;
        }
    }

    /// Keeps nothing from now on.
    pub fn forget(&mut self) {
        if let Some(beginning) = &mut self.beginning {
            let passed = std::mem::take(&mut beginning.passed);
            beginning.parts.drain(..passed);
        }
        self.state = State::Gone;
    }

    /// The body, if nobody has asked for any of it; an empty one is left.
    pub fn take_untouched(&mut self) -> Option<Body<S>> {
        self.is_untouched().then(|| std::mem::replace(&mut self.body, Body::empty()))
    }

    /// Says that no more of it is asked for at the moment.
    pub fn pause(&mut self) {
        self.body.pause();
    }

    /// Says that no more of it will be asked for.
    pub fn abandon(&self) {
        self.body.abandon();
    }

    /// The next part, as of any body.
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(frame) = self.beginning.as_mut().and_then(|beginning| beginning.next()) {
            return Poll::Ready(Some(Ok(frame)));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if self.state == State::Untouched {
            self.state = if self.beginning.is_some() { State::Whole } else { State::Gone };
        }
        match &frame {
            None => self.ended = true,
            Some(Err(_)) => self.lose(),
            Some(Ok(frame)) => self.keep(frame),
        }
        Poll::Ready(frame)
    }

    /// Waits for the end of a body of which it is known that nothing comes but trailers, and makes
    /// it ready to be sent.
    pub fn poll_nothing(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        while let Some(frame) = ready!(self.poll_frame(cx)) {
            frame?;
        }
        self.rewind();
        Poll::Ready(Ok(()))
    }

    /// Whether it is known that no more of it comes.
    pub fn is_end_stream(&self) -> bool {
        let passed = self.beginning.as_ref().is_none_or(|kept| kept.passed == kept.parts.len());
        passed && (self.ended || self.body.is_end_stream())
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        if self.state == State::Gone || frame.data_ref().is_some_and(Bytes::is_empty) {
            return;
        }
        let Some(beginning) = &mut self.beginning else { return };
        beginning.bytes += frame.data_ref().map_or(0, Bytes::len);
        if beginning.bytes > KEPT_BYTES_MAX {
            return self.lose();
        }
        match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => beginning.add(data),
            (None, Some(trailers)) => beginning.parts.push(Part::Trailers(trailers.clone())),
            (None, None) => {}
        }
        beginning.passed = beginning.parts.len();
    }

    fn lose(&mut self) {
        self.state = State::Gone;
        self.beginning = None;
    }
}

impl Beginning {
    fn add(&mut self, data: &Bytes) {
        if data.len() >= PART_BYTES_MIN {
            return self.parts.push(Part::Data(data.clone()));
        }
        match self.parts.last_mut() {
            Some(Part::Joined(joined)) => joined.extend_from_slice(data),
            _ => self.parts.push(Part::Joined(BytesMut::from(&data[..]))),
        }
    }

    fn next(&mut self) -> Option<Frame<Bytes>> {
        let frame = self.parts.get(self.passed)?.frame();
        self.passed += 1;
        Some(frame)
    }
}

impl Part {
    fn frame(&self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data.clone()),
            Self::Joined(joined) => Frame::data(Bytes::copy_from_slice(joined)),
            Self::Trailers(trailers) => Frame::trailers(trailers.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{KEPT_BYTES_MAX, Kept, PART_BYTES_MIN};
    use crate::base::body::Body;
    use bytes::Bytes;
    use http::HeaderMap;
    use http_body::Frame;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    /// A body of these frames.
    #[derive(Debug)]
    struct Frames(std::vec::IntoIter<Frame<Bytes>>);

    impl http_body::Body for Frames {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.next().map(Ok))
        }
    }

    fn kept(frames: Vec<Frame<Bytes>>) -> Kept<Frames> {
        Kept::new(Body::stream(Frames(frames.into_iter()), Duration::from_secs(1)))
    }

    fn data(length: usize) -> Frame<Bytes> {
        Frame::data(Bytes::from(vec![b'x'; length]))
    }

    /// The lengths of the parts, and whether trailers follow.
    fn read(kept: &mut Kept<Frames>) -> (Vec<usize>, bool) {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut lengths, mut trailers) = (Vec::new(), false);
        while let Poll::Ready(Some(Ok(frame))) = kept.poll_frame(&mut cx) {
            trailers |= frame.is_trailers();
            lengths.extend(frame.data_ref().map(Bytes::len));
        }
        (lengths, trailers)
    }

    #[test]
    fn a_short_body_begins_anew_with_its_trailers() {
        let mut kept = kept(vec![data(3), data(4), Frame::trailers(HeaderMap::new())]);
        assert!(kept.is_untouched());
        assert_eq!(read(&mut kept), (vec![3, 4], true));
        for _ in 0..3 {
            kept.rewind();
            assert!(kept.is_whole() && !kept.is_untouched());
            assert_eq!(read(&mut kept), (vec![7], true));
        }
    }

    #[test]
    fn the_end_is_known_with_the_last_part_each_time() {
        let mut kept = Kept::<Frames>::new(Body::Own(Bytes::from_static(b"abc")));
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..3 {
            assert!(!kept.is_end_stream());
            assert!(kept.poll_frame(&mut cx).is_ready());
            assert!(kept.is_end_stream());
            kept.rewind();
        }
    }

    /// A body of which nothing comes.
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

    #[tokio::test]
    async fn the_client_is_not_waited_for_while_a_body_begins_anew() {
        let mut body = Body::stream(Silent, Duration::from_secs(1));
        let progress = body.progress().unwrap();
        let mut kept = Kept::new(body);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(kept.poll_frame(&mut cx).is_pending() && progress.is_waiting());
        kept.rewind();
        assert!(!progress.is_waiting());
    }

    #[test]
    fn a_body_that_passes_does_not() {
        let frames = Frames(vec![data(3)].into_iter());
        let mut passing = Kept::passing(Body::stream(frames, Duration::from_secs(1)));
        assert!(passing.is_whole());
        assert_eq!(read(&mut passing).0, [3]);
        assert!(!passing.is_whole());
    }

    #[test]
    fn a_long_body_does_not() {
        let mut long = kept(vec![data(KEPT_BYTES_MAX), data(1), data(1)]);
        assert_eq!(read(&mut long).0, [KEPT_BYTES_MAX, 1, 1]);
        assert!(!long.is_whole());
    }

    #[test]
    fn a_body_in_any_number_of_small_parts_is_kept() {
        let mut many = kept((0..KEPT_BYTES_MAX).map(|_| data(1)).collect());
        assert_eq!(read(&mut many).0.len(), KEPT_BYTES_MAX);
        many.rewind();
        assert_eq!(read(&mut many).0, [KEPT_BYTES_MAX]);
        let sizes = [1, PART_BYTES_MIN, 2, 3, PART_BYTES_MIN, PART_BYTES_MIN];
        let mut mixed = kept(sizes.map(data).into());
        read(&mut mixed);
        mixed.rewind();
        let expected = [1, PART_BYTES_MIN, 5, PART_BYTES_MIN, PART_BYTES_MIN];
        assert_eq!(read(&mut mixed).0, expected);
    }

    #[test]
    fn what_was_not_passed_on_again_is_not_forgotten() {
        let large = [0, 1, 2].map(|more| PART_BYTES_MIN + more);
        let mut kept = kept(large.map(data).into());
        read(&mut kept);
        kept.rewind();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(kept.poll_frame(&mut cx).is_ready());
        kept.forget();
        assert_eq!(read(&mut kept).0, large[1..]);
    }
}

//! The body of a client's request as it comes over HTTP/2.

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// What a client sends on a stream after the head of its request; whoever reads it makes room for
/// more.
#[derive(Debug)]
pub struct Received {
    /// Nothing if the head was all there was.
    stream: Option<RecvStream>,
    /// What is left of the length that the client told, if it told one.
    left: Option<u64>,
    /// The last of that length, until its client has ended the stream: more than was told makes the
    /// whole malformed (RFC 9113 section 8.1.1), and what goes on to a service in HTTP/1.1 would be
    /// complete with it.
    last: Bytes,
    /// Whether only trailers may come.
    data_ended: bool,
}

impl Received {
    /// What follows a head with these fields.
    pub fn new(stream: RecvStream, headers: &HeaderMap) -> Self {
        if stream.is_end_stream() {
            return Self::empty();
        }
        // h2 sees to it that so much comes. What is no number to others is refused later.
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let left = length.and_then(|length| length.parse().ok());
        Self { stream: Some(stream), left, last: Bytes::new(), data_ended: false }
    }

    /// No body.
    pub fn empty() -> Self {
        Self { stream: None, left: Some(0), last: Bytes::new(), data_ended: true }
    }

    /// What of the data may go on; nothing at the end of all of it.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        loop {
            let Some(data) = ready!(stream.poll_data(cx)) else {
                let last = std::mem::take(&mut self.last);
                return Poll::Ready((!last.is_empty()).then_some(Ok(last)));
            };
            // A stream that is reset with NO_ERROR does not end like one that is complete.
            let data = data?;
            let _ = stream.flow_control().release_capacity(data.len());
            self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
            if self.left != Some(0) {
                return Poll::Ready(Some(Ok(data)));
            }
            if !data.is_empty() {
                self.last = data;
            }
            if stream.is_end_stream() {
                return Poll::Ready(Some(Ok(std::mem::take(&mut self.last))));
            }
        }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let this = self.get_mut();
        if !this.data_ended {
            if let Some(data) = ready!(this.poll_data(cx)) {
                return Poll::Ready(Some(Ok(Frame::data(data?))));
            }
            this.data_ended = true;
        }
        let Some(stream) = &mut this.stream else { return Poll::Ready(None) };
        let trailers = ready!(stream.poll_trailers(cx))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.last.is_empty() && self.stream.as_ref().is_none_or(RecvStream::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.last.len() as u64;
        self.left.map_or_else(SizeHint::default, |left| SizeHint::with_exact(left + held))
    }
}

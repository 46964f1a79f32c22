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
    /// Whether only trailers may come.
    data_ended: bool,
}

impl Received {
    /// What follows a head with these fields.
    pub fn new(stream: RecvStream, headers: &HeaderMap) -> Self {
        if stream.is_end_stream() {
            return Self::empty();
        }
        // h2 has looked whether it is a number, and sees to it that so much comes.
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let left = length.and_then(|length| length.parse().ok());
        Self { stream: Some(stream), left, data_ended: false }
    }

    /// No body.
    pub fn empty() -> Self {
        Self { stream: None, left: Some(0), data_ended: true }
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
        let Some(stream) = &mut this.stream else { return Poll::Ready(None) };
        if !this.data_ended {
            if let Some(data) = ready!(stream.poll_data(cx)) {
                // A stream that is reset with NO_ERROR does not end like one that is complete.
                let data = data?;
                let _ = stream.flow_control().release_capacity(data.len());
                this.left = this.left.map(|left| left.saturating_sub(data.len() as u64));
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            this.data_ended = true;
        }
        let trailers = ready!(stream.poll_trailers(cx))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.as_ref().is_none_or(RecvStream::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

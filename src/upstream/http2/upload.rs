//! A request's body on its way out, as fast as the endpoint takes it.

use crate::base::body::{BodyError, Source};
use crate::base::http1::fields::remove_forbidden;
use crate::upstream::kept::Kept;
use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;
use std::task::{Context, Poll, ready};

/// The sending side of a stream.
#[derive(Debug)]
pub struct Upload {
    stream: SendStream<Bytes>,
    /// What came from the client and was not taken by the endpoint yet.
    data: Bytes,
    /// Whether nothing comes after it.
    last: bool,
}

/// Why a body was not sent to its end.
#[derive(Debug)]
pub enum UploadError {
    /// The stream takes no more; how it ended is seen by who waits for the response.
    Stream,
    /// The client's body.
    Body(BodyError),
}

impl Upload {
    /// Sends a body over a stream whose request was sent.
    pub fn new(stream: SendStream<Bytes>) -> Self {
        Self { stream, data: Bytes::new(), last: false }
    }

    /// Sends what there is, until all is sent. The body is asked for more only when the endpoint
    /// has taken what came before.
    pub fn poll<S: Source>(
        &mut self,
        body: &mut Kept<S>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), UploadError>> {
        loop {
            if self.data.is_empty() {
                // An endpoint that wants no more is not waited for by reading on.
                if self.stream.poll_reset(cx).is_ready() {
                    return Poll::Ready(Err(UploadError::Stream));
                }
                let Some(frame) = ready!(body.poll_frame(cx)) else {
                    return Poll::Ready(self.finish(None));
                };
                let frame = frame.map_err(|error| {
                    self.stream.send_reset(Reason::CANCEL);
                    UploadError::Body(error)
                })?;
                match frame.into_data() {
                    Ok(data) => {
                        self.data = data;
                        self.last = body.is_end_stream();
                    }
                    Err(frame) => return Poll::Ready(self.finish(frame.into_trailers().ok())),
                }
                continue;
            }
            ready!(self.poll_send(cx)).map_err(|_| UploadError::Stream)?;
            if self.last && self.data.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Sends as much of the data as there is room for.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        self.stream.reserve_capacity(self.data.len());
        let mut room = self.stream.capacity();
        while room == 0 {
            room = match ready!(self.stream.poll_capacity(cx)) {
                Some(room) => room?,
                None => return Poll::Ready(Err(Reason::STREAM_CLOSED.into())),
            };
        }
        let part = self.data.split_to(room.min(self.data.len()));
        // The end is told with the last part, not by a frame of its own.
        Poll::Ready(self.stream.send_data(part, self.last && self.data.is_empty()))
    }

    fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<(), UploadError> {
        let sent = match trailers {
            Some(mut trailers) => {
                remove_forbidden(&mut trailers);
                self.stream.send_trailers(trailers)
            }
            None => self.stream.send_data(Bytes::new(), true),
        };
        sent.map_err(|_| UploadError::Stream)
    }
}

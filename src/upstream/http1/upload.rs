//! A request on its way out: its head, then its body as it comes.

use super::head::{Added, write_request};
use crate::base::body::{Body, BodyError, Source, Stalled};
use crate::base::http1::fields::write_last_chunk;
use crate::base::http1::scratch;
use crate::base::io::poll_write_parts;
use crate::upstream::kept::Kept;
use crate::upstream::stream::Stream;
use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, request};
use std::fmt::Write;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// What is left to send of a request.
#[derive(Debug)]
pub struct Upload<S> {
    head: Bytes,
    /// How much of the head is written.
    written: usize,
    /// What goes before `data`: the size of a chunk.
    size: Bytes,
    data: Bytes,
    /// What goes after `data`: the end of a chunk, and at last of the message.
    tail: Bytes,
    body: Kept<S>,
    chunked: bool,
    /// Whether a body was there at all.
    streamed: bool,
    rest: Rest,
    /// Whether TLS may hold back what was written.
    unflushed: bool,
}

/// What is still to come from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// More of the body, or its end.
    Coming,
    /// Nothing, unless the endpoint takes up the protocol that is asked for.
    Held,
    /// Nothing.
    Nothing,
    /// Nothing, although the body is not complete; asked again, it would seem to be.
    Broken,
}

/// Why a request was not sent to its end.
#[derive(Debug)]
pub enum UploadError {
    /// The endpoint's connection.
    Connection(io::Error),
    /// The client's body.
    Body(BodyError),
}

impl<S: Source> Upload<S> {
    /// Frames the request: by its own length if it has one, else in chunks (RFC 9112 section 6).
    pub fn new(mut parts: request::Parts, added: &[Added<'_>], body: Kept<S>) -> Self {
        let streamed = body.is_streamed();
        let chunked = streamed && !parts.headers.contains_key(CONTENT_LENGTH);
        if chunked {
            parts.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let rest = if streamed { Rest::Coming } else { Rest::Nothing };
        let mut upload = Self::with_head(&parts, added, body, rest);
        scratch::keep_fields(parts.headers);
        (upload.chunked, upload.streamed) = (chunked, streamed);
        upload
    }

    /// A request for another protocol, in which `tunnel` is what the client sends then.
    pub fn upgrade(parts: &request::Parts, added: &[Added<'_>], tunnel: Kept<S>) -> Self {
        Self::with_head(parts, added, tunnel, Rest::Held)
    }

    fn with_head(parts: &request::Parts, added: &[Added<'_>], body: Kept<S>, rest: Rest) -> Self {
        Self {
            head: write_request(parts, added),
            written: 0,
            size: Bytes::new(),
            data: Bytes::new(),
            tail: Bytes::new(),
            body,
            chunked: false,
            streamed: false,
            rest,
            unflushed: false,
        }
    }

    /// The endpoint has answered with 101: if it was asked to, what the client sends goes to it as
    /// it comes from here on. Says whether it was asked.
    pub(super) fn switch(&mut self) -> bool {
        let asked = self.rest == Rest::Held && self.written == self.head.len();
        if asked {
            self.rest = Rest::Coming;
        }
        asked
    }

    /// Whether everything is sent.
    pub fn is_sent(&self) -> bool {
        let written = self.written == self.head.len() && self.is_drained();
        matches!(self.rest, Rest::Nothing | Rest::Held) && written && !self.unflushed
    }

    /// Whether nothing was sent and all may still come, so that it can be sent elsewhere.
    pub fn is_unsent(&self) -> bool {
        self.written == 0 && self.rest != Rest::Broken
    }

    /// Says that no more of it will be sent.
    pub(super) fn abandon(&self) {
        self.body.abandon();
    }

    /// Waits for the end of a body of which it is known that nothing comes.
    pub fn poll_nothing(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        // Whatever becomes of it, it is not asked again.
        self.rest = Rest::Broken;
        ready!(self.body.poll_nothing(cx))?;
        (self.rest, self.streamed) = (Rest::Nothing, false);
        Poll::Ready(Ok(()))
    }

    /// Takes the body if all of it may still come, to be sent from its beginning.
    pub fn take_body(&mut self) -> Option<Kept<S>> {
        let whole = self.body.is_whole() && self.rest != Rest::Broken;
        let body = || std::mem::replace(&mut self.body, Kept::passing(Body::empty()));
        let mut body = whole.then(body)?;
        body.rewind();
        Some(body)
    }

    /// Keeps nothing of the body from now on: the response has begun.
    pub(super) fn forget(&mut self) {
        self.body.forget();
    }

    /// Whether it can be sent again, although some of it was sent.
    pub fn can_rewind(&self) -> bool {
        self.rest != Rest::Broken && (!self.streamed || self.body.is_whole())
    }

    /// Makes it ready to be sent again from its beginning; says whether it is.
    pub fn rewind(&mut self) -> bool {
        if self.is_unsent() {
            self.body.pause();
            return true;
        }
        if !self.can_rewind() {
            return false;
        }
        if self.streamed {
            self.body.rewind();
            self.rest = Rest::Coming;
            (self.size, self.data, self.tail) = Default::default();
        }
        self.written = 0;
        true
    }

    /// Ends when nothing has moved for as long as the body may pause, be it that the endpoint takes
    /// nothing of it.
    pub(super) fn stalled(&mut self) -> Stalled {
        self.body.stalled()
    }

    /// Sends what there is, until all is sent.
    pub(super) fn poll(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), UploadError>> {
        if self.rest == Rest::Broken {
            let error = BodyError::Source("the body broke before".into());
            return Poll::Ready(Err(UploadError::Body(error)));
        }
        loop {
            // The first part of the body goes out with the head, if it is there already.
            let coming = self.rest == Rest::Coming;
            let waiting = coming && self.is_drained() && self.poll_body(cx)?.is_pending();
            if self.written == self.head.len() && self.is_drained() {
                if self.unflushed {
                    ready!(Pin::new(&mut *stream).poll_flush(cx))
                        .map_err(UploadError::Connection)?;
                    self.unflushed = false;
                }
                match (waiting, self.rest == Rest::Coming) {
                    (true, _) => return Poll::Pending,
                    (false, false) => return Poll::Ready(Ok(())),
                    (false, true) => continue,
                }
            }
            ready!(self.poll_write(stream, cx)).map_err(UploadError::Connection)?;
        }
    }

    fn is_drained(&self) -> bool {
        self.size.is_empty() && self.data.is_empty() && self.tail.is_empty()
    }

    /// Takes the next part of the body.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UploadError>> {
        let Some(frame) = ready!(self.body.poll_frame(cx)) else {
            self.finish(None);
            return Poll::Ready(Ok(()));
        };
        let frame = frame.map_err(|error| {
            self.rest = Rest::Broken;
            UploadError::Body(error)
        })?;
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => {
                if self.chunked {
                    let mut size = BytesMut::with_capacity(18);
                    // Writing into memory does not fail.
                    let _ = write!(size, "{:x}\r\n", data.len());
                    self.size = size.freeze();
                    self.tail = Bytes::from_static(b"\r\n");
                }
                self.data = data;
            }
            Err(frame) => self.finish(frame.into_trailers().ok()),
        }
        Poll::Ready(Ok(()))
    }

    fn finish(&mut self, trailers: Option<HeaderMap>) {
        self.rest = Rest::Nothing;
        if self.chunked {
            self.tail = write_last_chunk(trailers);
        }
    }

    fn poll_write(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let head = self.head.get(self.written..).unwrap_or_default();
        let mut parts = [IoSlice::new(&[]); 4];
        let mut used = 0;
        for bytes in [head, &self.size, &self.data, &self.tail] {
            if let Some(part) = parts.get_mut(used).filter(|_| !bytes.is_empty()) {
                *part = IoSlice::new(bytes);
                used += 1;
            }
        }
        let parts = parts.get(..used).unwrap_or_default();
        let mut sent = ready!(poll_write_parts(stream, cx, parts))?;
        if sent == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.unflushed = matches!(stream, Stream::Secure(_));
        let head = sent.min(self.head.len() - self.written);
        self.written += head;
        sent -= head;
        for part in [&mut self.size, &mut self.data, &mut self.tail] {
            let part_sent = sent.min(part.len());
            part.advance(part_sent);
            sent -= part_sent;
        }
        Poll::Ready(Ok(()))
    }
}

//! Responses on their way to a client: the head and what is there of the body in one write, then
//! the rest as it comes and as fast as the client takes it.

use crate::base::body::Reply;
use crate::base::clock;
use crate::base::deadline::{Deadline, Deadlines};
use crate::base::http1::fields::{content_length, put_decimal, write_field, write_last_chunk};
use crate::base::http1::lines::Lines;
use crate::base::http1::scratch;
use crate::base::http1::wire::Wire;
use crate::listener::date;
use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, StatusCode, Version, response};
use http_body::Body;
use hyper::ext::ReasonPhrase;
use std::io::{IoSlice, Write};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// Parts of a body up to this size are copied together with what is before and after them.
const COPY_BYTES_MAX: usize = 4 * 1024;
/// How much is gathered before it is written.
const GATHER_BYTES_MAX: usize = 16 * 1024;
/// How much memory for writing a thread keeps.
const KEPT_BYTES_MAX: usize = 64 * 1024;
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// The response was not written to its end: the client is gone, takes nothing, or the body failed.
#[derive(Debug)]
pub(super) struct Broken;

/// What is left to write of a response.
#[derive(Debug)]
pub(super) struct Responder<'w, B> {
    wire: &'w Wire,
    body: Option<B>,
    /// A tunnel's, after its end: as long as it is there, the other direction goes on.
    held: Option<Box<B>>,
    framing: Framing,
    /// What the client did not take at once, up to `data`.
    unsent: Bytes,
    /// A large part of the body, which is not copied.
    data: Bytes,
    /// What goes after `data`.
    tail: Bytes,
    /// Whether the body failed: what was gathered is written, and then the message breaks off.
    failed: bool,
    /// How long the client may take nothing.
    patience: &'w Rc<Deadlines>,
    /// Running while it takes nothing.
    deadline: Option<Deadline>,
}

/// How a response's body is framed (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    Nothing,
    /// This many bytes are left.
    Length(u64),
    /// In chunks.
    Chunked,
    /// By the end of the connection: HTTP/1.0 knows no chunks.
    UntilClose,
    /// Not at all: it is another protocol.
    Raw,
}

impl Framing {
    /// How the body of this response is to be framed for a client that speaks `version`.
    pub(super) fn new<B: Body>(
        parts: &response::Parts,
        body: &B,
        version: Version,
        is_head: bool,
    ) -> Self {
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            return Self::Raw;
        }
        let none = matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if is_head || none || parts.status.is_informational() {
            return Self::Nothing;
        }
        // What there is of the body knows it best; the field is asked only if that does not.
        let said = || content_length(parts.headers.get(CONTENT_LENGTH)?.as_bytes()).ok();
        match body.size_hint().exact().or_else(said) {
            Some(length) => Self::Length(length),
            None if version == Version::HTTP_11 => Self::Chunked,
            None => Self::UntilClose,
        }
    }
}

/// What a response says of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Persistence {
    /// It stays, as it does anyway.
    Stays,
    /// It stays, which a client of HTTP/1.0 must be told.
    Kept,
    /// It closes.
    Closes,
}

/// Writes a response's head, with `lines` before its other fields. The fields of framing and of the
/// connection are ours to write, except for the answer to an upgrade.
pub(super) fn write_head(
    to: &mut Vec<u8>,
    parts: &response::Parts,
    lines: Option<&Lines>,
    framing: Framing,
    persistence: Persistence,
) {
    to.extend_from_slice(b"HTTP/1.1 ");
    to.extend_from_slice(parts.status.as_str().as_bytes());
    to.push(b' ');
    match parts.extensions.get::<ReasonPhrase>() {
        Some(reason) => to.extend_from_slice(reason.as_bytes()),
        None => {
            to.extend_from_slice(parts.status.canonical_reason().unwrap_or_default().as_bytes());
        }
    }
    to.extend_from_slice(b"\r\n");
    let mut date = false;
    if let Some(lines) = lines {
        date = lines.has_date;
        lines.write(to);
    }
    for (name, value) in &parts.headers {
        date |= *name == DATE;
        let ours = *name == CONNECTION || *name == TRANSFER_ENCODING || *name == KEEP_ALIVE;
        if ours && framing != Framing::Raw {
            continue;
        }
        // RFC 9110 section 8.6; a length that is none is not passed on either.
        let length = matches!(framing, Framing::Nothing) && parts.status != StatusCode::NO_CONTENT;
        if *name == CONTENT_LENGTH && !length {
            continue;
        }
        write_field(to, name.as_str().as_bytes(), value.as_bytes());
    }
    if let Framing::Length(length) = framing {
        to.extend_from_slice(b"content-length: ");
        put_decimal(to, length);
        to.extend_from_slice(b"\r\n");
    }
    if framing == Framing::Chunked {
        write_field(to, b"transfer-encoding", b"chunked");
    }
    match persistence {
        _ if framing == Framing::Raw => {}
        Persistence::Stays => {}
        Persistence::Kept => write_field(to, b"connection", b"keep-alive"),
        Persistence::Closes => write_field(to, b"connection", b"close"),
    }
    if !date {
        to.extend_from_slice(b"date: ");
        date::put(to);
        to.extend_from_slice(b"\r\n");
    }
    to.extend_from_slice(b"\r\n");
}

impl<'w, B> Responder<'w, B>
where
    B: Reply,
{
    /// Nothing is to be written yet.
    pub(super) fn new(wire: &'w Wire, patience: &'w Rc<Deadlines>) -> Self {
        Self {
            wire,
            body: None,
            held: None,
            framing: Framing::Nothing,
            unsent: Bytes::new(),
            data: Bytes::new(),
            tail: Bytes::new(),
            failed: false,
            patience,
            deadline: None,
        }
    }

    /// Has something written before the head.
    pub(super) fn put_before(&mut self, before: BytesMut) {
        if !before.is_empty() {
            self.unsent = before.freeze();
        }
    }

    /// Takes the body of the response that is to be written, and says how it is framed for a client
    /// that speaks `version`.
    pub(super) fn put(
        &mut self,
        parts: &response::Parts,
        body: B,
        version: Version,
        is_head: bool,
    ) -> Framing {
        self.framing = Framing::new(parts, self.body.insert(body), version, is_head);
        self.framing
    }

    /// Writes the head and what is there of the body, as far as the client takes it.
    pub(super) fn begin(
        &mut self,
        cx: &mut Context<'_>,
        parts: &response::Parts,
        persistence: Persistence,
    ) -> Poll<Result<(), Broken>> {
        let framing = self.framing;
        let lines = self.body.as_mut().and_then(Reply::take_lines);
        if framing == Framing::Nothing {
            self.body = None;
        }
        let before = std::mem::take(&mut self.unsent);
        let begun = scratch::write(KEPT_BYTES_MAX, |memory| {
            memory.extend_from_slice(&before);
            write_head(memory, parts, lines.as_deref(), framing, persistence);
            self.gather(cx, memory);
            self.write_gathered(cx, memory)
        });
        ready!(begun)?;
        self.poll(cx)
    }

    /// Writes on.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        loop {
            while !(self.unsent.is_empty() && self.data.is_empty() && self.tail.is_empty()) {
                ready!(self.poll_unsent(cx))?;
            }
            if self.failed {
                return Poll::Ready(Err(Broken));
            }
            if self.body.is_none() {
                return self.poll_flush(cx);
            }
            let gathered = scratch::write(KEPT_BYTES_MAX, |memory| {
                let waiting = self.gather(cx, memory);
                if waiting && memory.is_empty() && self.data.is_empty() {
                    return None;
                }
                Some(self.write_gathered(cx, memory))
            });
            let Some(written) = gathered else {
                ready!(self.poll_flush(cx))?;
                return Poll::Pending;
            };
            ready!(written)?;
        }
    }

    /// Takes what is there of the body; says whether more is waited for.
    fn gather(&mut self, cx: &mut Context<'_>, memory: &mut Vec<u8>) -> bool {
        while self.data.is_empty() && memory.len() < GATHER_BYTES_MAX {
            let Some(body) = &mut self.body else { return false };
            let frame = match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending => return true,
                Poll::Ready(None) => {
                    self.end(memory, None);
                    return false;
                }
                Poll::Ready(Some(Err(_))) => {
                    self.fail();
                    return false;
                }
                Poll::Ready(Some(Ok(frame))) => frame,
            };
            let ended = body.is_end_stream();
            match frame.into_data() {
                Ok(data) => self.put_data(memory, data),
                Err(frame) => {
                    self.end(memory, frame.into_trailers().ok());
                    return false;
                }
            }
            if ended && self.body.is_some() {
                self.end(memory, None);
            }
        }
        false
    }

    fn put_data(&mut self, memory: &mut Vec<u8>, data: Bytes) {
        if data.is_empty() {
            return;
        }
        match &mut self.framing {
            Framing::Chunked => {
                // Writing into memory does not fail.
                let _ = write!(memory, "{:x}\r\n", data.len());
                self.tail = Bytes::from_static(b"\r\n");
            }
            Framing::Length(left) => match left.checked_sub(data.len() as u64) {
                Some(rest) => *left = rest,
                // More than the head has promised.
                None => return self.fail(),
            },
            Framing::Nothing | Framing::UntilClose | Framing::Raw => {}
        }
        if data.len() <= COPY_BYTES_MAX {
            memory.extend_from_slice(&data);
            memory.extend_from_slice(&std::mem::take(&mut self.tail));
        } else {
            self.data = data;
        }
    }

    /// The body is at its end.
    fn end(&mut self, memory: &mut Vec<u8>, trailers: Option<HeaderMap>) {
        if self.framing == Framing::Raw {
            self.held = self.body.take().map(Box::new);
        }
        self.body = None;
        match self.framing {
            Framing::Chunked if self.data.is_empty() => {
                memory.extend_from_slice(&write_last_chunk(trailers));
            }
            Framing::Chunked => {
                let mut tail = self.tail.to_vec();
                tail.extend_from_slice(&write_last_chunk(trailers));
                self.tail = tail.into();
            }
            Framing::Length(1..) => self.failed = true,
            Framing::Nothing | Framing::Length(0) | Framing::UntilClose | Framing::Raw => {}
        }
    }

    fn fail(&mut self) {
        self.body = None;
        self.failed = true;
    }

    /// Writes what was gathered, and keeps what the client does not take.
    fn write_gathered(&mut self, cx: &mut Context<'_>, memory: &[u8]) -> Poll<Result<(), Broken>> {
        let written = self.poll_write(cx, memory);
        let written = match written {
            Poll::Ready(Ok(written)) => written,
            Poll::Ready(Err(broken)) => return Poll::Ready(Err(broken)),
            Poll::Pending => 0,
        };
        if let Some(rest) = memory.get(written..).filter(|rest| !rest.is_empty()) {
            self.unsent = Bytes::copy_from_slice(rest);
        }
        self.advance(written.saturating_sub(memory.len()));
        Poll::Ready(Ok(()))
    }

    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let unsent = self.unsent.clone();
        let written = ready!(self.poll_write(cx, &unsent))?;
        let before = written.min(unsent.len());
        self.unsent.advance(before);
        self.advance(written - before);
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, written: usize) {
        let data = written.min(self.data.len());
        self.data.advance(data);
        let tail = (written - data).min(self.tail.len());
        self.tail.advance(tail);
    }

    /// Writes this, `data` and `tail`, as far as the client takes it; gives up when it has taken
    /// nothing for long.
    fn poll_write(&mut self, cx: &mut Context<'_>, first: &[u8]) -> Poll<Result<usize, Broken>> {
        let mut parts = [IoSlice::new(&[]); 3];
        let mut used = 0;
        for bytes in [first, &self.data, &self.tail] {
            if let Some(part) = parts.get_mut(used).filter(|_| !bytes.is_empty()) {
                *part = IoSlice::new(bytes);
                used += 1;
            }
        }
        if used == 0 {
            return Poll::Ready(Ok(0));
        }
        match self.wire.poll_write(cx, parts.get(..used).unwrap_or_default()) {
            Poll::Ready(Ok(written @ 1..)) => {
                self.moved();
                Poll::Ready(Ok(written))
            }
            Poll::Ready(_) => Poll::Ready(Err(Broken)),
            Poll::Pending => self.poll_patience(cx).map(Err),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match self.wire.poll_flush(cx) {
            Poll::Ready(flushed) => {
                self.moved();
                Poll::Ready(flushed.map_err(|_| Broken))
            }
            Poll::Pending => self.poll_patience(cx).map(Err),
        }
    }

    /// The client has taken something.
    fn moved(&mut self) {
        if self.deadline.take().is_some() {
            // What begins now must not seem to have begun when it stopped taking.
            clock::now();
        }
    }

    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        let patience = self.patience;
        let deadline = self.deadline.get_or_insert_with(|| patience.begin(clock::now()));
        Pin::new(deadline).poll(cx).map(|()| Broken)
    }
}

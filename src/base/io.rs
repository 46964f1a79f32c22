//! A client's socket, as we and h2 see it: small writes go out in one piece, large ones without a
//! copy.

use super::accepted::Accepted;
use bytes::{Bytes, BytesMut};
use std::cell::Cell;
use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;
use tokio_util::io::poll_read_buf;

/// Up to this many bytes, copying parts together costs less than the kernel's work for a vector.
const FLATTEN_BYTES_MAX: usize = 1024;

/// A client's connection of which the beginning may have been read already.
#[derive(Debug)]
pub struct Io {
    stream: Stream,
    read: Bytes,
    flow: Rc<Flow>,
    watch: Option<Box<dyn Watch>>,
}

/// Sees what passes on a connection, and may end it.
pub trait Watch: Debug {
    /// Sees what the peer sends before it is read; an error ends the connection.
    fn received(&mut self, bytes: &[u8]) -> Result<(), Farewell>;

    /// Sees what was written.
    fn sent(&mut self, bytes: &[u8]);
}

/// What is written last on a connection that is ended by who watches it, if it can be at once.
#[derive(Debug)]
pub struct Farewell(pub Vec<u8>);

/// What carries the bytes.
#[derive(Debug)]
enum Stream {
    Plain(Accepted),
    /// In a box, so that plain connections do not pay for its size.
    Secure(Box<TlsStream<Accepted>>),
}

/// How writing to a connection goes, seen by who looks after it.
#[derive(Debug, Default)]
pub struct Flow {
    blocked: Cell<bool>,
    moved: Cell<bool>,
}

impl Io {
    /// Wraps a connected socket from which `read` was read.
    pub fn new(stream: Accepted, read: Bytes, flow: Rc<Flow>) -> Self {
        Self { stream: Stream::Plain(stream), read, flow, watch: None }
    }

    /// Wraps a connection whose TLS handshake is done.
    pub fn secure(stream: TlsStream<Accepted>, flow: Rc<Flow>) -> Self {
        Self { stream: Stream::Secure(Box::new(stream)), read: Bytes::new(), flow, watch: None }
    }

    /// Lets somebody see all that passes from now on.
    #[must_use]
    pub fn watched(mut self, watch: Box<dyn Watch>) -> Self {
        self.watch = Some(watch);
        self
    }

    /// Reads what is there, and shows it to who watches before anybody else sees it.
    fn poll_read_watched(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = to.filled().len();
        ready!(self.poll_read_on(cx, to))?;
        let new = to.filled().get(before..).unwrap_or_default();
        let seen = self.watch.as_mut().map_or(Ok(()), |watch| watch.received(new));
        let Err(Farewell(bytes)) = seen else { return Poll::Ready(Ok(())) };
        to.set_filled(before);
        if !self.flow.is_blocked() && !bytes.is_empty() {
            let _ = self.stream.poll_write(cx, &bytes);
            let _ = self.stream.poll_flush(cx);
        }
        Poll::Ready(Err(io::Error::other("the peer sends what nobody needs")))
    }

    /// Reads what was read before, or else what comes.
    fn poll_read_on(&mut self, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return self.stream.poll_read(cx, to);
        }
        let length = self.read.len().min(to.remaining());
        to.put_slice(&self.read.split_to(length));
        Poll::Ready(Ok(()))
    }

    /// Tells of what was written of the parts.
    fn note(&mut self, parts: &[IoSlice<'_>], written: &Poll<io::Result<usize>>) {
        self.flow.note(written);
        let (Some(watch), Poll::Ready(Ok(written))) = (&mut self.watch, written) else { return };
        let mut left = *written;
        for part in parts {
            let taken = left.min(part.len());
            watch.sent(part.get(..taken).unwrap_or_default());
            left -= taken;
        }
    }

    /// Takes what was read before.
    pub fn take_read(&mut self) -> Bytes {
        std::mem::take(&mut self.read)
    }

    /// Reads into memory of any kind.
    pub fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream.poll_read(cx, to)
    }

    /// Reads into what room there is; says how much.
    pub fn poll_receive_into(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => poll_read_buf(Pin::new(stream), cx, to),
            Stream::Secure(stream) => poll_read_buf(Pin::new(stream), cx, to),
        }
    }

    /// Writes the parts of a message, as many bytes of them as are taken.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self).poll_write_vectored(cx, parts)
    }

    /// Writes what was taken and held back.
    pub fn poll_send_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self).poll_flush(cx)
    }

    /// Lets the connection end by a reset when it is dropped, which nobody takes for its regular
    /// end.
    pub fn reset(&self) -> io::Result<()> {
        match &self.stream {
            Stream::Plain(stream) => stream.set_zero_linger(),
            Stream::Secure(stream) => stream.get_ref().0.set_zero_linger(),
        }
    }

    /// Whether the runtime knows the socket.
    pub fn is_registered(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_registered(),
            Stream::Secure(stream) => stream.get_ref().0.is_registered(),
        }
    }

    /// Whether nothing of our own stands between the bytes and the socket.
    pub fn is_plain(&self) -> bool {
        matches!(self.stream, Stream::Plain(_))
    }

    /// Ends our sending side.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self).poll_shutdown(cx)
    }
}

impl Stream {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Secure(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, to),
            Self::Secure(stream) => Pin::new(stream).poll_read(cx, to),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Secure(stream) => Pin::new(stream).poll_flush(cx),
        }
    }
}

impl Flow {
    /// Whether something is to be written that the peer does not take yet.
    pub fn is_blocked(&self) -> bool {
        self.blocked.get()
    }

    /// Whether anything was written since this was last asked.
    pub fn take_moved(&self) -> bool {
        self.moved.take()
    }

    fn note<T>(&self, written: &Poll<T>) {
        self.blocked.set(written.is_pending());
        if written.is_ready() {
            self.moved.set(true);
        }
    }
}

/// Writes the parts of a message, as many bytes of them as the socket takes.
pub fn poll_write_parts(
    stream: &mut (impl AsyncWrite + Unpin),
    cx: &mut Context<'_>,
    parts: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [part] = parts {
        return Pin::new(stream).poll_write(cx, part);
    }
    match flatten(parts, &mut [0; FLATTEN_BYTES_MAX]) {
        Some(flat) => Pin::new(stream).poll_write(cx, flat),
        None => Pin::new(stream).poll_write_vectored(cx, parts),
    }
}

/// The parts as one, if copying them together is cheap.
fn flatten<'a>(parts: &[IoSlice<'_>], space: &'a mut [u8; FLATTEN_BYTES_MAX]) -> Option<&'a [u8]> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let flat = space.get_mut(..length)?;
    let mut rest = &mut *flat;
    for part in parts {
        let (place, after) = rest.split_at_mut(part.len());
        place.copy_from_slice(part);
        rest = after;
    }
    Some(flat)
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.watch.is_some() {
            self.poll_read_watched(cx, to)
        } else {
            self.poll_read_on(cx, to)
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream.poll_write(cx, bytes);
        self.note(&[IoSlice::new(bytes)], &written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [part] = parts {
            return self.poll_write(cx, part);
        }
        let written = match flatten(parts, &mut [0; FLATTEN_BYTES_MAX]) {
            Some(flat) => self.stream.poll_write(cx, flat),
            None => match &mut self.stream {
                Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
                Stream::Secure(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            },
        };
        self.note(parts, &written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Secure(stream) => {
                // What was taken may be held back until the peer takes it.
                let flushed = Pin::new(stream).poll_flush(cx);
                self.flow.note(&flushed);
                flushed
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Secure(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FLATTEN_BYTES_MAX, flatten};
    use std::io::IoSlice;

    #[test]
    fn small_parts_become_one_and_large_ones_stay() {
        let mut space = [0; FLATTEN_BYTES_MAX];
        let large = vec![b'x'; FLATTEN_BYTES_MAX];
        let parts = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"c")];
        assert_eq!(flatten(&parts, &mut space), Some(&b"abc"[..]));
        let parts = [IoSlice::new(b"a"), IoSlice::new(&large)];
        assert_eq!(flatten(&parts, &mut space), None);
    }
}

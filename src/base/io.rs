//! The socket as hyper sees it: small writes go out in one piece, large ones without a copy.

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::net::TcpStream;

/// Up to this many bytes, copying parts together costs less than the kernel's work for a vector.
const FLATTEN_BYTES_MAX: usize = 1024;

/// A TCP connection.
#[derive(Debug)]
pub struct Io(TokioIo<TcpStream>);

impl Io {
    /// Wraps a connected socket.
    pub fn new(stream: TcpStream) -> Self {
        Self(TokioIo::new(stream))
    }
}

impl Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl Write for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [part] = parts {
            return Pin::new(&mut self.0).poll_write(cx, part);
        }
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let mut flat = [0; FLATTEN_BYTES_MAX];
        let Some(flat) = flat.get_mut(..length) else {
            return Pin::new(&mut self.0).poll_write_vectored(cx, parts);
        };
        let mut rest = &mut *flat;
        for part in parts {
            let (place, after) = rest.split_at_mut(part.len());
            place.copy_from_slice(part);
            rest = after;
        }
        Pin::new(&mut self.0).poll_write(cx, flat)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

//! Reading from a socket and writing to it, in as little as the system takes for it.
//!
//! The C library makes each system call that waits a point at which a thread may be cancelled
//! (POSIX.1-2024, `pthread_cancel`), for two atomic operations a call where there are several
//! threads: 3 % of all that Serin itself does for a small request. Nobody cancels a thread here.
//! Writes of several parts, and reads into memory that was not initialised, go the usual way.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

/// Reads what is there, as [`TcpStream`] does.
pub fn poll_read(
    stream: &mut TcpStream,
    cx: &mut Context<'_>,
    to: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    #[cfg(target_os = "linux")]
    if to.initialized().len() == to.capacity() {
        return direct::poll_read(stream, cx, to);
    }
    // To make all of it ready to be seen would cost more than it spares.
    Pin::new(stream).poll_read(cx, to)
}

/// Writes as much as is taken, as [`TcpStream`] does.
pub fn poll_write(
    stream: &mut TcpStream,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    #[cfg(target_os = "linux")]
    return direct::poll_write(stream, cx, bytes);
    #[cfg(not(target_os = "linux"))]
    tokio::io::AsyncWrite::poll_write(Pin::new(stream), cx, bytes)
}

#[cfg(target_os = "linux")]
mod direct {
    use rustix::net::{RecvFlags, SendFlags, recv, send};
    use std::io::{self, ErrorKind};
    use std::task::{Context, Poll, ready};
    use tokio::io::{Interest, ReadBuf};
    use tokio::net::TcpStream;
    use tokio::task::coop;

    pub(super) fn poll_read(
        stream: &TcpStream,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = to.remaining();
        let moved = ready!(poll_move(stream, cx, Interest::READABLE, room, || {
            Ok(recv(stream, to.initialize_unfilled(), RecvFlags::empty())?.0)
        }));
        to.advance(moved?);
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_write(
        stream: &TcpStream,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        poll_move(stream, cx, Interest::WRITABLE, bytes.len(), || {
            Ok(send(stream, bytes, SendFlags::NOSIGNAL)?)
        })
    }

    /// Moves up to so many bytes when the runtime knows the socket to be ready for it.
    fn poll_move(
        stream: &TcpStream,
        cx: &mut Context<'_>,
        interest: Interest,
        most: usize,
        mut call: impl FnMut() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let turn = ready!(coop::poll_proceed(cx));
        loop {
            let mut part = None;
            let result = stream.try_io(interest, || {
                let moved = call()?;
                if moved == 0 || moved == most {
                    return Ok(moved);
                }
                // With epoll, less than there could be says that there is no more for now. The
                // runtime is to know that, or the next call would have to find it out.
                part = Some(moved);
                Err(ErrorKind::WouldBlock.into())
            });
            let result = part.map_or(result, Ok);
            if !result.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
                turn.made_progress();
                return Poll::Ready(result);
            }
            ready!(if interest.is_readable() {
                stream.poll_read_ready(cx)
            } else {
                stream.poll_write_ready(cx)
            })?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{poll_read, poll_write};
    use std::future::poll_fn;
    use std::task::Poll;
    use tokio::io::{AsyncWriteExt, ReadBuf};
    use tokio::net::{TcpListener, TcpStream};

    /// More than the buffers of both ends hold.
    const BYTES: usize = 16 * 1024 * 1024;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (near, listener.accept().await.unwrap().0)
    }

    /// Reads once into so much room.
    async fn read(stream: &mut TcpStream, room: usize) -> Vec<u8> {
        let mut memory = vec![0; room];
        let mut read = ReadBuf::new(&mut memory);
        poll_fn(|cx| poll_read(stream, cx, &mut read)).await.unwrap();
        read.filled().to_vec()
    }

    #[tokio::test]
    async fn all_that_is_written_is_read_however_much_is_taken_at_once() {
        let (mut near, mut far) = pair().await;
        let sent: Vec<u8> = (0..251).cycle().take(BYTES).collect();
        let expected = sent.clone();
        let writing = tokio::spawn(async move {
            let (mut rest, mut waited) = (&sent[..], false);
            while !rest.is_empty() {
                let written = poll_fn(|cx| {
                    let polled = poll_write(&mut near, cx, rest);
                    waited |= polled.is_pending();
                    polled
                });
                rest = &rest[written.await.unwrap()..];
            }
            waited
        });
        let mut received = Vec::new();
        for room in [1, 7, 100, 16 * 1024, 1024 * 1024].into_iter().cycle() {
            match read(&mut far, room).await {
                bytes if bytes.is_empty() => break,
                bytes => received.extend_from_slice(&bytes),
            }
        }
        assert!(received == expected);
        assert!(writing.await.unwrap(), "nothing had to wait");
    }

    #[tokio::test]
    async fn what_comes_after_a_part_and_the_end_are_seen() {
        let (mut near, mut far) = pair().await;
        for text in [&b"ab"[..], b"c"] {
            near.write_all(text).await.unwrap();
            assert_eq!(read(&mut far, 8).await, text);
            let mut read = [0; 8];
            let mut read = ReadBuf::new(&mut read);
            let polled = poll_fn(|cx| Poll::Ready(poll_read(&mut far, cx, &mut read))).await;
            assert!(polled.is_pending(), "{polled:?}");
        }
        drop(near);
        assert_eq!(read(&mut far, 8).await, b"");
        assert_eq!(read(&mut far, 8).await, b"");
    }

    #[tokio::test]
    async fn a_connection_that_was_reset_is_an_error() {
        let (near, mut far) = pair().await;
        near.set_zero_linger().unwrap();
        drop(near);
        let mut memory = [0; 8];
        let mut read = ReadBuf::new(&mut memory);
        let error = poll_fn(|cx| poll_read(&mut far, cx, &mut read)).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        let error = poll_fn(|cx| poll_write(&mut far, cx, b"a")).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    }
}

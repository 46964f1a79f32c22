//! Which protocol a client speaks on a plain port, by the first bytes that it sends.

use super::connections::Connection;
use super::timers::Timers;
use crate::base::accepted::Accepted;
use crate::base::clock;
use crate::base::deadline::Deadline;
use crate::base::http1::scratch;
use bytes::{Bytes, BytesMut};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};

/// What every HTTP/2 client sends first (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The protocol of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1 or HTTP/1.0.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// What a client began with.
#[derive(Debug)]
pub(super) struct Detected {
    /// What was read.
    pub(super) read: Bytes,
    /// The protocol that begins like this.
    pub(super) protocol: Protocol,
    /// The time for the first head, if that was begun in more than one piece.
    pub(super) deadline: Option<Deadline>,
}

/// Reads until it is clear what the client speaks. Nothing if the connection ends before, or is
/// told to, or if nothing comes in time.
pub(super) async fn detect(
    stream: &mut Accepted,
    known: &Connection,
    timers: &Timers,
) -> Option<Detected> {
    let mut read = BytesMut::new();
    let mut silent = timers.header.begin(clock::now());
    let mut begun = None;
    poll_fn(|cx| {
        loop {
            if let Some(protocol) = protocol(&read) {
                return Poll::Ready(Some(protocol));
            }
            known.wake(cx.waker());
            match poll_read(stream, cx, &mut read) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return Poll::Ready(None),
                // Whatever it is told: nothing was asked, so there is nothing to finish.
                Poll::Pending if known.order().is_some() => return Poll::Ready(None),
                Poll::Pending if read.is_empty() => {
                    return Pin::new(&mut silent).poll(cx).map(|()| None);
                }
                Poll::Pending => {
                    let begun = begun.get_or_insert_with(|| timers.header.begin(clock::now()));
                    // Whoever reads heads says so.
                    return Pin::new(begun).poll(cx).map(|()| Some(Protocol::Http1));
                }
            }
        }
    })
    .await
    .map(|protocol| Detected { read: read.freeze(), protocol, deadline: begun })
}

/// Reads some more; false at the connection's end.
fn poll_read(stream: &mut Accepted, cx: &mut Context<'_>, read: &mut BytesMut) -> Poll<bool> {
    scratch::read(|memory| {
        let mut memory = ReadBuf::new(memory);
        let polled = ready!(Pin::new(stream).poll_read(cx, &mut memory));
        read.extend_from_slice(memory.filled());
        Poll::Ready(polled.is_ok() && !memory.filled().is_empty())
    })
}

/// The protocol that begins like this; nothing if it may be either.
fn protocol(read: &[u8]) -> Option<Protocol> {
    match read.get(..PREFACE.len()) {
        Some(PREFACE) => Some(Protocol::Http2),
        None if PREFACE.starts_with(read) => None,
        _ => Some(Protocol::Http1),
    }
}

#[cfg(test)]
mod tests {
    use super::{PREFACE, Protocol, protocol};

    #[test]
    fn the_preface_is_told_from_a_request_at_the_first_byte_that_differs() {
        assert_eq!(protocol(b""), None);
        assert_eq!(protocol(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"), None);
        assert_eq!(protocol(PREFACE), Some(Protocol::Http2));
        assert_eq!(protocol(&[PREFACE, b"\0"].concat()), Some(Protocol::Http2));
        assert_eq!(protocol(b"G"), Some(Protocol::Http1));
        assert_eq!(protocol(b"PRI * HTTP/1.1\r\n"), Some(Protocol::Http1));
        assert_eq!(protocol(b"POST / HTTP/1.1\r\n"), Some(Protocol::Http1));
    }
}

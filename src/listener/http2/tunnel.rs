//! What follows an extended CONNECT over HTTP/2 (RFC 8441): bytes both ways on one stream.

use crate::base::http2::Received;
use crate::base::incoming::{Incoming, Tunnel};
use bytes::Bytes;
use h2::RecvStream;
use h2::ext::Protocol;
use http::{Method, Request};
use http_body::{Body, Frame};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::oneshot;

type Broken = Box<dyn std::error::Error + Send + Sync>;

/// The client's half of a stream until its request is granted.
#[derive(Debug)]
pub(super) struct Switch {
    stream: RecvStream,
    /// Where the client's half goes.
    half: oneshot::Sender<RecvStream>,
    /// Gone when nobody reads the client's half any more.
    reading: oneshot::Receiver<()>,
}

/// What the client sends.
struct Sent {
    half: Half,
    _reading: oneshot::Sender<()>,
}

enum Half {
    /// The request is not granted yet.
    Coming(oneshot::Receiver<RecvStream>),
    Open(RecvStream),
}

/// Gives a request its body: to an extended CONNECT what its client sends once it is granted.
pub(super) fn open(request: Request<RecvStream>) -> (Request<Incoming>, Option<Box<Switch>>) {
    let (parts, stream) = request.into_parts();
    if parts.method != Method::CONNECT {
        let body = Incoming::Http2(Received::new(stream, &parts.headers));
        return (Request::from_parts(parts, body), None);
    }
    if parts.extensions.get::<Protocol>().is_none() {
        // What its client sends would be for the other end of a tunnel that there is not.
        return (Request::from_parts(parts, Incoming::Http2(Received::empty())), None);
    }
    let (half, coming) = oneshot::channel();
    let (read, reading) = oneshot::channel();
    let sent = Sent { half: Half::Coming(coming), _reading: read };
    let request = Request::from_parts(parts, Incoming::Tunnel(Tunnel::stream(sent)));
    (request, Some(Box::new(Switch { stream, half, reading })))
}

impl Switch {
    /// Lets the service have what the client sends; what is returned ends when nobody reads it any
    /// more.
    pub(super) fn grant(self) -> oneshot::Receiver<()> {
        // If nobody wants it, that is seen by who waits.
        let _ = self.half.send(self.stream);
        self.reading
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        loop {
            match &mut this.half {
                Half::Coming(coming) => {
                    let half = ready!(Pin::new(coming).poll(cx)).map_err(|_| {
                        io::Error::new(io::ErrorKind::ConnectionAborted, "the client left")
                    })?;
                    this.half = Half::Open(half);
                }
                Half::Open(half) => {
                    let Some(data) = ready!(half.poll_data(cx)).transpose()? else {
                        return Poll::Ready(None);
                    };
                    let _ = half.flow_control().release_capacity(data.len());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
            }
        }
    }
}

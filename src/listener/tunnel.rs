//! What follows an extended CONNECT over HTTP/2 (RFC 8441): bytes both ways on one stream.

use super::connections::Busy;
use super::http2::Panics;
use crate::base::incoming::{Incoming, Tunnel};
use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::ext::Protocol;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::oneshot;
use tokio_util::io::poll_read_buf;

/// How much is read at once: what a frame holds at most, as we allow no more.
const READ_BYTES: usize = 16 * 1024;
/// How long a client may take nothing of what there is for it.
const STUCK_TIMEOUT: Duration = Duration::from_mins(5);

type Stream = TokioIo<Upgraded>;
type Broken = Box<dyn std::error::Error + Send + Sync>;

/// What passes the bytes on once the request is granted.
#[derive(Debug)]
pub(super) struct Switch {
    granted: OnUpgrade,
    /// Where the client's half goes.
    half: oneshot::Sender<ReadHalf<Stream>>,
    /// Gone when nobody reads the client's half any more.
    reading: oneshot::Receiver<()>,
    panics: Panics,
}

/// What the client sends.
struct Sent {
    half: Half,
    buffer: BytesMut,
    _reading: oneshot::Sender<()>,
}

enum Half {
    /// The request is not granted yet.
    Coming(oneshot::Receiver<ReadHalf<Stream>>),
    Open(ReadHalf<Stream>),
}

/// Gives an extended CONNECT what its client sends as a body; all other requests stay as they are.
pub(super) fn open(
    mut request: Request<hyper::body::Incoming>,
    panics: &Panics,
) -> (Request<Incoming>, Option<Box<Switch>>) {
    if request.method() != Method::CONNECT || request.extensions().get::<Protocol>().is_none() {
        return (request.map(Incoming::Hyper), None);
    }
    let granted = hyper::upgrade::on(&mut request);
    let (half, coming) = oneshot::channel();
    let (read, reading) = oneshot::channel();
    let sent = Sent { half: Half::Coming(coming), buffer: BytesMut::new(), _reading: read };
    let request = request.map(|_| Incoming::Tunnel(Tunnel::stream(sent)));
    (request, Some(Box::new(Switch { granted, half, reading, panics: panics.clone() })))
}

impl Switch {
    /// Passes on what the service sends if it has granted the request; the response's head is left.
    /// Its connection is busy until both directions have ended.
    pub(super) fn follow<B>(self: Box<Self>, response: Response<B>, busy: Busy) -> Response<()>
    where
        B: Body<Error: Into<Broken>> + Unpin + 'static,
    {
        let (parts, body) = response.into_parts();
        tokio::task::spawn_local(async move {
            let panics = self.panics.clone();
            let passing = async move {
                let passed = self.pass(body).await;
                if let Err(error) = passed {
                    tracing::debug!(%error, "upgraded stream");
                }
                drop(busy);
            };
            panics.catch(passing).await;
        });
        Response::from_parts(parts, ())
    }

    async fn pass<B: Body<Error: Into<Broken>> + Unpin>(self, mut body: B) -> Result<(), Broken> {
        let Self { granted, half, mut reading, .. } = self;
        let (read, mut write) = split(TokioIo::new(granted.await?));
        // If nobody wants it, that is seen below.
        let _ = half.send(read);
        send(&mut body, &mut write, &mut reading).await?;
        write.shutdown().await?;
        // The client may go on; the exchange ends with its body.
        if !reading.is_terminated() {
            let _ = reading.await;
        }
        Ok(())
    }
}

/// Sends what the service sends, until it ends its side.
async fn send<B: Body<Error: Into<Broken>> + Unpin>(
    body: &mut B,
    write: &mut WriteHalf<Stream>,
    reading: &mut oneshot::Receiver<()>,
) -> Result<(), Broken> {
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            _ = &mut *reading, if !reading.is_terminated() => {
                // hyper takes CANCEL for the end. Its own task, which was woken by it too, knows
                // better, but only tells who writes.
                tokio::task::yield_now().await;
                write.flush().await?;
                continue;
            }
        };
        let Some(frame) = frame else { return Ok(()) };
        if let Ok(mut data) = frame.map_err(Into::into)?.into_data() {
            let writing = write.write_all_buf(&mut data);
            tokio::time::timeout(STUCK_TIMEOUT, writing).await??;
        }
    }
}

impl Sent {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            match &mut self.half {
                Half::Coming(coming) => {
                    let half = ready!(Pin::new(coming).poll(cx)).map_err(|_| {
                        io::Error::new(io::ErrorKind::ConnectionAborted, "the client left")
                    })?;
                    self.half = Half::Open(half);
                }
                Half::Open(half) => {
                    self.buffer.reserve(READ_BYTES);
                    return poll_read_buf(Pin::new(half), cx, &mut self.buffer);
                }
            }
        }
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
        match ready!(this.poll_read(cx)) {
            Ok(0) => Poll::Ready(None),
            Ok(_) => Poll::Ready(Some(Ok(Frame::data(this.buffer.split().freeze())))),
            Err(error) => Poll::Ready(Some(Err(error.into()))),
        }
    }
}

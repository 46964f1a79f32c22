//! Serving HTTP on one accepted connection: what HTTP/1.1 and HTTP/2 have in common, and HTTP/1.1.

use super::connections::{Busy, Connection, Entry, Order};
use super::detect::{Protocol, detect};
use super::http2::{self, Panics};
use crate::base::io::Io;
use ::http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tower::Service;

/// How long a connection may be open without a complete request head; between one and two times
/// this passes before it is closed.
pub const HEAD_TIMEOUT: Duration = Duration::from_mins(1);
/// The largest request head, and how much of a body is buffered.
pub const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// The most header fields of a request; 431 beyond.
pub const HEADERS_MAX: usize = 128;

/// Serves until the client leaves, the connection breaks, or it is told to end.
pub(super) async fn serve<S, B>(mut stream: TcpStream, service: S, entry: &Entry, panics: &Panics)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + 'static,
    S::Future: 'static,
    B: Body + Unpin + 'static,
    B::Data: 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let known = &entry.connection;
    let Some((read, protocol)) = detect(&mut stream, known).await else { return };
    let io = Io::new(stream, read);
    let busy = Rc::clone(known);
    let service = service_fn(move |request: Request<Incoming>| {
        let busy = busy.begin();
        // The service is a function, which is always ready.
        let response = service.clone().call(request);
        async move {
            let response = response.await?;
            Ok::<_, Infallible>(response.map(|body| Counted { body, _busy: busy }))
        }
    });
    let result = match protocol {
        Protocol::Http1 => {
            let connection = http1::Builder::new()
                .max_buf_size(BUFFER_BYTES_MAX)
                .max_header_size(BUFFER_BYTES_MAX)
                .max_headers(HEADERS_MAX)
                .serve_connection(io, service);
            drive(pin!(connection), known, http1::Connection::graceful_shutdown).await
        }
        // In a box, because its state is large and most connections are HTTP/1.1.
        Protocol::Http2 => {
            let mut connection = Box::pin(http2::builder(panics).serve_connection(io, service));
            drive(
                connection.as_mut(),
                known,
                hyper::server::conn::http2::Connection::graceful_shutdown,
            )
            .await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "client connection");
    }
}

/// Runs a connection to its end, passing on what it is told.
async fn drive<C>(
    mut connection: Pin<&mut C>,
    known: &Connection,
    finish: fn(Pin<&mut C>),
) -> hyper::Result<()>
where
    C: Future<Output = hyper::Result<()>>,
{
    poll_fn(|cx| {
        match known.order() {
            Some(Order::Finish) => finish(connection.as_mut()),
            Some(Order::Close) => return Poll::Ready(Ok(())),
            None => {}
        }
        known.wake(cx.waker());
        connection.as_mut().poll(cx)
    })
    .await
}

/// A response's body, during which its connection is busy.
struct Counted<B> {
    body: B,
    _busy: Busy,
}

impl<B: Body + Unpin> Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! Serving HTTP/1.1 on one accepted connection.

use super::connections::{Busy, Entry, Order};
use crate::base::io::Io;
use ::http::header::CONNECTION;
use ::http::{HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
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
pub(super) async fn serve<S, B>(stream: TcpStream, service: S, entry: &Entry)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let known = &entry.connection;
    let service = service_fn(|request: Request<Incoming>| {
        let busy = known.begin();
        // The service is a function, which is always ready.
        let response = service.clone().call(request);
        async move {
            let mut response = response.await?;
            if entry.leaving() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response.map(|body| Counted { body, _busy: busy }))
        }
    });
    let connection = http1::Builder::new()
        .max_buf_size(BUFFER_BYTES_MAX)
        .max_header_size(BUFFER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(Io::new(stream), service);
    let mut connection = pin!(connection);
    let result = poll_fn(|cx| {
        match known.order() {
            Some(Order::Finish) => connection.as_mut().graceful_shutdown(),
            Some(Order::Close) => return Poll::Ready(Ok(())),
            None => {}
        }
        known.wake(cx.waker());
        connection.as_mut().poll(cx)
    });
    if let Err(error) = result.await {
        tracing::debug!(%error, "client connection");
    }
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

//! Serving HTTP/1.1 on one accepted connection.

use crate::base::drain::Draining;
use ::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long a client may take for a request's head, and how long its connection may be idle.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// The largest request head, and how much of a body is buffered.
pub const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// The most header fields of a request; 431 beyond.
pub const HEADERS_MAX: usize = 128;

/// Serves until the client leaves, the connection breaks, or the end is asked for and the request
/// that was being served is answered or its time is up.
pub(super) async fn serve<S, B>(stream: TcpStream, service: S, mut drain: Draining)
where
    S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX)
        .max_header_size(BUFFER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = drain.asked() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                result = connection => result,
                () = drain.over() => return,
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "client connection");
    }
}

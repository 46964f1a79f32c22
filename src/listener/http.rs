//! Serving HTTP on one accepted connection: what both versions have in common, and HTTP/1.1.

use super::connections::{Busy, Connection, Entry, Order};
use super::detect::Protocol;
use super::handshake::{Secure, open};
use super::http2::{self, Panics};
use super::limits::Limits;
use super::tunnel;
use crate::base::incoming::Incoming;
use crate::tls::identity::Identity;
use ::http::header::CONNECTION;
use ::http::{HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
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
/// How much of a body is buffered.
pub const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// What a connection's beginning has shown of the client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Session {
    /// Whether TLS is spoken.
    pub secure: bool,
    /// The client, if it has shown a certificate.
    pub identity: Option<Identity>,
}

/// Serves until the client leaves, the connection breaks, or it is told to end.
pub(super) async fn serve<S, B>(
    stream: TcpStream,
    secure: Option<Secure<'_>>,
    make: impl FnOnce(Session) -> S,
    entry: &Entry,
    limits: &Limits,
    panics: &Panics,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + 'static,
    S::Future: 'static,
    B: Body + Unpin + 'static,
    B::Data: 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let known = &entry.connection;
    let Some((io, protocol, session)) = open(stream, secure, known).await else { return };
    let service = make(session);
    let (connection, caught) = (Rc::clone(known), panics.clone());
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let connection = Rc::clone(&connection);
        let busy = connection.begin();
        let (request, switch) = tunnel::open(request, &caught);
        // The service is a function, which is always ready.
        let response = service.clone().call(request);
        async move {
            let mut response = response.await?;
            if let Some(switch) = switch.filter(|_| response.status().is_success()) {
                let response = switch.follow(response, busy);
                return Ok(response.map(|()| Counted { body: None, _busy: None }));
            }
            if protocol == Protocol::Http1 && connection.is_finishing() {
                // hyper, which is told after it was asked for requests, may not say so itself.
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            Ok::<_, Infallible>(
                response.map(|body| Counted { body: Some(body), _busy: Some(busy) }),
            )
        }
    });
    let result = match protocol {
        Protocol::Http1 => {
            let connection = http1::Builder::new()
                .max_buf_size(BUFFER_BYTES_MAX.max(limits.header_bytes))
                .max_header_size(limits.header_bytes)
                .max_headers(limits.headers)
                .serve_connection(io, service);
            drive(pin!(connection), known, http1::Connection::graceful_shutdown).await
        }
        // In a box, because its state is large and most connections are HTTP/1.1.
        Protocol::Http2 => {
            let mut connection =
                Box::pin(http2::builder(limits, panics).serve_connection(io, service));
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
        known.wake(cx.waker());
        let order = known.order();
        if order == Some(Order::Close) {
            return Poll::Ready(Ok(()));
        }
        // A request that has come already is begun before it is asked whether there is one.
        let polled = connection.as_mut().poll(cx);
        match order {
            Some(Order::Finish) if polled.is_pending() => {
                finish(connection.as_mut());
                connection.as_mut().poll(cx)
            }
            Some(Order::CloseIdle) if !known.is_busy() => Poll::Ready(Ok(())),
            _ => polled,
        }
    })
    .await
}

/// A response's body if it has one, during which its connection is busy.
struct Counted<B> {
    body: Option<B>,
    _busy: Option<Busy>,
}

impl<B: Body + Unpin> Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.body.as_mut().map_or(Poll::Ready(None), |body| Pin::new(body).poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use super::{Panics, serve};
    use crate::base::drain;
    use crate::base::incoming::Incoming;
    use crate::listener::connections::Connections;
    use crate::listener::connections::STUCK_LOOKS_MAX;
    use crate::listener::limits::Limits;
    use crate::telemetry::metrics::Metrics;
    use crate::telemetry::shard::WorkerIndex;
    use http::{Request, Response};
    use http_body_util::{Empty, Full};
    use hyper::body::Bytes;
    use socket2::{Domain, Type};
    use std::convert::Infallible;
    use std::net::SocketAddr;
    use std::rc::Rc;
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpSocket, TcpStream};
    use tokio::task::{LocalSet, spawn_local, yield_now};

    /// More than two small socket buffers hold.
    const LENGTH: usize = 512 * 1024;
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

    fn panics() -> Panics {
        Panics { metrics: Arc::new(Metrics::new(1)), worker: WorkerIndex(0) }
    }

    /// What a client gets whose second request has come when its connection is told something.
    async fn second_answer(tell: impl FnOnce(&Connections)) -> String {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
        let (stream, _) = socket.accept().await.unwrap();
        let connections = Rc::new(Connections::default());
        let (_drain, draining) = drain::pair();
        let entry = connections.open(draining);
        let service = tower::service_fn(async |_: Request<Incoming>| {
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        });
        let serving = spawn_local(async move {
            serve(stream, None, |_| service, &entry, &Limits::default(), &panics()).await;
        });
        client.write_all(REQUEST).await.unwrap();
        let mut answer = [0; 1024];
        assert!(client.read(&mut answer).await.unwrap() > 0);
        let mut client = client.into_std().unwrap();
        std::io::Write::write_all(&mut client, REQUEST).unwrap();
        // The runtime sees what has come, but the connection's task does not run yet.
        yield_now().await;
        tell(&connections);
        let mut client = TcpStream::from_std(client).unwrap();
        let read = client.read(&mut answer).await.unwrap_or(0);
        drop(client);
        serving.await.unwrap();
        String::from_utf8_lossy(&answer[..read]).into_owned()
    }

    #[tokio::test]
    async fn a_request_that_has_come_is_answered_before_its_connection_finishes() {
        let answer = LocalSet::new().run_until(second_answer(Connections::finish)).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer:?}");
        assert!(answer.contains("connection: close"), "{answer:?}");
    }

    /// What a client gets that begins to read when the connections were looked through so often.
    async fn read_late(looks: usize) -> usize {
        let listener = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.set_send_buffer_size(16 * 1024).unwrap();
        listener.set_nonblocking(true).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(1).unwrap();
        let listener = TcpListener::from_std(listener.into()).unwrap();
        let client = TcpSocket::new_v4().unwrap();
        client.set_recv_buffer_size(16 * 1024).unwrap();
        let mut client = client.connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let connections = Rc::new(Connections::default());
        let (_drain, draining) = drain::pair();
        let entry = connections.open(draining);
        let service = tower::service_fn(async |_: Request<Incoming>| {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(vec![7; LENGTH]))))
        });
        let serving = spawn_local(async move {
            serve(stream, None, |_| service, &entry, &Limits::default(), &panics()).await;
        });
        client.write_all(REQUEST).await.unwrap();
        client.readable().await.unwrap();
        for _ in 0..looks {
            connections.close_idle();
            for _ in 0..10 {
                yield_now().await;
            }
        }
        let mut read = 0;
        let mut part = vec![0; 64 * 1024];
        while read < LENGTH {
            match client.read(&mut part).await {
                Ok(count @ 1..) => read += count,
                _ => break,
            }
        }
        drop(client);
        serving.await.unwrap();
        read
    }

    #[tokio::test]
    async fn a_client_that_reads_slowly_gets_the_end_of_its_response() {
        assert!(LocalSet::new().run_until(read_late(3)).await >= LENGTH);
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_at_all_is_given_up() {
        let looks = usize::from(STUCK_LOOKS_MAX) + 2;
        assert!(LocalSet::new().run_until(read_late(looks)).await < LENGTH);
    }

    #[tokio::test]
    async fn a_connection_on_which_a_request_has_come_is_not_idle() {
        let tell = |connections: &Connections| {
            // As if nothing had moved for as long as a connection may be idle.
            connections.close_idle();
            connections.close_idle();
        };
        let answer = LocalSet::new().run_until(second_answer(tell)).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer:?}");
    }

    #[tokio::test]
    async fn a_head_that_trickles_does_not_keep_its_connection() {
        let trickle = async {
            let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
            let (stream, _) = socket.accept().await.unwrap();
            let connections = Rc::new(Connections::default());
            let (_drain, draining) = drain::pair();
            let entry = connections.open(draining);
            let service = tower::service_fn(async |_: Request<Incoming>| {
                Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
            });
            let serving = spawn_local(async move {
                serve(stream, None, |_| service, &entry, &Limits::default(), &panics()).await;
            });
            let mut looks = 0;
            while !serving.is_finished() {
                let _ = client.write_all(&REQUEST[looks..=looks]).await;
                for _ in 0..10 {
                    yield_now().await;
                }
                connections.close_idle();
                yield_now().await;
                looks += 1;
            }
            looks
        };
        assert_eq!(LocalSet::new().run_until(trickle).await, 2);
    }
}

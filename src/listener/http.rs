//! Serving HTTP on one accepted connection: what both versions have in common.

use super::ListenerShard;
use super::connections::Entry;
use super::detect::Protocol;
use super::handshake::{Secure, open};
use super::http1;
use super::http2::{self, Panics};
use super::limits::Limits;
use super::timers::Timers;
use crate::base::accepted::Accepted;
use crate::base::body::Reply;
use crate::base::incoming::Incoming;
use crate::tls::Covered;
use crate::tls::identity::Identity;
use ::http::{Request, Response};
use std::convert::Infallible;
use std::pin::Pin;
use tower::Service;

/// How much of a body is buffered.
pub const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// What a connection's beginning has shown of the client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Session {
    /// Whether TLS is spoken.
    pub secure: bool,
    /// The client, if it has shown a certificate.
    pub identity: Option<Identity>,
    /// The hosts that it may ask for here, if not all.
    pub covered: Option<Covered>,
}

/// What a connection is served by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms<'a> {
    /// What the client may ask for.
    pub(super) limits: &'a Limits,
    /// How long it may take.
    pub(super) timers: &'a Timers,
    /// Where it is counted that it was refused.
    pub(super) shard: &'a ListenerShard,
    /// Where bugs are counted.
    pub(super) panics: &'a Panics,
}

/// What serves until the client leaves, the connection breaks, or it is told to end.
pub(super) type Serving<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Brings a connection to where requests can be read, and returns what serves them; nothing if it
/// ends before. The state of this is large, and soon gone; the other lies idle for long.
pub(super) async fn begin<'a, S, B>(
    stream: Accepted,
    secure: Option<Secure<'_>>,
    make: impl FnOnce(Session) -> S,
    entry: &'a Entry,
    terms: Terms<'a>,
) -> Option<Serving<'a>>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + 'static,
    S::Future: 'static,
    B: Reply + 'static,
{
    let known = &entry.connection;
    let (start, protocol, session) = open(stream, secure, known, terms.timers).await?;
    let service = make(session);
    Some(match protocol {
        Protocol::Http1 => Box::pin(http1::serve(start, service, known, terms)),
        Protocol::Http2 => Box::pin(http2::serve(start.io, service, known, terms)),
    })
}

#[cfg(test)]
mod tests {
    use crate::base::incoming::Incoming;
    use crate::listener::connections::{Connection, Connections};
    use crate::listener::limits::Limits;
    use crate::listener::testing::{Serving, pair};
    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Full;
    use socket2::{Domain, Type};
    use std::convert::Infallible;
    use std::net::SocketAddr;
    use std::rc::Rc;
    use std::time::{Duration, Instant};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpSocket, TcpStream};
    use tokio::task::{JoinHandle, LocalSet, yield_now};

    /// More than two small socket buffers hold.
    const LENGTH: usize = 512 * 1024;
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

    /// Serves a connection with responses of this length.
    fn serving(
        stream: TcpStream,
        connections: &Rc<Connections>,
        limits: Limits,
        length: usize,
    ) -> (Rc<Connection>, JoinHandle<()>) {
        let service = tower::service_fn(move |_: Request<Incoming>| {
            let body = Full::new(Bytes::from(vec![7; length]));
            std::future::ready(Ok::<_, Infallible>(Response::new(body)))
        });
        let connections = Rc::clone(connections);
        Serving { connections, limits, ..Serving::default() }.start(stream, service)
    }

    /// What a client gets whose second request has come when its connection is told something.
    async fn second_answer(tell: impl FnOnce(&Connections)) -> String {
        let (mut client, stream) = pair().await;
        let connections = Rc::new(Connections::default());
        let (_, serving) = serving(stream, &connections, Limits::default(), 0);
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

    /// A client with small socket buffers on both sides that has asked, and what serves it.
    async fn narrow(limits: Limits, length: usize) -> (TcpStream, Rc<Connection>, JoinHandle<()>) {
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
        let (known, serving) = serving(stream, &Rc::default(), limits, length);
        client.write_all(REQUEST).await.unwrap();
        (client, known, serving)
    }

    /// How much a client gets that reads a piece in each pause, or nothing until it was given up.
    async fn read_slowly(write: Duration, pause: Option<Duration>) -> usize {
        const PIECE: usize = 32 * 1024;
        let limits = Limits { write, ..Limits::default() };
        let (mut client, _, mut serving) = narrow(limits, LENGTH).await;
        if pause.is_none() {
            (&mut serving).await.unwrap();
        }
        let (mut read, mut part) = (0, vec![0; PIECE]);
        while read < LENGTH {
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
            match client.read(&mut part).await {
                Ok(count @ 1..) => read += count,
                _ => break,
            }
        }
        read
    }

    #[tokio::test]
    async fn a_client_that_reads_slowly_gets_the_end_of_its_response() {
        let (write, pause) = (Duration::from_millis(400), Duration::from_millis(25));
        let started = Instant::now();
        assert!(LocalSet::new().run_until(read_slowly(write, Some(pause))).await >= LENGTH);
        assert!(started.elapsed() > write, "too fast to have been slow");
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_at_all_is_given_up_when_its_time_is_up() {
        let write = Duration::from_millis(200);
        let started = Instant::now();
        assert!(LocalSet::new().run_until(read_slowly(write, None)).await < LENGTH);
        assert!(started.elapsed() >= write && started.elapsed() < 10 * write);
    }

    #[tokio::test]
    async fn the_pause_between_requests_begins_when_the_client_has_its_response() {
        /// Less than what a client that reads makes room for at once.
        const STEP: usize = 8 * 1024;
        let work = async {
            let keep_alive = Duration::from_millis(400);
            let limits = Limits { keep_alive, ..Limits::default() };
            for length in (1..).map(|steps| steps * STEP) {
                let (mut client, known, _serving) = narrow(limits, length).await;
                // Nothing else happens on this thread, where the last reading of the clock counts.
                tokio::time::sleep(keep_alive / 20).await;
                if !known.flow.is_blocked() {
                    continue;
                }
                tokio::time::sleep(2 * keep_alive).await;
                if !known.flow.is_blocked() {
                    continue;
                }
                let mut answer = Vec::new();
                while memchr::memchr_iter(7, &answer).count() < length {
                    assert!(client.read_buf(&mut answer).await.unwrap() > 0);
                }
                tokio::time::sleep(keep_alive / 8).await;
                client.write_all(REQUEST).await.unwrap();
                assert!(client.read(&mut [0; 1024]).await.unwrap() > 0, "closed too early");
                break;
            }
        };
        LocalSet::new().run_until(work).await;
    }
}

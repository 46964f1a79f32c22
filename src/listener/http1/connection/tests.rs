//! Tunnels, and what becomes of them when the protocol is not switched.

use super::{Start, serve};
use crate::base::body::Reply;
use crate::base::incoming::Incoming;
use crate::listener::http::Terms;
use crate::listener::testing::{Serving, pair};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::Empty;
use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

const UPGRADE: &[u8] =
    b"GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\n";

/// A response's body that is what the client sends.
struct Echo(Option<Incoming>);

impl Body for Echo {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(incoming) = &mut self.0 else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(incoming).poll_frame(cx));
        if frame.is_none() {
            // As long as it is held, the client's direction is not over.
            self.0 = None;
        }
        Poll::Ready(frame)
    }
}

impl Reply for Echo {}

/// Serves a connection by a function, while a client does something.
async fn with<B, C>(
    answer: impl Fn(Incoming) -> Response<B> + Clone + 'static,
    client: impl FnOnce(TcpStream) -> C,
) where
    B: Reply + 'static,
    C: Future<Output = ()>,
{
    let (stream, accepted) = pair().await;
    let service = tower::service_fn(move |request: Request<Incoming>| {
        std::future::ready(Ok::<_, Infallible>(answer(request.into_body())))
    });
    let (_, serving) = Serving::default().start(accepted, service);
    client(stream).await;
    serving.await.unwrap();
}

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways_until_both_sides_have_ended() {
    let answer = |incoming: Incoming| {
        let mut response = Response::new(Echo(Some(incoming.into_tunnel())));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert("connection", "Upgrade".parse().unwrap());
        response.headers_mut().insert("upgrade", "echo".parse().unwrap());
        response
    };
    let client = async |mut stream: TcpStream| {
        stream.write_all(&[UPGRADE, b"early "].concat()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\nearly ") {
            assert!(stream.read_buf(&mut head).await.unwrap() > 0);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
        assert!(head.contains("connection: Upgrade\r\nupgrade: echo\r\n"), "{head}");
        assert!(!head.contains("content-length") && !head.contains("chunked"), "{head}");
        for round in 0..3 {
            let part = vec![round; 100_000];
            let mut echo = vec![0; part.len()];
            let (mut from, mut to) = stream.split();
            let (sent, read) = tokio::join!(to.write_all(&part), from.read_exact(&mut echo));
            sent.unwrap();
            read.unwrap();
            assert_eq!(echo, part);
        }
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    };
    LocalSet::new().run_until(with(answer, client)).await;
}

#[tokio::test]
async fn a_tunnel_that_is_not_opened_gives_nothing_and_the_connection_goes_on() {
    let kept: Rc<RefCell<Option<Incoming>>> = Rc::default();
    let given = Rc::clone(&kept);
    let answer = move |incoming: Incoming| {
        if incoming.offers_tunnel() {
            *given.borrow_mut() = Some(incoming.into_tunnel());
        }
        Response::new(Empty::<Bytes>::new())
    };
    let client = async |mut stream: TcpStream| {
        for request in [UPGRADE, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"] {
            stream.write_all(request).await.unwrap();
            let mut answer = [0; 17];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200 OK\r\n");
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                assert!(stream.read_buf(&mut answer).await.unwrap() > 0);
            }
        }
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    };
    LocalSet::new().run_until(with(answer, client)).await;
    let mut tunnel = kept.borrow_mut().take().unwrap();
    let frame = std::future::poll_fn(|cx| Pin::new(&mut tunnel).poll_frame(cx)).await;
    assert!(frame.unwrap().is_err());
}

#[test]
fn the_state_of_a_connection_without_a_request_stays_small() {
    /// The connection's part of its task, beside what it shares with bodies.
    const SERVE_BYTES_MAX: usize = 700;
    fn size<F>(_: impl FnOnce() -> F) -> usize {
        size_of::<F>()
    }
    let serving = || async {
        let terms: Terms<'static> = std::future::pending().await;
        let start: Start = std::future::pending().await;
        let known = crate::listener::connections::Connection::default();
        let service = tower::service_fn(|_: Request<Incoming>| async {
            let space = [0_u8; 4096];
            tokio::task::yield_now().await;
            assert_eq!(space[0], 0);
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        });
        serve(start, service, &known, terms).await;
    };
    let size = size(serving);
    assert!(size <= SERVE_BYTES_MAX, "{size} bytes");
}

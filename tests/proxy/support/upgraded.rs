//! A client that speaks another protocol over its connection, or over a stream of HTTP/2.

use super::{App, Client, within};
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use std::future::poll_fn;
use std::net::SocketAddr;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// How a client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    Http2,
}

/// A client whose protocol was switched.
pub(crate) enum Upgraded {
    Http1(Client),
    Http2(Stream),
}

/// A stream of HTTP/2.
pub(crate) struct Stream {
    sending: SendStream<Bytes>,
    receiving: RecvStream,
    buffer: Vec<u8>,
    /// Keeps the connection open.
    _connection: SendRequest<Bytes>,
}

impl Upgraded {
    pub(crate) const BOTH: [Version; 2] = [Version::Http1, Version::Http2];

    /// Asks for a WebSocket and gets it.
    pub(crate) async fn open(app: &App, version: Version) -> Self {
        Self::open_at(app.address, version).await
    }

    /// The same with an address.
    pub(crate) async fn open_at(address: SocketAddr, version: Version) -> Self {
        match version {
            Version::Http1 => {
                let mut client = Client::connect(address).await;
                client.send(ASKING).await;
                let head = client.head().await.unwrap();
                assert_eq!(head.first, "HTTP/1.1 101 Switching Protocols");
                assert_eq!(head.all("connection"), ["upgrade"]);
                assert_eq!(head.all("upgrade"), ["websocket"]);
                // RFC 6455 section 1.3.
                assert_eq!(head.get("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
                Self::Http1(client)
            }
            Version::Http2 => {
                let client = connect(address).await;
                let (response, sending) = ask(&client, "websocket").await;
                let (head, receiving) = within(response).await.unwrap().into_parts();
                assert_eq!(head.status, StatusCode::OK);
                for name in ["connection", "upgrade", "sec-websocket-accept", "content-length"] {
                    assert_eq!(head.headers.get(name), None, "{name}");
                }
                Self::Http2(Stream { sending, receiving, buffer: Vec::new(), _connection: client })
            }
        }
    }

    /// Sends all of it.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        match self {
            Self::Http1(client) => client.send(bytes).await,
            // Bounded by what the server lets it send.
            Self::Http2(stream) => within(stream.send(bytes.as_ref())).await,
        }
    }

    /// Takes this many bytes.
    pub(crate) async fn take(&mut self, bytes: usize) -> Vec<u8> {
        match self {
            Self::Http1(client) => client.take(bytes).await.unwrap(),
            Self::Http2(stream) => {
                while stream.buffer.len() < bytes {
                    assert!(stream.fill().await, "the stream ended");
                }
                stream.buffer.drain(..bytes).collect()
            }
        }
    }

    /// Ends the sending side.
    pub(crate) async fn finish(&mut self) {
        match self {
            Self::Http1(client) => client.stream.shutdown().await.unwrap(),
            Self::Http2(stream) => stream.sending.send_data(Bytes::new(), true).unwrap(),
        }
    }

    /// Everything until the other side ends.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        match self {
            Self::Http1(client) => client.rest().await,
            Self::Http2(stream) => {
                while stream.fill().await {}
                std::mem::take(&mut stream.buffer)
            }
        }
    }

    /// Breaks off.
    pub(crate) fn reset(self) {
        match self {
            Self::Http1(client) => client.stream.set_zero_linger().unwrap(),
            Self::Http2(mut stream) => stream.sending.send_reset(Reason::CANCEL),
        }
    }
}

impl Stream {
    async fn send(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            self.sending.reserve_capacity(bytes.len());
            match poll_fn(|cx| self.sending.poll_capacity(cx)).await {
                Some(Ok(0)) => {}
                Some(Ok(room)) => {
                    let (part, rest) = bytes.split_at(room.min(bytes.len()));
                    self.sending.send_data(Bytes::copy_from_slice(part), false).unwrap();
                    bytes = rest;
                }
                _ => return,
            }
        }
    }

    async fn fill(&mut self) -> bool {
        let Some(Ok(data)) = within(self.receiving.data()).await else { return false };
        self.buffer.extend_from_slice(&data);
        self.receiving.flow_control().release_capacity(data.len()).unwrap();
        true
    }
}

/// What a client of HTTP/1.1 asks with.
pub(crate) const ASKING: &str = "GET /chat?room=1 HTTP/1.1\r\nhost: a.test\r\n\
    connection: keep-alive, Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A connection of HTTP/2 on which extended CONNECT is known to be served.
pub(crate) async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (client, connection) = within(h2::client::handshake(stream)).await.unwrap();
    tokio::spawn(connection);
    let offered = async || client.is_extended_connect_protocol_enabled();
    super::eventually("extended CONNECT is offered", offered).await;
    client
}

/// Asks for a protocol by extended CONNECT.
pub(crate) async fn ask(
    client: &SendRequest<Bytes>,
    protocol: &'static str,
) -> (ResponseFuture, SendStream<Bytes>) {
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri("http://a.test/chat?room=1")
        .header("sec-websocket-version", "13")
        .extension(Protocol::from_static(protocol));
    let mut client = within(client.clone().ready()).await.unwrap();
    client.send_request(request.body(()).unwrap(), false).unwrap()
}

/// The status and the fields of an answer.
pub(crate) async fn head(
    response: impl Future<Output = Result<Response<RecvStream>, h2::Error>>,
) -> (StatusCode, HeaderMap) {
    let parts = within(response).await.unwrap().into_parts().0;
    (parts.status, parts.headers)
}

//! HTTP/1.1 byte by byte: what the origins and the clients of the tests read and write.

use super::within;
use std::io;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// The connection ended before the message did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// One side of a connection.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

/// The head of a message.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    /// The request line or status line.
    pub(crate) first: String,
    /// The fields, names in lower case.
    pub(crate) fields: Vec<(String, String)>,
}

/// The body of a message.
#[derive(Debug, Default)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    /// The trailer fields of a chunked one.
    pub(crate) trailers: Vec<(String, String)>,
}

/// A response that is complete.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Body,
}

/// The client's side of a connection.
pub(crate) struct Client(Wire);

impl Head {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default().to_owned();
        Self { first, fields: lines.filter_map(field).collect() }
    }

    /// The values of a field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let same = self.fields.iter().filter(|(known, _)| known == name);
        same.map(|(_, value)| value.as_str()).collect()
    }

    /// The first value of a field.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// The target of a request.
    pub(crate) fn target(&self) -> &str {
        self.first.split(' ').nth(1).unwrap_or_default()
    }

    fn status(&self) -> u16 {
        self.first.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }
}

fn field(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    Some((name.to_ascii_lowercase(), value.trim().to_owned()))
}

impl Response {
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.bytes.clone()).unwrap()
    }

    /// The name of the origin that answered.
    pub(crate) fn origin(&self) -> &str {
        self.head.get("x-origin").unwrap_or_default()
    }
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    /// Writes all; a peer that is gone shows when reading.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.try_send(bytes).await;
    }

    /// Writes all, or says that the peer is gone.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        within(self.stream.write_all(bytes.as_ref())).await
    }

    /// Reads some more; false at the end of the connection.
    pub(crate) async fn fill(&mut self) -> bool {
        let read = within(self.stream.read_buf(&mut self.buffer)).await;
        read.is_ok_and(|read| read > 0)
    }

    /// Takes this many bytes.
    pub(crate) async fn take(&mut self, bytes: usize) -> Result<Vec<u8>, Broken> {
        while self.buffer.len() < bytes {
            if !self.fill().await {
                return Err(Broken);
            }
        }
        Ok(self.buffer.drain(..bytes).collect())
    }

    /// Takes what is before a separator, and the separator.
    async fn until(&mut self, separator: &[u8]) -> Result<Vec<u8>, Broken> {
        let mut from = 0;
        loop {
            let rest = &self.buffer[from..];
            if let Some(at) = rest.windows(separator.len()).position(|part| part == separator) {
                let taken = self.take(from + at + separator.len()).await?;
                return Ok(taken[..from + at].to_vec());
            }
            from = self.buffer.len().saturating_sub(separator.len());
            if !self.fill().await {
                return Err(Broken);
            }
        }
    }

    /// Reads the head of a message.
    pub(crate) async fn head(&mut self) -> Result<Head, Broken> {
        Ok(Head::parse(&self.until(b"\r\n\r\n").await?))
    }

    /// Reads a body by its framing; `to_end`: without any it goes on to the connection's end.
    pub(crate) async fn body(&mut self, head: &Head, to_end: bool) -> Result<Body, Broken> {
        if head.get("transfer-encoding") == Some("chunked") {
            return self.chunks().await;
        }
        let bytes = match head.get("content-length") {
            Some(length) => self.take(length.parse().unwrap()).await?,
            None if to_end => self.rest().await,
            None => Vec::new(),
        };
        Ok(Body { bytes, ..Body::default() })
    }

    async fn chunks(&mut self) -> Result<Body, Broken> {
        let mut body = Body::default();
        while let Some(mut chunk) = self.chunk().await? {
            body.bytes.append(&mut chunk);
        }
        loop {
            let line = self.until(b"\r\n").await?;
            match field(&String::from_utf8_lossy(&line)) {
                Some(field) => body.trailers.push(field),
                None => return Ok(body),
            }
        }
    }

    /// Reads one chunk; nothing for the last, whose trailers follow.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Vec<u8>>, Broken> {
        let line = self.until(b"\r\n").await?;
        let length = usize::from_str_radix(&String::from_utf8_lossy(&line), 16).unwrap();
        if length == 0 {
            return Ok(None);
        }
        let chunk = self.take(length).await?;
        assert_eq!(self.take(2).await?, b"\r\n");
        Ok(Some(chunk))
    }

    /// Writes all whatever comes back, and reads to the end of the connection; what was read can be
    /// taken then.
    pub(crate) async fn flood(&mut self, bytes: &[u8]) {
        let (mut reading, mut writing) = self.stream.split();
        let read =
            async { while reading.read_buf(&mut self.buffer).await.is_ok_and(|read| read > 0) {} };
        let write = async { writing.write_all(bytes).await };
        let (_, ()) = within(futures_util::future::join(write, read)).await;
    }

    /// Everything until the end of the connection.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await {}
        std::mem::take(&mut self.buffer)
    }
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self(Wire::new(within(TcpStream::connect(address)).await.unwrap()))
    }

    /// Connects from another loopback address.
    pub(crate) async fn connect_from(ip: &str, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{ip}:0").parse().unwrap()).unwrap();
        Self(Wire::new(within(socket.connect(address)).await.unwrap()))
    }

    /// Connects with a small receive buffer, so that not reading is soon felt.
    pub(crate) async fn connect_narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        Self(Wire::new(within(socket.connect(address)).await.unwrap()))
    }

    /// Sends a GET with further header lines and reads the response.
    pub(crate) async fn get(&mut self, path: &str, fields: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n{fields}\r\n")).await;
        self.response().await.unwrap()
    }

    /// Reads a response.
    pub(crate) async fn response(&mut self) -> Result<Response, Broken> {
        self.response_to("GET").await
    }

    /// Reads the response to a request with this method.
    pub(crate) async fn response_to(&mut self, method: &str) -> Result<Response, Broken> {
        let head = self.head().await?;
        let status = head.status();
        let bodiless = method == "HEAD" || status < 200 || status == 204 || status == 304;
        let body = if bodiless { Body::default() } else { self.body(&head, true).await? };
        Ok(Response { status, head, body })
    }

    /// Waits for the end of the connection, before which nothing more may come.
    pub(crate) async fn closed(&mut self) {
        let rest = self.rest().await;
        assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
    }
}

impl Deref for Client {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.0
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut Wire {
        &mut self.0
    }
}

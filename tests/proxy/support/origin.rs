//! Origins: servers that do with each connection what the test says, and note what they saw.

use super::{Body, Broken, Head, Wire};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A server of one test; it ends with the test.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    connections: usize,
    heads: Vec<Head>,
}

/// A connection to an origin.
pub(crate) struct Connection {
    wire: Wire,
    seen: Arc<Mutex<Seen>>,
}

impl Origin {
    /// Lets the closure serve each connection.
    pub(crate) async fn start<F>(serve: impl Fn(Connection) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::listen(TcpListener::bind("127.0.0.1:0").await.unwrap(), serve)
    }

    /// The same on a socket of one's own.
    pub(crate) fn listen<F>(
        socket: TcpListener,
        serve: impl Fn(Connection) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let address = socket.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let noted = Arc::clone(&seen);
        let accepting = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = socket.accept().await else { return };
                noted.lock().connections += 1;
                let seen = Arc::clone(&noted);
                tokio::spawn(serve(Connection { wire: Wire::new(stream), seen }));
            }
        });
        Self { address, seen, accepting }
    }

    /// Answers every request with 200 and its name, in `x-origin` and as the body.
    pub(crate) async fn named(name: &'static str) -> Self {
        Self::start(async move |mut connection| {
            while let Ok((_, _)) = connection.request().await {
                connection.answer(name).await;
            }
        })
        .await
    }

    /// One at each of these IP addresses, all on one port; they answer with their IP address.
    #[cfg(any(feature = "dns", feature = "kube"))]
    pub(crate) async fn siblings(addresses: &'static [&'static str]) -> Vec<Self> {
        let sockets = 'again: loop {
            let mut sockets: Vec<TcpListener> = Vec::new();
            let mut port = 0;
            for ip in addresses {
                let ip: std::net::IpAddr = ip.parse().unwrap();
                // The port may be somebody else's at this address.
                let Ok(socket) = TcpListener::bind((ip, port)).await else { continue 'again };
                port = socket.local_addr().unwrap().port();
                sockets.push(socket);
            }
            break sockets;
        };
        let named = addresses.iter().zip(sockets).map(|(&name, socket)| {
            Self::listen(socket, async move |mut connection| {
                while let Ok((_, _)) = connection.request().await {
                    connection.answer(name).await;
                }
            })
        });
        named.collect()
    }

    /// Answers every request with the same bytes; closes the connection after the first if told.
    pub(crate) async fn saying(bytes: impl Into<Vec<u8>>, close: bool) -> Self {
        let bytes: Arc<[u8]> = bytes.into().into();
        Self::start(move |mut connection| {
            let bytes = Arc::clone(&bytes);
            async move {
                while let Ok((_, _)) = connection.request().await {
                    connection.send(&bytes).await;
                    if close {
                        return;
                    }
                }
            }
        })
        .await
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.lock().connections
    }

    /// The heads of the requests seen so far.
    pub(crate) fn heads(&self) -> Vec<Head> {
        self.seen.lock().heads.clone()
    }

    /// How many requests were seen.
    pub(crate) fn requests(&self) -> usize {
        self.seen.lock().heads.len()
    }

    /// The newest request's head.
    pub(crate) fn last(&self) -> Head {
        self.seen.lock().heads.last().cloned().unwrap()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Connection {
    /// Reads a request's head and notes it.
    pub(crate) async fn head(&mut self) -> Result<Head, Broken> {
        let head = self.wire.head().await?;
        self.seen.lock().heads.push(head.clone());
        Ok(head)
    }

    /// Reads a whole request.
    pub(crate) async fn request(&mut self) -> Result<(Head, Body), Broken> {
        let head = self.head().await?;
        let body = self.wire.body(&head, false).await?;
        Ok((head, body))
    }

    /// Answers 200 with a name.
    pub(crate) async fn answer(&mut self, name: &str) {
        let length = name.len();
        let head = format!("HTTP/1.1 200 OK\r\nx-origin: {name}\r\ncontent-length: {length}\r\n");
        self.wire.send(format!("{head}\r\n{name}")).await;
    }
}

impl Deref for Connection {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.wire
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Wire {
        &mut self.wire
    }
}

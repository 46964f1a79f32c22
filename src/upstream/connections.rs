//! Connections to endpoints: made, used by one request at a time, kept while idle.

use super::local::LocalEndpoint;
use crate::base::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// How often idle connections are looked through.
pub const SWEEP: Duration = Duration::from_secs(15);
/// How many sweeps an idle connection outlives: 45 to 60 seconds, below the common keep-alive
/// timeouts of servers (nginx 75 s), so that we close before they do.
const SWEEPS_MAX: u8 = 3;
/// The largest response head, and how much of a body is buffered.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// The most header fields of a response.
const HEADERS_MAX: usize = 128;

/// An open connection that no request is using.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Body>,
    sweeps: u8,
}

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectError {
    /// The endpoint refused, or there is no way to it.
    Failed(io::Error),
    /// It did not answer in time.
    TimedOut(Duration),
}

/// A connection with the request that is using it; broken off when dropped before its end.
#[derive(Debug)]
pub struct Lease {
    connection: Option<Connection>,
    endpoint: Rc<LocalEndpoint>,
    reused: bool,
}

impl Connection {
    /// Whether it is open and waits for a request.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Whether it is to be kept when idle connections are looked through.
    pub(super) fn outlives_sweep(&mut self) -> bool {
        self.sweeps = self.sweeps.saturating_add(1);
        self.sweeps <= SWEEPS_MAX && self.is_open()
    }

    /// Whether it is open, as far as its own task has seen.
    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
}

impl Lease {
    /// A kept connection to the endpoint, if there is one.
    pub fn kept(endpoint: &Rc<LocalEndpoint>) -> Option<Self> {
        endpoint.take_idle().map(|connection| Self::new(connection, endpoint, true))
    }

    /// A new connection to the endpoint.
    pub async fn connect(
        endpoint: &Rc<LocalEndpoint>,
        timeout: Duration,
    ) -> Result<Self, ConnectError> {
        let connecting = open(endpoint);
        match tokio::time::timeout(timeout, connecting).await {
            Ok(Ok(connection)) => Ok(Self::new(connection, endpoint, false)),
            Ok(Err(error)) => Err(ConnectError::Failed(error)),
            Err(_) => Err(ConnectError::TimedOut(timeout)),
        }
    }

    fn new(connection: Connection, endpoint: &Rc<LocalEndpoint>, reused: bool) -> Self {
        Self { connection: Some(connection), endpoint: Rc::clone(endpoint), reused }
    }

    /// Whether a request went over this connection before.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Sends a request and waits for the head of its response. An error that carries the request
    /// back says that nothing of it was written.
    pub async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Body>>> {
        match &mut self.connection {
            Some(connection) => connection.sender.try_send_request(request).await,
            // A lease is never used after its end.
            None => std::future::pending().await,
        }
    }

    /// The response was read to its end: the connection may be used again.
    pub fn end(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        connection.sweeps = 0;
        if connection.is_ready() {
            self.endpoint.keep_idle(connection);
            return;
        }
        if connection.sender.is_closed() {
            return;
        }
        // The connection's own task has to run first, for example to finish the request.
        let endpoint = Rc::clone(&self.endpoint);
        tokio::task::spawn_local(async move {
            if poll_fn(|cx| connection.sender.poll_ready(cx)).await.is_ok() {
                endpoint.keep_idle(connection);
            }
        });
    }
}

async fn open(endpoint: &Rc<LocalEndpoint>) -> io::Result<Connection> {
    let stream = TcpStream::connect(endpoint.endpoint.address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(BUFFER_BYTES_MAX)
        .max_header_size(BUFFER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // The task must not hold the endpoint, which holds the connection while it is idle.
    let (series, worker) = (Arc::clone(endpoint.series()), endpoint.worker());
    let address = endpoint.endpoint.address;
    let endpoint = Rc::downgrade(endpoint);
    series.shards.of(worker).connections.add(1);
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%address, %error, "upstream connection");
        }
        series.shards.of(worker).connections.add(-1);
        if let Some(endpoint) = endpoint.upgrade() {
            endpoint.forget_closed();
        }
    });
    Ok(Connection { sender, sweeps: 0 })
}

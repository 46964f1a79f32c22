//! Connections to endpoints: made, used by one request at a time, kept while idle.

use super::local::LocalEndpoint;
use crate::base::body::Body;
use crate::base::io::Io;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
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
    connection: Connection,
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
        self.sweeps <= SWEEPS_MAX && !self.sender.is_closed()
    }
}

impl Lease {
    /// An idle connection to the endpoint, or else a new one.
    pub async fn take(
        endpoint: &Rc<LocalEndpoint>,
        timeout: Duration,
    ) -> Result<Self, ConnectError> {
        match endpoint.take_idle() {
            Some(connection) => Ok(Self::new(connection, endpoint, true)),
            None => Self::connect(endpoint, timeout).await,
        }
    }

    /// A new connection to the endpoint.
    pub async fn connect(
        endpoint: &Rc<LocalEndpoint>,
        timeout: Duration,
    ) -> Result<Self, ConnectError> {
        // Boxed because it is rare and large: it would be a part of every request's future.
        let connecting = Box::pin(tokio::time::timeout(timeout, open(endpoint)));
        match connecting.await {
            Ok(Ok(connection)) => Ok(Self::new(connection, endpoint, false)),
            Ok(Err(error)) => Err(ConnectError::Failed(error)),
            Err(_) => Err(ConnectError::TimedOut(timeout)),
        }
    }

    fn new(connection: Connection, endpoint: &Rc<LocalEndpoint>, reused: bool) -> Self {
        Self { connection, endpoint: Rc::clone(endpoint), reused }
    }

    /// Whether a request went over this connection before.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Sends a request; the future waits for the head of its response. An error that carries the
    /// request back says that nothing of it was written.
    pub fn send(
        &mut self,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Body>>>> + use<> {
        self.connection.sender.try_send_request(request)
    }

    /// The response was read to its end: the connection may be used again.
    pub fn end(self) {
        let Self { mut connection, endpoint, .. } = self;
        connection.sweeps = 0;
        if connection.is_ready() {
            endpoint.keep_idle(connection);
        } else if !connection.sender.is_closed() {
            // The connection's own task has to run first, for example to finish the request.
            tokio::task::spawn_local(async move {
                if poll_fn(|cx| connection.sender.poll_ready(cx)).await.is_ok() {
                    endpoint.keep_idle(connection);
                }
            });
        }
    }
}

async fn open(endpoint: &Rc<LocalEndpoint>) -> io::Result<Connection> {
    let stream = TcpStream::connect(endpoint.endpoint.address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(BUFFER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .handshake(Io::new(stream))
        .await
        .map_err(io::Error::other)?;
    // The task must not hold the endpoint, which holds the connection while it is idle.
    let (series, worker) = (Arc::clone(endpoint.series()), endpoint.worker());
    let address = endpoint.endpoint.address;
    series.shards.of(worker).connections.add(1);
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%address, %error, "upstream connection");
        }
        series.shards.of(worker).connections.add(-1);
    });
    Ok(Connection { sender, sweeps: 0 })
}

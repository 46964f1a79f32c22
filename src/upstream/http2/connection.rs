//! A connection to an endpoint that requests share, and the task that drives it.

use super::silence::Silence;
use crate::base::clock;
use crate::telemetry::series::PoolSeries;
use crate::telemetry::shard::WorkerIndex;
use crate::upstream::http1::head::HEAD_BYTES_MAX;
use crate::upstream::keep_alive::{KeepAliveConfig, Life};
use crate::upstream::local::LocalEndpoint;
use crate::upstream::quota::Permit;
use crate::upstream::stream::Stream;
use crate::upstream::transport::ConnectError;
use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::AbortHandle;
use tokio::time::Sleep;

/// The most requests at once on one connection, also when the endpoint would take more.
pub const STREAMS_MAX: usize = 100;
/// How much of a response an endpoint may send ahead of its client's reading.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
/// The same for a connection: room for all, so that slow clients do not hold up the others.
const CONNECTION_WINDOW_BYTES: u32 = 100 * STREAM_WINDOW_BYTES;
/// How much of a request waits for the socket at most.
const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Streams that were reset and are remembered, so that what still comes for them is expected.
const RESET_STREAMS_MAX: usize = 256;
/// How long an endpoint may take to read what is left when a connection has no more requests.
const LINGER: Duration = Duration::from_secs(2);
const _: () =
    assert!(CONNECTION_WINDOW_BYTES as usize == STREAMS_MAX * STREAM_WINDOW_BYTES as usize);

/// An open connection. It is closed when nobody holds it any more.
pub struct Connection {
    sender: RefCell<SendRequest<Bytes>>,
    /// How many requests use it.
    streams: Cell<usize>,
    /// How many the endpoint takes at once.
    streams_max: Cell<usize>,
    /// Whether a request went over it before.
    used: Cell<bool>,
    /// Whether it takes no more requests.
    closing: Cell<bool>,
    ended: Cell<bool>,
    life: Life,
    silence: RefCell<Silence>,
    task: RefCell<Option<AbortHandle>>,
    /// Wakes the task when nobody holds the connection: h2 does not while the socket is full.
    driver: RefCell<Waker>,
    series: Arc<PoolSeries>,
    worker: WorkerIndex,
}

/// The right to one stream of a connection; given back when dropped.
#[derive(Debug)]
pub struct Lease {
    connection: Rc<Connection>,
    endpoint: Rc<LocalEndpoint>,
    reused: bool,
    /// How much the endpoint had sent on the connection when this was taken.
    received: u64,
}

/// A socket that counts what comes.
struct Counting {
    stream: Stream,
    received: Rc<Cell<u64>>,
    /// After the stream, so that it is given back when that is closed.
    _permit: Permit,
}

/// Tells the endpoint that a connection has ended, however its task came to its end.
struct Ending {
    connection: Weak<Connection>,
    endpoint: Weak<LocalEndpoint>,
}

impl Connection {
    /// Speaks HTTP/2 on a new connection: done when the endpoint's SETTINGS have come, so that its
    /// limits are known, and that it speaks HTTP/2 at all. A task drives the connection from then.
    pub async fn open(
        stream: Stream,
        endpoint: &Rc<LocalEndpoint>,
        permit: Permit,
    ) -> Result<Rc<Self>, ConnectError> {
        let received = Rc::new(Cell::new(0));
        let stream = Counting { stream, received: Rc::clone(&received), _permit: permit };
        let builder = Self::builder();
        let (sender, mut driver) = builder.handshake(stream).await.map_err(not_spoken)?;
        let ping = driver.ping_pong();
        poll_fn(|cx| match Pin::new(&mut driver).poll(cx) {
            Poll::Ready(Ok(())) => {
                Poll::Ready(Err(ConnectError::Protocol("it closed before it spoke HTTP/2")))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(not_spoken(error))),
            Poll::Pending if sender.current_max_send_streams() > 0 => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        })
        .await?;
        let (series, worker) = (Arc::clone(&endpoint.pool.series), endpoint.worker);
        let shard = series.shards.of(worker);
        shard.connections.add(1);
        shard.idle.add(1);
        let streams_max = Cell::new(sender.current_max_send_streams());
        let connection = Rc::new(Self {
            sender: RefCell::new(sender),
            streams: Cell::new(0),
            streams_max,
            used: Cell::new(false),
            closing: Cell::new(false),
            ended: Cell::new(false),
            life: Life::new(clock::now(), rand::random()),
            silence: RefCell::new(Silence::new(received, ping)),
            task: RefCell::new(None),
            driver: RefCell::new(Waker::noop().clone()),
            series,
            worker,
        });
        let ending =
            Ending { connection: Rc::downgrade(&connection), endpoint: Rc::downgrade(endpoint) };
        let task = tokio::task::spawn_local(async move {
            let mut linger: Option<Pin<Box<Sleep>>> = None;
            let ended = poll_fn(|cx| {
                let polled = Pin::new(&mut driver).poll(cx);
                if ending.look(cx) || polled.is_ready() {
                    return polled;
                }
                // An endpoint that does not read must not keep the socket open for ever.
                let linger = linger.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
                linger.as_mut().poll(cx).map(Ok)
            });
            if let Err(error) = ended.await {
                tracing::debug!(%error, "HTTP/2 connection");
            }
        });
        connection.task.replace(Some(task.abort_handle()));
        Ok(connection)
    }

    fn builder() -> Builder {
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            // None before its SETTINGS have come.
            .initial_max_send_streams(0)
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
            .max_send_buffer_size(SEND_BUFFER_BYTES_MAX)
            .max_concurrent_reset_streams(RESET_STREAMS_MAX);
        builder
    }

    /// Whether it takes another request now.
    pub(super) fn has_room(&self) -> bool {
        !self.closing.get() && self.streams.get() < self.streams_max.get().min(STREAMS_MAX)
    }

    /// Whether it will never take another request.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// Takes no more requests.
    pub(super) fn close(&self) {
        self.closing.set(true);
    }

    /// Whether it has no streams.
    pub(super) fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    /// Whether it is too old or was idle for too long for another request.
    pub(super) fn is_spent(&self, limits: &KeepAliveConfig, now: Instant) -> bool {
        self.life.is_over(limits, now) || (self.is_idle() && self.life.is_stale(limits, now))
    }

    /// Looks at what the endpoint said of the connection: its limit, and whether it goes away.
    fn look(&self) {
        let mut sender = self.sender.borrow_mut();
        self.streams_max.set(sender.current_max_send_streams());
        let mut cx = Context::from_waker(Waker::noop());
        if matches!(sender.poll_ready(&mut cx), Poll::Ready(Err(_))) {
            self.closing.set(true);
        }
    }

    /// Whether it is to be kept when connections are looked through: one without streams until it
    /// was idle for too long, one with streams until the endpoint has been silent for too long.
    pub(super) fn outlives_sweep(&self, limits: &KeepAliveConfig, now: Instant) -> bool {
        if self.is_spent(limits, now) {
            self.close();
        }
        if self.is_idle() && !self.silence.borrow().is_awaiting() {
            self.silence.borrow_mut().restart();
            return !self.is_closing();
        }
        let alive = self.silence.borrow_mut().outlives_sweep();
        if !alive {
            tracing::debug!("an HTTP/2 connection is silent and answers no PING");
            if let Some(task) = self.task.borrow().as_ref() {
                task.abort();
            }
        }
        alive
    }

    fn end(&self) {
        self.closing.set(true);
        if !self.ended.replace(true) {
            let shard = self.series.shards.of(self.worker);
            shard.connections.add(-1);
            if self.streams.get() == 0 {
                shard.idle.add(-1);
            }
        }
    }
}

/// It does not speak HTTP/2, or its connection broke.
fn not_spoken(error: h2::Error) -> ConnectError {
    if error.is_io() {
        return ConnectError::Failed(error.into_io().unwrap_or(io::ErrorKind::Other.into()));
    }
    ConnectError::Protocol("it does not speak HTTP/2")
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("streams", &self.streams).finish_non_exhaustive()
    }
}

impl Ending {
    /// Lets waiting requests see what has changed; says whether anybody holds the connection.
    fn look(&self, cx: &Context<'_>) -> bool {
        let Some(connection) = self.connection.upgrade() else { return false };
        connection.driver.borrow_mut().clone_from(cx.waker());
        connection.look();
        if let Some(endpoint) = self.endpoint.upgrade() {
            endpoint.http2().changed(&endpoint);
        }
        true
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.upgrade() {
            connection.end();
        }
        if let Some(endpoint) = self.endpoint.upgrade() {
            endpoint.http2().changed(&endpoint);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.end();
        self.driver.get_mut().wake_by_ref();
    }
}

impl Lease {
    /// Takes a stream of a connection that has room.
    pub(super) fn new(connection: &Rc<Connection>, endpoint: &Rc<LocalEndpoint>) -> Self {
        let before = connection.streams.get();
        connection.streams.set(before + 1);
        if before == 0 && !connection.ended.get() {
            connection.series.shards.of(connection.worker).idle.add(-1);
        }
        connection.life.serve();
        let reused = connection.used.replace(true);
        let received = connection.silence.borrow().received();
        Self { connection: Rc::clone(connection), endpoint: Rc::clone(endpoint), reused, received }
    }

    /// Whether a request went over the connection before.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// A handle to send with; each has its own, so that none waits for another.
    pub(super) fn sender(&self) -> SendRequest<Bytes> {
        self.connection.sender.borrow().clone()
    }

    /// No response came in time: a connection over which nothing else came either takes no more
    /// requests.
    pub(super) fn suspect(&self) {
        if self.connection.silence.borrow().received() == self.received {
            self.close();
        }
    }

    /// The connection takes no more requests.
    pub(super) fn close(&self) {
        self.connection.close();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let connection = &self.connection;
        let left = connection.streams.get().saturating_sub(1);
        connection.streams.set(left);
        if left == 0 {
            connection.life.rest(clock::now());
            if !connection.ended.get() {
                connection.series.shards.of(connection.worker).idle.add(1);
            }
        }
        self.endpoint.http2().changed(&self.endpoint);
    }
}

impl AsyncRead for Counting {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        let new = buffer.filled().len() - before;
        this.received.set(this.received.get() + new as u64);
        read
    }
}

impl AsyncWrite for Counting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

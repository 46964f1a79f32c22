//! A connection to an endpoint, and whether it can be used again.

use super::head::HEAD_BYTES_MAX;
use crate::base::clock;
use crate::base::http1::PIECE_BYTES;
use crate::telemetry::series::PoolSeries;
use crate::telemetry::shard::WorkerIndex;
use crate::upstream::keep_alive::{KeepAliveConfig, Life};
use crate::upstream::quota::Permit;
use crate::upstream::stream::Stream;
use bytes::BytesMut;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio_util::io::poll_read_buf;

/// How much is read at once at first, and what an idle connection keeps at most.
const READ_BYTES_MIN: usize = 8 * 1024;
/// How much is read at once when that much comes.
const READ_BYTES_MAX: usize = PIECE_BYTES;
/// With less room than this the memory counts as full: what a response needs would come in two
/// reads.
const ROOM_BYTES_MIN: usize = 512;

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    pub(super) stream: Stream,
    /// What was received and belongs to nothing yet.
    pub(super) received: BytesMut,
    /// How much is read at once: what one response needed is likely to be what the next one needs.
    read_size: usize,
    /// The most that came at once since it was last at rest.
    read_most: usize,
    reused: bool,
    pub(in crate::upstream) life: Life,
    series: Arc<PoolSeries>,
    worker: WorkerIndex,
    /// After the stream, so that it is given back when that is closed.
    _permit: Permit,
}

impl Connection {
    /// A connection over which nothing was sent yet.
    pub(in crate::upstream) fn new(
        stream: Stream,
        life: Life,
        series: Arc<PoolSeries>,
        worker: WorkerIndex,
        permit: Permit,
    ) -> Self {
        series.shards.of(worker).connections.add(1);
        Self {
            stream,
            received: BytesMut::new(),
            read_size: READ_BYTES_MIN,
            read_most: 0,
            reused: false,
            life,
            series,
            worker,
            _permit: permit,
        }
    }

    /// Whether a request went over it before.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Makes it ready to be kept.
    pub(super) fn rest(&mut self) {
        self.reused = true;
        self.life.serve();
        self.life.rest(clock::now());
        if self.received.capacity() > READ_BYTES_MIN {
            self.received = BytesMut::new();
        }
        if std::mem::take(&mut self.read_most) < self.read_size / 4 {
            self.read_size = (self.read_size / 2).max(READ_BYTES_MIN);
        }
    }

    /// Whether the endpoint has neither closed it nor sent anything while nothing was asked; costs
    /// a system call only if the runtime has heard of something.
    pub fn is_quiet(&mut self) -> bool {
        self.stream.is_quiet()
    }

    /// Whether the endpoint has neither closed it nor sent anything, as the system knows it at this
    /// moment; always costs a system call.
    pub fn is_open_now(&self) -> bool {
        self.stream.is_open_now()
    }

    /// Whether an idle one may still be used, now or later.
    pub(in crate::upstream) fn may_be_used(
        &mut self,
        limits: &KeepAliveConfig,
        now: Instant,
    ) -> bool {
        !self.life.is_stale(limits, now) && !self.life.is_over(limits, now) && self.is_quiet()
    }

    /// Reads more; 0 when the endpoint has closed.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        const { assert!(READ_BYTES_MAX <= HEAD_BYTES_MAX) };
        let mut room = self.received.capacity() - self.received.len();
        if room < ROOM_BYTES_MIN {
            self.received.reserve(self.read_size);
            room = self.received.capacity() - self.received.len();
        }
        let read = ready!(poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.received))?;
        self.read_most = self.read_most.max(read);
        if read == room {
            self.read_size = (self.read_size * 2).min(READ_BYTES_MAX);
        }
        Poll::Ready(Ok(read))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.series.shards.of(self.worker).connections.add(-1);
    }
}

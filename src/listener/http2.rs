//! How HTTP/2 is served: its limits, and the tasks of its streams.

use super::http::BUFFER_BYTES_MAX;
use super::limits::Limits;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::shard::WorkerIndex;
use futures_util::FutureExt;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper_util::rt::TokioTimer;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

/// Streams reset by the client that were not accepted yet; GOAWAY beyond (CVE-2023-44487).
const PENDING_RESETS_MAX: usize = 32;
/// Streams that the client made us reset; GOAWAY beyond (CVE-2025-8671).
const LOCAL_RESETS_MAX: usize = 256;
/// What a client may send of a body before it is asked for more.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// The same for all bodies of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// How often a silent client is asked whether it is there, and how long it may take to answer.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// Counts the bugs that end a connection or a stream, instead of the worker.
#[derive(Debug, Clone)]
pub(super) struct Panics {
    pub(super) metrics: Arc<Metrics>,
    pub(super) worker: WorkerIndex,
}

impl Panics {
    /// Runs to the end, or to the first panic.
    pub(super) fn catch<F: Future<Output = ()>>(
        &self,
        future: F,
    ) -> impl Future<Output = ()> + use<F> {
        // Not an async function, which would have room for the future twice.
        let Self { metrics, worker } = self.clone();
        AssertUnwindSafe(future).catch_unwind().map(move |ended| {
            if ended.is_err() {
                metrics.panicked(worker);
            }
        })
    }
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Panics {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(self.catch(future));
    }
}

/// A server of HTTP/2 connections whose streams run on this thread.
pub(super) fn builder(limits: &Limits, panics: &Panics) -> http2::Builder<Panics> {
    let mut builder = http2::Builder::new(panics.clone());
    let (interval, timeout) = KEEP_ALIVE;
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(LOCAL_RESETS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(BUFFER_BYTES_MAX)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(interval)
        .keep_alive_timeout(timeout);
    builder
}

//! How HTTP/2 is served: its limits, and the tasks of its streams.

use super::connections::Connection;
use super::http::BUFFER_BYTES_MAX;
use super::limits::Limits;
use super::refusal::Refusal;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::shard::WorkerIndex;
use futures_util::FutureExt;
use h2::Reason;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper_util::rt::TokioTimer;
use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

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

/// Starts the tasks of a connection's streams.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    panics: Panics,
    connection: Rc<Connection>,
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Streams {
    fn execute(&self, future: F) {
        let task = tokio::task::spawn_local(self.panics.catch(future));
        self.connection.started(task.abort_handle());
    }
}

/// Why a connection was ended that did not end as it should, if it is for what the client did.
pub(super) fn refusal(error: &hyper::Error) -> Option<Refusal> {
    let error = error.source()?.downcast_ref::<h2::Error>()?;
    if error.is_io() || error.is_remote() {
        return None;
    }
    match error.reason()? {
        Reason::NO_ERROR | Reason::INTERNAL_ERROR => None,
        Reason::ENHANCE_YOUR_CALM => Some(Refusal::Calm),
        _ => Some(Refusal::Http2Error),
    }
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A server of HTTP/2 connections whose streams run on this thread.
pub(super) fn builder(
    limits: &Limits,
    panics: &Panics,
    connection: &Rc<Connection>,
) -> http2::Builder<Streams> {
    let streams = Streams { panics: panics.clone(), connection: Rc::clone(connection) };
    let mut builder = http2::Builder::new(streams);
    let (interval, timeout) = KEEP_ALIVE;
    builder
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(limits.streams)
        // Streams that were reset before they were accepted: as many as may be open at one time, so
        // that a client may break off all that it asked for (CVE-2023-44487).
        .max_pending_accept_reset_streams(size(limits.streams))
        // Streams that the client made us reset (CVE-2025-8671).
        .max_local_error_reset_streams(size(limits.stream_resets))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(BUFFER_BYTES_MAX)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(interval)
        .keep_alive_timeout(timeout);
    builder
}

#[cfg(test)]
mod tests {
    use super::Panics;
    use crate::base::drain;
    use crate::base::incoming::Incoming;
    use crate::listener::ListenerShard;
    use crate::listener::connections::Connections;
    use crate::listener::http::{Terms, begin};
    use crate::listener::limits::Limits;
    use crate::telemetry::metrics::Metrics;
    use crate::telemetry::shard::WorkerIndex;
    use bytes::Bytes;
    use http::{Request, Response};
    use http_body::Frame;
    use http_body_util::StreamBody;
    use std::convert::Infallible;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::{LocalSet, spawn_local, yield_now};

    /// Together more than the client's window and what is held for it.
    const CHUNKS: usize = 32;
    const CHUNK: &[u8] = &[7; 16 * 1024];

    async fn streams() {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
        let (stream, _) = socket.accept().await.unwrap();
        let connections = Rc::new(Connections::default());
        let (_drain, draining) = drain::pair();
        let entry = connections.open(draining);
        let known = Rc::clone(&entry.connection);
        let limits = Limits::default();
        let timers = connections.timers(&limits);
        let service = tower::service_fn(async |_: Request<Incoming>| {
            let chunk = || Ok::<_, Infallible>(Frame::data(Bytes::from_static(CHUNK)));
            let chunks = futures_util::stream::iter(std::iter::repeat_with(chunk).take(CHUNKS));
            Ok::<_, Infallible>(Response::new(StreamBody::new(chunks)))
        });
        spawn_local(async move {
            let panics = Panics { metrics: Arc::new(Metrics::new(1)), worker: WorkerIndex(0) };
            let shard = ListenerShard::default();
            let terms = Terms { limits: &limits, timers: &timers, shard: &shard, panics: &panics };
            begin(stream, None, |_| service, &entry, terms).await.unwrap().await;
        });
        let mut builder = h2::client::Builder::new();
        builder.initial_connection_window_size(8 * 1024 * 1024);
        let (client, connection) = builder.handshake::<_, Bytes>(client).await.unwrap();
        spawn_local(connection);
        let mut client = client.ready().await.unwrap();
        let mut ask = async || {
            let request = Request::get("http://a.test/").body(()).unwrap();
            client.send_request(request, true).unwrap().0.await.unwrap().into_body()
        };
        let (mut held, mut read) = (ask().await, ask().await);
        for _ in 0..3 {
            // This one goes on between any two looks; nothing of the other is given back.
            let data = read.data().await.unwrap().unwrap();
            read.flow_control().release_capacity(data.len()).unwrap();
            for _ in 0..10 {
                yield_now().await;
            }
            assert!(!known.look());
        }
        let broken = loop {
            match held.data().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("the whole response came"),
            }
        };
        assert_eq!(broken.reason(), Some(h2::Reason::CANCEL));
        while let Some(data) = read.data().await {
            let length = data.unwrap().len();
            read.flow_control().release_capacity(length).unwrap();
        }
    }

    #[tokio::test]
    async fn a_stream_that_its_client_holds_back_is_reset_and_no_other() {
        let local = LocalSet::new();
        let streams = tokio::time::timeout(Duration::from_secs(10), local.run_until(streams()));
        assert!(streams.await.is_ok(), "it should have been reset by now");
    }
}

//! How HTTP/2 is served: what a client may do, and the driving of a connection and its streams.
//!
//! The streams of a connection are polled by its task, each when it was woken: what they have to
//! send is written together when all of them had their turn.

mod keep_alive;
mod places;
mod stream;
mod tunnel;

use super::connections::{Connection, Order};
use super::flood::Flood;
use super::http::{BUFFER_BYTES_MAX, Terms};
use super::limits::Limits;
use super::refusal::Refusal;
use super::timers::Timers;
use crate::base::body::Source;
use crate::base::clock;
use crate::base::incoming::Incoming;
use crate::base::io::Io;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::shard::WorkerIndex;
use bytes::Bytes;
use futures_util::FutureExt;
use h2::server::{Builder, Handshake, SendResponse};
use h2::{Reason, RecvStream};
use http::{Request, Response};
use keep_alive::KeepAlive;
use places::Places;
use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tower::Service;

/// What a client may send of a body before it is asked for more.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// The same for all bodies of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

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

/// A connection, and the answering of its streams.
struct Server<M, F> {
    state: State,
    /// Makes of a request what answers it.
    start: M,
    streams: Places<F>,
}

/// How far a connection is.
enum State {
    /// The client has not said yet that it speaks HTTP/2; whether it has to end when it has.
    Beginning { handshake: Handshake<Io, Bytes>, finish: bool },
    /// Requests may come.
    Open { connection: h2::server::Connection<Io, Bytes>, keep_alive: KeepAlive },
}

/// Serves HTTP/2.
pub(super) async fn serve<S, B>(io: Io, service: S, known: &Rc<Connection>, terms: Terms<'_>)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + 'static,
    S::Future: 'static,
    B: Source + 'static,
{
    let requests_max = terms.limits.requests_per_connection;
    let start = |request: Request<RecvStream>, respond: SendResponse<Bytes>| {
        let busy = known.begin();
        if requests_max.is_some_and(|most| known.requests() >= most.get()) {
            known.tell(Order::Finish);
        }
        terms.panics.catch(stream::answer(service.clone(), request, respond, busy))
    };
    let flood = Flood::new(terms.limits.stream_resets, Rc::clone(known));
    let handshake = builder(terms.limits).handshake(io.watched(Box::new(flood)));
    let state = State::Beginning { handshake, finish: false };
    let server = Server { state, start, streams: Places::default() };
    if let Err(error) = drive(server, known, terms.timers).await {
        if let Some(refusal) = refusal(&error) {
            known.refuse(refusal);
        }
        tracing::debug!(%error, "client connection");
    }
}

/// Runs a connection to its end, passing on what it is told. It is closed when it was idle, or when
/// the client has taken nothing, for one to two times the limit; a stream of which it has taken
/// nothing is reset after the same time.
async fn drive<M, F>(
    mut server: Server<M, F>,
    known: &Connection,
    timers: &Timers,
) -> Result<(), h2::Error>
where
    M: FnMut(Request<RecvStream>, SendResponse<Bytes>) -> F,
    F: Future<Output = ()> + 'static,
{
    let mut idle = timers.keep_alive.begin(clock::now());
    let mut stuck = timers.write.begin(clock::now());
    poll_fn(|cx| {
        known.wake(cx.waker());
        let order = known.order();
        if order == Some(Order::Close) {
            return Poll::Ready(Ok(()));
        }
        // A request that has come already is begun before it is asked whether there is one.
        let polled = server.poll(cx, known, timers);
        if polled.is_ready() {
            return polled;
        }
        if order == Some(Order::Finish) {
            server.finish();
            let polled = server.poll(cx, known, timers);
            if polled.is_ready() {
                return polled;
            }
        }
        while Pin::new(&mut idle).poll(cx).is_ready() {
            if !known.take_moved() && !known.is_busy() {
                return Poll::Ready(Ok(()));
            }
            idle = timers.keep_alive.begin(clock::now());
        }
        while Pin::new(&mut stuck).poll(cx).is_ready() {
            if known.look() {
                return Poll::Ready(Ok(()));
            }
            stuck = timers.write.begin(clock::now());
        }
        Poll::Pending
    })
    .await
}

impl<M, F> Server<M, F>
where
    M: FnMut(Request<RecvStream>, SendResponse<Bytes>) -> F,
    F: Future<Output = ()> + 'static,
{
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        known: &Connection,
        timers: &Timers,
    ) -> Poll<Result<(), h2::Error>> {
        if let State::Beginning { handshake, finish } = &mut self.state {
            let mut connection = ready!(Pin::new(handshake).poll(cx))?;
            if *finish {
                connection.graceful_shutdown();
            }
            let keep_alive = KeepAlive::new(connection.ping_pong(), timers);
            self.state = State::Open { connection, keep_alive };
        }
        let State::Open { connection, keep_alive } = &mut self.state else {
            return Poll::Pending;
        };
        if keep_alive.poll_lost(cx, known, timers).is_ready() {
            connection.abrupt_shutdown(Reason::NO_ERROR);
        }
        // What is sent here is written below.
        self.streams.poll(cx);
        let mut began = false;
        loop {
            match connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.streams.begin(|| (self.start)(request, respond));
                    began = true;
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => break,
            }
        }
        // What is sent at once wakes the connection, as it has just waited.
        if began {
            self.streams.poll(cx);
        }
        Poll::Pending
    }

    /// Answers what has begun, and then ends.
    fn finish(&mut self) {
        match &mut self.state {
            State::Beginning { finish, .. } => *finish = true,
            State::Open { connection, .. } => connection.graceful_shutdown(),
        }
    }
}

/// Why a connection was ended that did not end as it should, if it is for what the client did.
fn refusal(error: &h2::Error) -> Option<Refusal> {
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

/// What a client is told that it may do, and is held to.
fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_connect_protocol()
        .max_concurrent_streams(limits.streams)
        // Streams that were reset before they were accepted: as many as may be open at one time, so
        // that a client may break off all that it asked for (CVE-2023-44487).
        .max_pending_accept_reset_streams(size(limits.streams))
        // Streams that the client made us reset (CVE-2025-8671).
        .max_local_error_reset_streams(Some(size(limits.stream_resets)))
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(BUFFER_BYTES_MAX)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX));
    builder
}

#[cfg(test)]
mod tests {
    use crate::base::incoming::Incoming;
    use crate::listener::testing::{Serving, pair};
    use bytes::Bytes;
    use http::{Request, Response};
    use http_body::Frame;
    use http_body_util::StreamBody;
    use std::convert::Infallible;
    use std::time::Duration;
    use tokio::task::{LocalSet, spawn_local, yield_now};

    /// Together more than the client's window and what is held for it.
    const CHUNKS: usize = 32;
    const CHUNK: &[u8] = &[7; 16 * 1024];

    async fn streams() {
        let (client, stream) = pair().await;
        let service = tower::service_fn(async |_: Request<Incoming>| {
            let chunk = || Ok::<_, Infallible>(Frame::data(Bytes::from_static(CHUNK)));
            let chunks = futures_util::stream::iter(std::iter::repeat_with(chunk).take(CHUNKS));
            Ok::<_, Infallible>(Response::new(StreamBody::new(chunks)))
        });
        let (known, _serving) = Serving::default().start(stream, service);
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

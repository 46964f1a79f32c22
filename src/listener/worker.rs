//! A data-plane worker: a thread with a runtime, sockets and connections of its own.

use super::admission::{ClientPlace, turn_away};
use super::connections::{Connections, Entry};
use super::handshake::Secure;
use super::http::{Session, Terms};
use super::http2::Panics;
use super::proxy_protocol::{self, Address};
use super::refusal::Refusal;
use super::timers::Timers;
use super::{Settings, accept, http, socket};
use crate::base::accepted::Accepted;
use crate::base::body::Reply;
use crate::base::drain::{self, Drain};
use crate::base::incoming::Incoming;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::shard::WorkerIndex;
use ::http::{Request, Response};
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};

/// What the control plane tells a worker.
#[derive(Debug)]
pub enum Command<E> {
    /// Accept connections on this socket.
    Listen {
        /// The address, by which the listener is known later.
        address: SocketAddr,
        /// The worker's own socket.
        socket: TcpListener,
        /// The listener's settings, which may be exchanged.
        settings: Arc<ArcSwap<Settings<E>>>,
    },
    /// Ask the clients of all connections, with each response, to go elsewhere.
    Leave,
    /// Stop accepting on this address and drain its connections.
    Unlisten {
        /// The address.
        address: SocketAddr,
        /// How long its connections may take to finish; they are cut off then.
        timeout: Duration,
        /// Told when the socket is closed.
        closed: oneshot::Sender<()>,
        /// Told whether all did.
        done: oneshot::Sender<bool>,
    },
}

/// What serves the connections of one worker: made on the worker's thread, never leaving it.
pub trait Serve<E>: 'static {
    /// The service of one connection.
    fn connection(
        self: Rc<Self>,
        peer: SocketAddr,
        extension: Arc<E>,
        session: Session,
    ) -> impl tower::Service<
        Request<Incoming>,
        Response = Response<impl Reply + 'static>,
        Error = Infallible,
        Future: 'static,
    > + Clone
    + 'static;

    /// Runs beside the connections for as long as the worker does.
    fn background(self: Rc<Self>) -> impl Future<Output = ()> + 'static;
}

/// Starts a worker; it ends when the sender of its commands is dropped.
pub fn start<E, S>(
    worker: WorkerIndex,
    metrics: Arc<Metrics>,
    make: impl FnOnce() -> S + Send + 'static,
) -> io::Result<mpsc::UnboundedSender<Command<E>>>
where
    E: Send + Sync + 'static,
    S: Serve<E>,
{
    let (commands, receiver) = mpsc::unbounded_channel();
    std::thread::Builder::new().name(format!("worker-{}", worker.0)).spawn(move || {
        let mut runtime = Builder::new_current_thread();
        match runtime.enable_all().build_local(LocalOptions::default()) {
            Ok(runtime) => runtime.block_on(run(worker, metrics, Rc::new(make()), receiver)),
            Err(error) => tracing::error!(%error, "worker {} can not start", worker.0),
        }
    })?;
    Ok(commands)
}

/// One listener as a worker has it.
struct Listening {
    stop: Drain,
    connections: Rc<Connections>,
    drain: Drain,
}

async fn run<E, S>(
    worker: WorkerIndex,
    metrics: Arc<Metrics>,
    serve: Rc<S>,
    mut commands: mpsc::UnboundedReceiver<Command<E>>,
) where
    E: Send + Sync + 'static,
    S: Serve<E>,
{
    let background = tokio::task::spawn_local(Rc::clone(&serve).background());
    let mut listening: HashMap<SocketAddr, Listening> = HashMap::new();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Listen { address, socket, settings } => match socket::watch(socket) {
                Ok(socket) => {
                    let new = listen(worker, &metrics, &serve, socket, settings);
                    listening.insert(address, new);
                }
                Err(error) => tracing::error!(%address, %error, "can not listen"),
            },
            Command::Leave => listening.values().for_each(|one| one.connections.leave()),
            Command::Unlisten { address, timeout, closed, done } => {
                let Some(gone) = listening.remove(&address) else { continue };
                tokio::task::spawn_local(async move {
                    // Accepting ends first, so that no connection is missed.
                    let stopped = gone.stop.finish(timeout).await;
                    let _ = closed.send(());
                    // Lets the runtime take note of requests that have come on idle connections.
                    tokio::task::yield_now().await;
                    gone.connections.finish();
                    let finished = gone.drain.finish(timeout).await;
                    // Those whose time is up are cut off.
                    gone.connections.close();
                    let _ = done.send(finished && stopped);
                });
            }
        }
    }
    background.abort();
}

fn listen<E, S>(
    worker: WorkerIndex,
    metrics: &Arc<Metrics>,
    serve: &Rc<S>,
    socket: AsyncFd<TcpListener>,
    settings: Arc<ArcSwap<Settings<E>>>,
) -> Listening
where
    E: Send + Sync + 'static,
    S: Serve<E>,
{
    let (stop, stopping) = drain::pair();
    let (drain, draining) = drain::pair();
    let connections = Rc::new(Connections::default());
    let opened = Rc::clone(&connections);
    let (serve, metrics) = (Rc::clone(serve), Arc::clone(metrics));
    let accepting = accept::accept(socket, settings, worker, stopping, {
        move |stream, peer, settings: Arc<Settings<E>>| {
            let Some(place) = settings.census.enter(settings.limits.connections) else {
                accept::shard(&settings, worker).refusals.count(Refusal::Connections);
                turn_away(stream, settings.tls.is_some(), Refusal::Connections);
                return;
            };
            let (serve, metrics) = (Rc::clone(&serve), Arc::clone(&metrics));
            let entry = opened.open(draining.clone());
            let timers = opened.timers(&settings.limits);
            accept::shard(&settings, worker).open.add(1);
            tokio::task::spawn_local(async move {
                let panics = Panics { metrics, worker };
                let here = (worker, &*timers);
                // In a box, because its state is large and gone when the first request comes.
                let connection = connection(stream, peer, &settings, here, serve, &entry, &panics);
                let connection = Box::pin(connection);
                let serving = async {
                    if let Some((serving, _place)) = connection.await {
                        serving.await;
                    }
                };
                panics.catch(serving).await;
                let shard = accept::shard(&settings, worker);
                if let Some(refusal) = entry.connection.refused() {
                    shard.refusals.count(refusal);
                }
                shard.open.add(-1);
                drop(place);
            });
        }
    });
    tokio::task::spawn_local(accepting);
    Listening { stop, connections, drain }
}

/// Lets a connection in that may come in, and returns what serves it, with its client's place.
async fn connection<'a, E, S: Serve<E>>(
    mut stream: Accepted,
    mut peer: SocketAddr,
    settings: &'a Settings<E>,
    (worker, timers): (WorkerIndex, &'a Timers),
    serve: Rc<S>,
    entry: &'a Entry,
    panics: &'a Panics,
) -> Option<(http::Serving<'a>, Option<ClientPlace>)> {
    let (known, limits) = (&entry.connection, &settings.limits);
    let timeout = limits.tls_handshake;
    if settings.announcing.contains(peer.ip()) {
        let stream = stream.registered().ok()?;
        match proxy_protocol::receive(stream, known, timeout).await {
            Ok(Some(Address::Client(client))) => peer = client,
            Ok(Some(Address::Peer)) => {}
            Ok(None) => return None,
            Err(refusal) => {
                known.refuse(refusal);
                return None;
            }
        }
    }
    let most = limits.connections_per_address;
    let place = most.map(|most| settings.census.enter_client(peer.ip(), most.get()));
    if matches!(place, Some(None)) {
        known.refuse(Refusal::ConnectionsOfClient);
        turn_away(stream, settings.tls.is_some(), Refusal::ConnectionsOfClient);
        return None;
    }
    let extension = Arc::clone(&settings.extension);
    let make = move |session| serve.connection(peer, extension, session);
    let shard = accept::shard(settings, worker);
    let secure = settings.tls.as_ref();
    let secure = secure.map(|server| Secure { server, timeout, shard });
    let terms = Terms { limits, timers, shard, panics };
    let serving = http::begin(stream, secure, make, entry, terms).await?;
    Some((serving, place.flatten()))
}

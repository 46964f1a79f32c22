//! The composition root: a source of configuration in, a running proxy out, until it is drained.

use crate::admin::State;
use crate::admin::listener::AdminListener;
use crate::base::body::Reply;
use crate::base::incoming::Incoming;
use crate::cluster::Cluster;
use crate::config::background::Background;
use crate::config::certificates::Certificates;
use crate::config::reload::{
    AdminAddress, AdminSocket, Faults, Reloader, Status, StatusCell, empty_cell,
};
use crate::config::root::{AdminConfig, DrainConfig};
use crate::config::source::{Changes, Source as ConfigSource};
use crate::config::{Diagnostic, Place};
use crate::listener::http::Session;
use crate::listener::set::ListenerSet;
use crate::listener::worker::{self, Serve};
use crate::proxy::Proxy;
use crate::proxy::downstream::{Downstream, Forwarding};
use crate::proxy::exchange::Causes;
use crate::proxy::worker::SnapshotCell;
use crate::telemetry::metrics::{Metrics, Reload};
use crate::telemetry::shard::WorkerIndex;
use crate::upstream::control::Control;
use crate::upstream::registry::Registry;
use http::{Request, Response};
use parking_lot::Mutex;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the configuration is.
    pub config: Place,
    /// The number of worker threads; by default one per core that the process may use.
    pub workers: Option<usize>,
    /// The file that says how the Kubernetes API is reached; by default `KUBECONFIG` or
    /// `~/.kube/config`, else what a pod is given.
    pub kubeconfig: Option<PathBuf>,
    /// Where the admin listener is as long as no document says it; by default 127.0.0.1:9901, if
    /// that is free.
    pub admin: Option<SocketAddr>,
    /// The least time between two Events about a `ConfigMap`; 10 seconds by default.
    pub event_pause: Duration,
}

impl Options {
    /// What serves the configuration in a file or folder, all else as it is by default.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self::at(Place::Path(path.as_ref().to_owned()))
    }

    /// What serves the configuration at a place, all else as it is by default.
    pub fn at(config: Place) -> Self {
        /// Whoever looks at a `ConfigMap` wants to know what became of it, not of each try.
        const EVENT_PAUSE: Duration = Duration::from_secs(10);
        let (workers, kubeconfig, admin) = (None, None, None);
        Self { config, workers, kubeconfig, admin, event_pause: EVENT_PAUSE }
    }
}

/// Why there is nothing to run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error("the configuration is wrong")]
    Config(Vec<Diagnostic>),
    /// The admin listener can not be where somebody wants it.
    #[error("the admin listener can not be on {0}: {1}")]
    Admin(SocketAddr, io::Error),
    /// The operating system did not give what is needed.
    #[error("can not start: {0}")]
    System(#[from] io::Error),
}

/// How to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Not ready at once, but accepting for `drain.delay` still: for a replica among others.
    Gracefully,
    /// Without the delay; requests in flight still finish.
    Soon,
}

/// A proxy whose sockets are bound and whose workers serve.
#[derive(Debug)]
pub struct Bound {
    /// The name and the real address of each listener, as they change; none before the first
    /// configuration.
    pub listeners: watch::Receiver<Vec<(Arc<str>, SocketAddr)>>,
    /// The real address of the admin listener, as it changes.
    pub admin: watch::Receiver<Option<SocketAddr>>,
    asks: mpsc::Sender<Ask>,
    stops: mpsc::Sender<Stop>,
    ended: oneshot::Receiver<bool>,
}

/// Asks for a reload, and is told what became of it.
type Ask = oneshot::Sender<Result<Reload, Vec<Diagnostic>>>;

/// The listening side's view of a proxy worker.
struct Serving(Rc<Proxy>);

impl Serve<Forwarding> for Serving {
    fn connection(
        self: Rc<Self>,
        peer: SocketAddr,
        forwarding: Arc<Forwarding>,
        session: Session,
    ) -> impl tower::Service<
        Request<Incoming>,
        Response = Response<impl Reply + 'static>,
        Error = Infallible,
        Future: 'static,
    > + Clone
    + 'static {
        let mut downstream = Downstream::new(peer, forwarding);
        if session.secure {
            downstream = downstream.secured(session.identity);
            downstream.covered = session.covered;
        }
        Rc::clone(&self.0).service(downstream)
    }

    async fn background(self: Rc<Self>) {
        self.0.sweep().await;
    }
}

/// Reads the configuration, binds everything and begins to serve; a configuration that may come
/// later is not waited for. To be called inside the control plane's runtime, on which reloads and
/// the admin listener then live.
pub async fn bind(options: Options) -> Result<Bound, StartError> {
    let workers = match options.workers {
        Some(workers) => workers.max(1),
        None => std::thread::available_parallelism()?.get(),
    };
    let metrics = Arc::new(Metrics::new(workers));
    let cell = empty_cell(&metrics);
    let registry = Arc::new(Registry::new(Arc::clone(&metrics)));
    metrics.add_source(&registry);
    let cluster = Arc::new(Cluster::new(options.kubeconfig));
    metrics.add_source(&cluster);
    let senders = start_workers(workers, &metrics, &cell, &registry)?;
    let causes = Arc::new(Causes(Arc::clone(&metrics)));
    metrics.add_source(&causes);
    // Watched before it is read, so that no change falls in between.
    let (source, changes) = ConfigSource::new(options.config, &cluster, options.event_pause)?;
    let begin = Status { source: source.shown(), ..Status::default() };
    let status: StatusCell = Arc::new(Mutex::new(begin));
    let state = Arc::new(State {
        metrics: Arc::clone(&metrics),
        snapshot: Arc::clone(&cell),
        status: Arc::clone(&status),
        draining: false.into(),
    });
    let (admin, admin_address) = start_admin(&state, &source, options.admin)?;
    let (listeners, shown) = watch::channel(Vec::new());
    let mut announced = Announced { listeners, admin: admin.address(), told: None };
    let mut reloader = Reloader {
        source,
        registry,
        control: Control::new(cluster),
        metrics: Arc::clone(&metrics),
        cell,
        status,
        listeners: ListenerSet::new(senders, metrics),
        admin,
        background: Background::start()?,
        patience: Duration::ZERO,
        admin_address,
        certificates: Certificates::default(),
        seen: None,
        retired: Vec::new(),
        drain: DrainConfig::default(),
        faults: Faults::default(),
    };
    reloader.source.warn().await;
    match reloader.reload().await {
        Err(diagnostics) if !reloader.source.may_come_later() => {
            return Err(StartError::Config(diagnostics));
        }
        _ => announced.announce(&reloader),
    }
    if state.snapshot.load().generation == 0 {
        tracing::info!(source = reloader.source.shown(), "waiting for the first configuration");
    }
    let bound_admin = announced.admin.clone();
    let (asks, asked) = mpsc::channel(16);
    let (stops, mut stopped) = mpsc::channel(1);
    let (end, ended) = oneshot::channel();
    tokio::spawn(async move {
        let stop = run(&mut reloader, &mut announced, changes, asked, &mut stopped).await;
        // Whoever tells it again is not heard.
        drop(stopped);
        let drained = finish(&mut reloader, &state, stop).await;
        drop(causes);
        let _ = end.send(drained);
    });
    Ok(Bound { listeners: shown, admin: bound_admin, asks, stops, ended })
}

/// The admin listener, which listens now if the configuration may come later, and where it is when
/// no document says it.
fn start_admin(
    state: &Arc<State>,
    source: &ConfigSource,
    address: Option<SocketAddr>,
) -> Result<(AdminListener, AdminAddress), StartError> {
    let at = AdminAddress {
        address: address.unwrap_or(AdminConfig::default().address.value),
        asked_for: address.is_some(),
    };
    let mut admin = AdminListener::new(Arc::clone(state));
    if source.may_come_later() {
        let planned = admin.plan(at.address, at.asked_for);
        planned.map_err(|error| StartError::Admin(at.address, error))?;
        admin.commit();
    }
    Ok((admin, at))
}

/// Starts the threads of the data plane, which serve what the listeners hand to them.
fn start_workers(
    workers: usize,
    metrics: &Arc<Metrics>,
    cell: &SnapshotCell,
    registry: &Registry,
) -> io::Result<Vec<mpsc::UnboundedSender<worker::Command<Forwarding>>>> {
    let mut senders = Vec::with_capacity(workers);
    for worker in (0..workers).map(WorkerIndex) {
        let (metrics, cell) = (Arc::clone(metrics), Arc::clone(cell));
        let counted = Arc::clone(&metrics);
        let changes = registry.changes().clone();
        senders.push(worker::start(worker, counted, move || {
            Serving(Rc::new(Proxy::new(worker, metrics, cell, changes)))
        })?);
    }
    Ok(senders)
}

/// Takes in changes until told to stop.
async fn run(
    reloader: &mut Reloader<AdminListener>,
    announced: &mut Announced,
    changes: Changes,
    asked: mpsc::Receiver<Ask>,
    stopped: &mut mpsc::Receiver<Stop>,
) -> Stop {
    let taking = AtomicBool::new(false);
    let stop = tokio::select! {
        stop = stopped.recv() => stop.unwrap_or(Stop::Soon),
        // A change that is being taken in is given up: it may wait for endpoints.
        never = take_in(reloader, announced, changes, asked, &taking) => match never {},
    };
    if taking.load(Ordering::Relaxed) {
        tracing::info!(
            "a reload is given up: the proxy is told to end, and nothing is in use of it"
        );
    }
    stop
}

/// Takes in changes for as long as it is polled, and says while it takes one in; whoever asks for a
/// reload after that is told that there is none.
async fn take_in(
    reloader: &mut Reloader<AdminListener>,
    announced: &mut Announced,
    mut changes: Changes,
    mut asked: mpsc::Receiver<Ask>,
    taking: &AtomicBool,
) -> Infallible {
    /// How often snapshots that are out of use are looked at.
    const FORGET: Duration = Duration::from_secs(1);
    let mut forget = tokio::time::interval(FORGET);
    loop {
        taking.store(false, Ordering::Relaxed);
        tokio::select! {
            () = changes.next() => {
                taking.store(true, Ordering::Relaxed);
                drop(reloader.reload().await);
            }
            Some(answer) = asked.recv() => {
                taking.store(true, Ordering::Relaxed);
                drop(answer.send(reloader.reload_asked().await));
            }
            () = reloader.certificates.changed() => reloader.reload_certificates().await,
            _ = forget.tick() => reloader.forget(),
        }
        announced.announce(reloader);
    }
}

/// Drains; says whether everything finished in time.
async fn finish(reloader: &mut Reloader<AdminListener>, state: &State, stop: Stop) -> bool {
    // What a change that was given up has bound is not accepted from.
    reloader.admin.abandon();
    state.draining.store(true, Ordering::Relaxed);
    let (delay, timeout) = reloader.drain();
    // Nobody sends requests to one that was never ready.
    let was_ready = state.snapshot.load().generation > 0;
    if stop == Stop::Gracefully && was_ready && !delay.is_zero() {
        tracing::info!(?delay, "not ready any more, still accepting");
        reloader.leave();
        tokio::time::sleep(delay).await;
    }
    tracing::info!(?timeout, "draining");
    reloader.close(timeout).await
}

/// What is known outside of where the proxy listens.
struct Announced {
    listeners: watch::Sender<Vec<(Arc<str>, SocketAddr)>>,
    admin: watch::Receiver<Option<SocketAddr>>,
    /// Where the log has told that the admin listener is.
    told: Option<SocketAddr>,
}

impl Announced {
    /// Tells of what has changed.
    fn announce(&mut self, reloader: &Reloader<AdminListener>) {
        let new = reloader.addresses();
        self.listeners.send_if_modified(|known| {
            if *known == new {
                return false;
            }
            for (name, address) in new.iter().filter(|listener| !known.contains(listener)) {
                tracing::info!(%name, %address, "listening");
            }
            *known = new;
            true
        });
        let admin = *self.admin.borrow();
        if let Some(address) = admin
            && self.told != admin
        {
            tracing::info!(%address, "admin listening");
        }
        self.told = admin;
    }
}

impl Bound {
    /// The name and the real address of each listener now; none before the first configuration.
    pub fn addresses(&self) -> Vec<(Arc<str>, SocketAddr)> {
        self.listeners.borrow().clone()
    }

    /// Reads the configuration again, as SIGHUP does; the diagnostics say why it was refused.
    pub async fn reload(&self) -> Result<Reload, Vec<Diagnostic>> {
        let (answer, answered) = oneshot::channel();
        // A proxy that is draining takes nothing in.
        let _ = self.asks.send(answer).await;
        answered.await.unwrap_or(Ok(Reload::Unchanged))
    }

    /// Begins to drain; [`Bound::ended`] then comes to its end.
    pub async fn stop(&self, stop: Stop) {
        let _ = self.stops.send(stop).await;
    }

    /// Waits until the proxy has drained; says whether everything finished in time.
    pub async fn ended(&mut self) -> bool {
        (&mut self.ended).await.unwrap_or(false)
    }
}

//! The composition root: a source of configuration in, a running proxy out, until it is drained.

use crate::admin::State;
use crate::admin::listener::AdminListener;
use crate::base::body::Source;
use crate::base::incoming::Incoming;
use crate::cluster::Cluster;
use crate::config::Diagnostic;
use crate::config::FileSource;
use crate::config::certificates::Certificates;
use crate::config::reload::{Reloader, Status, StatusCell, empty_cell};
use crate::config::root::DrainConfig;
use crate::listener::http::Session;
use crate::listener::set::ListenerSet;
use crate::listener::worker::{self, Serve};
use crate::proxy::Proxy;
use crate::proxy::downstream::{Downstream, Forwarding};
use crate::proxy::exchange::Causes;
use crate::telemetry::metrics::{Metrics, Reload};
use crate::telemetry::shard::WorkerIndex;
use crate::upstream::control::Control;
use crate::upstream::registry::Registry;
use http::{Request, Response};
use parking_lot::Mutex;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The configuration: a file, or a folder of them.
    pub config: PathBuf,
    /// The number of worker threads; by default one per core that the process may use.
    pub workers: Option<usize>,
    /// The file that says how the Kubernetes API is reached; by default `KUBECONFIG` or
    /// `~/.kube/config`, else what a pod is given.
    pub kubeconfig: Option<PathBuf>,
}

impl Options {
    /// What serves this configuration, all else as it is by default.
    pub fn new(config: impl Into<PathBuf>) -> Self {
        Self { config: config.into(), workers: None, kubeconfig: None }
    }
}

/// Why there is nothing to run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error("the configuration is wrong")]
    Config(Vec<Diagnostic>),
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
    /// The name and the real address of each listener of the first configuration.
    pub addresses: Vec<(Arc<str>, SocketAddr)>,
    /// The real address of the admin listener, as it changes.
    pub admin: watch::Receiver<Option<SocketAddr>>,
    commands: mpsc::Sender<Command>,
    ended: oneshot::Receiver<bool>,
}

#[derive(Debug)]
enum Command {
    Reload(oneshot::Sender<Result<Reload, Vec<Diagnostic>>>),
    Stop(Stop),
}

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
        Response = Response<impl Source + 'static>,
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

/// Reads the configuration, binds everything and begins to serve. To be called inside the control
/// plane's runtime, on which reloads and the admin listener then live.
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
    let mut senders = Vec::with_capacity(workers);
    for worker in (0..workers).map(WorkerIndex) {
        let (metrics, cell) = (Arc::clone(&metrics), Arc::clone(&cell));
        let counted = Arc::clone(&metrics);
        let changes = registry.changes().clone();
        senders.push(worker::start(worker, counted, move || {
            Serving(Rc::new(Proxy::new(worker, metrics, cell, changes)))
        })?);
    }
    let causes = Arc::new(Causes(Arc::clone(&metrics)));
    metrics.add_source(&causes);
    let status: StatusCell = Arc::new(Mutex::new(Status::default()));
    let state = Arc::new(State {
        metrics: Arc::clone(&metrics),
        snapshot: Arc::clone(&cell),
        status: Arc::clone(&status),
        draining: false.into(),
    });
    let source = Arc::new(FileSource::new(options.config));
    // Watched before it is read, so that no change falls in between.
    let changes = Arc::clone(&source).watch();
    let admin = AdminListener::new(Arc::clone(&state));
    let admin_address = admin.address();
    let mut reloader = Reloader {
        source,
        registry,
        control: Control::new(cluster),
        metrics: Arc::clone(&metrics),
        cell,
        status,
        listeners: ListenerSet::new(senders, metrics),
        admin,
        certificates: Certificates::default(),
        seen: None,
        retired: Vec::new(),
        drain: DrainConfig::default(),
    };
    reloader.reload().await.map_err(StartError::Config)?;
    let addresses = reloader.addresses();
    let (commands, receiver) = mpsc::channel(16);
    let (end, ended) = oneshot::channel();
    tokio::spawn(async move {
        let drained = run(&mut reloader, &state, changes, receiver).await;
        drop(causes);
        let _ = end.send(drained);
    });
    Ok(Bound { addresses, admin: admin_address, commands, ended })
}

/// Takes in changes until told to stop, then drains; says whether everything finished in time.
async fn run(
    reloader: &mut Reloader<AdminListener>,
    state: &State,
    mut changes: mpsc::Receiver<()>,
    mut commands: mpsc::Receiver<Command>,
) -> bool {
    /// How often snapshots that are out of use are looked at.
    const FORGET: Duration = Duration::from_secs(1);
    let mut forget = tokio::time::interval(FORGET);
    let stop = loop {
        tokio::select! {
            Some(()) = changes.recv() => drop(reloader.reload().await),
            command = commands.recv() => match command {
                Some(Command::Reload(answer)) => drop(answer.send(reloader.reload_asked().await)),
                Some(Command::Stop(stop)) => break stop,
                None => break Stop::Soon,
            },
            () = reloader.certificates.changed() => reloader.reload_certificates().await,
            _ = forget.tick() => reloader.forget(),
        }
    };
    // Whoever asks for a reload from now on is told that there is none.
    drop(commands);
    state.draining.store(true, Ordering::Relaxed);
    let (delay, timeout) = reloader.drain();
    if stop == Stop::Gracefully && !delay.is_zero() {
        tracing::info!(?delay, "not ready any more, still accepting");
        reloader.leave();
        tokio::time::sleep(delay).await;
    }
    tracing::info!(?timeout, "draining");
    reloader.close(timeout).await
}

impl Bound {
    /// Reads the configuration again, as SIGHUP does; the diagnostics say why it was refused.
    pub async fn reload(&self) -> Result<Reload, Vec<Diagnostic>> {
        let (answer, answered) = oneshot::channel();
        // A proxy that is draining takes nothing in.
        let _ = self.commands.send(Command::Reload(answer)).await;
        answered.await.unwrap_or(Ok(Reload::Unchanged))
    }

    /// Begins to drain; [`Bound::ended`] then comes to its end.
    pub async fn stop(&self, stop: Stop) {
        let _ = self.commands.send(Command::Stop(stop)).await;
    }

    /// Waits until the proxy has drained; says whether everything finished in time.
    pub async fn ended(&mut self) -> bool {
        (&mut self.ended).await.unwrap_or(false)
    }
}

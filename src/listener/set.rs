//! The listeners in use, reconciled with each new configuration: bound first, then committed.

use super::limits::Limits;
use super::socket;
use super::worker::Command;
use super::{ListenerConfig, ListenerSeries, Settings};
use crate::base::problem::Problems;
use crate::predicate::Cidrs;
use crate::telemetry::metrics::Metrics;
use crate::tls::Server;
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The listeners in use and the workers that serve them; owned by whoever swaps snapshots.
#[derive(Debug)]
pub struct ListenerSet<E> {
    workers: Vec<mpsc::UnboundedSender<Command<E>>>,
    metrics: Arc<Metrics>,
    /// By the address as configured, so that port 0 keeps the port that it got.
    listening: HashMap<SocketAddr, Listening<E>>,
    /// What is counted under each name, by connections that are drained too.
    series: HashMap<String, Weak<ListenerSeries>>,
    /// The sockets that the workers have yet to close.
    closing: Vec<oneshot::Receiver<()>>,
}

#[derive(Debug)]
struct Listening<E> {
    /// The address with its real port.
    address: SocketAddr,
    settings: Arc<ArcSwap<Settings<E>>>,
}

/// Listeners that are bound and not yet in use; dropping it leaves everything as it was.
#[derive(Debug)]
pub struct Plan<E> {
    wanted: Vec<Wanted<E>>,
}

#[derive(Debug)]
struct Wanted<E> {
    name: String,
    configured: SocketAddr,
    extension: Arc<E>,
    tls: Option<Arc<Server>>,
    /// New sockets; none for an address that is in use already.
    announcing: Arc<Cidrs>,
    limits: Limits,
    sockets: Vec<TcpListener>,
}

/// The listeners that a change took away, being drained.
#[derive(Debug)]
pub struct Removed {
    /// The names and addresses.
    pub listeners: Vec<(Arc<str>, SocketAddr)>,
    done: Vec<oneshot::Receiver<bool>>,
}

impl<E: Send + Sync + 'static> ListenerSet<E> {
    /// No listeners yet.
    pub fn new(workers: Vec<mpsc::UnboundedSender<Command<E>>>, metrics: Arc<Metrics>) -> Self {
        let (listening, series) = (HashMap::new(), HashMap::new());
        Self { workers, metrics, listening, series, closing: Vec::new() }
    }

    /// Waits until the sockets that earlier changes took away are closed, so that their addresses
    /// can be had again.
    pub async fn closed(&mut self) {
        for closed in self.closing.drain(..) {
            // A worker that is gone has no socket any more.
            let _ = closed.await;
        }
    }

    /// Binds what is new. An address that can not be bound is a problem at its place. `servers` are
    /// those of the listeners with TLS, by their names.
    pub fn plan(
        &self,
        configs: &[ListenerConfig],
        extension: impl Fn(&ListenerConfig) -> E,
        servers: &HashMap<String, Arc<Server>>,
        problems: &mut Problems,
    ) -> Plan<E> {
        let mut wanted = Vec::with_capacity(configs.len());
        for config in configs {
            let configured = config.address.value;
            let mut sockets = Vec::new();
            if !self.listening.contains_key(&configured) {
                match socket::bind(configured, self.workers.len()) {
                    Ok(bound) => sockets = bound,
                    Err(error) => {
                        let message = format!("can not listen on {configured}: {error}");
                        problems.error(config.address.at, message);
                        continue;
                    }
                }
            }
            wanted.push(Wanted {
                name: config.name.value.clone(),
                configured,
                extension: Arc::new(extension(config)),
                tls: servers.get(&config.name.value).map(Arc::clone),
                announcing: Arc::new(
                    config
                        .proxy_protocol
                        .as_ref()
                        .map(|one| one.trusted.clone())
                        .unwrap_or_default(),
                ),
                limits: Limits::new(&config.limits, &config.timeouts)
                    .abort_on_close(config.abort_on_close),
                sockets,
            });
        }
        Plan { wanted }
    }

    /// Takes a plan into use: new listeners accept, kept ones get their settings, and the others
    /// stop accepting and drain.
    pub fn commit(&mut self, plan: Plan<E>, timeout: Duration) -> Removed {
        let mut kept = HashMap::new();
        for wanted in plan.wanted {
            let old = self.listening.remove(&wanted.configured);
            let series = self.series(&wanted.name);
            series.certified(wanted.tls.as_ref());
            let settings = Settings {
                name: wanted.name.into(),
                series,
                extension: wanted.extension,
                tls: wanted.tls,
                announcing: wanted.announcing,
                census: old
                    .as_ref()
                    .map(|old| Arc::clone(&old.settings.load().census))
                    .unwrap_or_default(),
                limits: wanted.limits,
            };
            let listening = match old {
                Some(old) => {
                    let before = old.settings.load();
                    if let (Some(new), Some(before)) = (&settings.tls, &before.tls) {
                        new.resume(before);
                    }
                    drop(before);
                    old.settings.store(Arc::new(settings));
                    old
                }
                None => self.listen(wanted.sockets, settings, wanted.configured),
            };
            kept.insert(wanted.configured, listening);
        }
        let gone = std::mem::replace(&mut self.listening, kept);
        self.unlisten(gone, timeout)
    }

    /// Reads the certificate files of all listeners again and takes those that have changed into
    /// use, for connections to come; bad ones are told of, and the ones before stay in use.
    pub async fn reload_certificates(&self) {
        for listening in self.listening.values() {
            let settings = listening.settings.load_full();
            let Some(tls) = settings.tls.as_ref().map(Arc::clone) else { continue };
            let read = tokio::task::spawn_blocking(move || tls.reload());
            match read.await {
                Ok(None) | Err(_) => {}
                Ok(Some(Ok(()))) => {
                    settings.series.certified(settings.tls.as_ref());
                    settings.series.certificates_read(true);
                    tracing::info!(listener = %settings.name, "new certificates in use");
                }
                Ok(Some(Err(faults))) => {
                    settings.series.certificates_read(false);
                    tracing::error!(
                        listener = %settings.name,
                        "the new certificates were rejected, the ones before stay in use: {}",
                        faults.join("; ")
                    );
                }
            }
        }
    }

    /// The folders with certificate files, which are to be watched.
    pub fn certificate_folders(&self) -> Vec<PathBuf> {
        let settings = self.listening.values().map(|listening| listening.settings.load_full());
        let servers = settings.filter_map(|settings| settings.tls.clone());
        let mut folders: Vec<_> =
            servers.flat_map(|tls| tls.folders().collect::<Vec<_>>()).collect();
        folders.sort();
        folders.dedup();
        folders
    }

    /// Goes on accepting, and asks clients with each response to go elsewhere.
    pub fn leave(&self) {
        for worker in &self.workers {
            let _ = worker.send(Command::Leave);
        }
    }

    /// Stops accepting everywhere and drains all connections.
    pub fn close(&mut self, timeout: Duration) -> Removed {
        let gone = std::mem::take(&mut self.listening);
        self.unlisten(gone, timeout)
    }

    /// The names and real addresses in use.
    pub fn addresses(&self) -> Vec<(Arc<str>, SocketAddr)> {
        let listening = self.listening.values();
        listening.map(|one| (Arc::clone(&one.settings.load().name), one.address)).collect()
    }

    /// The series of this name if anybody still counts into it, so that none is shown twice.
    fn series(&mut self, name: &str) -> Arc<ListenerSeries> {
        if let Some(series) = self.series.get(name).and_then(Weak::upgrade) {
            return series;
        }
        self.series.retain(|_, series| series.strong_count() > 0);
        let series = Arc::new(ListenerSeries::new(name, self.workers.len()));
        self.metrics.add_source(&series);
        self.series.insert(name.to_owned(), Arc::downgrade(&series));
        series
    }

    fn listen(
        &self,
        sockets: Vec<TcpListener>,
        settings: Settings<E>,
        configured: SocketAddr,
    ) -> Listening<E> {
        let real = sockets.first().and_then(|socket| socket.local_addr().ok());
        let address = real.unwrap_or(configured);
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        for (worker, socket) in self.workers.iter().zip(sockets) {
            let settings = Arc::clone(&settings);
            // A worker that is gone can not be told; its thread has logged why.
            let _ = worker.send(Command::Listen { address, socket, settings });
        }
        Listening { address, settings }
    }

    fn unlisten(&mut self, gone: HashMap<SocketAddr, Listening<E>>, timeout: Duration) -> Removed {
        let mut removed = Removed { listeners: Vec::new(), done: Vec::new() };
        for listening in gone.into_values() {
            let name = Arc::clone(&listening.settings.load().name);
            removed.listeners.push((name, listening.address));
            for worker in &self.workers {
                let (done, drained) = oneshot::channel();
                let (closed, closing) = oneshot::channel();
                let address = listening.address;
                let _ = worker.send(Command::Unlisten { address, timeout, closed, done });
                removed.done.push(drained);
                self.closing.push(closing);
            }
        }
        removed
    }
}

impl Removed {
    /// Waits until their connections are finished, at most the time given; says whether all are.
    pub async fn drained(self) -> bool {
        let mut all = true;
        for done in self.done {
            all &= done.await.unwrap_or(true);
        }
        all
    }
}

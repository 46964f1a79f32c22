//! The only writer of the snapshot in use: reads each change and takes it in, or says why not.

use super::background::Background;
use super::certificates::{self, Certificates};
use super::compile::{Compiled, compile};
use super::diagnostic::{Diagnostic, render_text};
use super::source::{Outcome, RawFile, Reading, Source, fingerprint};
use crate::base::clock;
use crate::base::problem::{Location, Problems};
use crate::listener::ListenerConfig;
use crate::listener::set::{ListenerSet, Plan};
use crate::proxy::downstream::Forwarding;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::worker::SnapshotCell;
use crate::telemetry::metrics::{Metrics, Reload};
use crate::upstream::control::Control;
use crate::upstream::registry::Registry;
use crate::upstream::transport::Transport;
use arc_swap::ArcSwap;
use http::HeaderValue;
use parking_lot::Mutex;
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What is known of the configuration in use and of the last one that was refused.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The number of the configuration in use; 0 before the first.
    pub generation: u64,
    /// Where it comes from, or shall come from.
    pub source: String,
    /// When it was taken into use, RFC 3339 in UTC.
    pub time: Option<String>,
    /// What is strange about it.
    pub warnings: Vec<Diagnostic>,
    /// Why the newest change was refused, or why none can be seen; nothing once that is over.
    pub last_error: Option<LastError>,
}

/// Why the newest change was refused, or why none can be seen.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastError {
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// Everything that is wrong.
    pub diagnostics: Vec<Diagnostic>,
}

/// The status as others see it.
pub type StatusCell = Arc<Mutex<Status>>;

/// What a change needs beside the listeners of the data plane: the admin listener.
pub trait AdminSocket: Send {
    /// Binds a changed address, without taking it into use yet.
    fn plan(&mut self, address: SocketAddr, asked_for: bool) -> std::io::Result<()>;
    /// Takes the address bound last into use.
    fn commit(&mut self);
    /// Lets go of the address bound last: the change was refused.
    fn abandon(&mut self);
}

/// Where the admin listener is when the document does not say.
#[derive(Debug, Clone, Copy)]
pub struct AdminAddress {
    /// The address and port.
    pub address: SocketAddr,
    /// Whether somebody asked for it: then it is an error if it can not be had.
    pub asked_for: bool,
}

/// Why the newest configuration is not in use.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Why the one that was seen last was refused.
    refused: Option<Vec<Diagnostic>>,
    /// Why the source can not be looked at.
    trouble: Option<Diagnostic>,
    /// Why what is there could not be read, until it was read.
    unreadable: Vec<Diagnostic>,
    /// When the newest of these came or went, RFC 3339 in UTC.
    time: String,
}

/// The writer of the snapshot in use.
pub struct Reloader<A> {
    pub(crate) source: Source,
    pub(crate) registry: Arc<Registry>,
    /// What looks after the pools.
    pub(crate) control: Control,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) cell: SnapshotCell,
    pub(crate) status: StatusCell,
    pub(crate) listeners: ListenerSet<Forwarding>,
    pub(crate) admin: A,
    /// Where configurations are read, compiled and dropped.
    pub(crate) background: Background,
    /// How long that is waited for, by the size of what was read last.
    pub(crate) patience: Duration,
    /// Where it listens when the document does not say.
    pub(crate) admin_address: AdminAddress,
    /// What tells of certificate files that may have changed.
    pub(crate) certificates: Certificates,
    /// What was read last, accepted or not.
    pub(crate) seen: Option<u64>,
    /// Snapshots out of use that a worker may still hold: dropped here and not on its thread.
    pub(crate) retired: Vec<Arc<Snapshot>>,
    pub(crate) drain: super::root::DrainConfig,
    pub(crate) faults: Faults,
}

impl<A: AdminSocket> Reloader<A> {
    /// The same as [`Reloader::reload`] for somebody who waits for the answer: what was refused
    /// before is looked at again.
    pub async fn reload_asked(&mut self) -> Result<Reload, Vec<Diagnostic>> {
        if self.faults.refused.is_some() {
            self.seen = None;
            self.faults.unreadable.clear();
        }
        self.reload().await
    }

    /// Reads the source and takes it into use if it is new and right; the diagnostics say why not.
    pub async fn reload(&mut self) -> Result<Reload, Vec<Diagnostic>> {
        let Reading { files, trouble } = self.source.read(&self.background, self.patience).await;
        self.note_trouble(trouble);
        let files = match files {
            Some(Ok(files)) => files,
            Some(Err(diagnostics)) => return self.unreadable(diagnostics),
            // The last good configuration serves on.
            None => {
                return self
                    .faults
                    .trouble
                    .clone()
                    .map_or(Ok(Reload::Unchanged), |why| Err(vec![why]));
            }
        };
        self.faults.unreadable.clear();
        let new = fingerprint(&files);
        if self.seen.replace(new) == Some(new) {
            self.source.tell_again();
            self.metrics.reloaded(Reload::Unchanged);
            return Ok(Reload::Unchanged);
        }
        match self.prepare(files).await {
            Ok((compiled, plan, transports)) => {
                let pools = compiled.snapshot.pools.iter().zip(&compiled.config.pools);
                self.control.look_ahead(pools).await;
                self.swap(compiled, plan, &transports);
                Ok(Reload::Accepted)
            }
            Err(diagnostics) => Err(self.rejected(diagnostics)),
        }
    }

    /// Parses, checks, compiles and binds: whatever fails here has changed nothing.
    async fn prepare(
        &mut self,
        files: Vec<RawFile>,
    ) -> Result<(Compiled, Plan<Forwarding>, Vec<Arc<Transport>>), Vec<Diagnostic>> {
        let generation = self.cell.load().generation + 1;
        let (registry, metrics) = (Arc::clone(&self.registry), Arc::clone(&self.metrics));
        self.patience = patience(&files);
        // Thousands of routes take a while; requests and the admin API are answered meanwhile.
        let compiling = move || {
            let compiled = compile(&files, generation, &registry, &metrics)?;
            let mut problems = Problems::default();
            let loaded = certificates::load(&compiled.document, &compiled.config, &mut problems);
            Ok::<_, Vec<Diagnostic>>((compiled, loaded, problems))
        };
        let compiled = self.background.run(self.patience, compiling).await;
        let (compiled, loaded, mut problems) = match compiled {
            Ok(compiled) => compiled?,
            Err(error) => return Err(vec![self.failed(&error)]),
        };
        self.listeners.closed().await;
        let listeners = &compiled.config.listeners;
        let plan = self.listeners.plan(listeners, forwarding, &loaded.servers, &mut problems);
        let admin = &compiled.config.admin.address;
        let is_said = admin.at != Location::default();
        let said = is_said.then_some(AdminAddress { address: admin.value, asked_for: true });
        let AdminAddress { address, asked_for } = said.unwrap_or(self.admin_address);
        if let Err(error) = self.admin.plan(address, asked_for) {
            problems.error(admin.at, format!("can not listen on {address}: {error}"));
        }
        if problems.any_error() {
            self.admin.abandon();
            // The document is right, and what was in the way may go away.
            self.seen = None;
            let diagnostics = compiled.document.diagnose(problems);
            self.background.dispose(compiled);
            return Err(diagnostics);
        }
        Ok((compiled, plan, loaded.transports))
    }

    /// Takes a prepared change into use; nothing here can fail.
    fn swap(&mut self, compiled: Compiled, plan: Plan<Forwarding>, transports: &[Arc<Transport>]) {
        let Compiled { document, config, snapshot, weights, warnings } = compiled;
        let generation = snapshot.generation;
        let pools = snapshot.pools.iter().zip(&config.pools).zip(transports);
        self.control.apply(pools.map(|((pool, config), transport)| (pool, config, transport)));
        self.retired.push(self.cell.swap(Arc::new(snapshot)));
        // Pools that are gone have connections to close.
        self.registry.changes().announce();
        let timeout = config.drain.timeout.0;
        let removed = self.listeners.commit(plan, timeout);
        self.watch_certificates();
        self.admin.commit();
        self.drain = config.drain.clone();
        let weights = self.metrics.in_use(generation, weights);
        self.metrics.reloaded(Reload::Accepted);
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        tracing::info!(generation, routes = self.cell.load().routes.len(), "configuration in use");
        self.source.tell(&Outcome::Accepted { generation, warnings: warnings.len() });
        self.faults.refused = None;
        *self.status.lock() = Status {
            generation,
            source: self.source.shown(),
            time: Some(clock::rfc3339(clock::unix_seconds())),
            warnings,
            last_error: self.faults.last_error(),
        };
        if !removed.listeners.is_empty() {
            tokio::spawn(async move {
                let listeners = removed.listeners.clone();
                let all = removed.drained().await;
                tracing::info!(?listeners, all, "listeners drained");
            });
        }
        self.background.give_way();
        self.background.dispose((document, config, weights));
        self.forget();
    }

    /// Takes certificate files that have changed into use, unless they are bad.
    pub async fn reload_certificates(&mut self) {
        self.listeners.reload_certificates().await;
        let pools = self.cell.load().pools.clone();
        certificates::reload_pools(&pools).await;
    }

    fn watch_certificates(&mut self) {
        let mut folders = self.listeners.certificate_folders();
        folders.extend(certificates::pool_folders(&self.cell.load().pools));
        folders.sort();
        folders.dedup();
        self.certificates.watch(folders);
    }

    /// Drops what no worker holds any more.
    pub fn forget(&mut self) {
        let (held, free) = std::mem::take(&mut self.retired)
            .into_iter()
            .partition(|old| Arc::strong_count(old) > 1);
        self.retired = held;
        let free: Vec<_> = free;
        if !free.is_empty() {
            self.background.dispose(free);
        }
    }

    /// How the process is to end, as configured now.
    pub fn drain(&self) -> (Duration, Duration) {
        (self.drain.delay.0, self.drain.timeout.0)
    }

    /// The names and real addresses of the listeners in use.
    pub fn addresses(&self) -> Vec<(Arc<str>, SocketAddr)> {
        self.listeners.addresses()
    }

    /// Asks clients to go elsewhere, while connections are still accepted.
    pub fn leave(&self) {
        self.listeners.leave();
    }

    /// Stops accepting and drains all connections; says whether all finished in time.
    pub async fn close(&mut self, timeout: Duration) -> bool {
        self.listeners.close(timeout).drained().await
    }

    fn rejected(&mut self, diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
        self.metrics.reloaded(Reload::Rejected);
        let mut status = self.status.lock();
        let text = render_text(&diagnostics);
        match status.generation {
            0 if self.source.may_come_later() => {
                tracing::error!("the configuration was rejected\n{}", text.trim_end());
            }
            // Who starts the first configuration tells why there is none.
            0 => {}
            generation => tracing::error!(
                "the configuration was rejected, generation {generation} stays in use\n{}",
                text.trim_end()
            ),
        }
        self.source.tell(&Outcome::Rejected(&diagnostics));
        self.faults.refused = Some(diagnostics.clone());
        self.faults.time = clock::rfc3339(clock::unix_seconds());
        status.last_error = self.faults.last_error();
        diagnostics
    }

    /// What is there can not be read; told once for as long as that is so.
    fn unreadable(&mut self, diagnostics: Vec<Diagnostic>) -> Result<Reload, Vec<Diagnostic>> {
        self.seen = None;
        if self.faults.unreadable == diagnostics {
            self.metrics.reloaded(Reload::Unchanged);
            return Ok(Reload::Unchanged);
        }
        self.faults.unreadable.clone_from(&diagnostics);
        Err(self.rejected(diagnostics))
    }

    /// Notes whether the source can be looked at; told when that changes.
    fn note_trouble(&mut self, trouble: Option<Diagnostic>) {
        if self.faults.trouble == trouble {
            return;
        }
        let mut status = self.status.lock();
        match (&trouble, status.generation) {
            (Some(why), 0) => tracing::warn!("there is no configuration yet: {why}"),
            (Some(why), generation) => {
                tracing::warn!(
                    "the configuration can not be looked at, generation {generation} stays in use: {why}"
                );
            }
            (None, _) => tracing::info!(source = self.source.shown(), "the configuration is there"),
        }
        self.faults.trouble = trouble;
        self.faults.time = clock::rfc3339(clock::unix_seconds());
        status.last_error = self.faults.last_error();
    }

    fn failed(&self, error: &str) -> Diagnostic {
        Diagnostic::error(self.source.shown(), format!("compiling it failed: {error}"))
    }
}

impl Faults {
    fn last_error(&self) -> Option<LastError> {
        let refused = self.refused.iter().flatten();
        let diagnostics: Vec<_> = self.trouble.iter().chain(refused).cloned().collect();
        (!diagnostics.is_empty()).then(|| LastError { time: self.time.clone(), diagnostics })
    }
}

/// How long the thread in the background is waited for: several times as long as it takes if it is
/// left alone. What is small is not left to it: it holds nobody up for long, and a change of the
/// weights in the middle of an incident must not wait for a processor.
fn patience(files: &[RawFile]) -> Duration {
    /// Takes some 5 ms, as 10,000 routes of 1.6 MB take 120.
    const SMALL_BYTES: usize = 64 * 1024;
    const LEAST: Duration = Duration::from_millis(300);
    const BYTES_PER_SECOND: u32 = 2 * 1024 * 1024;
    let bytes: usize = files.iter().map(|file| file.bytes.len()).sum();
    if bytes <= SMALL_BYTES {
        return Duration::ZERO;
    }
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    LEAST + Duration::from_secs(1) * bytes / BYTES_PER_SECOND
}

/// What a listener's connections need to know of its settings.
fn forwarding(config: &ListenerConfig) -> Forwarding {
    let via = config.via.as_ref().and_then(|name| {
        // RFC 9110 section 7.6.3: the received protocol's version and a pseudonym.
        HeaderValue::from_str(&format!("1.1 {}", name.value)).ok()
    });
    let uri_bytes = usize::try_from(config.limits.uri_bytes.0).unwrap_or(usize::MAX);
    let fields_max = Some(config.limits.headers.into());
    Forwarding { trusted_proxies: config.trusted_proxies.clone(), via, uri_bytes, fields_max }
}

/// The place of the snapshot in use before there is any configuration: every request gets 404.
pub fn empty_cell(metrics: &Metrics) -> SnapshotCell {
    Arc::new(ArcSwap::from_pointee(super::compile::empty(metrics)))
}

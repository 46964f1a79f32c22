//! A pool: interchangeable endpoints under one name; outlives snapshots.

use super::changes::Changes;
use super::discovery::Found;
use super::endpoint::{Endpoint, Mark};
use super::limits::Limiter;
use super::settings::PoolSettings;
use super::transport::{Protocol, Transport};
use crate::base::clock;
use crate::telemetry::series::PoolSeries;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use tokio::sync::{Notify, watch};

/// The most removed endpoints of a pool that are remembered, for the case that they come back.
const REMEMBERED_MAX: usize = 1_000;

/// The live state of a pool, shared by all workers and by every snapshot that names it.
#[derive(Debug)]
pub struct Pool {
    /// Its name.
    pub name: Arc<str>,
    /// What is counted for it.
    pub series: Arc<PoolSeries>,
    /// What it is asked for now, and may be.
    pub limiter: Limiter,
    members: ArcSwap<Members>,
    usable: AtomicUsize,
    /// Whether so few endpoints are usable that health is ignored.
    panicking: AtomicBool,
    version: AtomicU64,
    /// Endpoints that were removed, oldest first; held while anything changes.
    removed: Mutex<VecDeque<Arc<Endpoint>>>,
    /// Ejected endpoints that wait for the one request that decides about their return.
    trials: ArcSwap<Vec<Arc<Endpoint>>>,
    /// What the workers are told by.
    changes: Changes,
    /// What the control plane is told the version by.
    versions: watch::Sender<u64>,
    /// What those are told by who look for its endpoints.
    distress: watch::Sender<()>,
    /// Told when an endpoint failed too often, or its return is decided.
    pub(super) alarm: Notify,
    /// Whose turn it is to find and to mark endpoints.
    pub(super) turns: Turns,
    /// What the endpoints speak, by who found them.
    suggested: Mutex<Option<Protocol>>,
    /// New certificate files that were taken into use, and those that were not.
    certificate_reloads: [AtomicU64; 2],
}

/// The endpoints of a pool and how they are dealt with, which change together.
#[derive(Debug, Clone, Default)]
pub struct Members {
    /// The endpoints, in the order in which they were found.
    pub endpoints: Arc<[Arc<Endpoint>]>,
    /// How they are spoken to.
    pub transport: Arc<Transport>,
    /// What else the workers need to know.
    pub settings: Arc<PoolSettings>,
}

/// The numbers of the tasks that find or mark endpoints. One that was replaced may be at work for a
/// moment longer, and is known by its number. Compared and changed by who holds `removed`.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Of who finds them.
    discovery: AtomicU64,
    /// Of the health checks.
    pub(super) health: AtomicU64,
    /// Of the ejections.
    pub(super) outlier: AtomicU64,
}

/// A change of several endpoints that the workers see at once.
#[derive(Debug)]
pub(super) struct Change<'a> {
    /// The endpoints now.
    pub(super) endpoints: Arc<[Arc<Endpoint>]>,
    removed: &'a VecDeque<Arc<Endpoint>>,
    /// Whether there is anything to see.
    pub(super) visible: bool,
}

impl Change<'_> {
    /// Sets or removes a mark; says whether that changed anything.
    pub(super) fn mark(&mut self, endpoint: &Endpoint, mark: Mark, on: bool) -> bool {
        let changed = endpoint.mark(mark, on);
        self.visible |= changed;
        changed
    }

    /// The endpoints, and those that were removed and may come back.
    pub(super) fn remembered(&self) -> Vec<Arc<Endpoint>> {
        self.endpoints.iter().chain(self.removed).cloned().collect()
    }
}

impl Pool {
    /// A pool without endpoints.
    pub fn new(series: Arc<PoolSeries>) -> Self {
        Self {
            name: Arc::clone(&series.pool),
            series,
            limiter: Limiter::default(),
            members: ArcSwap::default(),
            usable: AtomicUsize::new(0),
            panicking: AtomicBool::new(false),
            version: AtomicU64::new(0),
            removed: Mutex::default(),
            trials: ArcSwap::default(),
            changes: Changes::default(),
            versions: watch::Sender::new(0),
            distress: watch::Sender::default(),
            alarm: Notify::new(),
            turns: Turns::default(),
            suggested: Mutex::default(),
            certificate_reloads: Default::default(),
        }
    }

    /// The same pool, whose changes are told of by these.
    #[must_use]
    pub fn announcing(self, changes: Changes) -> Self {
        Self { changes, ..self }
    }

    /// Whether any endpoint may get requests, be it the one that decides about its return.
    pub fn is_usable(&self) -> bool {
        self.has_usable() || self.trials.load().iter().any(|endpoint| endpoint.trial.is_open())
    }

    /// Whether any endpoint may get requests, retries too.
    pub fn has_usable(&self) -> bool {
        self.usable.load(Ordering::Relaxed) > 0
    }

    /// Hears of every change of the endpoints or of the state of one of them.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.versions.subscribe()
    }

    /// Whether so few of its endpoints are usable that requests go to the others too, as far as
    /// they are not draining.
    pub fn is_panicking(&self) -> bool {
        self.panicking.load(Ordering::Relaxed)
    }

    /// Takes it for usable though nobody has looked for its endpoints: for explaining what would be
    /// done where nothing is served.
    pub fn presume_usable(&self) {
        self.usable.store(1, Ordering::Relaxed);
    }

    /// A number that grows whenever the endpoints or the state of one of them change.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The endpoints now.
    pub fn endpoints(&self) -> Arc<[Arc<Endpoint>]> {
        Arc::clone(&self.members.load().endpoints)
    }

    /// The endpoints now, and how they are dealt with.
    pub fn members(&self) -> Arc<Members> {
        self.members.load_full()
    }

    /// What the workers need to know of its settings.
    pub fn settings(&self) -> Arc<PoolSettings> {
        Arc::clone(&self.members.load().settings)
    }

    /// The endpoints that were removed and have requests in flight.
    pub fn leaving(&self) -> Vec<Arc<Endpoint>> {
        let removed = self.removed.lock();
        removed.iter().filter(|endpoint| endpoint.in_flight() > 0).cloned().collect()
    }

    /// Replaces the endpoints; an address that stays, or that was there before, keeps its state.
    /// Says whether anything is different now.
    pub fn replace(&self, found: impl IntoIterator<Item = impl Into<Found>>) -> bool {
        self.exchange(&mut self.removed.lock(), found)
    }

    /// The same for the endpoints that the document lists: nobody finds any from now on, and nobody
    /// says what they speak.
    pub(super) fn list(&self, listed: impl IntoIterator<Item = impl Into<Found>>) {
        let mut removed = self.removed.lock();
        self.turns.discovery.fetch_add(1, Ordering::Relaxed);
        self.suggest(None);
        self.exchange(&mut removed, listed);
    }

    /// Lets nobody but who calls this find endpoints, known by the number that is returned. Until
    /// then those before stay.
    pub(super) fn look_anew(&self) -> u64 {
        let _changing = self.removed.lock();
        self.turns.discovery.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The same as [`Pool::replace`] for who finds the endpoints, and may know which version of
    /// HTTP they speak; it counts where the settings say nothing of it. Nothing if that is the turn
    /// of somebody else.
    pub(super) fn found(
        &self,
        turn: u64,
        speaking: Option<Protocol>,
        found: &[Found],
    ) -> Option<bool> {
        let mut removed = self.removed.lock();
        if self.turns.discovery.load(Ordering::Relaxed) != turn {
            return None;
        }
        self.suggest(speaking);
        Some(self.exchange(&mut removed, found.iter().copied()))
    }

    fn exchange(
        &self,
        removed: &mut VecDeque<Arc<Endpoint>>,
        found: impl IntoIterator<Item = impl Into<Found>>,
    ) -> bool {
        let before = self.members();
        let mut known: HashMap<SocketAddr, &Arc<Endpoint>> = HashMap::new();
        // Of an address that is both, the one in use.
        for endpoint in removed.iter().chain(&*before.endpoints) {
            known.insert(endpoint.address, endpoint);
        }
        let mut new: Vec<Arc<Endpoint>> = Vec::new();
        let mut seen = HashSet::new();
        let mut changed = false;
        // One time for all, so that those that begin together weigh the same while they start.
        let now = clock::now();
        for found in found.into_iter().map(Into::into) {
            if seen.insert(found.address) {
                let make = || {
                    let endpoint = Endpoint::new(found.address, self.series.workers);
                    endpoint.mark(Mark::Unchecked, before.settings.check_first);
                    endpoint.begin(now);
                    Arc::new(endpoint)
                };
                let known = known.get(&found.address);
                let endpoint = known.map_or_else(make, |endpoint| Arc::clone(endpoint));
                changed |= endpoint.mark(Mark::Draining, found.draining);
                changed |= endpoint.weigh(found.weight);
                new.push(endpoint);
            }
        }
        let old = &before.endpoints;
        let same = old.len() == new.len() && old.iter().zip(&new).all(|(a, b)| Arc::ptr_eq(a, b));
        if same && !changed {
            return false;
        }
        removed.retain(|endpoint| !seen.contains(&endpoint.address));
        for gone in old.iter().filter(|endpoint| !seen.contains(&endpoint.address)) {
            gone.mark(Mark::Draining, true);
            removed.push_back(Arc::clone(gone));
        }
        let beyond = removed.len().saturating_sub(REMEMBERED_MAX);
        removed.drain(..beyond);
        self.members.store(Arc::new(Members { endpoints: new.into(), ..(*before).clone() }));
        self.refresh();
        true
    }

    /// Replaces how the endpoints are dealt with; connections stay in use if the new way of
    /// speaking is like the old.
    pub fn configure(&self, transport: Arc<Transport>, settings: PoolSettings) {
        let _changing = self.removed.lock();
        self.deal(transport, settings);
    }

    fn deal(&self, transport: Arc<Transport>, settings: PoolSettings) {
        let before = self.members();
        let transport = match *self.suggested.lock() {
            Some(protocol) if settings.protocol_open => {
                Arc::new(Transport { protocol, ..Transport::default() })
            }
            _ => transport,
        };
        let alike = transport.is_like(&before.transport);
        if alike && settings == *before.settings {
            return;
        }
        let transport = if alike { Arc::clone(&before.transport) } else { transport };
        let endpoints = Arc::clone(&before.endpoints);
        if settings.limits != before.settings.limits {
            self.limiter.apply(&settings.limits);
        }
        let settings = Arc::new(settings);
        self.members.store(Arc::new(Members { endpoints, transport, settings }));
        self.refresh();
    }

    /// Notes which version of HTTP the endpoints speak. To be called by who holds `removed`.
    fn suggest(&self, protocol: Option<Protocol>) {
        let before = std::mem::replace(&mut *self.suggested.lock(), protocol);
        let members = self.members();
        if before != protocol && members.settings.protocol_open {
            self.deal(Arc::default(), (*members.settings).clone());
        }
    }

    /// Replaces how the endpoints are spoken to.
    pub fn speak(&self, transport: Arc<Transport>) {
        let _changing = self.removed.lock();
        let settings = (*self.members().settings).clone();
        self.deal(transport, settings);
    }

    /// Sets or removes a mark of one of its endpoints; says whether that changed anything.
    pub fn mark(&self, endpoint: &Endpoint, mark: Mark, on: bool) -> bool {
        self.change(|change| change.mark(endpoint, mark, on))
    }

    /// Changes several endpoints at once, while nobody else changes any.
    pub(super) fn change<T>(&self, with: impl FnOnce(&mut Change<'_>) -> T) -> T {
        let removed = self.removed.lock();
        let endpoints = self.endpoints();
        let mut change = Change { endpoints, removed: &removed, visible: false };
        let made = with(&mut change);
        if change.visible {
            self.refresh();
        }
        made
    }

    /// Counts new certificate files, by whether they are in use.
    pub fn certificates_read(&self, accepted: bool) {
        let [good, bad] = &self.certificate_reloads;
        if accepted { good } else { bad }.fetch_add(1, Ordering::Relaxed);
    }

    /// How many new certificate files were taken into use, and how many were not.
    pub fn certificate_reloads(&self) -> [u64; 2] {
        self.certificate_reloads.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Counts the usable endpoints anew and lets the workers see the change. To be called by who
    /// holds `removed`.
    fn refresh(&self) {
        let members = self.members();
        let usable = members.endpoints.iter().filter(|endpoint| endpoint.is_usable()).count();
        let staying = |endpoint: &&Arc<Endpoint>| !endpoint.is_marked(Mark::Draining);
        let staying = members.endpoints.iter().filter(staying).count();
        let needed = staying * usize::from(members.settings.panic_threshold);
        let trials = members.endpoints.iter().filter(|endpoint| endpoint.is_on_trial());
        self.trials.store(Arc::new(trials.cloned().collect()));
        let before = self.usable.swap(usable, Ordering::Relaxed);
        self.panicking.store(usable * 100 < needed, Ordering::Relaxed);
        let version = self.version.fetch_add(1, Ordering::Release) + 1;
        self.versions.send_replace(version);
        self.changes.announce();
        if usable == 0 && before > 0 {
            self.distressed();
        }
    }

    /// Says that none of the endpoints can be reached, so that others are looked for at once.
    /// Cheap, for it may be said for every request.
    pub fn distressed(&self) {
        if self.distress.receiver_count() > 0 {
            self.distress.send_replace(());
        }
    }

    /// What changes whenever the pool is in distress.
    pub(super) fn distress(&self) -> watch::Receiver<()> {
        self.distress.subscribe()
    }
}

#[cfg(test)]
mod tests;

//! A pool: interchangeable endpoints under one name; outlives snapshots.

use super::discovery::Found;
use super::endpoint::{Endpoint, Mark};
use super::settings::PoolSettings;
use super::transport::Transport;
use crate::telemetry::series::PoolSeries;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
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
    members: ArcSwap<Members>,
    usable: AtomicUsize,
    version: AtomicU64,
    /// Endpoints that were removed, oldest first; held while anything changes.
    removed: Mutex<VecDeque<Arc<Endpoint>>>,
    /// Ejected endpoints that wait for the one request that decides about their return.
    trials: ArcSwap<Vec<Arc<Endpoint>>>,
    /// Told the version whenever it grows.
    changes: watch::Sender<u64>,
    /// Told when an endpoint failed too often, or its return is decided.
    pub(super) alarm: Notify,
    /// Whose turn it is to mark endpoints.
    pub(super) turns: Turns,
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

/// The numbers of the tasks that mark endpoints. One that was replaced may be at work for a moment
/// longer, and is known by its number. Compared and changed by who holds `removed`.
#[derive(Debug, Default)]
pub(super) struct Turns {
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
            members: ArcSwap::default(),
            usable: AtomicUsize::new(0),
            version: AtomicU64::new(0),
            removed: Mutex::default(),
            trials: ArcSwap::default(),
            changes: watch::Sender::new(0),
            alarm: Notify::new(),
            turns: Turns::default(),
            certificate_reloads: Default::default(),
        }
    }

    /// Whether any endpoint may get requests, be it the one that decides about its return.
    pub fn is_usable(&self) -> bool {
        self.usable.load(Ordering::Relaxed) > 0
            || self.trials.load().iter().any(|endpoint| endpoint.trial.is_open())
    }

    /// Hears of every change of the endpoints or of the state of one of them.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
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
    pub fn replace(&self, found: impl IntoIterator<Item = impl Into<Found>>) {
        let mut removed = self.removed.lock();
        let before = self.members();
        let fresh = |address| {
            let endpoint = Endpoint::new(address, self.series.workers);
            endpoint.mark(Mark::Unchecked, before.settings.check_first);
            Arc::new(endpoint)
        };
        let mut known: HashMap<SocketAddr, &Arc<Endpoint>> = HashMap::new();
        // Of an address that is both, the one in use.
        for endpoint in removed.iter().chain(&*before.endpoints) {
            known.insert(endpoint.address, endpoint);
        }
        let mut new: Vec<Arc<Endpoint>> = Vec::new();
        let mut seen = HashSet::new();
        let mut changed = false;
        for found in found.into_iter().map(Into::into) {
            if seen.insert(found.address) {
                let endpoint = known
                    .get(&found.address)
                    .map_or_else(|| fresh(found.address), |endpoint| Arc::clone(endpoint));
                changed |= endpoint.mark(Mark::Draining, found.draining);
                changed |= endpoint.weigh(found.weight);
                new.push(endpoint);
            }
        }
        let old = &before.endpoints;
        let same = old.len() == new.len() && old.iter().zip(&new).all(|(a, b)| Arc::ptr_eq(a, b));
        if same && !changed {
            return;
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
    }

    /// Replaces how the endpoints are dealt with; connections stay in use if the new way of
    /// speaking is like the old.
    pub fn configure(&self, transport: Arc<Transport>, settings: PoolSettings) {
        let _changing = self.removed.lock();
        let before = self.members();
        let alike = transport.is_like(&before.transport);
        if alike && settings == *before.settings {
            return;
        }
        let transport = if alike { Arc::clone(&before.transport) } else { transport };
        let endpoints = Arc::clone(&before.endpoints);
        let settings = Arc::new(settings);
        self.members.store(Arc::new(Members { endpoints, transport, settings }));
        self.refresh();
    }

    /// Replaces how the endpoints are spoken to.
    pub fn speak(&self, transport: Arc<Transport>) {
        let settings = (*self.members().settings).clone();
        self.configure(transport, settings);
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
        let endpoints = self.endpoints();
        let usable = endpoints.iter().filter(|endpoint| endpoint.is_usable()).count();
        let trials = endpoints.iter().filter(|endpoint| endpoint.is_on_trial());
        self.trials.store(Arc::new(trials.cloned().collect()));
        self.usable.store(usable, Ordering::Relaxed);
        let version = self.version.fetch_add(1, Ordering::Release) + 1;
        self.changes.send_replace(version);
    }
}

#[cfg(test)]
mod tests {
    use super::{Found, Mark, Pool, REMEMBERED_MAX};
    use crate::telemetry::series::PoolSeries;
    use std::net::SocketAddr;
    use std::sync::Arc;

    fn pool() -> Pool {
        Pool::new(Arc::new(PoolSeries::new("stable", 1)))
    }

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn an_address_that_stays_keeps_its_endpoint() {
        let pool = pool();
        assert!(!pool.is_usable());
        let [a, b, c] = [1, 2, 3].map(address);
        pool.replace([a, b, b]);
        let before = pool.endpoints();
        let version = pool.version();
        assert_eq!(before.len(), 2);
        pool.replace([a, b]);
        assert_eq!(pool.version(), version);
        pool.replace([b, c]);
        assert!(pool.version() > version);
        assert!(Arc::ptr_eq(&before[1], &pool.endpoints()[0]));
    }

    #[test]
    fn an_address_that_comes_back_keeps_its_history() {
        let pool = pool();
        pool.replace([1, 2].map(address));
        let first = Arc::clone(&pool.endpoints()[0]);
        pool.mark(&first, Mark::Ejected, true);
        pool.replace([address(2)]);
        assert!(first.is_marked(Mark::Draining));
        pool.replace([1, 2].map(address));
        let back = Arc::clone(&pool.endpoints()[0]);
        assert!(Arc::ptr_eq(&first, &back));
        assert!(back.is_marked(Mark::Ejected) && !back.is_marked(Mark::Draining));
    }

    #[test]
    fn only_so_many_removed_endpoints_are_remembered() {
        let pool = pool();
        for port in 1..=u16::try_from(REMEMBERED_MAX + 10).unwrap() {
            pool.replace([address(port)]);
        }
        assert_eq!(pool.removed.lock().len(), REMEMBERED_MAX);
    }

    #[test]
    fn a_mark_is_seen_by_everybody() {
        let pool = pool();
        pool.replace([Found { weight: 3, ..address(1).into() }]);
        let endpoint = Arc::clone(&pool.endpoints()[0]);
        assert_eq!(endpoint.weight(), 3);
        let version = pool.version();
        assert!(pool.mark(&endpoint, Mark::Unhealthy, true));
        assert!(!pool.is_usable() && pool.version() > version);
        assert!(!pool.mark(&endpoint, Mark::Unhealthy, true));
        pool.replace([Found { draining: true, ..address(1).into() }]);
        pool.mark(&endpoint, Mark::Unhealthy, false);
        assert!(!pool.is_usable());
    }
}

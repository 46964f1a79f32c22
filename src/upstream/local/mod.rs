//! One worker's view of the pools: its load, its connections, the endpoints as it last saw them.

mod admission;
mod balancing;
mod endpoint;
mod room;
mod terms;
mod trial;
mod usable;

pub use admission::Admitted;
pub use endpoint::{LocalEndpoint, Place};
pub(super) use room::Room;
pub(super) use terms::Pending;

use super::balance::{Balance, Question};
use super::endpoint::Mark;
use super::pool::Pool;
use super::transport::Protocol;
use crate::base::clock;
use crate::telemetry::series::PoolShard;
use crate::telemetry::shard::WorkerIndex;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use terms::Terms;
use tokio::sync::Notify;
use trial::Trials;
use usable::{Asked, Usable};

/// How often idle connections are looked through.
pub const SWEEP: Duration = Duration::from_secs(5);

/// How often endpoints are weighed anew while some of them are starting slowly.
const WEIGHING: Duration = Duration::from_millis(100);

/// One worker's view of the pools of a snapshot, in the snapshot's order.
#[derive(Debug)]
pub struct LocalPools {
    worker: WorkerIndex,
    pools: Box<[Rc<LocalPool>]>,
}

/// A retry that waits, or whose response has not begun; over when dropped.
#[derive(Debug)]
pub struct Retrying(Rc<LocalPool>);

impl Drop for Retrying {
    fn drop(&mut self) {
        self.0.shard().retrying.add(-1);
    }
}

/// What an endpoint is asked for.
#[derive(Debug)]
pub struct Ask<'a> {
    /// By which policy.
    pub balance: &'a Balance,
    /// A fresh random number.
    pub random: u64,
    /// The hash of the request's key, where the policy has one and the request too.
    pub hash: Option<u64>,
    /// Where the request was sent before.
    pub tried: &'a [Rc<LocalEndpoint>],
}

/// What a pool has for a request that was decided for it.
#[derive(Debug)]
pub enum Offer {
    /// A place at an endpoint whose return the request decides about: it has to go there.
    Trial(Place),
    /// Endpoints, one of which is to be chosen.
    Usable,
    /// Nothing.
    Nothing,
}

/// One worker's view of a pool.
#[derive(Debug)]
pub struct LocalPool {
    pool: Arc<Pool>,
    worker: WorkerIndex,
    terms: Rc<Terms>,
    /// The pool's version that `endpoints` and `usable` show.
    version: Cell<u64>,
    endpoints: RefCell<Vec<Rc<LocalEndpoint>>>,
    usable: RefCell<Usable>,
    /// Tells those who wait for an endpoint to come or go.
    changed: Notify,
    /// Endpoints that are ejected, while nothing else speaks against them.
    ejected: RefCell<Vec<Rc<LocalEndpoint>>>,
    trials: Trials,
    /// When the usable endpoints are to be weighed anew, if they are.
    weighing: Cell<Option<Instant>>,
    slow_start: Cell<Duration>,
    /// Whether `usable` shows endpoints that are not, because too few are.
    ignores_health: Cell<bool>,
    protocol: Cell<Protocol>,
    turn: Cell<usize>,
}

impl LocalPools {
    /// No pools.
    pub fn new(worker: WorkerIndex) -> Self {
        Self { worker, pools: Box::default() }
    }

    /// The view of another snapshot's pools; load and connections of the ones that stay are kept.
    #[must_use]
    pub fn adopt(&self, pools: &[Arc<Pool>]) -> Self {
        let mut known: HashMap<_, _> =
            self.pools.iter().map(|local| (Arc::as_ptr(&local.pool), local)).collect();
        let pools = pools.iter().map(|pool| match known.remove(&Arc::as_ptr(pool)) {
            Some(local) => Rc::clone(local),
            None => Rc::new(LocalPool::new(pool, self.worker)),
        });
        let adopted = Self { worker: self.worker, pools: pools.collect() };
        // Connections to endpoints that are gone are not kept until somebody asks for the pool, nor
        // those of a pool that is gone until the last request of its time has ended.
        adopted.refresh();
        for gone in known.values() {
            gone.retire();
        }
        adopted
    }

    /// The pool of this number.
    pub fn get(&self, index: usize) -> Option<&Rc<LocalPool>> {
        self.pools.get(index)
    }

    /// Takes over what changed in the pools since this worker last looked, and closes connections
    /// that are of no use any more.
    pub fn refresh(&self) {
        self.pools.iter().for_each(|pool| pool.refresh());
    }

    /// Closes connections that were idle for too long or whose endpoint is gone. To be called once
    /// per [`SWEEP`].
    pub fn sweep(&self) {
        for local in &self.pools {
            local.refresh();
            for endpoint in local.endpoints.borrow().iter() {
                endpoint.sweep();
            }
        }
    }
}

impl LocalPool {
    fn new(pool: &Arc<Pool>, worker: WorkerIndex) -> Self {
        Self {
            pool: Arc::clone(pool),
            worker,
            terms: Rc::new(Terms::new(pool, worker)),
            version: Cell::new(u64::MAX),
            endpoints: RefCell::default(),
            usable: RefCell::default(),
            changed: Notify::new(),
            ejected: RefCell::default(),
            trials: Trials::default(),
            weighing: Cell::new(None),
            slow_start: Cell::default(),
            ignores_health: Cell::new(false),
            protocol: Cell::new(Protocol::Http1),
            turn: Cell::new(0),
        }
    }

    /// Which version of HTTP its endpoints are spoken to in.
    pub fn protocol(&self) -> Protocol {
        self.refresh();
        self.protocol.get()
    }

    /// What there is for a request that was decided for this pool and was sent nowhere yet. To be
    /// asked right after the decision: if there is nothing any more, another one is to be made.
    pub fn offer(&self) -> Offer {
        self.refresh();
        match self.trials.take() {
            Some(place) => Offer::Trial(place),
            None if self.usable.borrow().endpoints.is_empty() => Offer::Nothing,
            None => Offer::Usable,
        }
    }

    /// Chooses an endpoint, one that was not tried yet if there is any, and takes a place there.
    pub fn take(&self, ask: &Ask<'_>) -> Option<Place> {
        self.refresh();
        self.reweigh();
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let usable = self.usable.borrow();
        // Most requests are sent once: the list is made for the others alone.
        let untried = (!ask.tried.is_empty()).then(|| usable.without(ask.tried));
        let untried = untried.as_ref().filter(|untried| !untried.endpoints.is_empty());
        let usable = untried.unwrap_or(&usable);
        let now = ask.balance.asks_for_latency().then(clock::now);
        let Ask { random, hash, .. } = *ask;
        let among = &Asked { usable, now };
        let chosen = ask.balance.choose(&Question { among, turn, random, hash })?;
        let endpoint = usable.endpoints.get(chosen)?;
        if self.ignores_health.get() {
            endpoint.shard().health_ignored.increment();
        }
        Some(Place::new(Rc::clone(endpoint), now))
    }

    /// A place at an ejected endpoint that was not tried yet: better than none for a request that
    /// was sent everywhere else.
    pub fn take_ejected(&self, random: u64, tried: &[Rc<LocalEndpoint>]) -> Option<Place> {
        self.refresh();
        let ejected = self.ejected.borrow();
        let is_tried = |endpoint| tried.iter().any(|tried| Rc::ptr_eq(tried, endpoint));
        let untried = || ejected.iter().filter(|endpoint| !is_tried(endpoint));
        let number = u64::try_from(untried().count()).ok()?;
        let chosen = usize::try_from(random.checked_rem(number)?).ok()?;
        Some(Place::new(Rc::clone(untried().nth(chosen)?), None))
    }

    /// The attempts in flight and the retries among them, of all workers.
    pub fn load(&self) -> (i64, i64) {
        let shards = || self.pool.series.shards.iter();
        let requests = shards().map(|shard| shard.in_flight.value()).sum();
        (requests, shards().map(|shard| shard.retrying.value()).sum())
    }

    /// Begins a retry.
    pub fn retry(self: &Rc<Self>) -> Retrying {
        self.shard().retrying.add(1);
        Retrying(Rc::clone(self))
    }

    /// Counts a retry that is over the budget.
    pub fn refuse_retry(&self) {
        self.shard().retries_refused.increment();
    }

    fn shard(&self) -> &PoolShard {
        self.pool.series.shards.of(self.worker)
    }

    /// Whether there is an endpoint that was not tried yet.
    pub fn has_untried(&self, tried: &[Rc<LocalEndpoint>]) -> bool {
        self.refresh();
        let usable = self.usable.borrow();
        let is_tried = |endpoint| tried.iter().any(|tried| Rc::ptr_eq(tried, endpoint));
        usable.endpoints.iter().any(|endpoint| !is_tried(endpoint))
    }

    /// Says that a request failed for want of an endpoint that can be connected to.
    pub fn distressed(&self) {
        self.pool.distressed();
    }

    /// Takes over what changed in the pool since this worker last looked.
    fn refresh(&self) {
        let version = self.pool.version();
        if self.version.replace(version) == version {
            return;
        }
        let current = self.pool.members();
        self.protocol.set(current.transport.protocol);
        let mut endpoints = self.endpoints.borrow_mut();
        let before = std::mem::take(&mut *endpoints).into_iter();
        let mut before: HashMap<_, _> =
            before.map(|local| (Arc::as_ptr(&local.endpoint), local)).collect();
        for endpoint in &*current.endpoints {
            let known = before.remove(&Arc::as_ptr(endpoint));
            // One that is spoken to in another way is another one.
            let alike =
                |local: &Rc<LocalEndpoint>| Arc::ptr_eq(&local.transport, &current.transport);
            let (known, changed) = match known {
                Some(known) if alike(&known) => (Some(known), None),
                other => (None, other),
            };
            endpoints.push(known.unwrap_or_else(|| {
                let transport = Arc::clone(&current.transport);
                let (pool, terms) = (&self.pool, &self.terms);
                Rc::new(LocalEndpoint::new(endpoint, pool, self.worker, terms, transport))
            }));
            if let Some(changed) = changed {
                changed.retire(true);
            }
        }
        for gone in before.values() {
            gone.retire(true);
        }
        for local in &*endpoints {
            local.retire(local.endpoint.is_marked(Mark::Draining));
        }
        self.terms.apply(&current.settings, &endpoints);
        self.trials.renew(&endpoints);
        let ejected = endpoints.iter().filter(|local| local.endpoint.is_only(Mark::Ejected));
        *self.ejected.borrow_mut() = ejected.cloned().collect();
        let ignores_health = self.pool.is_panicking();
        self.ignores_health.set(ignores_health);
        let is_taken = |local: &&Rc<LocalEndpoint>| {
            let is_there = !local.endpoint.is_marked(Mark::Draining);
            local.endpoint.is_usable() || (ignores_health && is_there)
        };
        self.usable.borrow_mut().endpoints = endpoints.iter().filter(is_taken).cloned().collect();
        self.changed.notify_waiters();
        self.slow_start.set(current.settings.slow_start);
        self.weigh(clock::now());
    }

    /// Weighs the endpoints anew if it is time to.
    fn reweigh(&self) {
        if let Some(due) = self.weighing.get() {
            let now = clock::now();
            if now >= due {
                self.weigh(now);
            }
        }
    }

    fn weigh(&self, now: Instant) {
        let starting = self.usable.borrow_mut().weigh(self.slow_start.get(), now);
        self.weighing.set(starting.then(|| now + WEIGHING));
    }

    /// Keeps no connection any more.
    fn retire(&self) {
        self.endpoints.borrow().iter().for_each(|endpoint| endpoint.retire(true));
    }
}

impl Drop for LocalPool {
    fn drop(&mut self) {
        self.retire();
    }
}

#[cfg(test)]
mod tests;

//! One worker's view of an endpoint: its load and its connections.

use super::admission::Admitted;
use super::balancing::Balancing;
use super::room::Seekers;
use super::terms::Terms;
use crate::base::clock;
use crate::telemetry::series::{Outcome, PoolShard};
use crate::telemetry::shard::WorkerIndex;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::http1::Connection;
use crate::upstream::http2::Connections;
use crate::upstream::keep_alive::KeepAliveConfig;
use crate::upstream::outlier::{self, Trial};
use crate::upstream::pool::Pool;
use crate::upstream::transport::{Spoken, Transport};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// One worker's view of an endpoint.
#[derive(Debug)]
pub struct LocalEndpoint {
    /// The endpoint, shared with the other workers.
    pub endpoint: Arc<Endpoint>,
    pub(in crate::upstream) pool: Arc<Pool>,
    pub(in crate::upstream) worker: WorkerIndex,
    pub(super) in_flight: Cell<i64>,
    pub(super) balancing: Balancing,
    pub(super) terms: Rc<Terms>,
    /// Whether it is going away, or gone: its connections are not kept.
    retired: Cell<bool>,
    /// The connection that was used last is the last.
    #[expect(clippy::vec_box, reason = "a connection is moved with every request")]
    idle: RefCell<Vec<Box<Connection>>>,
    pub(super) seekers: Seekers,
    pub(in crate::upstream) transport: Arc<Transport>,
    /// What the endpoint chose last, where it may choose.
    pub(in crate::upstream) spoken: Cell<Option<Spoken>>,
    pub(in crate::upstream) http2: Connections,
}

/// A request's place at an endpoint; given back when dropped.
#[derive(Debug)]
pub struct Place {
    endpoint: Rc<LocalEndpoint>,
    purpose: Purpose,
    /// The request's place in the pool, once it stays at this endpoint.
    admitted: Admitted,
}

/// What an attempt is good for beside its response.
#[derive(Debug)]
enum Purpose {
    Nothing,
    /// The policy asks how long answers take; since when this one is waited for.
    Latency(Instant),
    /// It decides about the endpoint's return.
    Trial(Box<Trial>),
}

impl LocalEndpoint {
    pub(super) fn new(
        endpoint: &Arc<Endpoint>,
        pool: &Arc<Pool>,
        worker: WorkerIndex,
        terms: &Rc<Terms>,
        transport: Arc<Transport>,
    ) -> Self {
        Self {
            endpoint: Arc::clone(endpoint),
            pool: Arc::clone(pool),
            worker,
            in_flight: Cell::new(0),
            balancing: Balancing::new(endpoint, clock::now()),
            terms: Rc::clone(terms),
            retired: Cell::new(false),
            idle: RefCell::default(),
            seekers: Seekers::default(),
            transport,
            spoken: Cell::new(None),
            http2: Connections::default(),
        }
    }

    /// This worker's counters of the pool.
    pub fn shard(&self) -> &PoolShard {
        self.pool.series.shards.of(self.worker)
    }

    /// How it is spoken to.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// This worker's attempts that are going on there.
    pub(super) fn in_flight(&self) -> usize {
        usize::try_from(self.in_flight.get()).unwrap_or(0)
    }

    /// Its HTTP/2 connections.
    pub(in crate::upstream) fn http2(&self) -> &Connections {
        &self.http2
    }

    /// The kept connection that was used last, if one can still be used.
    pub fn take_idle(&self) -> Option<Box<Connection>> {
        let mut idle = self.idle.borrow_mut();
        while let Some(mut connection) = idle.pop() {
            self.shard().idle.add(-1);
            if connection.may_be_used(&self.keep_alive(), clock::recent()) {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection for a later request, unless others need it more, there are enough, its
    /// time is over or the endpoint is going away.
    pub(in crate::upstream) fn keep_idle(&self, connection: Box<Connection>) {
        /// Idle connections kept per endpoint and worker.
        const IDLE_MAX: usize = 256;
        let keep_alive = self.keep_alive();
        if connection.life.is_over(&keep_alive, clock::recent()) {
            return;
        }
        let Some(connection) = self.offer(connection) else { return };
        let mut idle = self.idle.borrow_mut();
        if self.keeps_connections() && idle.len() < IDLE_MAX {
            idle.push(connection);
            self.shard().idle.add(1);
        }
    }

    /// How long its connections are used.
    pub(in crate::upstream) fn keep_alive(&self) -> KeepAliveConfig {
        self.terms.keep_alive()
    }

    /// Whether it is going away, or gone.
    pub(in crate::upstream) fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// Whether any connections are kept without a request.
    pub(in crate::upstream) fn keeps_connections(&self) -> bool {
        !self.retired.get() && !self.keep_alive().idle.0.is_zero()
    }

    /// Since when the connection has been idle that has been so for the longest time.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.idle.borrow().first().map(|connection| connection.life.rested())
    }

    /// Closes the connection that has been idle for the longest time.
    pub(super) fn close_oldest(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        if idle.is_empty() {
            return false;
        }
        drop(idle.remove(0));
        self.shard().idle.add(-1);
        true
    }

    pub(super) fn sweep(&self) {
        let (keep_alive, now) = (self.keep_alive(), clock::now());
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain_mut(|connection| connection.may_be_used(&keep_alive, now));
        self.shard().idle.add(-i64::try_from(before - idle.len()).unwrap_or(0));
        self.http2.sweep(&keep_alive, now);
    }

    /// Keeps connections again, or closes those that are idle and keeps none from now on.
    pub(super) fn retire(&self, retired: bool) {
        self.retired.set(retired);
        if retired {
            self.http2.clear();
            let closed = std::mem::take(&mut *self.idle.borrow_mut()).len();
            self.shard().idle.add(-i64::try_from(closed).unwrap_or(0));
        }
    }

    /// Counts attempts that begin or end.
    fn occupy(&self, attempts: i64) {
        self.in_flight.set(self.in_flight.get() + attempts);
        self.endpoint.shards.of(self.worker).in_flight.add(attempts);
        self.shard().in_flight.add(attempts);
    }
}

impl Place {
    pub(super) fn new(endpoint: Rc<LocalEndpoint>, taken: Option<Instant>) -> Self {
        endpoint.occupy(1);
        let purpose = taken.map_or(Purpose::Nothing, Purpose::Latency);
        Self { endpoint, purpose, admitted: Admitted::default() }
    }

    /// A place whose attempt decides about the endpoint's return.
    pub(super) fn on_trial(endpoint: Rc<LocalEndpoint>, trial: Trial) -> Self {
        let mut place = Self::new(endpoint, None);
        place.purpose = Purpose::Trial(Box::new(trial));
        place
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Rc<LocalEndpoint> {
        &self.endpoint
    }

    /// Keeps the request's place in the pool for as long as this one.
    pub fn admit(&mut self, admitted: Admitted) {
        self.admitted = admitted;
    }

    /// Notes how the attempt ended; `tells` says whether that is the endpoint's doing at all.
    pub fn attempted(&self, retry: bool, outcome: Outcome, tells: bool) {
        let local = &self.endpoint;
        local.shard().attempt(retry, outcome);
        let outcome = if tells { outcome } else { Outcome::Cancelled };
        if let Purpose::Latency(taken) = self.purpose {
            local.balancing.attempted(taken, clock::now(), outcome);
        }
        let trial = match &self.purpose {
            Purpose::Trial(trial) => Some(&**trial),
            _ => None,
        };
        outlier::note(&local.pool, &local.endpoint, local.worker, outcome, trial);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.endpoint.occupy(-1);
    }
}

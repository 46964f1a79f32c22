//! One worker's view of an endpoint: its load and its connections.

use crate::telemetry::series::{Outcome, PoolShard};
use crate::telemetry::shard::WorkerIndex;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::http1::Connection;
use crate::upstream::http2::Connections;
use crate::upstream::outlier::{self, Trial};
use crate::upstream::pool::Pool;
use crate::upstream::transport::{Spoken, Transport};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// One worker's view of an endpoint.
#[derive(Debug)]
pub struct LocalEndpoint {
    /// The endpoint, shared with the other workers.
    pub endpoint: Arc<Endpoint>,
    pub(in crate::upstream) pool: Arc<Pool>,
    pub(in crate::upstream) worker: WorkerIndex,
    pub(super) in_flight: Cell<i64>,
    /// Whether the pool no longer has it: its connections are not kept.
    retired: Cell<bool>,
    #[expect(clippy::vec_box, reason = "a connection is moved with every request")]
    idle: RefCell<Vec<Box<Connection>>>,
    pub(in crate::upstream) transport: Arc<Transport>,
    /// What the endpoint chose last, where it may choose.
    pub(in crate::upstream) spoken: Cell<Option<Spoken>>,
    pub(in crate::upstream) http2: Connections,
}

/// A request's place at an endpoint; given back when dropped.
#[derive(Debug)]
pub struct Place(Rc<LocalEndpoint>, Option<Trial>);

impl LocalEndpoint {
    pub(super) fn new(
        endpoint: &Arc<Endpoint>,
        pool: &Arc<Pool>,
        worker: WorkerIndex,
        transport: Arc<Transport>,
    ) -> Self {
        Self {
            endpoint: Arc::clone(endpoint),
            pool: Arc::clone(pool),
            worker,
            in_flight: Cell::new(0),
            retired: Cell::new(false),
            idle: RefCell::default(),
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

    /// The kept connection that was used last, if one is still open.
    pub fn take_idle(&self) -> Option<Box<Connection>> {
        let mut idle = self.idle.borrow_mut();
        while let Some(mut connection) = idle.pop() {
            self.shard().idle.add(-1);
            if connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection for a later request, unless there are enough or the endpoint is gone.
    pub(in crate::upstream) fn keep_idle(&self, connection: Box<Connection>) {
        /// Idle connections kept per endpoint and worker.
        const IDLE_MAX: usize = 256;
        let mut idle = self.idle.borrow_mut();
        if !self.retired.get() && idle.len() < IDLE_MAX {
            idle.push(connection);
            self.shard().idle.add(1);
        }
    }

    pub(super) fn sweep(&self) {
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain_mut(|connection| connection.outlives_sweep());
        self.shard().idle.add(-i64::try_from(before - idle.len()).unwrap_or(0));
        self.http2.sweep();
    }

    pub(super) fn retire(&self) {
        self.retired.set(true);
        self.http2.clear();
        let closed = std::mem::take(&mut *self.idle.borrow_mut()).len();
        self.shard().idle.add(-i64::try_from(closed).unwrap_or(0));
    }

    /// Counts attempts that begin or end.
    fn occupy(&self, attempts: i64) {
        self.in_flight.set(self.in_flight.get() + attempts);
        self.endpoint.shards.of(self.worker).in_flight.add(attempts);
        self.shard().in_flight.add(attempts);
    }
}

impl Place {
    pub(super) fn new(endpoint: Rc<LocalEndpoint>) -> Self {
        endpoint.occupy(1);
        Self(endpoint, None)
    }

    /// A place whose attempt decides about the endpoint's return.
    pub(super) fn on_trial(endpoint: Rc<LocalEndpoint>, trial: Trial) -> Self {
        endpoint.occupy(1);
        Self(endpoint, Some(trial))
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Rc<LocalEndpoint> {
        &self.0
    }

    /// Notes how the attempt ended.
    pub fn attempted(&self, retry: bool, outcome: Outcome) {
        let local = &self.0;
        local.shard().attempt(retry, outcome);
        outlier::note(&local.pool, &local.endpoint, local.worker, outcome, self.1.as_ref());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.occupy(-1);
    }
}

//! What the endpoints of a pool have in common on one worker: its limits, and how long connections
//! are kept.

use super::LocalEndpoint;
use crate::base::clock;
use crate::telemetry::events::Overflow;
use crate::telemetry::series::PoolShard;
use crate::telemetry::shard::WorkerIndex;
use crate::upstream::keep_alive::KeepAliveConfig;
use crate::upstream::limits::{Overloaded, PoolLimitsConfig};
use crate::upstream::pool::Pool;
use crate::upstream::quota::{Claim, Permit, Quota, Seeker, Ticket};
use crate::upstream::settings::PoolSettings;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;

/// How connections to a pool's endpoints are made and kept.
#[derive(Debug)]
pub(in crate::upstream) struct Terms {
    pool: Arc<Pool>,
    worker: WorkerIndex,
    limits: Cell<PoolLimitsConfig>,
    keep_alive: Cell<KeepAliveConfig>,
    endpoints: RefCell<Vec<Weak<LocalEndpoint>>>,
    /// How many requests are in the pool that came while there was no limit of them; not those from
    /// before it was away from the configuration.
    free: Cell<usize>,
    /// What counts them once there is one, a permit for each.
    before: RefCell<Vec<Permit>>,
    /// Gives idle connections up for others; only there while connections are limited.
    yielding: RefCell<Option<AbortHandle>>,
}

/// A request that waits because a limit is reached; counted until this is dropped.
#[derive(Debug)]
pub(in crate::upstream) struct Pending<'t>(&'t Terms);

impl Terms {
    pub(super) fn new(pool: &Arc<Pool>, worker: WorkerIndex) -> Self {
        let settings = PoolSettings::default();
        Self {
            pool: Arc::clone(pool),
            worker,
            limits: Cell::new(settings.limits),
            keep_alive: Cell::new(settings.keep_alive),
            endpoints: RefCell::default(),
            free: Cell::new(0),
            before: RefCell::default(),
            yielding: RefCell::default(),
        }
    }

    /// Takes other settings over, and the endpoints that there are now.
    pub(super) fn apply(self: &Rc<Self>, settings: &PoolSettings, endpoints: &[Rc<LocalEndpoint>]) {
        let limited = self.limits_requests();
        self.limits.set(settings.limits);
        if limited != self.limits_requests() {
            self.before.replace(if limited { Vec::new() } else { self.seize() });
        }
        self.keep_alive.set(settings.keep_alive);
        self.endpoints.replace(endpoints.iter().map(Rc::downgrade).collect());
        if self.limits_connections() {
            // Where there are connections there is a runtime to look after them.
            if self.shard().connections.value() > 0 {
                self.attend();
            }
        } else if let Some(task) = self.yielding.take() {
            task.abort();
        }
    }

    /// Whether the pool takes only so many requests.
    pub(super) fn limits_requests(&self) -> bool {
        self.limits.get().requests > 0
    }

    /// A request comes while there is no limit.
    pub(super) fn enter(&self) {
        self.free.update(|requests| requests + 1);
    }

    /// A request goes that came so.
    pub(super) fn leave(&self) {
        self.free.update(|requests| requests - 1);
        drop(self.before.borrow_mut().pop());
    }

    /// Counts the requests that came while there was no limit.
    fn seize(&self) -> Vec<Permit> {
        (0..self.free.get()).map(|_| self.pool.limiter.requests.seize()).collect()
    }

    /// How long connections are used.
    pub(in crate::upstream) fn keep_alive(&self) -> KeepAliveConfig {
        self.keep_alive.get()
    }

    fn shard(&self) -> &PoolShard {
        self.pool.series.shards.of(self.worker)
    }

    fn connections(&self) -> &Arc<Quota> {
        &self.pool.limiter.connections
    }

    fn limits_connections(&self) -> bool {
        self.limits.get().connections > 0
    }

    /// Lets a request wait that ran into this limit, unless too many do.
    pub(in crate::upstream) fn begin_waiting(
        &self,
        limit: Overflow,
    ) -> Result<Pending<'_>, Overloaded> {
        let pending_max = self.limits.get().pending;
        if self.pool.limiter.enter(pending_max) {
            self.shard().pending.add(1);
            return Ok(Pending(self));
        }
        self.shard().overflowed(if pending_max == 0 { limit } else { Overflow::Pending });
        Err(Overloaded)
    }

    /// Room for another connection, if need be that of an idle one.
    pub(in crate::upstream) fn take_room(self: &Rc<Self>) -> Option<Permit> {
        if self.limits_connections() {
            self.attend();
        }
        loop {
            let permit = self.connections().take();
            if permit.is_some() || !self.close_idle() {
                return permit;
            }
        }
    }

    /// Whether there is room for another connection.
    pub(in crate::upstream) fn has_room(&self) -> bool {
        !self.limits_connections() || self.connections().has_room()
    }

    /// Joins those who wait for room, and has idle connections closed everywhere.
    pub(in crate::upstream) fn queue_for_room(&self, seeker: Seeker) -> Ticket {
        let ticket = self.connections().queue(Some(seeker), clock::now());
        self.yield_idle();
        if self.connections().is_short() {
            self.connections().call();
        }
        ticket
    }

    /// Has an idle connection closed somewhere, for whoever comes next.
    pub(in crate::upstream) fn wish_for_room(&self) {
        self.connections().wish();
        self.yield_idle();
        if self.connections().is_short() {
            self.connections().call();
        }
    }

    /// Who needs a connection that nobody here uses.
    pub(in crate::upstream) fn claim(&self, seeker: Seeker) -> Claim {
        if !self.limits_connections() || !self.connections().is_short() {
            return Claim::Nobody;
        }
        self.connections().claim(seeker, self.patience(), clock::recent())
    }

    /// Somebody was given a connection and need not wait for room any more.
    pub(in crate::upstream) fn leave_line(&self, ticket: u64) {
        self.connections().leave(ticket);
    }

    /// Whether a connection in use has to be given up, because others have waited for too long.
    pub(in crate::upstream) fn concedes(&self, seeker: Seeker) -> bool {
        self.claim(seeker) == Claim::Urgent && self.connections().concede()
    }

    /// How long others wait while connections go from request to request here: half of what they
    /// may, so that nobody's time is over because somebody else is always faster.
    fn patience(&self) -> Duration {
        self.limits.get().pending_timeout.0 / 2
    }

    /// Gives idle connections up as far as others need them.
    pub(in crate::upstream) fn yield_idle(&self) {
        let quota = self.connections();
        if !self.limits_connections() || !quota.is_short() {
            return;
        }
        while quota.is_short() && self.close_idle() {}
        // Those of HTTP/2 take a moment to close: others may have promised enough.
        let endpoints = self.endpoints.borrow();
        for endpoint in endpoints.iter().filter_map(Weak::upgrade) {
            while endpoint.http2().has_idle() && quota.concede() {
                endpoint.http2().close_idle();
            }
        }
    }

    /// Closes the connection for HTTP/1.1 that was idle for the longest time.
    fn close_idle(&self) -> bool {
        let endpoints = self.endpoints.borrow();
        let idle = endpoints.iter().filter_map(Weak::upgrade);
        let idle = idle.filter_map(|endpoint| Some((endpoint.idle_since()?, endpoint)));
        let oldest = idle.min_by_key(|(since, _)| *since);
        oldest.is_some_and(|(_, endpoint)| endpoint.close_oldest())
    }

    /// Sees to it that idle connections are given up as soon as others need them.
    fn attend(self: &Rc<Self>) {
        let mut yielding = self.yielding.borrow_mut();
        if yielding.is_none() {
            let (terms, mut calls) = (Rc::downgrade(self), self.connections().calls());
            let task = tokio::task::spawn_local(async move {
                while let Some(terms) = terms.upgrade() {
                    terms.yield_idle();
                    drop(terms);
                    if calls.changed().await.is_err() {
                        return;
                    }
                }
            });
            *yielding = Some(task.abort_handle());
        }
    }
}

impl Drop for Terms {
    fn drop(&mut self) {
        if let Some(task) = self.yielding.get_mut() {
            task.abort();
        }
    }
}

impl Pending<'_> {
    /// Waits for this, but no longer than a request may.
    pub(in crate::upstream) async fn wait<T>(
        &self,
        what: impl Future<Output = T>,
    ) -> Result<T, Overloaded> {
        let timeout = self.0.limits.get().pending_timeout.0;
        tokio::time::timeout(timeout, what).await.map_err(|_| {
            self.0.shard().overflowed(Overflow::PendingTimeout);
            Overloaded
        })
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.shard().pending.add(-1);
        self.0.pool.limiter.exit();
    }
}

//! One worker's view of the pools: its load, its connections, the endpoints as it last saw them.

mod endpoint;
mod trial;
mod usable;

pub use endpoint::{LocalEndpoint, Place};

use super::balance::{Balance, Question};
use super::pool::Pool;
use super::transport::Protocol;
use crate::telemetry::shard::WorkerIndex;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use trial::Trials;
use usable::Usable;

/// How often idle connections are looked through.
pub const SWEEP: Duration = Duration::from_secs(5);

/// One worker's view of the pools of a snapshot, in the snapshot's order.
#[derive(Debug)]
pub struct LocalPools {
    worker: WorkerIndex,
    pools: Box<[Rc<LocalPool>]>,
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
    /// The pool's version that `endpoints` and `usable` show.
    version: Cell<u64>,
    endpoints: RefCell<Vec<Rc<LocalEndpoint>>>,
    usable: RefCell<Usable>,
    trials: Trials,
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
        let known: HashMap<_, _> =
            self.pools.iter().map(|local| (Arc::as_ptr(&local.pool), local)).collect();
        let pools = pools.iter().map(|pool| match known.get(&Arc::as_ptr(pool)) {
            Some(local) => Rc::clone(local),
            None => Rc::new(LocalPool::new(pool, self.worker)),
        });
        let pools: Box<[_]> = pools.collect();
        // Connections to endpoints that are gone are not kept until somebody asks for the pool.
        pools.iter().for_each(|pool| pool.refresh());
        Self { worker: self.worker, pools }
    }

    /// The pool of this number.
    pub fn get(&self, index: usize) -> Option<&Rc<LocalPool>> {
        self.pools.get(index)
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
            version: Cell::new(u64::MAX),
            endpoints: RefCell::default(),
            usable: RefCell::default(),
            trials: Trials::default(),
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
            None if self.usable.borrow().0.is_empty() => Offer::Nothing,
            None => Offer::Usable,
        }
    }

    /// Chooses an endpoint, one that was not tried yet if there is any, and takes a place there.
    pub fn take(&self, ask: &Ask<'_>) -> Option<Place> {
        self.refresh();
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let usable = self.usable.borrow();
        // Most requests are sent once: the list is made for the others alone.
        let untried = (!ask.tried.is_empty()).then(|| usable.without(ask.tried));
        let among = untried.as_ref().filter(|untried| !untried.0.is_empty()).unwrap_or(&usable);
        let random = ask.random;
        let chosen = ask.balance.choose(Question { in_flight: among, turn, random })?;
        among.0.get(chosen).map(|endpoint| Place::new(Rc::clone(endpoint)))
    }

    /// Whether there is an endpoint that was not tried yet.
    pub fn has_untried(&self, tried: &[Rc<LocalEndpoint>]) -> bool {
        self.refresh();
        !self.usable.borrow().without(tried).0.is_empty()
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
        let old = std::mem::take(&mut *endpoints);
        for endpoint in &*current.endpoints {
            // One that is spoken to in another way is another one.
            let known = old.iter().find(|local| {
                Arc::ptr_eq(&local.endpoint, endpoint)
                    && Arc::ptr_eq(&local.transport, &current.transport)
            });
            endpoints.push(known.map_or_else(
                || {
                    let transport = Arc::clone(&current.transport);
                    Rc::new(LocalEndpoint::new(endpoint, &self.pool, self.worker, transport))
                },
                Rc::clone,
            ));
        }
        for gone in old {
            if !endpoints.iter().any(|endpoint| Rc::ptr_eq(endpoint, &gone)) {
                gone.retire();
            }
        }
        self.trials.renew(&endpoints);
        let usable = endpoints.iter().filter(|local| local.endpoint.is_usable());
        self.usable.borrow_mut().0 = usable.cloned().collect();
    }
}

impl Drop for LocalPool {
    fn drop(&mut self) {
        for endpoint in self.endpoints.get_mut() {
            endpoint.retire();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Ask, Balance, LocalEndpoint, LocalPool, LocalPools, Place};
    use crate::telemetry::metrics::Metrics;
    use crate::telemetry::shard::WorkerIndex;
    use crate::upstream::registry::Registry;
    use std::net::SocketAddr;
    use std::rc::Rc;
    use std::sync::Arc;

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn take(
        pool: &LocalPool,
        balance: &Balance,
        random: u64,
        tried: &[Rc<LocalEndpoint>],
    ) -> Place {
        pool.take(&Ask { balance, random, hash: None, tried }).unwrap()
    }

    #[test]
    fn a_second_attempt_goes_to_another_endpoint_if_there_is_one() {
        let registry = Registry::new(Arc::new(Metrics::new(1)));
        let pool = registry.pool("stable");
        pool.replace([1, 2].map(address));
        let pools = LocalPools::new(WorkerIndex(0)).adopt(&[Arc::clone(&pool)]);
        let local = pools.get(0).unwrap();
        for random in (0..100_u64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15)) {
            let first = take(local, &Balance::Random, random, &[]);
            let tried = [Rc::clone(first.endpoint())];
            let second = take(local, &Balance::Random, random, &tried);
            assert!(!Rc::ptr_eq(first.endpoint(), second.endpoint()));
        }
        pool.replace([address(1)]);
        let first = take(local, &Balance::Random, 0, &[]);
        let second = take(local, &Balance::Random, 0, &[Rc::clone(first.endpoint())]);
        assert!(Rc::ptr_eq(first.endpoint(), second.endpoint()));
    }

    #[test]
    fn the_less_busy_endpoint_is_taken() {
        let registry = Registry::new(Arc::new(Metrics::new(1)));
        let pool = registry.pool("stable");
        pool.replace([1, 2].map(address));
        let pools = LocalPools::new(WorkerIndex(0)).adopt(&[Arc::clone(&pool)]);
        let local = pools.get(0).unwrap();
        let first = take(local, &Balance::LeastRequest, 7, &[]);
        let second = take(local, &Balance::LeastRequest, 7, &[]);
        assert!(!Rc::ptr_eq(first.endpoint(), second.endpoint()));
    }
}

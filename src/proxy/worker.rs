//! What a worker keeps between requests: the snapshot in use, its pools, its random numbers.

use super::deliver::deliver;
use super::downstream::Downstream;
use super::exchange::ResponseBody;
use super::snapshot::{LocalSnapshot, Snapshot};
use crate::base::deadline::Deadlines;
use crate::base::incoming::Incoming;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::shard::WorkerIndex;
use crate::upstream::changes::Changes;
use crate::upstream::local::{LocalPools, SWEEP};
use arc_swap::ArcSwap;
use arc_swap::cache::Cache;
use http::{Request, Response};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The place from which the snapshot in use is read.
pub type SnapshotCell = Arc<ArcSwap<Snapshot>>;

/// One worker's part of the proxy.
#[derive(Debug)]
pub struct Proxy {
    /// Which worker this is.
    pub(super) worker: WorkerIndex,
    /// What is counted.
    pub(super) metrics: Arc<Metrics>,
    cache: RefCell<Cache<SnapshotCell, Arc<Snapshot>>>,
    local: RefCell<Rc<LocalSnapshot>>,
    random: RefCell<SmallRng>,
    deadlines: RefCell<HashMap<Duration, Rc<Deadlines>>>,
    /// Those that were asked for last, which are asked for next more often than not.
    recent: RefCell<Option<Rc<Deadlines>>>,
    changes: Changes,
}

impl Proxy {
    /// A worker's part, to be made on the worker's own thread; `changes` are those of the registry
    /// of the pools.
    pub fn new(
        worker: WorkerIndex,
        metrics: Arc<Metrics>,
        snapshot: SnapshotCell,
        changes: Changes,
    ) -> Self {
        let mut cache = Cache::new(snapshot);
        let snapshot = Arc::clone(cache.load());
        let pools = LocalPools::new(worker).adopt(&snapshot.pools);
        Self {
            worker,
            metrics,
            cache: RefCell::new(cache),
            local: RefCell::new(Rc::new(LocalSnapshot { snapshot, pools })),
            random: RefCell::new(SmallRng::seed_from_u64(rand::random())),
            deadlines: RefCell::default(),
            recent: RefCell::default(),
            changes,
        }
    }

    /// The snapshot in use now, to be read once per request.
    pub(super) fn snapshot(&self) -> Rc<LocalSnapshot> {
        let mut cache = self.cache.borrow_mut();
        let current = cache.load();
        let mut local = self.local.borrow_mut();
        if !Arc::ptr_eq(current, &local.snapshot) {
            let pools = local.pools.adopt(&current.pools);
            *local = Rc::new(LocalSnapshot { snapshot: Arc::clone(current), pools });
        }
        Rc::clone(&local)
    }

    /// A fresh random number.
    pub(super) fn random(&self) -> u64 {
        self.random.borrow_mut().random()
    }

    /// The deadlines of this length.
    pub(super) fn deadlines(&self, length: Duration) -> Rc<Deadlines> {
        let mut recent = self.recent.borrow_mut();
        if let Some(deadlines) = recent.as_ref().filter(|recent| recent.length() == length) {
            return Rc::clone(deadlines);
        }
        let mut all = self.deadlines.borrow_mut();
        let deadlines = all.entry(length).or_insert_with(|| Rc::new(Deadlines::new(length)));
        Rc::clone(recent.insert(Rc::clone(deadlines)))
    }

    /// The service of one client connection.
    pub fn service(
        self: Rc<Self>,
        downstream: Downstream,
    ) -> impl tower::Service<
        Request<Incoming>,
        Response = Response<ResponseBody>,
        Error = Infallible,
        Future = impl Future<Output = Result<Response<ResponseBody>, Infallible>>,
    > + Clone {
        let (proxy, downstream) = (self, Rc::new(downstream));
        tower::service_fn(move |request| {
            deliver(Rc::clone(&proxy), Rc::clone(&downstream), request)
        })
    }

    /// Looks after idle connections, lets go of old snapshots and takes changes of the endpoints in
    /// without being asked for them, for as long as it is polled.
    pub async fn sweep(&self) {
        let mut noticing = self.changes.listen();
        let mut interval = tokio::time::interval(SWEEP);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                () = noticing.changed() => {
                    self.snapshot().pools.refresh();
                    continue;
                }
            }
            self.snapshot().pools.sweep();
            // Lengths that no request is using: those of earlier configurations for one.
            *self.recent.borrow_mut() = None;
            self.deadlines.borrow_mut().retain(|_, deadlines| Rc::strong_count(deadlines) > 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Proxy;
    use crate::base::incoming::Incoming;
    use crate::config::reload::empty_cell;
    use crate::proxy::downstream::Downstream;
    use crate::telemetry::metrics::Metrics;
    use crate::telemetry::shard::WorkerIndex;
    use crate::upstream::changes::Changes;
    use http::Request;
    use std::rc::Rc;
    use std::sync::Arc;

    /// The future is moved into its connection for every request, so its size is paid each time.
    const FUTURE_BYTES_MAX: usize = 1400;

    fn future_size<S: tower::Service<Request<Incoming>>>(_: &S) -> usize {
        size_of::<S::Future>()
    }

    #[test]
    fn the_future_of_a_request_stays_small() {
        let metrics = Arc::new(Metrics::new(1));
        let cell = empty_cell(&metrics);
        let proxy = Rc::new(Proxy::new(WorkerIndex(0), metrics, cell, Changes::default()));
        let downstream = Downstream::new(([127, 0, 0, 1], 1).into(), Arc::default());
        let size = future_size(&proxy.service(downstream));
        assert!(size <= FUTURE_BYTES_MAX, "{size} bytes");
    }
}

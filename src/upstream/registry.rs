//! Every pool that is alive, by name: what a new snapshot finds again of the one before.

use super::changes::Changes;
use super::endpoint::EndpointState;
use super::pool::Pool;
use crate::telemetry::metrics::{Metric, Metrics, Source};
use crate::telemetry::sink::Sink;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// The pools that some snapshot still names.
#[derive(Debug)]
pub struct Registry {
    metrics: Arc<Metrics>,
    pools: Mutex<HashMap<String, Weak<Pool>>>,
    changes: Changes,
}

impl Registry {
    /// No pools yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, pools: Mutex::default(), changes: Changes::default() }
    }

    /// The pool of this name: the living one, else a new one without endpoints.
    pub fn pool(&self, name: &str) -> Arc<Pool> {
        let mut pools = self.pools.lock();
        if let Some(pool) = pools.get(name).and_then(Weak::upgrade) {
            return pool;
        }
        pools.retain(|_, pool| pool.strong_count() > 0);
        let pool = Pool::new(self.metrics.pool(name)).announcing(self.changes.clone());
        let pool = Arc::new(pool);
        pools.insert(name.to_owned(), Arc::downgrade(&pool));
        pool
    }

    /// What tells of changes in the pools, and in which of them are in use.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }
}

impl Source for Registry {
    fn collect(&self, sink: &mut Sink) {
        let mut pools: Vec<_> = self.pools.lock().values().filter_map(Weak::upgrade).collect();
        pools.sort_by(|a, b| a.name.cmp(&b.name));
        for pool in pools {
            let endpoints = pool.endpoints();
            for state in EndpointState::ALL {
                let number = endpoints.iter().filter(|endpoint| endpoint.state() == state).count();
                let number = i64::try_from(number).unwrap_or(i64::MAX);
                sink.integer(Metric::Endpoints, &[&pool.name, state.name()], number);
            }
            if pool.members().transport.tls.is_some() {
                for (result, count) in
                    ["accepted", "rejected"].iter().zip(pool.certificate_reloads())
                {
                    sink.count(Metric::PoolCertificateReloads, &[&pool.name, result], count);
                }
            }
        }
    }
}

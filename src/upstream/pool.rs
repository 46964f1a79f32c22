//! A pool: interchangeable endpoints under one name; outlives snapshots.

use super::balance::BalanceConfig;
use super::endpoint::Endpoint;
use crate::base::problem::Spanned;
use crate::base::unsupported::Unsupported;
use crate::telemetry::series::PoolSeries;
use arc_swap::ArcSwap;
use schemars::JsonSchema;
use serde::Deserialize;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Interchangeable endpoints under one name.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PoolConfig {
    /// The name that arms, `fallback` and the override header use.
    pub name: Spanned<String>,
    /// The addresses, each `IP:PORT`.
    #[schemars(extend("examples" = [["10.0.0.1:8080", "10.0.0.2:8080"]]))]
    pub endpoints: Vec<Spanned<SocketAddr>>,
    /// How a request's endpoint is chosen among the usable ones.
    #[serde(default)]
    pub balance: BalanceConfig,
    #[expect(missing_docs, reason = "refused")]
    #[schemars(skip)]
    pub dns: Option<Unsupported>,
    #[expect(missing_docs, reason = "refused")]
    #[schemars(skip)]
    pub kubernetes: Option<Unsupported>,
    #[expect(missing_docs, reason = "refused")]
    #[schemars(skip)]
    pub protocol: Option<Unsupported>,
    #[expect(missing_docs, reason = "refused")]
    #[schemars(skip)]
    pub tls: Option<Unsupported>,
    #[expect(missing_docs, reason = "refused")]
    #[schemars(skip)]
    pub health: Option<Unsupported>,
    #[expect(missing_docs, reason = "refused")]
    #[schemars(skip)]
    pub outlier: Option<Unsupported>,
    #[expect(missing_docs, reason = "refused")]
    #[schemars(skip)]
    pub limits: Option<Unsupported>,
    #[expect(missing_docs, reason = "refused")]
    #[schemars(skip)]
    pub slow_start: Option<Unsupported>,
}

/// The live state of a pool, shared by all workers and by every snapshot that names it.
#[derive(Debug)]
pub struct Pool {
    /// Its name.
    pub name: Arc<str>,
    /// What is counted for it.
    pub series: Arc<PoolSeries>,
    endpoints: ArcSwap<Box<[Arc<Endpoint>]>>,
    usable: AtomicUsize,
    version: AtomicU64,
}

impl Pool {
    /// A pool without endpoints.
    pub fn new(series: Arc<PoolSeries>) -> Self {
        Self {
            name: Arc::clone(&series.pool),
            series,
            endpoints: ArcSwap::default(),
            usable: AtomicUsize::new(0),
            version: AtomicU64::new(0),
        }
    }

    /// Whether any endpoint may get requests.
    pub fn is_usable(&self) -> bool {
        self.usable.load(Ordering::Relaxed) > 0
    }

    /// A number that grows whenever the endpoints or the state of one of them change.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The endpoints now.
    pub fn endpoints(&self) -> Arc<Box<[Arc<Endpoint>]>> {
        self.endpoints.load_full()
    }

    /// Replaces the endpoints; an address that stays keeps its state. The control plane alone
    /// calls this.
    pub fn replace(&self, addresses: impl IntoIterator<Item = SocketAddr>) {
        let old = self.endpoints();
        let mut new: Vec<Arc<Endpoint>> = Vec::new();
        let mut known = std::collections::HashMap::new();
        for endpoint in &**old {
            known.insert(endpoint.address, endpoint);
        }
        let mut seen = std::collections::HashSet::new();
        for address in addresses {
            if seen.insert(address) {
                new.push(known.get(&address).map_or_else(
                    || Arc::new(Endpoint::new(address)),
                    |endpoint| Arc::clone(endpoint),
                ));
            }
        }
        let same = old.len() == new.len() && old.iter().zip(&new).all(|(a, b)| Arc::ptr_eq(a, b));
        if same {
            return;
        }
        self.endpoints.store(Arc::new(new.into_boxed_slice()));
        self.refresh();
    }

    /// Counts the usable endpoints anew and lets the workers see the change.
    fn refresh(&self) {
        let usable = self.endpoints().iter().filter(|endpoint| endpoint.is_usable()).count();
        self.usable.store(usable, Ordering::Relaxed);
        self.version.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::Pool;
    use crate::telemetry::series::PoolSeries;
    use std::sync::Arc;

    #[test]
    fn an_address_that_stays_keeps_its_endpoint() {
        let pool = Pool::new(Arc::new(PoolSeries::new("stable", 1)));
        assert!(!pool.is_usable());
        let [a, b, c] = [1, 2, 3].map(|port| ([127, 0, 0, 1], port).into());
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
}

//! A pool: interchangeable endpoints under one name; outlives snapshots.

use super::balance::BalanceConfig;
use super::endpoint::Endpoint;
use super::transport::{Protocol, Transport};
use crate::base::problem::Spanned;
use crate::base::unsupported::Unsupported;
use crate::telemetry::series::PoolSeries;
use crate::tls::ClientTlsConfig;
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
    /// Which version of HTTP the endpoints speak. Without it: `auto` with `tls`, else `http1`.
    #[serde(default)]
    pub protocol: Option<Spanned<Protocol>>,
    /// Speaks TLS with the endpoints.
    #[serde(default)]
    pub tls: Option<Spanned<ClientTlsConfig>>,
    #[expect(missing_docs, reason = "refused")]
    #[schemars(skip)]
    pub dns: Option<Unsupported>,
    #[expect(missing_docs, reason = "refused")]
    #[schemars(skip)]
    pub kubernetes: Option<Unsupported>,
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

impl PoolConfig {
    /// Which version of HTTP is spoken.
    pub fn protocol(&self) -> Protocol {
        let default = if self.tls.is_some() { Protocol::Auto } else { Protocol::Http1 };
        self.protocol.as_ref().map_or(default, |protocol| protocol.value)
    }
}

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
    /// New certificate files that were taken into use, and those that were not.
    certificate_reloads: [AtomicU64; 2],
}

/// The endpoints of a pool and how they are spoken to, which change together.
#[derive(Debug, Clone, Default)]
pub struct Members {
    /// The endpoints, in the order of the document.
    pub endpoints: Arc<[Arc<Endpoint>]>,
    /// How they are spoken to.
    pub transport: Arc<Transport>,
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
            certificate_reloads: Default::default(),
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
    pub fn endpoints(&self) -> Arc<[Arc<Endpoint>]> {
        Arc::clone(&self.members.load().endpoints)
    }

    /// The endpoints now, and how they are spoken to.
    pub fn members(&self) -> Arc<Members> {
        self.members.load_full()
    }

    /// Replaces the endpoints; an address that stays keeps its state. The control plane alone
    /// calls this.
    pub fn replace(&self, addresses: impl IntoIterator<Item = SocketAddr>) {
        let transport = Arc::clone(&self.members.load().transport);
        self.replace_all(addresses, transport);
    }

    /// Replaces how the endpoints are spoken to. The control plane alone calls this.
    pub fn speak(&self, transport: Arc<Transport>) {
        let addresses: Vec<_> = self.endpoints().iter().map(|endpoint| endpoint.address).collect();
        self.replace_all(addresses, transport);
    }

    /// Replaces the endpoints and how they are spoken to; connections stay in use if the new way is
    /// like the old. The control plane alone calls this.
    pub fn replace_all(
        &self,
        addresses: impl IntoIterator<Item = SocketAddr>,
        transport: Arc<Transport>,
    ) {
        let before = self.members();
        let old = &before.endpoints;
        let transport = if transport.is_like(&before.transport) {
            Arc::clone(&before.transport)
        } else {
            transport
        };
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
        if same && Arc::ptr_eq(&transport, &before.transport) {
            return;
        }
        self.members.store(Arc::new(Members { endpoints: new.into(), transport }));
        self.refresh();
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

//! Where a pool's endpoints come from: one file per source.

pub mod dns;
mod findings;
pub mod kubernetes;
pub mod listed;

pub use findings::{Findings, Last, Missed};

use super::settings::PoolConfig;
use crate::cluster::Cluster;
use dns::DnsConfig;
#[cfg(feature = "kube")]
use kubernetes::KubernetesConfig;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// The most endpoints of one pool.
pub const ENDPOINTS_MAX: usize = 10_000;

/// An endpoint as a source found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its part of the pool's requests, relative to the weights of the others; at least 1.
    pub weight: u32,
    /// Whether it is going away: it gets no new requests, and those in flight finish.
    pub draining: bool,
}

impl From<SocketAddr> for Found {
    fn from(address: SocketAddr) -> Self {
        Self { address, weight: 1, draining: false }
    }
}

/// Where endpoints are looked for that the document does not list: the settings of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The addresses of a name.
    Dns(DnsConfig),
    /// The endpoints of a Service, or pods chosen by their labels.
    #[cfg(feature = "kube")]
    Kubernetes {
        /// Which ones.
        config: KubernetesConfig,
        /// Whether they are spoken to over TLS.
        tls: bool,
    },
}

impl Source {
    /// The source of a pool; nothing if its endpoints are listed.
    pub fn of(config: &PoolConfig) -> Option<Self> {
        if let Some(dns) = &config.dns {
            return Some(Self::Dns(dns.value.clone()));
        }
        #[cfg(feature = "kube")]
        if let Some(kubernetes) = &config.kubernetes {
            let (config, tls) = (kubernetes.value.clone(), config.tls.is_some());
            return Some(Self::Kubernetes { config, tls });
        }
        None
    }

    /// Whether it is a cluster, which knows its endpoints, and says so when it can not tell them.
    pub const fn is_cluster(&self) -> bool {
        !matches!(self, Self::Dns(_))
    }

    /// Whether what was found last by these other settings holds by these too, until there is an
    /// answer.
    pub fn goes_on_from(&self, before: &Self) -> bool {
        match (self, before) {
            (Self::Dns(config), Self::Dns(before)) => config.host == before.host,
            #[cfg(feature = "kube")]
            _ => false,
        }
    }

    /// Looks for endpoints, and tells what is found, for as long as it is polled.
    pub async fn follow(self, findings: Findings, cluster: Arc<Cluster>) {
        match self {
            Self::Dns(config) => {
                drop(cluster);
                dns::follow(config, findings).await;
            }
            #[cfg(feature = "kube")]
            Self::Kubernetes { config, tls } => {
                kubernetes::follow(config, tls, findings, cluster).await;
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Dns(config) => f.write_str(&config.host),
            #[cfg(feature = "kube")]
            Self::Kubernetes { config, .. } => config.fmt(f),
        }
    }
}

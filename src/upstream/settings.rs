//! What a configuration says of a pool, and what of that its workers need.

use super::balance::BalanceConfig;
use super::discovery::dns::DnsConfig;
use super::discovery::kubernetes::KubernetesConfig;
use super::discovery::listed::EndpointConfig;
use super::health::HealthConfig;
use super::keep_alive::KeepAliveConfig;
use super::limits::PoolLimitsConfig;
use super::outlier::OutlierConfig;
use super::transport::Protocol;
use crate::base::problem::Spanned;
use crate::base::units;
use crate::tls::ClientTlsConfig;
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

/// Interchangeable endpoints under one name, listed or looked up: one of `endpoints`, `dns` and
/// `kubernetes`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PoolConfig {
    /// The name that arms, `fallback` and the override header use.
    pub name: Spanned<String>,
    /// The addresses, each `IP:PORT` or a map of `address` and `weight`.
    #[serde(default)]
    pub endpoints: Option<Vec<Spanned<EndpointConfig>>>,
    /// A name whose addresses are the endpoints.
    #[serde(default)]
    pub dns: Option<Spanned<DnsConfig>>,
    /// The endpoints of a Service in the cluster, or pods chosen by their labels.
    #[serde(default)]
    pub kubernetes: Option<Spanned<KubernetesConfig>>,
    /// How a request's endpoint is chosen among the usable ones.
    #[serde(default)]
    pub balance: BalanceConfig,
    /// Which version of HTTP the endpoints speak. Without it: `auto` with `tls`, else what a
    /// Service's `appProtocol` says, else `http1`.
    #[serde(default)]
    pub protocol: Option<Spanned<Protocol>>,
    /// Speaks TLS with the endpoints.
    #[serde(default)]
    pub tls: Option<Spanned<ClientTlsConfig>>,
    /// Asks each endpoint for its health from time to time.
    #[serde(default)]
    pub health: Option<Spanned<HealthConfig>>,
    /// Takes endpoints out for a while that fail. Without it: those that do not answer.
    #[serde(default)]
    pub outlier: Option<Spanned<OutlierConfig>>,
    /// The share of healthy endpoints, in percent, below which health and ejections are ignored;
    /// 0 for never.
    #[serde(default)]
    #[schemars(range(max = 100))]
    pub panic_threshold: Spanned<u8>,
    /// The most that is asked of the pool at one time.
    #[serde(default)]
    pub limits: PoolLimitsConfig,
    /// How long connections to the endpoints are used.
    #[serde(default)]
    pub keep_alive: KeepAliveConfig,
    /// How long a new endpoint takes to get its full share of requests; 0 for at once.
    #[serde(default)]
    pub slow_start: units::Duration,
}

impl PoolConfig {
    /// Which version of HTTP is spoken.
    pub fn protocol(&self) -> Protocol {
        let default = if self.tls.is_some() { Protocol::Auto } else { Protocol::Http1 };
        self.protocol.as_ref().map_or(default, |protocol| protocol.value)
    }

    /// The endpoints that the document lists; none if they are looked up.
    pub fn listed(&self) -> &[Spanned<EndpointConfig>] {
        self.endpoints.as_deref().unwrap_or_default()
    }

    /// When endpoints are ejected.
    pub fn outlier(&self) -> OutlierConfig {
        self.outlier.as_ref().map_or_else(OutlierConfig::unsaid, |outlier| outlier.value.clone())
    }
}

/// What the workers need to know of a pool's settings; changes together with how its endpoints are
/// spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSettings {
    /// When endpoints are ejected.
    pub outlier: OutlierConfig,
    /// Whether a new endpoint gets no request before its first health check.
    pub check_first: bool,
    /// The share of healthy endpoints in percent below which health is ignored; 0 for never.
    pub panic_threshold: u8,
    /// The most that is asked of the pool at one time.
    pub limits: PoolLimitsConfig,
    /// How long connections are used.
    pub keep_alive: KeepAliveConfig,
    /// How long a new endpoint takes to get its full share.
    pub slow_start: Duration,
    /// Whether who finds the endpoints may say which version of HTTP they speak.
    pub protocol_open: bool,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            outlier: OutlierConfig::unsaid(),
            check_first: false,
            panic_threshold: 0,
            limits: PoolLimitsConfig::default(),
            keep_alive: KeepAliveConfig::default(),
            slow_start: Duration::ZERO,
            protocol_open: false,
        }
    }
}

impl From<&PoolConfig> for PoolSettings {
    fn from(config: &PoolConfig) -> Self {
        Self {
            outlier: config.outlier(),
            check_first: config.health.as_ref().is_some_and(|health| health.check_first),
            panic_threshold: config.panic_threshold.value,
            limits: config.limits,
            keep_alive: config.keep_alive,
            slow_start: config.slow_start.0,
            protocol_open: config.protocol.is_none() && config.tls.is_none(),
        }
    }
}

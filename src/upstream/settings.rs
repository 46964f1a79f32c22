//! What a configuration says of a pool, and what of that its workers need.

use super::balance::BalanceConfig;
use super::transport::Protocol;
use crate::base::problem::Spanned;
use crate::base::unsupported::Unsupported;
use crate::tls::ClientTlsConfig;
use schemars::JsonSchema;
use serde::Deserialize;
use std::net::SocketAddr;

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

/// What the workers need to know of a pool's settings; changes together with how its endpoints are
/// spoken to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PoolSettings {}

impl From<&PoolConfig> for PoolSettings {
    fn from(_: &PoolConfig) -> Self {
        Self {}
    }
}

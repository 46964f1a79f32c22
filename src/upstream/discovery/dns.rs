//! Endpoints by DNS: every address of a name, looked up again when its records grow old.

use crate::base::units;
use schemars::JsonSchema;
use serde::Deserialize;

/// A name whose addresses are the endpoints of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DnsConfig {
    /// The name, such as `shop.example.com`; search domains of the system apply.
    pub host: String,
    /// The port of all endpoints.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// The shortest time between two look-ups, whatever the records' time to live says.
    #[serde(default = "DnsConfig::ttl_min_default")]
    pub ttl_min: units::Duration,
    /// The longest time between two look-ups.
    #[serde(default = "DnsConfig::ttl_max_default")]
    pub ttl_max: units::Duration,
    /// How long a look-up may take.
    #[serde(default = "DnsConfig::timeout_default")]
    pub timeout: units::Duration,
    /// Name servers to ask in place of the system's, each `IP:PORT`.
    #[serde(default)]
    pub servers: Vec<std::net::SocketAddr>,
}

impl DnsConfig {
    const fn ttl_min_default() -> units::Duration {
        units::Duration::from_secs(5)
    }

    const fn ttl_max_default() -> units::Duration {
        units::Duration::from_secs(60)
    }

    const fn timeout_default() -> units::Duration {
        units::Duration::from_secs(5)
    }
}

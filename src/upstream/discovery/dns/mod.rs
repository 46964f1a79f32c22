//! Endpoints by DNS: every address of a name, looked up again when its records grow old.

mod follow;
#[cfg(feature = "dns")]
mod names;
#[cfg(feature = "dns")]
mod records;
mod schedule;
#[cfg(not(feature = "dns"))]
mod system;

use super::Findings;
use super::Missed;
use crate::base::units;
#[cfg(feature = "dns")]
use records::Records as Resolver;
use schemars::JsonSchema;
use serde::Deserialize;
use std::net::IpAddr;
use std::time::Duration;
#[cfg(not(feature = "dns"))]
use system::System as Resolver;
use tokio::time::Instant;

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
    /// Whether this build can ask other name servers than the system does.
    pub const ASKS_SERVERS: bool = cfg!(feature = "dns");
    /// The most name servers of a pool.
    pub const SERVERS_MAX: usize = 8;

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

/// What a look-up brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Answer {
    /// The addresses of both families, in any order.
    addresses: Vec<IpAddr>,
    /// The least time to live of the records; nothing where that is not known.
    ttl: Option<Duration>,
    /// The family of addresses that could not be asked for, while the other could.
    unknown: Option<Family>,
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// Who knows the addresses of the name.
trait LookUp: Send {
    /// Asks for the addresses, and comes to an end by then.
    fn look_up(&mut self, deadline: Instant)
    -> impl Future<Output = Result<Answer, Missed>> + Send;
}

/// Keeps the endpoints of a pool the addresses of a name, for as long as it is polled.
pub(super) async fn follow(config: DnsConfig, findings: Findings) {
    let resolver = Resolver::new(&config);
    follow::follow(&config, resolver, findings).await;
}

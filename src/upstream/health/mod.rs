//! Active health checks: each endpoint of a pool is asked from time to time, once per process.
//!
//! A check is a file with an `ask`, its settings here, and its place in `Probe`.

mod grpc;
mod history;
mod http;
mod http2;
mod schedule;
mod tcp;

pub use history::Health;
pub(super) use schedule::apply;

use super::transport::{ConnectError, Transport};
use crate::base::status::StatusPattern;
use crate::base::units;
use schemars::JsonSchema;
use serde::Deserialize;
use std::net::SocketAddr;

/// As whom checks ask.
const USER_AGENT: &str = "serin-health-check";

/// How the endpoints of a pool are asked for their health; exactly one of `http`, `tcp` and `grpc`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HealthConfig {
    /// A request whose status tells.
    pub http: Option<HttpProbeConfig>,
    /// A connection that can be made.
    pub tcp: Option<TcpProbeConfig>,
    /// A call of `grpc.health.v1.Health/Check`.
    pub grpc: Option<GrpcProbeConfig>,
    /// The port to ask, if it is not the endpoint's own.
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// The time between two checks of an endpoint.
    pub interval: units::Duration,
    /// How much of the interval is random, in percent, so that replicas do not ask together.
    #[schemars(range(max = 100))]
    pub jitter_percent: u8,
    /// How long a check may take; one that takes longer has failed.
    pub timeout: units::Duration,
    /// After so many failures in a row an endpoint is unhealthy.
    #[schemars(range(min = 1))]
    pub unhealthy_threshold: u32,
    /// After so many successes in a row an unhealthy endpoint is healthy again.
    #[schemars(range(min = 1))]
    pub healthy_threshold: u32,
    /// Whether a new endpoint gets requests only after its first successful check.
    pub check_first: bool,
}

/// A request whose status tells.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HttpProbeConfig {
    /// The path to ask for.
    pub path: String,
    /// The `Host` of the request. Default: the endpoint's address.
    pub host: Option<String>,
    /// The statuses of a healthy endpoint, each a number or a class such as `2xx`.
    pub statuses: Vec<StatusPattern>,
}

/// A connection that can be made, through TLS if the pool speaks it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TcpProbeConfig {}

/// A call of `grpc.health.v1.Health/Check`, over HTTP/2 whatever the pool speaks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GrpcProbeConfig {
    /// The service to ask for. Default: the server as a whole.
    pub service: String,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            http: None,
            tcp: None,
            grpc: None,
            port: None,
            interval: units::Duration::from_secs(5),
            jitter_percent: 10,
            timeout: units::Duration::from_secs(1),
            unhealthy_threshold: 3,
            healthy_threshold: 2,
            check_first: false,
        }
    }
}

impl Default for HttpProbeConfig {
    fn default() -> Self {
        Self { path: "/".to_owned(), host: None, statuses: vec![StatusPattern::class(2)] }
    }
}

/// What an endpoint is asked, over a connection of its own.
#[derive(Debug)]
enum Probe {
    Http(HttpProbeConfig),
    Tcp,
    Grpc(GrpcProbeConfig),
}

impl Probe {
    /// The one that the settings name.
    fn new(config: &HealthConfig) -> Self {
        match (&config.http, &config.grpc) {
            (Some(http), _) => Self::Http(http.clone()),
            (None, Some(grpc)) => Self::Grpc(grpc.clone()),
            (None, None) => Self::Tcp,
        }
    }

    /// Asks once, and says why the endpoint is not healthy if so. Takes as long as the endpoint
    /// likes.
    async fn ask(&self, transport: &Transport, address: SocketAddr) -> Result<(), String> {
        match self {
            Self::Http(config) => http::ask(config, transport, address).await,
            Self::Tcp => tcp::ask(transport, address).await,
            Self::Grpc(config) => grpc::ask(config, transport, address).await,
        }
    }
}

/// Why there is no connection, in words.
fn failed(error: &ConnectError) -> String {
    match error {
        ConnectError::Failed(error) => error.to_string(),
        ConnectError::Tls(error) => format!("the TLS handshake failed: {error}"),
        ConnectError::Protocol(why) => (*why).to_owned(),
        // What only those meet who share connections, or the time that they take.
        ConnectError::TimedOut | ConnectError::Full | ConnectError::Overloaded => {
            "there was no room, or no time".to_owned()
        }
    }
}

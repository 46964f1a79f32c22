//! Listening sockets and client connections; what a connection serves is handed in.

pub mod accept;
mod connections;
mod detect;
pub mod http;
mod http2;
pub mod set;
pub mod socket;
pub mod worker;

use crate::base::problem::Spanned;
use crate::base::unsupported::Unsupported;
use crate::predicate::Cidrs;
use crate::telemetry::metrics::{Metric, Sink, Source};
use crate::telemetry::shard::{Counter, Gauge, Shards};
use schemars::JsonSchema;
use serde::Deserialize;
use std::net::SocketAddr;
use std::sync::Arc;

/// A bound socket.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerConfig {
    /// The name, for metrics and the log.
    pub name: Spanned<String>,
    /// The address and port; port 0 takes a free one.
    #[schemars(with = "SocketAddr", extend("examples" = ["0.0.0.0:8080", "[::]:8080"]))]
    pub address: Spanned<SocketAddr>,
    /// The peers whose `X-Forwarded-*` fields count, as CIDRs; those of others are replaced.
    #[serde(default)]
    pub trusted_proxies: Cidrs,
    /// The name to add to `Via` in both directions; without it no `Via` is added.
    #[serde(default)]
    pub via: Option<Spanned<String>>,
    #[expect(missing_docs, reason = "refused")]
    #[schemars(skip)]
    pub tls: Option<Unsupported>,
}

/// What a listener's connections need to know of it, as it was when they were accepted.
#[derive(Debug)]
pub struct Settings<E> {
    /// The listener's name.
    pub name: Arc<str>,
    /// What is counted for it.
    pub series: Arc<ListenerSeries>,
    /// What the served side wants to know, unknown to this module.
    pub extension: Arc<E>,
}

impl<E> Clone for Settings<E> {
    fn clone(&self) -> Self {
        Self {
            name: Arc::clone(&self.name),
            series: Arc::clone(&self.series),
            extension: Arc::clone(&self.extension),
        }
    }
}

/// What is counted for one listener.
#[derive(Debug)]
pub struct ListenerSeries {
    name: Arc<str>,
    shards: Shards<ListenerShard>,
}

/// One worker's part of a [`ListenerSeries`].
#[derive(Debug, Default)]
struct ListenerShard {
    open: Gauge,
    accepted: Counter,
    accept_errors: Counter,
}

impl ListenerSeries {
    /// Nothing counted yet.
    pub fn new(name: &str, workers: usize) -> Self {
        Self { name: name.into(), shards: Shards::new(workers) }
    }
}

impl Source for ListenerSeries {
    fn collect(&self, sink: &mut Sink) {
        let open = self.shards.iter().map(|shard| shard.open.value()).sum();
        let accepted = self.shards.iter().map(|shard| shard.accepted.value()).sum();
        let errors = self.shards.iter().map(|shard| shard.accept_errors.value()).sum();
        sink.integer(Metric::DownstreamConnections, &[&self.name], open);
        sink.count(Metric::DownstreamConnectionsTotal, &[&self.name], accepted);
        sink.count(Metric::AcceptErrors, &[&self.name], errors);
    }
}

//! Listening sockets and client connections; what a connection serves is handed in.

pub mod accept;
pub mod admission;
mod connections;
mod date;
mod detect;
mod flood;
mod frames;
mod handshake;
pub mod http;
pub mod http1;
mod http2;
pub mod limits;
pub mod proxy_protocol;
pub mod refusal;
pub mod set;
pub mod socket;
#[cfg(test)]
mod testing;
mod timers;
pub mod worker;

use crate::base::problem::Spanned;
use crate::predicate::Cidrs;
use crate::telemetry::metrics::{Metric, Source};
use crate::telemetry::shard::{Counter, Gauge, Shards};
use crate::telemetry::sink::Sink;
use crate::tls::{Server, ServerTlsConfig};
use admission::Census;
use limits::{Limits, ListenerLimitsConfig, ListenerTimeoutsConfig};
use parking_lot::Mutex;
use proxy_protocol::ProxyProtocolConfig;
use refusal::{Refusal, Refusals};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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
    /// TLS; without it, connections are plain.
    #[serde(default)]
    pub tls: Option<ServerTlsConfig>,
    /// The proxies in front that say for whom they connect; without it nobody is asked.
    #[serde(default)]
    pub proxy_protocol: Option<ProxyProtocolConfig>,
    /// The most that clients may ask for.
    #[serde(default)]
    pub limits: ListenerLimitsConfig,
    /// How long clients may take.
    #[serde(default)]
    pub timeouts: ListenerTimeoutsConfig,
    /// Whether a client that ends its sending side before it was answered has given up. Without it
    /// the client gets its answer.
    #[serde(default)]
    pub abort_on_close: bool,
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
    /// What TLS handshakes use; connections are plain without it.
    pub tls: Option<Arc<Server>>,
    /// The peers whose connections begin with a PROXY protocol header.
    pub announcing: Arc<Cidrs>,
    /// How many connections there are.
    pub census: Arc<Census>,
    /// What its clients may ask for.
    pub limits: Limits,
}

impl<E> Clone for Settings<E> {
    fn clone(&self) -> Self {
        Self {
            name: Arc::clone(&self.name),
            series: Arc::clone(&self.series),
            extension: Arc::clone(&self.extension),
            tls: self.tls.clone(),
            announcing: Arc::clone(&self.announcing),
            census: Arc::clone(&self.census),
            limits: self.limits,
        }
    }
}

/// What is counted for one listener.
#[derive(Debug)]
pub struct ListenerSeries {
    name: Arc<str>,
    shards: Shards<ListenerShard>,
    /// New certificate files that were taken into use, and those that were not.
    certificate_reloads: [AtomicU64; 2],
    /// The certificates in use and when they expire.
    expiries: Mutex<BTreeMap<String, u64>>,
}

/// One worker's part of a [`ListenerSeries`].
#[derive(Debug, Default)]
struct ListenerShard {
    open: Gauge,
    accepted: Counter,
    accept_errors: Counter,
    handshake_failures: Counter,
    refusals: Refusals,
}

impl ListenerSeries {
    /// Nothing counted yet.
    pub fn new(name: &str, workers: usize) -> Self {
        Self {
            name: name.into(),
            shards: Shards::new(workers),
            certificate_reloads: Default::default(),
            expiries: Mutex::default(),
        }
    }

    /// Notes the certificates that are in use now.
    fn certified(&self, tls: Option<&Arc<Server>>) {
        let expiries = tls.map(|tls| tls.expiries()).unwrap_or_default();
        *self.expiries.lock() = expiries.into_iter().collect();
    }

    /// Counts new certificate files, by whether they are in use.
    fn certificates_read(&self, accepted: bool) {
        let [good, bad] = &self.certificate_reloads;
        if accepted { good } else { bad }.fetch_add(1, Relaxed);
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
        for refusal in Refusal::ALL {
            let shards = self.shards.iter();
            let count = shards.map(|shard| shard.refusals.number(*refusal)).sum();
            sink.count(Metric::DownstreamRefused, &[&self.name, refusal.label()], count);
        }
        let expiries = self.expiries.lock();
        if expiries.is_empty() {
            return;
        }
        let failures = self.shards.iter().map(|shard| shard.handshake_failures.value()).sum();
        sink.count(Metric::HandshakeFailures, &[&self.name], failures);
        for (label, counter) in ["accepted", "rejected"].iter().zip(&self.certificate_reloads) {
            sink.count(Metric::CertificateReloads, &[&self.name, label], counter.load(Relaxed));
        }
        for (certificate, time) in &*expiries {
            let time = i64::try_from(*time).unwrap_or(i64::MAX);
            sink.integer(Metric::CertificateExpiry, &[&self.name, certificate], time);
        }
    }
}

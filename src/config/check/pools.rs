//! What a pool must be beyond its form.

use crate::base::problem::{Location, Problems, Spanned};
use crate::cluster::{self, names::is_label};
use crate::config::tree::Document;
use crate::upstream::discovery::ENDPOINTS_MAX;
use crate::upstream::discovery::dns::DnsConfig;
use crate::upstream::discovery::kubernetes::{KubernetesConfig, check_selector};
use crate::upstream::discovery::listed::EndpointConfig;
use crate::upstream::health::HealthConfig;
use crate::upstream::outlier::OutlierConfig;
use crate::upstream::settings::PoolConfig;
use crate::upstream::transport::Protocol;
use http::uri::Authority;

/// Where the endpoints of a pool may come from.
const SOURCES: [&str; 3] = ["endpoints", "dns", "kubernetes"];
/// The longest name that DNS knows (RFC 1035 section 2.3.4).
const HOST_BYTES_MAX: usize = 253;
/// The longest part of one between dots.
const LABEL_BYTES_MAX: usize = 63;

/// Notes what can not be, or should not be, of a pool.
pub(super) fn pool(document: &Document, pool: &PoolConfig, problems: &mut Problems) {
    source(document, pool, problems);
    transport(pool, problems);
    endpoints(document, pool, problems);
    if let Some(health) = &pool.health {
        self::health(health, problems);
    }
    if let Some(outlier) = &pool.outlier {
        self::outlier(outlier, problems);
    }
    if pool.panic_threshold.value > 100 {
        let message = "the panic threshold is at most 100 percent";
        problems.error(pool.panic_threshold.at, message);
    }
}

/// Notes a pool whose endpoints come from nowhere, or from two places.
fn source(document: &Document, pool: &PoolConfig, problems: &mut Problems) {
    let said = [
        pool.endpoints.is_some().then_some(pool.name.at),
        pool.dns.as_ref().map(|dns| dns.at),
        pool.kubernetes.as_ref().map(|kubernetes| kubernetes.at),
    ];
    let mut said = said.into_iter().flatten();
    match (said.next(), said.next_back()) {
        (None, _) => {
            // One that is there and wrong has been told of.
            let written = |at| SOURCES.iter().any(|name| document.field(at, name).is_some());
            if let Some(at) = node(document, pool).filter(|at| !written(*at)) {
                problems.error(at, "`endpoints` is missing").help = Some(
                    "list them, or write `dns` or `kubernetes` to have them looked up".to_owned(),
                );
            }
        }
        (Some(_), Some(at)) => {
            problems.error(at, "a pool has one of `endpoints`, `dns` and `kubernetes`");
        }
        (Some(_), None) => {}
    }
    if let Some(dns) = &pool.dns {
        self::dns(dns, problems);
    }
    if let Some(kubernetes) = &pool.kubernetes {
        self::kubernetes(kubernetes, problems);
    }
}

/// Notes what can not be of where in a cluster the endpoints are.
fn kubernetes(kubernetes: &Spanned<KubernetesConfig>, problems: &mut Problems) {
    if !cluster::IS_PRESENT {
        let message = "this build knows no Kubernetes";
        problems.error(kubernetes.at, message).help =
            Some("build with the feature `kube`, or use `dns` with a headless Service".to_owned());
    }
    let KubernetesConfig { namespace, service, selector, .. } = &kubernetes.value;
    if !is_label(namespace) {
        problems.error(kubernetes.at, format!("`{namespace}` is no name of a namespace"));
    }
    match (service, selector) {
        (Some(_), Some(_)) | (None, None) => {
            let message = "either `service` or `selector` says where the endpoints are";
            problems.error(kubernetes.at, message);
        }
        (Some(service), None) if !is_label(service) => {
            problems.error(kubernetes.at, format!("`{service}` is no name of a Service"));
        }
        (None, Some(selector)) => {
            if let Err(error) = check_selector(selector) {
                let message = format!("the selector `{selector}` is wrong: {error}");
                problems.error(kubernetes.at, message);
            }
        }
        (Some(_), None) => {}
    }
}

/// Notes what can not be of a name whose addresses are endpoints.
fn dns(dns: &Spanned<DnsConfig>, problems: &mut Problems) {
    let name = dns.host.strip_suffix('.').unwrap_or(&dns.host);
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let labels = name.split('.').all(|label| (1..=LABEL_BYTES_MAX).contains(&label.len()));
    if !labels || name.len() > HOST_BYTES_MAX || !name.bytes().all(known) {
        problems.error(dns.at, format!("`{}` is no name that DNS knows", dns.host));
    }
    if dns.port == 0 {
        problems.error(dns.at, "an endpoint needs a port other than 0");
    }
    if dns.ttl_min.0.is_zero() || dns.timeout.0.is_zero() {
        problems.error(dns.at, "`ttlMin` and `timeout` are more than 0");
    }
    if dns.ttl_min > dns.ttl_max {
        problems.error(dns.at, "`ttlMin` is more than `ttlMax`");
    }
    if dns.servers.len() > DnsConfig::SERVERS_MAX {
        let message = format!("at most {} name servers are asked", DnsConfig::SERVERS_MAX);
        problems.error(dns.at, message);
    }
    if dns.servers.iter().any(|server| server.port() == 0) {
        problems.error(dns.at, "a name server needs a port other than 0");
    }
    if !DnsConfig::ASKS_SERVERS && !dns.servers.is_empty() {
        let message = "this build has no resolver of its own and asks the system's name servers";
        problems.error(dns.at, message).help =
            Some("leave `servers` out, or build with the feature `dns`".to_owned());
    }
}

/// Where a pool is written.
fn node(document: &Document, pool: &PoolConfig) -> Option<Location> {
    let pools = document.items(document.field(document.root(), "pools")?)?;
    pools.iter().copied().find(|at| document.field(*at, "name") == Some(pool.name.at))
}

fn endpoints(document: &Document, pool: &PoolConfig, problems: &mut Problems) {
    let endpoints = pool.listed();
    if let Some(first) = endpoints.get(ENDPOINTS_MAX) {
        problems.error(first.at, format!("a pool has at most {ENDPOINTS_MAX} endpoints"));
    }
    for endpoint in endpoints {
        if endpoint.address.port() == 0 {
            problems.error(endpoint.at, "an endpoint needs a port other than 0");
        }
        let most = EndpointConfig::WEIGHT_MAX;
        if !(1..=most).contains(&endpoint.weight) {
            let message = format!("an endpoint's weight is from 1 to {most}");
            problems.error(endpoint.at, message).help =
                Some("leave an endpoint out that is to get nothing".to_owned());
        }
    }
    let addresses = endpoints.iter().map(|one| Spanned { at: one.at, value: one.address });
    super::repeated(document, "endpoint", &addresses.collect::<Vec<_>>(), problems);
}

/// Notes what can not be, or should not be, of how a pool's endpoints are spoken to.
fn transport(pool: &PoolConfig, problems: &mut Problems) {
    if let Some(protocol) = &pool.protocol
        && protocol.value == Protocol::Auto
        && pool.tls.is_none()
    {
        let message = "without `tls` nobody says which version the endpoints speak";
        problems.error(protocol.at, message).help = Some("write `http1` or `h2`".to_owned());
    }
    if let Some(at) = pool.tls.as_ref().and_then(|tls| tls.unverified()) {
        let message = "the endpoints' certificates are not verified: anybody between here and \
                       there can read and change everything";
        problems.warning(at, message);
    }
}

fn health(health: &Spanned<HealthConfig>, problems: &mut Problems) {
    let kinds = [health.http.is_some(), health.tcp.is_some(), health.grpc.is_some()];
    if kinds.iter().filter(|kind| **kind).count() != 1 {
        problems
            .error(health.at, "a health check is exactly one of `http`, `tcp` and `grpc`")
            .help = Some("write `http: { path: /healthz }` for one".to_owned());
    }
    if let Some(http) = &health.http {
        if !http.path.starts_with('/') || http.path.bytes().any(|byte| !byte.is_ascii_graphic()) {
            let message = format!("`{}` is no path to ask for", http.path);
            problems.error(health.at, message);
        }
        let is_host = |host: &String| host.parse::<Authority>().is_ok() && !host.contains('@');
        if http.host.as_ref().is_some_and(|host| !is_host(host)) {
            problems.error(health.at, "`host` is no host with or without a port");
        }
        if http.statuses.is_empty() {
            problems.error(health.at, "with no status in `statuses` nothing is ever healthy");
        }
    }
    if health.interval.0.is_zero() || health.timeout.0.is_zero() {
        problems.error(health.at, "`interval` and `timeout` are more than 0");
    }
    if health.unhealthy_threshold == 0 || health.healthy_threshold == 0 {
        problems.error(health.at, "the thresholds are at least 1");
    }
    if health.jitter_percent > 100 {
        problems.error(health.at, "`jitterPercent` is at most 100");
    }
    if health.port == Some(0) {
        problems.error(health.at, "a port to ask is other than 0");
    }
}

fn outlier(outlier: &Spanned<OutlierConfig>, problems: &mut Problems) {
    if outlier.interval.0.is_zero() || outlier.base_ejection_time.0.is_zero() {
        problems.error(outlier.at, "`interval` and `baseEjectionTime` are more than 0");
    }
    if outlier.base_ejection_time > outlier.max_ejection_time {
        problems.error(outlier.at, "`baseEjectionTime` is more than `maxEjectionTime`");
    }
    if outlier.max_ejection_percent > 100 {
        problems.error(outlier.at, "`maxEjectionPercent` is at most 100");
    }
}

//! Every metric in one table, and the scrape that sums the workers' shards into it.

use super::events::{Discovery, Ejection, HealthCheck, Overflow};
use super::series::{
    DurationSeries, NO_STATUS, Outcome, PoolSeries, PoolShard, REASONS, RouteSeries, live, shared,
};
use super::shard::{Codes, Counter, Counters, Durations, Shards, WorkerIndex};
use super::sink::Sink;
use super::statuses::StatusSeries;
use parking_lot::Mutex;
use prometheus::TextEncoder;
use prometheus::proto::MetricType;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

/// One metric: its name, kind, labels and help text.
#[derive(Debug)]
pub struct Description {
    /// Its name, for a histogram without `_bucket`, `_sum` and `_count`.
    pub name: &'static str,
    pub(super) kind: MetricType,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    pub(super) help: &'static str,
}

/// Declares the table and a number for each of its rows.
macro_rules! metrics {
    ($($id:ident $kind:ident $name:literal [$($label:literal)*] $help:literal;)*) => {
        /// The rows of the table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each row's help text says it")]
        pub enum Metric { $($id),* }

        /// The table, in the order in which it is shown.
        pub const TABLE: &[Description] = &[$(Description {
            name: $name,
            kind: MetricType::$kind,
            labels: &[$($label),*],
            help: $help,
        }),*];
    };
}

metrics! {
    Requests COUNTER "serin_requests_total" ["route" "arm" "pool" "code"]
        "Requests by what was decided and the exact status sent; 499 if the client left before, \
         101 if another protocol was switched to, over HTTP/2 too.";
    RequestDuration HISTOGRAM "serin_request_duration_seconds" ["route" "pool"]
        "Time from a request's head to the last byte of its response.";
    GrpcResponses COUNTER "serin_grpc_responses_total" ["route" "pool" "grpc_status"]
        "gRPC calls by the number of their status; none if their response came without one.";
    RequestsInFlight GAUGE "serin_requests_in_flight" ["route"]
        "Requests whose response is not complete.";
    Decisions COUNTER "serin_decisions_total" ["route" "arm" "pool" "reason"]
        "Decisions by why the pool was chosen.";
    Attempts COUNTER "serin_attempts_total" ["pool" "outcome"]
        "Attempts to get a response from a pool; outcomes of retries start with retry_.";
    OverridesRefused COUNTER "serin_overrides_refused_total" ["route"]
        "Override headers that came from an untrusted peer or named no pool of the route.";
    SplitWeight GAUGE "serin_split_weight" ["route" "arm" "pool"]
        "The configured weight of a pool in an arm.";
    Errors COUNTER "serin_errors_total" ["cause" "blame"]
        "Requests that Serin answered or broke off itself, by cause and by whose fault it was.";
    UpstreamConnections GAUGE "serin_upstream_connections" ["pool" "state"]
        "Open connections to a pool's endpoints.";
    Endpoints GAUGE "serin_endpoints" ["pool" "state"]
        "Endpoints of a pool by state.";
    Ejections COUNTER "serin_ejections_total" ["pool" "reason"]
        "Endpoints taken out of a pool because of how they answered.";
    HealthChecks COUNTER "serin_health_checks_total" ["pool" "result"]
        "Active health checks of a pool's endpoints by how they ended.";
    HealthIgnored COUNTER "serin_health_ignored_total" ["pool"]
        "Attempts whose endpoint was chosen without regard to health, because fewer endpoints were \
         healthy than the pool's panic threshold says.";
    Discoveries COUNTER "serin_discovery_updates_total" ["pool" "result"]
        "Look-ups of a pool's endpoints by how they ended; those that failed keep the last good set.";
    PoolOverflows COUNTER "serin_pool_overflows_total" ["pool" "limit"]
        "Requests refused with 503 because a limit of the pool was reached, by the limit.";
    PoolPending GAUGE "serin_pool_pending_requests" ["pool"]
        "Requests that wait because a limit of the pool is reached.";
    RetriesRefused COUNTER "serin_retries_refused_total" ["pool" "reason"]
        "Retries that were not made, by why.";
    DownstreamConnections GAUGE "serin_downstream_connections" ["listener"]
        "Open client connections.";
    DownstreamConnectionsTotal COUNTER "serin_downstream_connections_total" ["listener"]
        "Client connections accepted.";
    AcceptErrors COUNTER "serin_accept_errors_total" ["listener"]
        "Connections that could not be accepted, for want of file descriptors for example.";
    DownstreamRefused COUNTER "serin_downstream_refused_total" ["listener" "reason"]
        "Clients refused before their request could be served, by the limit or rule they broke.";
    HandshakeFailures COUNTER "serin_tls_handshake_failures_total" ["listener"]
        "TLS handshakes with clients that failed or took too long.";
    CertificateReloads COUNTER "serin_certificate_reloads_total" ["listener" "result"]
        "Certificate files that have changed, by what became of them.";
    PoolCertificateReloads COUNTER "serin_pool_certificate_reloads_total" ["pool" "result"]
        "Certificate files of a pool's `tls` that have changed, by what became of them.";
    CertificateExpiry GAUGE "serin_certificate_expiry_timestamp_seconds" ["listener" "name"]
        "When a certificate in use expires, in seconds since the Unix epoch.";
    Panics COUNTER "serin_panics_total" []
        "Connections ended by a bug; anything but 0 deserves a report.";
    ConfigGeneration GAUGE "serin_config_generation" []
        "The number of the configuration in use; grows with every accepted change.";
    ConfigReloads COUNTER "serin_config_reloads_total" ["result"]
        "Configuration changes read, by what became of them.";
    ConfigLastSuccess GAUGE "serin_config_last_reload_success_timestamp_seconds" []
        "When a configuration was last accepted, in seconds since the Unix epoch.";
    KubernetesWatches GAUGE "serin_kubernetes_watches" ["resource" "state"]
        "Watches of the Kubernetes API by how they stand; one that fails shows what it saw last.";
    KubernetesFailures COUNTER "serin_kubernetes_failures_total" ["resource" "reason"]
        "Lists, watches and Events of the Kubernetes API that failed, by why.";
    BuildInfo GAUGE "serin_build_info" ["version"]
        "Always 1; says which build this is.";
    HttpRequestDuration HISTOGRAM "http_request_duration_seconds" ["status"]
        "The requests of serin_requests_total by status alone; if `metrics.httpRequestDuration`.";
    ProcessCpu COUNTER "process_cpu_seconds_total" []
        "User and system CPU time spent.";
    ProcessMemory GAUGE "process_resident_memory_bytes" []
        "Resident memory.";
    ProcessFds GAUGE "process_open_fds" []
        "Open file descriptors.";
    ProcessStart GAUGE "process_start_time_seconds" []
        "When the process started, in seconds since the Unix epoch.";
}

/// Something that knows values which no shard holds, such as the state of endpoints.
pub trait Source: Send + Sync {
    /// Puts its values into the sink.
    fn collect(&self, sink: &mut Sink);
}

/// How many causes of failed requests there is room for.
pub const CAUSES_MAX: usize = 64;

/// What became of a configuration change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// It is in use.
    Accepted,
    /// It was wrong; the one before stays in use.
    Rejected,
    /// It says the same as the one in use.
    Unchanged,
}

impl Reload {
    const LABELS: [&str; 3] = ["accepted", "rejected", "unchanged"];
}

/// One row of `serin_split_weight`: route, arm, pool, weight.
pub type SplitWeight = (Arc<str>, Arc<str>, Arc<str>, u32);

/// All that is counted in this process.
pub struct Metrics {
    workers: usize,
    routes: Mutex<HashMap<Arc<str>, Weak<RouteSeries>>>,
    pools: Mutex<HashMap<Arc<str>, Weak<PoolSeries>>>,
    statuses: Mutex<Weak<StatusSeries>>,
    sources: Mutex<Vec<Weak<dyn Source>>>,
    split_weights: Mutex<Vec<SplitWeight>>,
    /// Requests that failed, by the number of their cause; who names the causes registers a source.
    pub causes: Shards<Counters<CAUSES_MAX>>,
    /// Connections ended by a panic.
    pub panics: Shards<Counter>,
    generation: AtomicI64,
    reloads: [AtomicU64; 3],
    last_success: Mutex<f64>,
    started: f64,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Metrics").field("workers", &self.workers).finish_non_exhaustive()
    }
}

impl Metrics {
    /// Nothing counted yet, for so many workers.
    pub fn new(workers: usize) -> Self {
        Self {
            workers,
            routes: Mutex::default(),
            pools: Mutex::default(),
            statuses: Mutex::default(),
            sources: Mutex::default(),
            split_weights: Mutex::default(),
            causes: Shards::new(workers),
            panics: Shards::new(workers),
            generation: AtomicI64::new(0),
            reloads: Default::default(),
            last_success: Mutex::new(0.0),
            started: crate::base::clock::unix_seconds(),
        }
    }

    /// The series of a route, the one in use if there is one.
    pub fn route(&self, route: &str) -> Arc<RouteSeries> {
        shared(&mut self.routes.lock(), route.into(), || RouteSeries::new(route, self.workers))
    }

    /// The series of a pool, the one in use if there is one.
    pub fn pool(&self, pool: &str) -> Arc<PoolSeries> {
        shared(&mut self.pools.lock(), pool.into(), || PoolSeries::new(pool, self.workers))
    }

    /// The series by status alone, the one in use if there is one.
    pub fn statuses(&self) -> Arc<StatusSeries> {
        let mut held = self.statuses.lock();
        held.upgrade().unwrap_or_else(|| {
            let series = Arc::new(StatusSeries::new(self.workers));
            *held = Arc::downgrade(&series);
            series
        })
    }

    /// Adds a source that is asked at every scrape for as long as somebody else holds it.
    pub fn add_source(&self, source: &Arc<impl Source + 'static>) {
        let source: Arc<dyn Source> = source.clone();
        self.sources.lock().push(Arc::downgrade(&source));
    }

    /// Counts a configuration change and, if it was accepted, what is in use now.
    pub fn reloaded(&self, reload: Reload) {
        if let Some(counter) = self.reloads.get(reload as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Notes the configuration that is in use now; returns the weights of the one before.
    pub fn in_use(&self, generation: u64, weights: Vec<SplitWeight>) -> Vec<SplitWeight> {
        self.generation.store(i64::try_from(generation).unwrap_or(i64::MAX), Relaxed);
        *self.last_success.lock() = crate::base::clock::unix_seconds();
        std::mem::replace(&mut self.split_weights.lock(), weights)
    }

    /// Counts a connection that a panic ended.
    pub fn panicked(&self, worker: WorkerIndex) {
        self.panics.of(worker).increment();
    }

    /// The text that a Prometheus server scrapes (exposition format 0.0.4).
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let mut sink = Sink::new();
        self.collect_routes(&mut sink);
        self.collect_pools(&mut sink);
        self.collect_config(&mut sink);
        let statuses = self.statuses.lock().upgrade();
        if let Some(statuses) = statuses {
            statuses.collect(&mut sink);
        }
        let sources: Vec<_> = {
            let mut sources = self.sources.lock();
            sources.retain(|source| source.strong_count() > 0);
            sources.iter().filter_map(Weak::upgrade).collect()
        };
        for source in sources {
            source.collect(&mut sink);
        }
        super::process::collect(self.started, &mut sink);
        TextEncoder::new().encode_to_string(&sink.into_families())
    }

    fn collect_routes(&self, sink: &mut Sink) {
        let mut routes = live(&mut self.routes.lock());
        routes.sort_by(|a, b| a.route.cmp(&b.route));
        for series in routes {
            let route = &*series.route;
            let mut choices = series.choices();
            choices.sort_by(|a, b| (&a.arm, &a.pool).cmp(&(&b.arm, &b.pool)));
            for choice in choices {
                collect_choice(sink, route, &choice);
            }
            let mut durations = series.durations();
            durations.sort_by(|a, b| a.pool.cmp(&b.pool));
            for duration in durations {
                let mut buckets = [0; Durations::BOUNDS.len() + 1];
                let sum: u64 = duration.shards.iter().map(|shard| shard.add_to(&mut buckets)).sum();
                if buckets.iter().any(|count| *count > 0) {
                    sink.histogram(
                        Metric::RequestDuration,
                        &[route, &duration.pool],
                        &buckets,
                        sum,
                    );
                }
                collect_calls(sink, route, &duration);
            }
            let in_flight: i64 = series.shards.iter().map(|shard| shard.in_flight.value()).sum();
            let refused: u64 =
                series.shards.iter().map(|shard| shard.overrides_refused.value()).sum();
            sink.integer(Metric::RequestsInFlight, &[route], in_flight);
            if !route.is_empty() {
                sink.count(Metric::OverridesRefused, &[route], refused);
            }
        }
    }

    fn collect_pools(&self, sink: &mut Sink) {
        let mut pools = live(&mut self.pools.lock());
        pools.sort_by(|a, b| a.pool.cmp(&b.pool));
        for series in pools {
            let pool = &*series.pool;
            for outcome in Outcome::ALL {
                let (first, retry) = outcome.labels();
                let sum = |counts: &dyn Fn(&super::series::PoolShard) -> u64| -> u64 {
                    series.shards.iter().map(counts).sum()
                };
                let index = outcome as usize;
                let firsts = sum(&|shard| shard.attempts.get(index).map_or(0, Counter::value));
                let retries = sum(&|shard| shard.retries.get(index).map_or(0, Counter::value));
                sink.count(Metric::Attempts, &[pool, first], firsts);
                sink.count(Metric::Attempts, &[pool, retry], retries);
            }
            let open: i64 = series.shards.iter().map(|shard| shard.connections.value()).sum();
            let idle: i64 = series.shards.iter().map(|shard| shard.idle.value()).sum();
            sink.integer(Metric::UpstreamConnections, &[pool, "active"], open - idle);
            sink.integer(Metric::UpstreamConnections, &[pool, "idle"], idle);
            collect_guards(sink, &series);
        }
    }

    fn collect_config(&self, sink: &mut Sink) {
        for (route, arm, pool, weight) in &*self.split_weights.lock() {
            sink.integer(Metric::SplitWeight, &[route, arm, pool], i64::from(*weight));
        }
        sink.integer(Metric::ConfigGeneration, &[], self.generation.load(Relaxed));
        for (label, counter) in Reload::LABELS.iter().zip(&self.reloads) {
            sink.count(Metric::ConfigReloads, &[label], counter.load(Relaxed));
        }
        sink.number(Metric::ConfigLastSuccess, &[], *self.last_success.lock());
        sink.integer(Metric::BuildInfo, &[env!("CARGO_PKG_VERSION")], 1);
        let panics = self.panics.iter().map(Counter::value).sum();
        sink.count(Metric::Panics, &[], panics);
    }
}

/// What keeps a pool's users whole, and what was refused for it.
fn collect_guards(sink: &mut Sink, series: &PoolSeries) {
    let pool = &*series.pool;
    let sum = |count: &dyn Fn(&PoolShard) -> u64| -> u64 { series.shards.iter().map(count).sum() };
    for (index, limit) in Overflow::LABELS.iter().enumerate() {
        let count = sum(&|shard| shard.overflows.get(index).map_or(0, Counter::value));
        sink.count(Metric::PoolOverflows, &[pool, limit], count);
    }
    let pending: i64 = series.shards.iter().map(|shard| shard.pending.value()).sum();
    sink.integer(Metric::PoolPending, &[pool], pending);
    sink.count(Metric::HealthIgnored, &[pool], sum(&|shard| shard.health_ignored.value()));
    let refused = sum(&|shard| shard.retries_refused.value());
    sink.count(Metric::RetriesRefused, &[pool, "budget"], refused);
    let events = &series.events;
    for (metric, labels, counts) in [
        (Metric::Ejections, Ejection::LABELS, events.ejections.as_slice()),
        (Metric::HealthChecks, HealthCheck::LABELS, events.health_checks.as_slice()),
        (Metric::Discoveries, Discovery::LABELS, events.discoveries.as_slice()),
    ] {
        for (label, count) in labels.iter().zip(counts) {
            sink.count(metric, &[pool, label], count.load(Relaxed));
        }
    }
}

fn collect_calls(sink: &mut Sink, route: &str, series: &DurationSeries) {
    for (status, count) in summed(series.grpc.iter()) {
        let status = if status == NO_STATUS { "none".to_owned() } else { status.to_string() };
        sink.count(Metric::GrpcResponses, &[route, &series.pool, &status], count);
    }
}

/// What the workers counted, in the order of the codes.
fn summed<'a>(shards: impl Iterator<Item = &'a Codes>) -> BTreeMap<u16, u64> {
    let mut codes = BTreeMap::new();
    for (code, count) in shards.flat_map(Codes::counts) {
        *codes.entry(code).or_default() += count;
    }
    codes
}

fn collect_choice(sink: &mut Sink, route: &str, choice: &super::series::ChoiceSeries) {
    let mut codes = summed(choice.shards.iter().map(|shard| &shard.codes));
    let mut reasons = [0; REASONS.len()];
    for shard in choice.shards.iter() {
        for (total, counter) in reasons.iter_mut().zip(&shard.reasons) {
            *total += counter.value();
        }
    }
    if choice.declared {
        codes.entry(200).or_default();
    }
    for (code, count) in codes {
        let code = code.to_string();
        sink.count(Metric::Requests, &[route, &choice.arm, &choice.pool, &code], count);
    }
    for (reason, count) in REASONS.iter().zip(reasons).filter(|(_, count)| *count > 0) {
        sink.count(Metric::Decisions, &[route, &choice.arm, &choice.pool, reason], count);
    }
}

#[cfg(test)]
mod tests {
    use super::{Metrics, Reload};
    use crate::telemetry::shard::WorkerIndex;
    use std::time::Duration;

    #[test]
    fn workers_are_summed_and_series_without_a_holder_are_dropped() {
        let metrics = Metrics::new(2);
        let route = metrics.route("shop");
        let choice = route.choice(&"main".into(), &"canary".into(), true);
        let duration = route.duration(&"canary".into());
        for worker in [WorkerIndex(0), WorkerIndex(1)] {
            choice.shards.of(worker).codes.increment(204);
            duration.shards.of(worker).observe(Duration::from_millis(3));
        }
        metrics.reloaded(Reload::Accepted);
        let text = metrics.render().unwrap();
        assert!(text.contains(
            r#"serin_requests_total{route="shop",arm="main",pool="canary",code="204"} 2"#
        ));
        assert!(text.contains(r#"bucket{route="shop",pool="canary",le="0.005"} 2"#), "{text}");
        assert!(text.contains(r#"serin_config_reloads_total{result="accepted"} 1"#));
        drop((route, choice, duration));
        assert!(!metrics.render().unwrap().contains("shop"));
    }

    #[test]
    fn a_series_that_is_held_is_handed_out_again() {
        let metrics = Metrics::new(1);
        let first = metrics.route("shop");
        first.shards.of(WorkerIndex(0)).in_flight.add(1);
        assert_eq!(metrics.route("shop").shards.of(WorkerIndex(0)).in_flight.value(), 1);
    }
}

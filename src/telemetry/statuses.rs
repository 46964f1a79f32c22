//! The histogram by status alone that tools beside Serin query by its name, for who asks for it.

use super::metrics::Metric;
use super::shard::{Durations, Shards, WorkerIndex};
use super::sink::Sink;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

/// What `/metrics` shows beside Serin's own names.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// For sidecars: the histogram `http_request_duration_seconds` that Flagger's built-in checks
    /// query, over all routes, one series per status.
    pub http_request_duration: bool,
}

/// How long requests took by the status that was sent, whatever route took them.
#[derive(Debug)]
pub struct StatusSeries(Shards<StatusShard>);

/// One worker's part of a [`StatusSeries`]: a place per status, filled when it is first sent.
#[derive(Debug)]
struct StatusShard(Box<[OnceLock<Box<Durations>>]>);

/// The least status that there is, and how many there are: three digits, the first of which is no 0
/// (RFC 9110 section 15).
const FIRST: u16 = 100;
const STATUSES_MAX: u16 = 900;

impl Default for StatusShard {
    fn default() -> Self {
        Self((0..STATUSES_MAX).map(|_| OnceLock::new()).collect())
    }
}

impl StatusShard {
    /// All statuses that were sent.
    fn sent(&self) -> impl Iterator<Item = (u16, &Durations)> {
        let places = (FIRST..).zip(&self.0);
        places.filter_map(|(status, place)| Some((status, &**place.get()?)))
    }
}

impl StatusSeries {
    /// Nothing counted yet, for so many workers.
    pub fn new(workers: usize) -> Self {
        Self(Shards::new(workers))
    }

    /// Counts a request to which this status was sent.
    pub fn observe(&self, worker: WorkerIndex, status: u16, duration: Duration) {
        let place = status.checked_sub(FIRST).map(usize::from);
        if let Some(place) = place.and_then(|place| self.0.of(worker).0.get(place)) {
            place.get_or_init(Box::default).observe(duration);
        }
    }

    /// Shows what the workers counted, in the order of the statuses.
    pub(super) fn collect(&self, sink: &mut Sink) {
        let mut sums = BTreeMap::new();
        for (status, durations) in self.0.iter().flat_map(StatusShard::sent) {
            let (buckets, sum): &mut ([u64; Durations::BOUNDS.len() + 1], u64) =
                sums.entry(status).or_default();
            *sum += durations.add_to(buckets);
        }
        for (status, (buckets, sum)) in sums {
            sink.histogram(Metric::HttpRequestDuration, &[&status.to_string()], &buckets, sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::telemetry::metrics::Metrics;
    use crate::telemetry::shard::WorkerIndex;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::fmt::Write as _;
    use std::time::Duration;

    const NAME: &str = "http_request_duration_seconds";

    /// The lines of the histogram that end one of its series.
    fn totals(metrics: &Metrics) -> String {
        let text = metrics.render().unwrap();
        let total = |line: &&str| {
            let rest = line.strip_prefix(NAME);
            rest.is_some_and(|rest| rest.starts_with("_sum") || rest.starts_with("_count"))
        };
        text.lines().filter(total).fold(String::new(), |all, line| all + line + "\n")
    }

    proptest! {
        #[test]
        fn workers_are_summed_by_status(
            requests in prop::collection::vec((0..3_usize, 100..1000_u16, 0..1_000_u64), 0..200),
        ) {
            let metrics = Metrics::new(3);
            let series = metrics.statuses();
            let mut expected: BTreeMap<u16, (u64, u64)> = BTreeMap::new();
            for (worker, status, seconds) in requests {
                series.observe(WorkerIndex(worker), status, Duration::from_secs(seconds));
                let (sum, count) = expected.entry(status).or_default();
                (*sum, *count) = (*sum + seconds, *count + 1);
            }
            let expected = expected.iter().fold(String::new(), |mut text, (status, (sum, count))| {
                let _ = writeln!(text, "{NAME}_sum{{status=\"{status}\"}} {sum}");
                let _ = writeln!(text, "{NAME}_count{{status=\"{status}\"}} {count}");
                text
            });
            prop_assert_eq!(totals(&metrics), expected);
        }

        #[test]
        fn what_is_no_status_is_no_series(status in prop_oneof![0..100_u16, 1000..=u16::MAX]) {
            let metrics = Metrics::new(1);
            metrics.statuses().observe(WorkerIndex(0), status, Duration::ZERO);
            prop_assert_eq!(totals(&metrics), "");
        }
    }

    #[test]
    fn it_is_there_for_as_long_as_somebody_holds_it() {
        let metrics = Metrics::new(1);
        let first = metrics.statuses();
        first.observe(WorkerIndex(0), 200, Duration::from_millis(3));
        let second = metrics.statuses();
        drop(first);
        second.observe(WorkerIndex(0), 200, Duration::from_millis(30));
        let text = metrics.render().unwrap();
        assert!(text.contains(r#"seconds_bucket{status="200",le="0.005"} 1"#), "{text}");
        assert!(text.contains(r#"seconds_bucket{status="200",le="0.05"} 2"#), "{text}");
        drop(second);
        assert!(!metrics.render().unwrap().contains(NAME));
    }
}

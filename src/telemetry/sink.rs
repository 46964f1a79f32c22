//! Where a scrape puts the values of each metric, and what becomes of them.

use super::metrics::{Metric, TABLE};
use super::shard::Durations;
use prometheus::proto::{self, MetricType};

/// Where values are put while a scrape goes through its sources.
#[derive(Debug)]
pub struct Sink {
    families: Vec<Vec<proto::Metric>>,
}

impl Sink {
    /// No values yet.
    pub(super) fn new() -> Self {
        Self { families: TABLE.iter().map(|_| Vec::new()).collect() }
    }

    /// A counter's value.
    #[expect(clippy::cast_precision_loss, reason = "Prometheus counts in floats")]
    pub fn count(&mut self, metric: Metric, labels: &[&str], value: u64) {
        let mut counter = proto::Counter::default();
        counter.set_value(value as f64);
        self.push(metric, labels, |row| row.set_counter(counter));
    }

    /// A gauge's whole value.
    #[expect(clippy::cast_precision_loss, reason = "Prometheus counts in floats")]
    pub fn integer(&mut self, metric: Metric, labels: &[&str], value: i64) {
        self.number(metric, labels, value as f64);
    }

    /// A gauge's or counter's fractional value.
    pub fn number(&mut self, metric: Metric, labels: &[&str], value: f64) {
        let counts = TABLE.get(metric as usize).is_some_and(|row| row.kind == MetricType::COUNTER);
        self.push(metric, labels, |row| {
            if counts {
                let mut counter = proto::Counter::default();
                counter.set_value(value);
                row.set_counter(counter);
            } else {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(value);
                row.set_gauge(gauge);
            }
        });
    }

    #[expect(clippy::cast_precision_loss, reason = "Prometheus counts in floats")]
    pub(super) fn histogram(
        &mut self,
        metric: Metric,
        labels: &[&str],
        buckets: &[u64],
        nanoseconds: u64,
    ) {
        let mut histogram = proto::Histogram::default();
        let mut total = 0;
        let mut rows = Vec::with_capacity(buckets.len());
        for (bound, count) in Durations::BOUNDS.iter().zip(buckets) {
            total += count;
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(*bound as f64 / 1e6);
            bucket.set_cumulative_count(total);
            rows.push(bucket);
        }
        histogram.set_bucket(rows);
        histogram.set_sample_count(buckets.iter().sum());
        histogram.set_sample_sum(nanoseconds as f64 / 1e9);
        self.push(metric, labels, |row| row.set_histogram(histogram));
    }

    fn push(&mut self, metric: Metric, labels: &[&str], set: impl FnOnce(&mut proto::Metric)) {
        let (Some(row), Some(family)) =
            (TABLE.get(metric as usize), self.families.get_mut(metric as usize))
        else {
            return;
        };
        debug_assert_eq!(row.labels.len(), labels.len(), "{}", row.name);
        let pairs = row.labels.iter().zip(labels).map(|(name, value)| {
            let mut pair = proto::LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        let mut row = proto::Metric::from_label(pairs.collect());
        set(&mut row);
        family.push(row);
    }

    pub(super) fn into_families(self) -> Vec<proto::MetricFamily> {
        TABLE
            .iter()
            .zip(self.families)
            .filter(|(_, rows)| !rows.is_empty())
            .map(|(row, rows)| {
                let mut family = proto::MetricFamily::default();
                family.set_name(row.name.to_owned());
                family.set_help(row.help.to_owned());
                family.set_field_type(row.kind);
                family.set_metric(rows);
                family
            })
            .collect()
    }
}

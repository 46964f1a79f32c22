//! Counting without contention: one shard per worker, written by that worker alone.

use parking_lot::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The number of a worker, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerIndex(pub usize);

/// A value per worker, made when that worker first needs it.
#[derive(Debug)]
pub struct Shards<T> {
    /// In its place, because where there is one worker, nothing else need be looked at.
    first: OnceLock<Box<T>>,
    others: Box<[OnceLock<Box<T>>]>,
}

impl<T: Default> Shards<T> {
    /// Room for so many workers.
    pub fn new(workers: usize) -> Self {
        let others = (1..workers).map(|_| OnceLock::new()).collect();
        Self { first: OnceLock::new(), others }
    }

    /// The shard of one worker.
    pub fn of(&self, worker: WorkerIndex) -> &T {
        debug_assert!(worker.0 <= self.others.len(), "{worker:?} is none of them");
        let other = worker.0.checked_sub(1).and_then(|index| self.others.get(index));
        other.unwrap_or(&self.first).get_or_init(Box::default)
    }

    /// All shards that were ever needed.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let all = std::iter::once(&self.first).chain(&self.others);
        all.filter_map(OnceLock::get).map(AsRef::as_ref)
    }
}

/// A number that only grows, written by one thread and read by any.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one; a plain load and store, since no other thread writes.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds a number.
    pub fn add(&self, number: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(number), Relaxed);
    }

    /// The number so far.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Counters by number.
#[derive(Debug)]
pub struct Counters<const N: usize>([Counter; N]);

impl<const N: usize> Default for Counters<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl<const N: usize> Counters<N> {
    /// The counter of this number.
    pub fn get(&self, number: usize) -> Option<&Counter> {
        self.0.get(number)
    }
}

/// A number that goes up and down, written by one thread and read by any.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds a number, which may be negative.
    pub fn add(&self, number: i64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(number), Relaxed);
    }

    /// The number now.
    pub fn value(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Requests by exact status code: places for the codes met first, a list for the others.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Codes {
    /// The code in the upper 16 bits, the count in the lower 48; 0 for a free place.
    first: [AtomicU64; 8],
    others: Mutex<Vec<(u16, u64)>>,
}

impl Codes {
    const COUNT_BITS: u32 = 48;

    /// Counts one request of this code.
    pub fn increment(&self, code: u16) {
        let empty = u64::from(code) << Self::COUNT_BITS;
        for place in &self.first {
            let value = place.load(Relaxed);
            if value == 0 || value >> Self::COUNT_BITS == u64::from(code) {
                place.store(value.max(empty) + 1, Relaxed);
                return;
            }
        }
        // At most 900 codes exist, so this list is bounded.
        let mut others = self.others.lock();
        match others.iter_mut().find(|(known, _)| *known == code) {
            Some((_, count)) => *count += 1,
            None => others.push((code, 1)),
        }
    }

    /// All codes met with their counts.
    pub fn counts(&self) -> Vec<(u16, u64)> {
        let mut counts: Vec<_> = self
            .first
            .iter()
            .map(|place| place.load(Relaxed))
            .filter(|value| *value != 0)
            .map(|value| {
                let code = u16::try_from(value >> Self::COUNT_BITS).unwrap_or(u16::MAX);
                (code, value & ((1 << Self::COUNT_BITS) - 1))
            })
            .collect();
        counts.extend(self.others.lock().iter().copied());
        counts
    }
}

/// Durations in buckets, for a Prometheus histogram. The sum and the buckets of short ones share a
/// cache line.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Durations {
    sum_nanoseconds: Counter,
    buckets: [Counter; Self::BOUNDS.len() + 1],
}

impl Durations {
    /// The upper bounds of the buckets, in microseconds.
    pub const BOUNDS: [u64; 16] = [
        500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
        2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
    ];

    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = Self::BOUNDS.iter().take_while(|bound| nanoseconds > **bound * 1_000).count();
        if let Some(counter) = self.buckets.get(bucket) {
            counter.increment();
        }
        self.sum_nanoseconds.add(nanoseconds);
    }

    /// Adds this shard's counts to `buckets` and returns its sum in nanoseconds.
    pub fn add_to(&self, buckets: &mut [u64; Self::BOUNDS.len() + 1]) -> u64 {
        for (total, counter) in buckets.iter_mut().zip(&self.buckets) {
            *total += counter.value();
        }
        self.sum_nanoseconds.value()
    }
}

#[cfg(test)]
mod tests {
    use super::{Codes, Durations, Shards, WorkerIndex};
    use std::time::Duration;

    #[test]
    fn every_code_is_counted_even_when_there_are_many() {
        let codes = Codes::default();
        for code in 200..240 {
            for _ in 0..=(code - 200) {
                codes.increment(code);
            }
        }
        let mut counts = codes.counts();
        counts.sort_unstable();
        let expected: Vec<_> = (200..240).map(|code| (code, u64::from(code) - 199)).collect();
        assert_eq!(counts, expected);
    }

    #[test]
    fn a_duration_falls_into_the_bucket_whose_bound_includes_it() {
        let durations = Durations::default();
        durations.observe(Duration::from_micros(500));
        durations.observe(Duration::from_micros(501));
        durations.observe(Duration::from_hours(1));
        let mut buckets = [0; 17];
        let sum = durations.add_to(&mut buckets);
        assert_eq!((buckets[0], buckets[1], buckets[16]), (1, 1, 1));
        assert_eq!(sum, 3_600_001_001_000);
    }

    #[test]
    fn shards_are_made_only_for_workers_that_count() {
        let shards: Shards<Codes> = Shards::new(4);
        shards.of(WorkerIndex(2)).increment(200);
        assert_eq!(shards.iter().count(), 1);
    }
}

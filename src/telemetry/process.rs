//! What the kernel says of this process, read from `/proc` at each scrape; nothing elsewhere.

use super::metrics::Metric;
use super::sink::Sink;

/// Linux reports times in these many ticks a second, on every architecture that it supports.
const TICKS_PER_SECOND: f64 = 100.0;
/// The unit of `statm` on the platforms we are built for.
const PAGE_BYTES: f64 = 4096.0;

/// Puts CPU time, memory, open files and start time into the sink.
pub(super) fn collect(started: f64, sink: &mut Sink) {
    sink.number(Metric::ProcessStart, &[], started);
    if let Some(seconds) = cpu_seconds() {
        sink.number(Metric::ProcessCpu, &[], seconds);
    }
    if let Some(bytes) = resident_bytes() {
        sink.number(Metric::ProcessMemory, &[], bytes);
    }
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        sink.integer(Metric::ProcessFds, &[], i64::try_from(entries.count()).unwrap_or(i64::MAX));
    }
}

fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The command's name is in parentheses and may hold anything; fields are counted after it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11).map(str::parse::<f64>);
    let (user, system) = (times.next()?.ok()?, times.next()?.ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

fn resident_bytes() -> Option<f64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: f64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * PAGE_BYTES)
}

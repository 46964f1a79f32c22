//! The time: one place that reads it, so that tests can set it.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

thread_local! {
    static LAST: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The monotonic time, for measuring and for deadlines.
pub fn now() -> Instant {
    let now = Instant::now();
    LAST.set(Some(now));
    now
}

/// What this thread last took for now: for deadlines that may begin a little early, right after
/// something that was measured.
pub fn recent() -> Instant {
    LAST.get().unwrap_or_else(now)
}

/// The wall-clock time as HTTP writes dates (RFC 9110 section 5.6.7).
pub fn http_date(unix_seconds: u64) -> String {
    let seconds = i64::try_from(unix_seconds).unwrap_or_default();
    jiff::Timestamp::from_second(seconds)
        .unwrap_or_default()
        .strftime("%a, %d %b %Y %H:%M:%S GMT")
        .to_string()
}

/// The wall-clock time in seconds since the Unix epoch; 0 before it.
pub fn unix_seconds() -> f64 {
    since_epoch().as_secs_f64()
}

/// The wall-clock time, as RFC 3339 in UTC with seconds.
pub fn rfc3339(unix_seconds: f64) -> String {
    jiff::Timestamp::from_duration(
        Duration::try_from_secs_f64(unix_seconds)
            .ok()
            .and_then(|duration| duration.try_into().ok())
            .unwrap_or_default(),
    )
    .unwrap_or_default()
    .strftime("%Y-%m-%dT%H:%M:%SZ")
    .to_string()
}

/// The wall-clock time since the Unix epoch; 0 before it.
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{http_date, rfc3339};

    #[test]
    fn dates_are_written_as_rfc_9110_says() {
        assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn times_are_written_as_rfc_3339() {
        assert_eq!(rfc3339(1_700_000_000.5), "2023-11-14T22:13:20Z");
        assert_eq!(rfc3339(-1.0), "1970-01-01T00:00:00Z");
    }
}

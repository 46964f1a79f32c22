//! The time: one place that reads it, so that tests can set it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The monotonic time, for measuring and for deadlines.
pub fn now() -> Instant {
    Instant::now()
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

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn times_are_written_as_rfc_3339() {
        assert_eq!(rfc3339(1_700_000_000.5), "2023-11-14T22:13:20Z");
        assert_eq!(rfc3339(-1.0), "1970-01-01T00:00:00Z");
    }
}

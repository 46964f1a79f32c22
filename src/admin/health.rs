//! `/livez` and `/readyz`: for whoever restarts the process, and whoever sends requests to it.

use super::State;
use super::answer::{Answer, text};
use http::StatusCode;
use std::fmt::Write;
use std::sync::atomic::Ordering;

/// 200 while the process can answer at all; a restart would help against nothing else.
pub(super) fn livez(_: &State, _: &[u8]) -> Answer {
    text(StatusCode::OK, "ok\n")
}

/// 200 if requests are to be sent here, else 503 and why.
pub(super) fn readyz(state: &State, _: &[u8]) -> Answer {
    if state.is_ready() {
        return text(StatusCode::OK, "ok\n");
    }
    let reason = if state.draining.load(Ordering::Relaxed) {
        "not ready: draining\n".to_owned()
    } else {
        let status = state.status.lock();
        let mut reason = "not ready: no configuration is in use yet\n".to_owned();
        for diagnostic in status.last_error.iter().flat_map(|error| &error.diagnostics) {
            // Writing to a string can not fail.
            let _ = writeln!(reason, "{diagnostic}");
        }
        reason
    };
    text(StatusCode::SERVICE_UNAVAILABLE, reason)
}

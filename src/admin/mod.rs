//! The admin listener: health, metrics, the API and the dashboard; nothing here changes state.

pub mod listener;

use crate::config::reload::StatusCell;
use crate::proxy::worker::SnapshotCell;
use crate::telemetry::metrics::Metrics;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the endpoints show.
#[derive(Debug)]
pub struct State {
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The snapshot in use.
    pub snapshot: SnapshotCell,
    /// Where the configuration in use comes from, and why the newest was refused.
    pub status: StatusCell,
    /// Whether the process is on its way out.
    pub draining: AtomicBool,
}

impl State {
    /// Whether requests are to be sent here: a configuration is in use and the end is not near.
    pub fn is_ready(&self) -> bool {
        self.snapshot.load().generation > 0 && !self.draining.load(Ordering::Relaxed)
    }
}

/// Answers one admin request.
async fn respond(
    state: &State,
    _loopback: bool,
    request: http::Request<hyper::body::Incoming>,
) -> listener::Answer {
    let (code, text) = match request.uri().path() {
        "/livez" => (200, "ok\n".to_owned()),
        "/readyz" if state.is_ready() => (200, "ok\n".to_owned()),
        "/readyz" => (503, "not ready\n".to_owned()),
        "/metrics" => (200, state.metrics.render().unwrap_or_default()),
        _ => (404, "not found\n".to_owned()),
    };
    let mut response = http::Response::new(http_body_util::Full::from(text));
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    response
}

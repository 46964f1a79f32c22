//! `/metrics`: everything that is counted, for Prometheus.

use super::State;
use super::answer::{Answer, answer, text};
use http::StatusCode;

/// The content type of Prometheus' text format.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The exposition text.
pub(super) fn text_format(state: &State, _: &[u8]) -> Answer {
    match state.metrics.render() {
        Ok(metrics) => answer(StatusCode::OK, CONTENT_TYPE, metrics.into()),
        Err(error) => {
            tracing::error!(%error, "the metrics could not be written");
            text(StatusCode::INTERNAL_SERVER_ERROR, format!("a bug: {error}\n"))
        }
    }
}

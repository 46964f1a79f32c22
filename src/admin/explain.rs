//! `POST /api/explain`: what would be done with a request, by the code that serves.

use super::State;
use super::answer::{self, Answer};
use crate::proxy::explain::{Question, explain};
use http::StatusCode;

/// The explanation, or 400 and what is wrong with the question.
pub(super) fn json(state: &State, sent: &[u8]) -> Answer {
    let explained = serde_json::from_slice::<Question>(sent)
        .map_err(|error| error.to_string())
        .and_then(|question| explain(&state.snapshot.load_full(), &question));
    match explained {
        Ok(explanation) => answer::json(&explanation),
        Err(message) => answer::error(StatusCode::BAD_REQUEST, &message),
    }
}

//! `/api/config`: which configuration is in use, and why the newest change is not.

use super::State;
use super::answer::{Answer, json as answer};

/// The status as the reloader keeps it.
pub(super) fn json(state: &State, _: &[u8]) -> Answer {
    let status = state.status.lock().clone();
    answer(&status)
}

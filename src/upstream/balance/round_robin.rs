//! One endpoint after the other, each worker for itself.

use super::Question;

/// The endpoint whose turn it is.
pub(super) fn choose(question: Question<'_>) -> usize {
    question.turn % question.in_flight.endpoints()
}

//! An endpoint drawn at random.

use super::{Question, below};

/// Each endpoint with the same chance.
pub(super) fn choose(question: Question<'_>) -> usize {
    below((question.random >> 32) as u32, question.in_flight.endpoints())
}

//! An endpoint drawn at random.

use super::{Candidates, Question};

/// Each endpoint with the chance that its weight gives it.
pub(super) fn choose<C: Candidates>(question: &Question<'_, C>) -> usize {
    question.among.weights().draw(question.random)
}

#[cfg(test)]
mod tests {
    use super::choose;
    use crate::upstream::balance::tests::Pretended;
    use crate::upstream::balance::weights::tests::{are_shared_by, randoms};

    #[test]
    fn busy_or_not_endpoints_are_drawn_by_weight() {
        let weights = [10, 1, 4];
        let among = Pretended { in_flight: vec![9, 0, 4], ..Pretended::weighing(&weights) };
        let mut chosen = [0; 3];
        for random in randoms(100_000) {
            chosen[choose(&among.question(random))] += 1;
        }
        assert!(are_shared_by(&chosen, &weights), "{chosen:?}");
    }
}

//! The less busy of two endpoints drawn at random (power of two choices, Mitzenmacher 2001).

use super::{Question, below};

/// Two different endpoints are drawn; the one with fewer requests in flight is chosen.
#[expect(clippy::cast_possible_truncation, reason = "the halves of one random number are used")]
pub(super) fn choose(question: Question<'_>) -> usize {
    let endpoints = question.in_flight.endpoints();
    let first = below((question.random >> 32) as u32, endpoints);
    let step = 1 + below(question.random as u32, endpoints - 1);
    let second = (first + step) % endpoints;
    if question.in_flight.at(second) < question.in_flight.at(first) { second } else { first }
}

#[cfg(test)]
mod tests {
    use super::{Question, choose};

    #[test]
    fn the_busier_of_two_is_never_chosen() {
        let in_flight = vec![3, 1];
        for random in (0..1_000_u64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15)) {
            assert_eq!(choose(Question { in_flight: &in_flight, turn: 0, random }), 1);
        }
    }

    #[test]
    fn idle_endpoints_share_evenly() {
        let in_flight = vec![0; 4];
        let mut chosen = [0; 4];
        for random in (0..40_000_u64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15)) {
            chosen[choose(Question { in_flight: &in_flight, turn: 0, random })] += 1;
        }
        assert!(chosen.iter().all(|count| (9_500..10_500).contains(count)), "{chosen:?}");
    }
}

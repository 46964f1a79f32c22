//! The less busy of two endpoints drawn at random (power of two choices, Mitzenmacher 2001).

use super::{Candidates, Question};

/// Two different endpoints are drawn by weight; the one with fewer requests in flight for its
/// weight is chosen, of equal ones the first.
pub(super) fn choose<C: Candidates>(question: &Question<'_, C>) -> usize {
    let among = question.among;
    let weights = among.weights();
    let (first, second) = weights.draw_two(question.random);
    let (load, other) = (among.in_flight(first) as u64, among.in_flight(second) as u64);
    let second_is_less_busy = if weights.are_even() {
        other < load
    } else {
        other.saturating_mul(weights.of(first)) < load.saturating_mul(weights.of(second))
    };
    if second_is_less_busy { second } else { first }
}

#[cfg(test)]
mod tests {
    use super::choose;
    use crate::upstream::balance::tests::Pretended;
    use crate::upstream::balance::weights::tests::{are_shared_by, randoms};

    #[test]
    fn the_busier_of_two_is_never_chosen() {
        let among = Pretended { in_flight: vec![3, 1], ..Pretended::even(2) };
        for random in randoms(1_000) {
            assert_eq!(choose(&among.question(random)), 1);
        }
    }

    #[test]
    fn how_busy_an_endpoint_is_depends_on_its_weight() {
        let busy = |in_flight| Pretended { in_flight, ..Pretended::weighing(&[3, 1]) };
        for random in randoms(1_000) {
            assert_eq!(choose(&busy(vec![2, 1]).question(random)), 0);
            assert_eq!(choose(&busy(vec![4, 1]).question(random)), 1);
        }
    }

    #[test]
    fn equally_busy_endpoints_share_by_weight() {
        for weights in [[1, 1, 1, 1], [1, 2, 3, 4], [1, 1, 1, 1_000]] {
            let in_flight = weights.iter().map(|weight| *weight as usize).collect();
            let among = Pretended { in_flight, ..Pretended::weighing(&weights) };
            let mut chosen = [0; 4];
            for random in randoms(100_000) {
                chosen[choose(&among.question(random))] += 1;
            }
            assert!(are_shared_by(&chosen, &weights), "{weights:?}: {chosen:?}");
        }
    }

    #[test]
    fn under_load_the_requests_in_flight_follow_the_weights() {
        let mut among = Pretended::weighing(&[1, 2, 4, 8]);
        for random in randoms(15_000) {
            let chosen = choose(&among.question(random));
            among.in_flight[chosen] += 1;
        }
        for (endpoint, fair) in [1_000, 2_000, 4_000, 8_000].into_iter().enumerate() {
            let in_flight = among.in_flight[endpoint];
            assert!(in_flight.abs_diff(fair) <= fair / 100, "{:?}", among.in_flight);
        }
    }
}

//! The same endpoint for the same key, as long as it is not overloaded: weighted rendezvous hashing
//! with bounded loads.

use super::{Candidates, Question, mix, random};

/// The endpoint with the best score for the key (Thaler & Ravishankar 1998; with weights by the
/// logarithmic method, as for cohorts), leaving out those that have too much in flight (Mirrokni,
/// Thorup & Zadimoghaddam 2016). Without a key any.
pub(super) fn choose<C: Candidates>(question: &Question<'_, C>) -> usize {
    let Some(key) = question.hash else { return random::choose(question) };
    let among = question.among;
    let all = 0..among.weights().count();
    let load = all.clone().map(|endpoint| among.in_flight(endpoint) as u64).sum();
    // What all have together is within all bounds together, so one is always below its own.
    let fit = all.filter(|endpoint| !is_overloaded(among, *endpoint, load));
    if among.weights().are_even() {
        let best = fit.max_by_key(|endpoint| hash(among, *endpoint, key));
        return best.unwrap_or(0);
    }
    let scored = fit.map(|endpoint| (endpoint, score(among, endpoint, key)));
    scored.min_by(|(_, one), (_, other)| one.total_cmp(other)).map_or(0, |(best, _)| best)
}

/// Whether an endpoint has more in flight than a quarter above its part of the load, rounded up.
fn is_overloaded<C: Candidates>(among: &C, endpoint: usize, load: u64) -> bool {
    let weights = among.weights();
    let part = load.saturating_mul(weights.of(endpoint)).saturating_mul(5);
    among.in_flight(endpoint) as u64 > part.div_ceil(weights.total().max(1).saturating_mul(4))
}

fn hash<C: Candidates>(among: &C, endpoint: usize, key: u64) -> u64 {
    mix(among.address_hash(endpoint) ^ key)
}

/// Exponentially distributed with the weight as its rate; the least wins. With equal weights that
/// is the one with the highest hash.
#[expect(clippy::cast_precision_loss, reason = "53 bits fit, and so do weights")]
fn score<C: Candidates>(among: &C, endpoint: usize, key: u64) -> f64 {
    const TWO_TO_53: f64 = (1_u64 << 53) as f64;
    let uniform = ((hash(among, endpoint, key) >> 11) as f64 + 0.5) / TWO_TO_53;
    // Not the standard library's logarithm, whose last bit depends on the machine.
    -libm::log(uniform) / among.weights().of(endpoint) as f64
}

#[cfg(test)]
mod tests {
    use super::choose;
    use crate::upstream::balance::Question;
    use crate::upstream::balance::tests::Pretended;
    use crate::upstream::balance::weights::tests::{are_shared_by, randoms};
    use proptest::prelude::*;

    fn chosen(among: &Pretended, key: u64) -> usize {
        choose(&Question { hash: Some(key), ..among.question(0) })
    }

    /// Endpoints of these weights, the same without one of them, and the weights that are left.
    fn with_and_without(weights: &[u32], gone: usize) -> (Pretended, Pretended, Vec<u32>) {
        let mut left = weights.to_vec();
        left.remove(gone);
        let (all, mut fewer) = (Pretended::weighing(weights), Pretended::weighing(&left));
        fewer.addresses.clone_from(&all.addresses);
        fewer.addresses.remove(gone);
        (all, fewer, left)
    }

    #[test]
    fn keys_share_out_by_weight() {
        for weights in [[1, 1, 1, 1], [1, 2, 3, 4], [1, 10, 100, 1_000]] {
            let among = Pretended::weighing(&weights);
            let mut counts = [0; 4];
            for key in randoms(100_000) {
                counts[chosen(&among, key)] += 1;
            }
            assert!(are_shared_by(&counts, &weights), "{weights:?}: {counts:?}");
        }
    }

    #[test]
    fn without_an_endpoint_only_its_own_keys_move() {
        for weights in [[1, 1, 1, 1, 1], [5, 4, 3, 2, 1]] {
            for gone in 0..5 {
                let (all, fewer, left) = with_and_without(&weights, gone);
                let mut moved = [0; 4];
                for key in randoms(20_000) {
                    let (before, after) = (chosen(&all, key), chosen(&fewer, key));
                    if before == gone {
                        moved[after] += 1;
                    } else {
                        assert_eq!(all.addresses[before], fewer.addresses[after]);
                    }
                }
                assert!(are_shared_by(&moved, &left), "{moved:?} without {gone}");
            }
        }
    }

    #[test]
    fn a_raised_weight_only_moves_keys_to_its_endpoint() {
        let (before, after) =
            (Pretended::weighing(&[1, 1, 1, 1]), Pretended::weighing(&[1, 1, 3, 1]));
        let mut moved = 0;
        for key in randoms(10_000) {
            let (before, after) = (chosen(&before, key), chosen(&after, key));
            assert!(before == after || after == 2);
            moved += usize::from(before != after);
        }
        assert!((2_300..2_700).contains(&moved), "{moved}");
    }

    #[test]
    fn without_a_key_any_endpoint_may_be_chosen() {
        let among = Pretended::weighing(&[1, 2, 1]);
        let mut counts = [0; 3];
        for random in randoms(10_000) {
            counts[choose(&among.question(random))] += 1;
        }
        assert!(are_shared_by(&counts, &[1, 2, 1]), "{counts:?}");
    }

    #[test]
    fn an_overloaded_endpoint_loses_its_keys_until_it_is_not() {
        let mut among = Pretended::even(4);
        let first = chosen(&among, 7);
        among.in_flight = vec![8; 4];
        assert_eq!(chosen(&among, 7), first);
        among.in_flight[first] = 13;
        assert_ne!(chosen(&among, 7), first);
        among.in_flight[first] = 12;
        assert_eq!(chosen(&among, 7), first);
    }

    proptest! {
        #[test]
        fn though_all_keys_are_one_no_endpoint_has_more_than_its_bound(
            weights in proptest::collection::vec(1_u32..50, 2..8), key: u64,
        ) {
            let mut among = Pretended::weighing(&weights);
            let total: u64 = (0..weights.len()).map(|at| among.weights.of(at)).sum();
            for load in 0..300_u64 {
                let chosen = chosen(&among, key);
                let bound = (load * among.weights.of(chosen) * 5).div_ceil(total * 4);
                prop_assert!(among.in_flight[chosen] as u64 <= bound);
                among.in_flight[chosen] += 1;
            }
        }

        #[test]
        fn the_same_key_is_given_the_same_endpoint_whatever_the_order(
            weights in proptest::collection::vec(1_u32..50, 2..8), key: u64, random: u64,
        ) {
            let among = Pretended::weighing(&weights);
            let backwards: Vec<_> = weights.iter().rev().copied().collect();
            let mut turned = Pretended::weighing(&backwards);
            turned.addresses = among.addresses.iter().rev().copied().collect();
            let other = choose(&Question { hash: Some(key), ..turned.question(random) });
            prop_assert_eq!(chosen(&among, key), weights.len() - 1 - other);
        }
    }
}

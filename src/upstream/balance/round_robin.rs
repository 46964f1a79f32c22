//! One endpoint after the other, each worker for itself.

use super::{Candidates, Question};

/// The endpoint whose turn it is.
///
/// With weights as nginx does (smooth weighted round robin): each endpoint earns its weight, the
/// one with most is chosen and pays what all have earned. In a period, which is as many requests
/// as the sum of the weights, each is chosen as often as it weighs, and never all at once.
pub(super) fn choose<C: Candidates>(question: &Question<'_, C>) -> usize {
    let among = question.among;
    let weights = among.weights();
    if weights.are_even() {
        return question.turn % weights.count().max(1);
    }
    let whole = |weight: u64| i64::try_from(weight).unwrap_or(i64::MAX);
    let (mut richest, mut most) = (0, i64::MIN);
    for endpoint in 0..weights.count() {
        let credit = among.credit(endpoint).saturating_add(whole(weights.of(endpoint)));
        among.set_credit(endpoint, credit);
        if credit > most {
            (richest, most) = (endpoint, credit);
        }
    }
    among.set_credit(richest, most.saturating_sub(whole(weights.total())));
    richest
}

#[cfg(test)]
mod tests {
    use super::choose;
    use crate::upstream::balance::Question;
    use crate::upstream::balance::tests::Pretended;
    use proptest::prelude::*;

    #[test]
    fn equal_endpoints_take_turns() {
        let among = Pretended::even(3);
        let turn = |turn| choose(&Question { turn, ..among.question(7) });
        assert_eq!([0, 1, 2, 3, usize::MAX].map(turn), [0, 1, 2, 0, usize::MAX % 3]);
    }

    #[test]
    fn a_heavy_endpoint_is_not_chosen_in_one_run() {
        // The example of nginx's change that brought this.
        let among = Pretended::weighing(&[5, 1, 1]);
        let order: Vec<_> = (0..14).map(|_| choose(&among.question(0))).collect();
        assert_eq!(order, [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0]);
    }

    proptest! {
        #[test]
        fn in_each_period_every_endpoint_is_chosen_as_often_as_it_weighs(
            weights in proptest::collection::vec(1_u32..20, 2..7),
        ) {
            prop_assume!(weights.iter().any(|weight| *weight != weights[0]));
            let among = Pretended::weighing(&weights);
            let period: u32 = weights.iter().sum();
            for _ in 0..3 {
                let mut chosen = vec![0_u32; weights.len()];
                for _ in 0..period {
                    chosen[choose(&among.question(0))] += 1;
                }
                prop_assert_eq!(&chosen, &weights);
            }
        }
    }
}

//! The weights of endpoints, and how endpoints are drawn by them.

/// The weights of the endpoints among which one is chosen, in their order.
#[derive(Debug, Clone, Default)]
pub struct Weights {
    count: usize,
    /// For each endpoint the sum of the weights up to its own; none if all are the same.
    sums: Box<[u64]>,
}

impl FromIterator<u32> for Weights {
    /// Takes weights in their order; 0 counts as 1.
    fn from_iter<I: IntoIterator<Item = u32>>(weights: I) -> Self {
        let mut sum = 0_u64;
        let mut first = None;
        let mut even = true;
        let add = |weight: u32| {
            let weight = u64::from(weight.max(1));
            even &= *first.get_or_insert(weight) == weight;
            sum += weight;
            sum
        };
        let sums: Vec<u64> = weights.into_iter().map(add).collect();
        Self { count: sums.len(), sums: if even { Box::default() } else { sums.into() } }
    }
}

impl Weights {
    /// How many endpoints there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether all endpoints have the same weight, which is 1 then.
    pub fn are_even(&self) -> bool {
        self.sums.is_empty()
    }

    /// The weight of an endpoint, relative to those of the others.
    pub fn of(&self, endpoint: usize) -> u64 {
        match self.sums.get(endpoint) {
            Some(sum) => sum - self.before(endpoint),
            None => 1,
        }
    }

    /// The sum of all weights.
    pub fn total(&self) -> u64 {
        self.sums.last().copied().unwrap_or(self.count as u64)
    }

    /// An endpoint drawn by weight. A widening multiplication maps 2^64 random numbers on the
    /// total, so the chances are exact to within 2^-32.
    pub(super) fn draw(&self, random: u64) -> usize {
        let point = u128::from(random) * u128::from(self.total());
        self.at(u64::try_from(point >> 64).unwrap_or(0))
    }

    /// Two different endpoints, both drawn by weight; of two there have to be.
    pub(super) fn draw_two(&self, random: u64) -> (usize, usize) {
        let (one, two) = (random >> 32, random & u64::from(u32::MAX));
        let below = |random: u64, bound: u64| random.wrapping_mul(bound) >> 32;
        if self.are_even() {
            let count = self.count as u64;
            let first = below(one, count);
            let second = first + 1 + below(two, count.saturating_sub(1));
            let second = if second < count { second } else { second - count };
            return (position(first), position(second));
        }
        let first = self.at(below(one, self.total()));
        let (before, weight) = (self.before(first), self.of(first));
        // Drawn from what is left of the line on which every weight has its part.
        let point = below(two, self.total() - weight);
        let second = self.at(if point < before { point } else { point + weight });
        (first, second)
    }

    /// The sum of the weights before an endpoint's.
    fn before(&self, endpoint: usize) -> u64 {
        endpoint.checked_sub(1).and_then(|before| self.sums.get(before)).copied().unwrap_or(0)
    }

    /// The endpoint whose part of the line a point is in.
    fn at(&self, point: u64) -> usize {
        if self.are_even() {
            return position(point);
        }
        self.sums.partition_point(|sum| *sum <= point)
    }
}

fn position(number: u64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

#[cfg(test)]
pub(super) mod tests {
    use super::Weights;
    use crate::upstream::balance::mix;
    use proptest::prelude::*;

    /// Random numbers, the same in every run.
    pub(in crate::upstream::balance) fn randoms(many: u64) -> impl Iterator<Item = u64> {
        (0..many).map(|step| mix(step.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
    }

    /// Whether counts are within five standard deviations of what the weights promise.
    pub(in crate::upstream::balance) fn are_shared_by(counts: &[usize], weights: &[u32]) -> bool {
        let number = |count: usize| f64::from(u32::try_from(count).unwrap());
        let of = number(counts.iter().sum());
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        counts.iter().zip(weights).all(|(count, weight)| {
            let part = f64::from(*weight) / total;
            let deviation = (of * part * (1.0 - part)).sqrt();
            (number(*count) - of * part).abs() <= 5.0 * deviation
        })
    }

    #[test]
    fn draws_share_out_by_weight() {
        for drawn in [vec![5; 4], vec![1, 2, 3, 94], vec![1_000, 1]] {
            let weights: Weights = drawn.iter().copied().collect();
            let (mut one, mut first) = (vec![0; drawn.len()], vec![0; drawn.len()]);
            for random in randoms(100_000) {
                one[weights.draw(random)] += 1;
                first[weights.draw_two(random).0] += 1;
            }
            assert!(are_shared_by(&one, &drawn), "{drawn:?}: {one:?}");
            assert!(are_shared_by(&first, &drawn), "{drawn:?}: {first:?}");
        }
    }

    #[test]
    fn the_second_of_two_is_drawn_by_weight_among_the_others() {
        let weights: Weights = [1, 2, 3, 4].into_iter().collect();
        let mut beside = [0; 4];
        for (first, second) in randoms(100_000).map(|random| weights.draw_two(random)) {
            if first == 2 {
                beside[second] += 1;
            }
        }
        assert!(are_shared_by(&beside, &[1, 2, 0, 4]), "{beside:?}");
    }

    proptest! {
        #[test]
        fn what_is_drawn_exists_and_two_are_different(
            drawn in proptest::collection::vec(0_u32..=100_000, 2..9), random: u64,
        ) {
            let weights: Weights = drawn.iter().copied().collect();
            prop_assert_eq!(weights.count(), drawn.len());
            let all: u64 = (0..drawn.len()).map(|endpoint| weights.of(endpoint)).sum();
            prop_assert_eq!(all, weights.total());
            for random in [random, 0, u64::MAX, u64::from(u32::MAX), !u64::from(u32::MAX)] {
                prop_assert!(weights.draw(random) < drawn.len());
                let (first, second) = weights.draw_two(random);
                prop_assert!(first != second && first < drawn.len() && second < drawn.len());
            }
        }
    }
}

//! The random draw: pools in proportion to their weights, from one random number.

use super::PoolIndex;
use super::arm::Share;

/// Draws one of the pools, and if that one can not take the request, one of those that can; says
/// too whether it is the one drawn first.
pub(super) fn draw<U: Fn(PoolIndex) -> bool + ?Sized>(
    shares: &[Share],
    random: u64,
    usable: &U,
) -> Option<(PoolIndex, bool)> {
    let first = pick(shares.iter(), random)?;
    if usable(first) {
        return Some((first, true));
    }
    // Drawing again until a usable pool comes up gives each its part of the usable weight, which
    // one draw among the usable does too. Each pool is asked once per pass; one that changes in
    // between only makes this one draw a little less even.
    let rest = || shares.iter().filter(|share| share.pool != first && usable(share.pool));
    pick(rest(), next(random)).map(|pool| (pool, false))
}

/// The share in whose part of the total weight the random number points.
///
/// A widening multiplication maps 2^64 numbers on the total: each probability is exact to within
/// 2^-44 up to a total of 2^20.
fn pick<'s>(shares: impl Iterator<Item = &'s Share> + Clone, random: u64) -> Option<PoolIndex> {
    let weight = |share: &Share| u64::from(share.weight.number());
    let total: u64 = shares.clone().map(weight).sum();
    let point = (u128::from(random) * u128::from(total)) >> 64;
    let mut end = 0_u128;
    let positive = shares.filter(|share| share.weight.number() > 0);
    let mut last = None;
    for share in positive {
        end += u128::from(weight(share));
        last = Some(share.pool);
        if point < end {
            break;
        }
    }
    last
}

/// The random number after this one (`SplitMix64`, Steele, Lea & Flood 2014).
fn next(random: u64) -> u64 {
    let mut mixed = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
pub(super) mod tests {
    use super::{draw, next};
    use crate::split::PoolIndex;
    use crate::split::arm::tests::shares;

    /// A million random numbers, the same in every run.
    pub(in crate::split) fn randoms() -> impl Iterator<Item = u64> {
        (0..1_000_000_u64).map(|step| next(step.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// Whether a count is within five standard deviations of what a probability promises.
    pub(in crate::split) fn is_within_bounds(count: usize, of: usize, probability: f64) -> bool {
        let of = f64::from(u32::try_from(of).unwrap());
        let deviation = (of * probability * (1.0 - probability)).sqrt();
        (f64::from(u32::try_from(count).unwrap()) - of * probability).abs() <= 5.0 * deviation
    }

    #[test]
    fn draws_share_out_by_weight() {
        let shares = shares("shop", "blue=1 canary=500 green=0 stable=9499");
        let mut counts = [0; 4];
        for random in randoms() {
            let (pool, first) = draw(&shares, random, &|_| true).unwrap();
            counts[pool.0] += 1;
            assert!(first);
        }
        assert!(is_within_bounds(counts[0], 1_000_000, 0.0001), "{counts:?}");
        assert!(is_within_bounds(counts[1], 1_000_000, 0.05), "{counts:?}");
        assert_eq!(counts[2], 0);
    }

    #[test]
    fn without_an_unusable_pool_the_others_share_out_by_weight() {
        let shares = shares("shop", "a=70 b=20 c=10");
        let mut counts = [0; 3];
        let mut moved = 0;
        for random in randoms() {
            let (pool, first) = draw(&shares, random, &|pool| pool != PoolIndex(0)).unwrap();
            counts[pool.0] += 1;
            moved += usize::from(!first);
        }
        assert!(is_within_bounds(moved, 1_000_000, 0.7), "{moved}");
        assert!(is_within_bounds(counts[1], 1_000_000, 2.0 / 3.0), "{counts:?}");
        assert_eq!(counts[0], 0);
    }

    #[test]
    fn the_ends_of_the_random_numbers_draw_the_ends_of_the_pools() {
        let shares = shares("shop", "a=0 b=1 c=1000000 d=0");
        let drawn = |random| draw(&shares, random, &|_| true);
        assert_eq!(drawn(0), Some((PoolIndex(1), true)));
        assert_eq!(drawn(u64::MAX), Some((PoolIndex(2), true)));
        assert_eq!(draw(&shares, 7, &|pool| pool == PoolIndex(0)), None);
    }
}

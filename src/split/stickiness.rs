//! Who moves when weights change: the cohort's promises as properties, beside what peers do.

use super::PoolIndex;
use super::arm::{Share, tests::shares};
use super::cohort::best;
use super::weights::tests::{is_within_bounds, randoms};
use crate::base::units::Weight;
use proptest::prelude::*;

const USERS: u32 = 20_000;

fn pool(shares: &[Share], user: u32) -> usize {
    best(shares, format!("u-{user}").as_bytes(), &|_| true).unwrap().0.0
}

fn weighted(weights: &[u32]) -> Vec<Share> {
    let share = |(index, weight): (usize, &u32)| {
        let name = format!("pool-{index}");
        Share::new(PoolIndex(index), &name, Weight::new(*weight).unwrap(), "shop")
    };
    weights.iter().enumerate().map(share).collect()
}

fn weights() -> impl Strategy<Value = Vec<u32>> {
    let weight = prop_oneof![0..=10_u32, 0..=100_u32, 0..=100_000_u32];
    prop::collection::vec(weight, 2..6)
        .prop_filter("a sum above 0", |weights| weights.iter().any(|weight| *weight > 0))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn raising_a_weight_moves_users_into_that_pool_only(
        before in weights(),
        which: prop::sample::Index,
        more in 1..=100_000_u32,
    ) {
        let raised = which.index(before.len());
        let mut after = before.clone();
        after[raised] += more;
        let (before, after) = (weighted(&before), weighted(&after));
        for user in 0..500 {
            let (old, new) = (pool(&before, user), pool(&after, user));
            prop_assert!(new == old || new == raised, "user {user} moved from {old} to {new}");
        }
    }

    #[test]
    fn scaling_all_weights_moves_nobody(before in weights(), factor in 2..=10_u32) {
        let after: Vec<_> = before.iter().map(|weight| weight * factor).collect();
        let (before, after) = (weighted(&before), weighted(&after));
        for user in 0..500 {
            prop_assert_eq!(pool(&before, user), pool(&after, user));
        }
    }

    #[test]
    fn adding_a_pool_moves_users_into_it_only(before in weights(), weight in 1..=100_000_u32) {
        let after = [before.as_slice(), &[weight]].concat();
        let added = before.len();
        let (before, after) = (weighted(&before), weighted(&after));
        for user in 0..500 {
            let (old, new) = (pool(&before, user), pool(&after, user));
            prop_assert!(new == old || new == added, "user {user} moved from {old} to {new}");
        }
    }

    #[test]
    fn leaving_a_pool_out_moves_its_users_only(weights in weights(), which: prop::sample::Index) {
        let (shares, out) = (weighted(&weights), which.index(weights.len()));
        for user in 0..500 {
            let old = pool(&shares, user);
            let key = format!("u-{user}");
            let new = best(&shares, key.as_bytes(), &|pool| pool.0 != out);
            prop_assert!(old == out || new == Some((PoolIndex(old), true)));
            prop_assert!(new.is_none_or(|(pool, first)| pool.0 != out && first == (old != out)));
        }
    }
}

#[test]
fn cohorts_share_out_by_weight() {
    let shares = shares("shop", "stable=9489 canary=500 blue=10 green=1 grey=0");
    let count = |users: std::ops::Range<u32>| {
        users.fold([0; 5], |mut counts, user| {
            counts[pool(&shares, user)] += 1;
            counts
        })
    };
    let [one, other] = std::thread::scope(|scope| {
        [0..500_000, 500_000..1_000_000]
            .map(|users| scope.spawn(|| count(users)))
            .map(|counting| counting.join().unwrap())
    });
    for (index, share) in shares.iter().enumerate() {
        let count = one[index] + other[index];
        let probability = f64::from(share.weight.number()) / 10_000.0;
        assert!(is_within_bounds(count, 1_000_000, probability), "{}: {count}", share.name);
    }
}

#[test]
fn another_salt_makes_other_users_the_first() {
    let (shop, cart) = (shares("shop", "a=9 b=1"), shares("cart", "a=9 b=1"));
    let both = (0..USERS).filter(|user| pool(&shop, *user) == 1 && pool(&cart, *user) == 1).count();
    assert!(is_within_bounds(both, USERS as usize, 0.01), "{both}");
}

/// The part of the canary's users that a change of weights throws out of it.
fn ejected(canary_before: impl Fn(u32) -> bool, canary_after: impl Fn(u32) -> bool) -> f64 {
    let users: Vec<_> = (0..USERS).filter(|user| canary_before(*user)).collect();
    let out = users.iter().filter(|user| !canary_after(**user)).count();
    f64::from(u32::try_from(out).unwrap()) / f64::from(u32::try_from(users.len()).unwrap())
}

/// Envoy's sticky weighted clusters: `hash % sum of weights`, counted off along the clusters.
fn envoy_takes_canary(stable: u64, canary: u64) -> impl Fn(u32) -> bool {
    move |user| {
        let hash = xxhash_rust::xxh3::xxh3_64(format!("u-{user}").as_bytes());
        hash % (stable + canary) >= stable
    }
}

fn serin_takes_canary(stable: u32, canary: u32) -> impl Fn(u32) -> bool {
    let shares = shares("shop", &format!("stable={stable} canary={canary}"));
    move |user| pool(&shares, user) == 1
}

#[test]
fn going_from_9_1_to_2_1_ejects_nobody_where_envoy_ejects_two_thirds() {
    let envoy = ejected(envoy_takes_canary(9, 1), envoy_takes_canary(2, 1));
    assert!((envoy - 0.67).abs() < 0.03, "{envoy}");
    let serin = ejected(serin_takes_canary(9, 1), serin_takes_canary(2, 1));
    assert!(serin == 0.0, "{serin}");
}

#[test]
fn going_from_99_1_to_6_1_ejects_nobody_where_envoy_ejects_86_percent() {
    let envoy = ejected(envoy_takes_canary(99, 1), envoy_takes_canary(6, 1));
    assert!((envoy - 0.86).abs() < 0.06, "{envoy}");
    let serin = ejected(serin_takes_canary(99, 1), serin_takes_canary(6, 1));
    assert!(serin == 0.0, "{serin}");
}

#[test]
fn at_the_50_percent_step_half_the_users_are_on_the_canary_where_flagger_has_85_percent() {
    let steps = [10, 20, 30, 40, 50];
    // Flagger draws for each user at each step, and a cookie holds whoever once drew the canary.
    let mut randoms = randoms();
    let mut drawn = |percent| randoms.next().unwrap() % 100 < percent;
    let flagger = (0..USERS).filter(|_| steps.iter().any(|percent| drawn(*percent))).count();
    assert!(is_within_bounds(flagger, USERS as usize, 0.8488), "{flagger}");
    let at = |percent: u64| {
        let shares = shares("shop", &format!("stable={} canary={percent}", 100 - percent));
        (0..USERS).map(|user| pool(&shares, user) == 1).collect::<Vec<_>>()
    };
    let mut before = vec![false; USERS as usize];
    for percent in steps {
        let now = at(percent);
        assert!(before.iter().zip(&now).all(|(before, now)| *now || !before), "{percent}");
        let count = now.iter().filter(|canary| **canary).count();
        let probability = f64::from(u32::try_from(percent).unwrap()) / 100.0;
        assert!(is_within_bounds(count, USERS as usize, probability), "{percent}: {count}");
        before = now;
    }
}

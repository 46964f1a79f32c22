//! Cohorts: the same key lands in the same pool, on every replica, with no shared state.

use super::PoolIndex;
use super::arm::Share;
use super::key::{Key, KeyConfig};
use crate::base::problem::Spanned;
use schemars::JsonSchema;
use serde::Deserialize;
use std::borrow::Cow;
use xxhash_rust::xxh3::xxh3_64;

/// Who counts as the same user and so stays in the same pool while the weights stay.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CohortConfig {
    /// Where to find the user's key; the first one present counts.
    #[schemars(extend("minItems" = 1))]
    pub key: Spanned<Vec<Spanned<KeyConfig>>>,
    /// Another salt makes other users the first to see a canary. Default: the route's name.
    pub salt: Option<String>,
    /// What to do without a key: `random` draws by weight, a pool's name takes that pool.
    /// Default: `random`.
    #[schemars(extend("default" = "random"))]
    pub on_missing: Option<Spanned<String>>,
}

/// A compiled cohort; the salt is in the arms' shares.
#[derive(Debug)]
pub(super) struct Cohort {
    pub(super) key: Key,
    /// The pool for requests without a key; none to draw one.
    pub(super) on_missing: Option<PoolIndex>,
}

/// A key's best pool, and if that one can not take the request, the best of those that can; says
/// too whether it is the best of all.
///
/// Weighted rendezvous hashing (Thaler & Ravishankar 1998) by the logarithmic method (Schindelhauer
/// & Schomaker 2005): each pool has an exponentially distributed score whose rate is its weight,
/// and the least wins, so a pool's part is its weight's part of the sum, and a weight raised
/// lowers that pool's scores only.
pub(super) fn best<U: Fn(PoolIndex) -> bool + ?Sized>(
    shares: &[Share],
    key: &[u8],
    usable: &U,
) -> Option<(PoolIndex, bool)> {
    let mut best = None;
    let mut best_usable = None;
    for candidate in scores(shares, key) {
        if is_better(candidate, best) {
            best = Some(candidate);
        }
        if is_better(candidate, best_usable) && usable(candidate.0.pool) {
            best_usable = Some(candidate);
        }
    }
    let (chosen, (best, _)) = (best_usable?.0.pool, best?);
    Some((chosen, chosen == best.pool))
}

/// The scores of the pools with a weight above 0.
pub(super) fn scores<'s>(
    shares: &'s [Share],
    key: &[u8],
) -> impl Iterator<Item = (&'s Share, f64)> {
    let positive = shares.iter().filter(|share| share.weight.number() > 0);
    positive.map(|share| (share, score(share, key)))
}

/// Whether a score is less than the best so far; of equal ones the pool that is first by name.
fn is_better((share, score): (&Share, f64), best: Option<(&Share, f64)>) -> bool {
    best.is_none_or(|(best_share, best)| {
        score.total_cmp(&best).then_with(|| share.name.cmp(&best_share.name)).is_lt()
    })
}

#[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
fn score(share: &Share, key: &[u8]) -> f64 {
    const TWO_TO_53: f64 = (1_u64 << 53) as f64;
    let uniform = ((hash(&share.prefix, key) >> 11) as f64 + 0.5) / TWO_TO_53;
    // Not the standard library's logarithm, whose last bit depends on the machine.
    -libm::log(uniform) / f64::from(share.weight.number())
}

/// The hash of both parts together.
fn hash(prefix: &[u8], key: &[u8]) -> u64 {
    /// Longer ones are put together on the heap.
    const STACK_BYTES_MAX: usize = 512;
    let mut buffer = [0; STACK_BYTES_MAX];
    let whole: Cow<[u8]> = match buffer.get_mut(..prefix.len() + key.len()) {
        Some(whole) => {
            let (start, end) = whole.split_at_mut(prefix.len());
            start.copy_from_slice(prefix);
            end.copy_from_slice(key);
            Cow::Borrowed(whole)
        }
        None => Cow::Owned([prefix, key].concat()),
    };
    xxh3_64(&whole)
}

#[cfg(test)]
mod tests {
    use super::{best, hash};
    use crate::split::PoolIndex;
    use crate::split::arm::tests::shares;
    use xxhash_rust::xxh3::xxh3_64;

    #[test]
    fn every_vector_is_chosen_as_recorded() {
        let mut rows = 0;
        for row in include_str!("../../tests/vectors/cohort.csv").lines().skip(1) {
            let [salt, key, weights, pool] = row.split(',').collect::<Vec<_>>()[..] else {
                panic!("{row}");
            };
            let byte = |at| u8::from_str_radix(&key[at..at + 2], 16).unwrap();
            let key: Vec<u8> = (0..key.len()).step_by(2).map(byte).collect();
            let shares = shares(salt, weights);
            let (chosen, first) = best(&shares, &key, &|_| true).unwrap();
            assert_eq!((&*shares[chosen.0].name, first), (pool, true), "{row}");
            rows += 1;
        }
        assert_eq!(rows, 2_100);
    }

    #[test]
    fn a_long_key_is_hashed_like_a_short_one() {
        for length in [0, 1, 507, 508, 509, 5_000] {
            let key = vec![b'k'; length];
            assert_eq!(hash(b"s\0p\0", &key), xxh3_64(&[b"s\0p\0", key.as_slice()].concat()));
        }
    }

    #[test]
    fn of_equal_scores_the_pool_first_by_name_wins() {
        let mut equal = shares("shop", "b=1 a=1 c=1");
        for share in &mut equal {
            share.prefix = Box::default();
        }
        assert_eq!(best(&equal, b"key", &|_| true), Some((PoolIndex(1), true)));
        assert_eq!(best(&equal, b"key", &|pool| pool.0 != 1), Some((PoolIndex(0), false)));
    }

    #[test]
    fn a_pool_without_weight_is_never_chosen() {
        let shares = shares("shop", "stable=1 canary=0");
        assert_eq!(best(&shares, b"key", &|pool| pool.0 == 1), None);
    }
}

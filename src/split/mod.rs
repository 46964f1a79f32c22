//! Which pool: the override, then the first arm that holds, then its cohort or a random draw.

mod arm;
mod choice;
mod cohort;
mod compile;
mod key;
mod overriding;
mod pool;
mod weights;

pub use arm::{Arm, ArmConfig, To};
pub use choice::{Choice, Reason};
pub use cohort::CohortConfig;
pub use compile::SplitConfig;
pub use key::{Key, KeyConfig};
pub use overriding::OverrideConfig;
pub use pool::{PoolIndex, PoolNames};

use crate::base::units::Weight;
use crate::predicate::Head;
use cohort::Cohort;
use http::HeaderName;
use overriding::{Asked, Override};

/// How one route's traffic divides among pools.
#[derive(Debug, Default)]
pub struct Split {
    /// In a box, as the cohort is, because most routes have none.
    override_: Option<Box<Override>>,
    arms: Box<[Arm]>,
    cohort: Option<Box<Cohort>>,
    fallback: Option<PoolIndex>,
    /// Every pool that the route may use, with its name.
    pools: Box<[(String, PoolIndex)]>,
}

impl Split {
    /// The pool for a request; allocates nothing but for a key that is very long or
    /// percent-encoded.
    ///
    /// Without a random number nothing is drawn: the answer then says so, and
    /// [`Split::odds`] what the draw would be among.
    pub fn choose<U: Fn(PoolIndex) -> bool + ?Sized>(
        &self,
        head: &Head<'_>,
        usable: &U,
        random: Option<u64>,
    ) -> Choice {
        let asks = |override_: &Override| override_.asked(head, &self.pools);
        let asked = self.override_.as_deref().map_or(Asked::Nothing, asks);
        let left_out = match asked {
            Asked::Pool(pool) if usable(pool) => {
                let reason = Some(Reason::Override);
                return Choice { pool: Some(pool), reason, ..Choice::default() };
            }
            Asked::Pool(_) => true,
            Asked::Nothing | Asked::Refused => false,
        };
        let choice = self.choose_by_arm(head, usable, random);
        let reason = choice.reason.map(|reason| if left_out { Reason::Fallback } else { reason });
        Choice { reason, override_refused: asked == Asked::Refused, ..choice }
    }

    /// The arms, in their order.
    pub fn arms(&self) -> &[Arm] {
        &self.arms
    }

    /// Every pool that the route may use, once: those of the arms, of a missing key, the fallback.
    pub fn pools(&self) -> impl Iterator<Item = PoolIndex> {
        self.pools.iter().map(|(_, pool)| *pool)
    }

    /// The header that names a pool, to be removed when [`Choice::override_refused`].
    pub fn override_header(&self) -> Option<&HeaderName> {
        self.override_.as_ref().map(|override_| &override_.header)
    }

    /// The networks whose connections may name a pool.
    pub fn override_trusted(&self) -> &[ipnet::IpNet] {
        self.override_.as_ref().map_or(&[], |override_| override_.trusted.networks())
    }

    /// Where a user's key is looked for, in words; nothing without a cohort.
    pub fn cohort_key(&self) -> Option<Vec<String>> {
        self.cohort.as_ref().map(|cohort| cohort.key.places().collect())
    }

    /// The pool for requests without a key; nothing where one is drawn.
    pub fn on_missing(&self) -> Option<PoolIndex> {
        self.cohort.as_ref().and_then(|cohort| cohort.on_missing)
    }

    /// The pool for when no pool of the arm can take the request, or no arm holds.
    pub fn fallback(&self) -> Option<PoolIndex> {
        self.fallback
    }

    /// The weights of an arm after unusable pools are left out.
    pub fn odds<U: Fn(PoolIndex) -> bool + ?Sized>(
        &self,
        arm: usize,
        usable: &U,
    ) -> Vec<(PoolIndex, Weight)> {
        let pools = self.arms.get(arm).into_iter().flat_map(Arm::pools);
        pools.filter(|(pool, _)| usable(*pool)).collect()
    }

    /// The scores, of which the least wins, of an arm's pools with a weight above 0 for the
    /// request's key; nothing where no key decides.
    pub fn scores(&self, head: &Head<'_>, arm: usize) -> Option<Vec<(PoolIndex, f64)>> {
        let arm = self.arms.get(arm).filter(|arm| arm.shares.len() > 1)?;
        let key = self.cohort.as_ref()?.key.value(head)?;
        Some(cohort::scores(&arm.shares, &key).map(|(share, score)| (share.pool, score)).collect())
    }

    fn choose_by_arm<U: Fn(PoolIndex) -> bool + ?Sized>(
        &self,
        head: &Head<'_>,
        usable: &U,
        random: Option<u64>,
    ) -> Choice {
        let decides = self.arms.iter().enumerate().find(|(_, arm)| arm.when.holds(head));
        let arm = decides.map(|(index, _)| index);
        let within = decides.and_then(|(_, arm)| self.choose_within(arm, head, usable, random));
        if let Some((pool, reason)) = within {
            let undrawn = pool.is_none();
            return Choice { arm, pool, reason: Some(reason), undrawn, ..Choice::default() };
        }
        let pool = self.fallback.filter(|pool| usable(*pool));
        Choice { arm, pool, reason: pool.map(|_| Reason::Fallback), ..Choice::default() }
    }

    /// The arm's pool, none in its place if it would have to be drawn; nothing if no pool of the
    /// arm can take the request.
    fn choose_within<U: Fn(PoolIndex) -> bool + ?Sized>(
        &self,
        arm: &Arm,
        head: &Head<'_>,
        usable: &U,
        random: Option<u64>,
    ) -> Option<(Option<PoolIndex>, Reason)> {
        let or_fallback = |first, reason| if first { reason } else { Reason::Fallback };
        if let [only] = &*arm.shares {
            return usable(only.pool).then_some((Some(only.pool), Reason::Single));
        }
        let mut reason = Reason::Weight;
        if let Some(cohort) = &self.cohort {
            if let Some(key) = cohort.key.value(head) {
                let (pool, first) = cohort::best(&arm.shares, &key, usable)?;
                return Some((Some(pool), or_fallback(first, Reason::Cohort)));
            }
            reason = match cohort.on_missing {
                Some(pool) if usable(pool) => return Some((Some(pool), Reason::MissingKey)),
                Some(_) => Reason::Fallback,
                None => Reason::MissingKey,
            };
        }
        let Some(random) = random else {
            let can_be_drawn = |(pool, weight): (_, Weight)| weight.number() > 0 && usable(pool);
            return arm.pools().any(can_be_drawn).then_some((None, reason));
        };
        let (pool, first) = weights::draw(&arm.shares, random, usable)?;
        Some((Some(pool), or_fallback(first, reason)))
    }
}

#[cfg(test)]
mod stickiness;
#[cfg(test)]
mod tests;

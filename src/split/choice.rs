//! What a split answers: a pool, and why that one.

use super::PoolIndex;

/// Which pool takes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Choice {
    /// The arm that holds; none if no arm does, or if the request named its pool.
    pub arm: Option<usize>,
    /// The pool; none if no pool can take the request, or if a draw was left out.
    pub pool: Option<PoolIndex>,
    /// Why that pool; none if no pool can take the request.
    pub reason: Option<Reason>,
    /// The request names a pool in the override header, but may not, or names none of the route.
    pub override_refused: bool,
    /// A random draw decides, and no random number was given.
    pub undrawn: bool,
}

/// Why a pool was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A trusted request named it.
    Override,
    /// The request's key belongs to it.
    Cohort,
    /// It was drawn at random.
    Weight,
    /// The arm has no other.
    Single,
    /// Another was chosen first and can not take the request, or no arm holds.
    Fallback,
    /// The route has cohorts and the request has no key.
    MissingKey,
}

impl Reason {
    /// All reasons, each at its [`Reason::index`].
    pub const ALL: [Self; 6] = [
        Self::Override,
        Self::Cohort,
        Self::Weight,
        Self::Single,
        Self::Fallback,
        Self::MissingKey,
    ];

    /// The word for it in metrics, logs and `explain`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Override => "override",
            Self::Cohort => "cohort",
            Self::Weight => "weight",
            Self::Single => "single",
            Self::Fallback => "fallback",
            Self::MissingKey => "missing_key",
        }
    }

    /// Its place in [`Reason::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn every_reason_is_at_its_index() {
        assert!(Reason::ALL.iter().enumerate().all(|(index, reason)| reason.index() == index));
    }
}

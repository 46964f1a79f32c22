//! What the health checks of an endpoint said, and what follows; outlives settings and removals.

use super::HealthConfig;

/// What the health checks of an endpoint said last.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// The checks in a row that ended like the last.
    in_a_row: u32,
    last: Option<Result<(), String>>,
}

/// What an endpoint bears before a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It was never checked, and gets no requests before.
    Unchecked,
    /// It counts as healthy.
    Healthy,
    /// It does not.
    Unhealthy,
}

impl Health {
    /// How the last check ended, with the reason if it failed; nothing if there was none.
    pub fn last(&self) -> Option<Result<(), String>> {
        self.last.clone()
    }

    /// Notes a check; says how the endpoint stands from then on. The first check of one that
    /// waited for it decides alone.
    pub(super) fn note(
        &mut self,
        result: Result<(), String>,
        standing: Standing,
        config: &HealthConfig,
    ) -> Standing {
        let well = result.is_ok();
        let again = self.last.as_ref().is_some_and(|last| last.is_ok() == well);
        self.in_a_row = if again { self.in_a_row.saturating_add(1) } else { 1 };
        self.last = Some(result);
        let (other, threshold) = if well {
            (Standing::Healthy, config.healthy_threshold)
        } else {
            (Standing::Unhealthy, config.unhealthy_threshold)
        };
        let decided = standing == Standing::Unchecked || self.in_a_row >= threshold;
        if decided { other } else { standing }
    }
}

#[cfg(test)]
mod tests {
    use super::{Health, HealthConfig, Standing};
    use proptest::prelude::*;

    fn result(well: bool) -> Result<(), String> {
        if well { Ok(()) } else { Err("no".to_owned()) }
    }

    fn standings(first: Standing, checks: &[bool]) -> Vec<Standing> {
        let config = HealthConfig::default();
        let (mut health, mut standing) = (Health::default(), first);
        let checks = checks.iter().map(|well| {
            standing = health.note(result(*well), standing, &config);
            standing
        });
        checks.collect()
    }

    #[test]
    fn so_many_in_a_row_are_needed_either_way() {
        use Standing::{Healthy as H, Unhealthy as U};
        let checks = [false, false, true, false, false, false, true, false, true, true, false];
        assert_eq!(standings(H, &checks), [H, H, H, H, H, U, U, U, U, H, H]);
    }

    #[test]
    fn the_first_check_of_one_that_waits_for_it_decides_alone() {
        use Standing::{Healthy as H, Unchecked, Unhealthy as U};
        assert_eq!(standings(Unchecked, &[true, false]), [H, H]);
        assert_eq!(standings(Unchecked, &[false, true, true]), [U, U, H]);
    }

    proptest! {
        #[test]
        fn the_standing_is_that_of_the_last_row_that_was_long_enough(
            checks in prop::collection::vec(any::<bool>(), 0..60),
        ) {
            let seen = standings(Standing::Healthy, &checks);
            for (end, standing) in (1..).zip(seen) {
                let rows = checks[..end].chunk_by(|one, other| one == other).rev();
                let decided = rows.map(|row| (row[0], row.len())).find(|(well, length)| {
                    *length >= if *well { 2 } else { 3 }
                });
                let well = decided.is_none_or(|(well, _)| well);
                prop_assert_eq!(standing == Standing::Healthy, well);
            }
        }
    }
}

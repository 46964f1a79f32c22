//! An endpoint's ejections: how many in a row, and until when; outlives settings and removals.

use super::OutlierConfig;
use std::time::{Duration, Instant};

/// An endpoint's ejections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct History {
    /// Ejections in a row.
    row: u32,
    standing: Standing,
    /// Since when it is out for having seemed to be gone, if it is.
    gone: Option<Instant>,
}

/// Whether the endpoint is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is, since this time or since ever.
    In(Option<Instant>),
    /// It is ejected until this time.
    Out(Instant),
    /// One request decides whether it is back.
    OnTrial,
}

impl Default for Standing {
    fn default() -> Self {
        Self::In(None)
    }
}

impl History {
    /// Whether it is in use.
    pub(super) const fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether it is not, a trial included.
    pub(super) const fn is_out(&self) -> bool {
        !matches!(self.standing, Standing::In(_))
    }

    /// Whether there is a row that becomes shorter with time.
    pub(super) const fn is_shrinking(&self) -> bool {
        self.row > 0 && matches!(self.standing, Standing::In(_))
    }

    /// How long it is still ejected; zero while one request decides.
    pub fn left(&self, now: Instant) -> Option<Duration> {
        match self.standing {
            Standing::In(_) => None,
            Standing::Out(until) => Some(until.saturating_duration_since(now)),
            Standing::OnTrial => Some(Duration::ZERO),
        }
    }

    /// Ejects it, one more in a row; says for how long. A row that has come to the longest time
    /// does not grow.
    pub(super) fn eject(&mut self, config: &OutlierConfig, now: Instant) -> Duration {
        let (base, most) = (config.base_ejection_time.0, config.max_ejection_time.0);
        if base.saturating_mul(self.row) < most {
            self.row += 1;
        }
        let time = base.saturating_mul(self.row).min(most);
        self.standing = Standing::Out(now + time);
        self.gone = None;
        time
    }

    /// Notes that it was ejected just now for having seemed to be gone.
    pub(super) fn note_gone(&mut self, now: Instant) {
        self.gone = Some(now);
    }

    /// Takes notice of a health check that began then and succeeded: whoever seemed to be gone
    /// before is there again, and its time is over. Says whether that is so.
    pub(in crate::upstream) fn is_there(&mut self, began: Instant) -> bool {
        let back = self.gone.is_some_and(|gone| gone < began);
        if back && let Standing::Out(until) = &mut self.standing {
            *until = began.min(*until);
            self.gone = None;
            return true;
        }
        false
    }

    /// Its time is over: one request decides.
    pub(super) fn try_out(&mut self) {
        self.standing = Standing::OnTrial;
    }

    /// Takes it into use again.
    pub(super) fn admit(&mut self, now: Instant) {
        self.standing = Standing::In(Some(now));
        self.gone = None;
    }

    /// Takes one off the row for each interval in use.
    pub(super) fn shrink(&mut self, interval: Duration, now: Instant) {
        let Standing::In(Some(mut since)) = self.standing else { return };
        while self.row > 0 && !interval.is_zero() && now.duration_since(since) >= interval {
            self.row -= 1;
            since += interval;
        }
        self.standing = Standing::In((self.row > 0).then_some(since));
    }
}

#[cfg(test)]
mod tests {
    use super::{History, OutlierConfig};
    use crate::base::units;
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    const fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    fn config() -> OutlierConfig {
        OutlierConfig {
            base_ejection_time: units::Duration::from_secs(10),
            max_ejection_time: units::Duration::from_secs(35),
            ..OutlierConfig::default()
        }
    }

    #[test]
    fn each_ejection_in_a_row_lasts_longer_up_to_the_longest() {
        let (config, now) = (config(), Instant::now());
        let mut history = History::default();
        let times = [0; 6].map(|_| {
            let time = history.eject(&config, now);
            assert_eq!(history.left(now), Some(time));
            history.try_out();
            assert_eq!(history.left(now), Some(seconds(0)));
            time
        });
        assert_eq!(times, [10, 20, 30, 35, 35, 35].map(seconds));
        history.admit(now);
        assert_eq!((history.left(now), history.row), (None, 4));
    }

    #[test]
    fn each_interval_in_use_takes_one_off_the_row() {
        let (config, start) = (config(), Instant::now());
        let mut history = History::default();
        for _ in 0..3 {
            history.eject(&config, start);
        }
        // Not while it is out.
        history.shrink(seconds(10), start + seconds(100));
        assert_eq!(history.row, 3);
        history.admit(start);
        for (after, row) in [(9, 3), (10, 2), (19, 2), (25, 1), (29, 1), (30, 0), (1_000, 0)] {
            history.shrink(seconds(10), start + seconds(after));
            assert_eq!(history.row, row, "{after}");
        }
        assert_eq!(history.eject(&config, start + seconds(1_000)), seconds(10));
    }

    proptest! {
        #[test]
        fn no_ejection_is_shorter_than_the_first_or_longer_than_the_longest(
            base in 1..1_000_u64,
            more in 0..100_000_u64,
            steps in prop::collection::vec((any::<bool>(), 0..1_000_u64), 0..50),
        ) {
            let config = OutlierConfig {
                base_ejection_time: units::Duration::from_secs(base),
                max_ejection_time: units::Duration::from_secs(base + more),
                ..OutlierConfig::default()
            };
            let (mut history, mut now) = (History::default(), Instant::now());
            for (admit, pause) in steps {
                let time = history.eject(&config, now);
                prop_assert!(seconds(base) <= time && time <= seconds(base + more));
                now += time + seconds(pause);
                if admit {
                    history.admit(now);
                    now += seconds(pause);
                    history.shrink(seconds(10), now);
                }
            }
        }
    }
}

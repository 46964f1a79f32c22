//! What a body may be at most, beside its pauses: its size, its slowness, its end.

use super::body::BodyError;
use super::clock;
use std::fmt;
use std::pin::Pin;
use std::task::Context;
use std::time::{Duration, Instant};
use tokio::time::Sleep;

/// What a body ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    /// It is larger than allowed.
    Bytes,
    /// It came slower than allowed.
    Rate,
    /// The time for the whole exchange is over.
    Time,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Bytes => "the body is too large",
            Self::Rate => "the body comes too slowly",
            Self::Time => "the time for the exchange is over",
        })
    }
}

/// The bounds of one body; most have none.
#[derive(Debug, Default)]
pub struct Bounds {
    bytes_max: Option<u64>,
    bytes: u64,
    rate: Option<Rate>,
    end: Option<Pin<Box<Sleep>>>,
}

/// The slowest that a body may come: waiting for it may take `grace` in all, and a second more for
/// every `bytes_per_second` that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Floor {
    /// What earns a second.
    pub bytes_per_second: u64,
    /// What need not be earned.
    pub grace: Duration,
}

impl Floor {
    /// How long this many bytes may be waited for.
    pub fn allowed(&self, bytes: u64) -> Duration {
        let rate = self.bytes_per_second.max(1);
        // The rest of the division is below the rate, so the quotient is below a second.
        let nanos = u128::from(bytes % rate) * 1_000_000_000 / u128::from(rate);
        let earned = Duration::new(bytes / rate, u32::try_from(nanos).unwrap_or(0));
        self.grace.saturating_add(earned)
    }
}

/// A floor, and how long was waited so far. Only waiting counts: while what came is not taken, as
/// by a slow service, nobody waits.
#[derive(Debug)]
struct Rate {
    floor: Floor,
    waited: Duration,
    /// Since when the next part is waited for.
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Bounds {
    /// Allows at most so many bytes.
    pub fn bytes_max(&mut self, bytes_max: u64) {
        self.bytes_max = Some(bytes_max);
    }

    /// Breaks a body off that comes slower than this.
    pub fn floor(&mut self, floor: Floor) {
        self.rate = Some(Rate { floor, waited: Duration::ZERO, since: None, timer: None });
    }

    /// Breaks a body off when this timer fires.
    pub fn end(&mut self, end: Pin<Box<Sleep>>) {
        self.end = Some(end);
    }

    /// Whether the body must end, whatever comes.
    pub(super) fn check(&mut self, cx: &mut Context<'_>) -> Result<(), BodyError> {
        let over = self.end.as_mut().is_some_and(|end| end.as_mut().poll(cx).is_ready());
        if over { Err(BodyError::Exceeded(Exceeded::Time)) } else { Ok(()) }
    }

    /// So many bytes came.
    pub(super) fn came(&mut self, bytes: usize) -> Result<(), BodyError> {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if self.bytes_max.is_some_and(|bytes_max| self.bytes > bytes_max) {
            return Err(BodyError::Exceeded(Exceeded::Bytes));
        }
        self.pause();
        Ok(())
    }

    /// Nobody waits for the next part for now.
    pub(super) fn pause(&mut self) {
        if let Some(rate) = &mut self.rate
            && let Some(since) = rate.since.take()
        {
            rate.waited += clock::now().saturating_duration_since(since);
        }
    }

    /// Nothing came; wakes the task when that has lasted too long.
    pub(super) fn wait(&mut self, cx: &mut Context<'_>) -> Result<(), BodyError> {
        let Some(rate) = &mut self.rate else { return Ok(()) };
        if rate.since.is_none() {
            let now = clock::now();
            rate.since = Some(now);
            let left = rate.floor.allowed(self.bytes).saturating_sub(rate.waited);
            match &mut rate.timer {
                Some(timer) => timer.as_mut().reset((now + left.min(FAR)).into()),
                none => *none = Some(Box::pin(tokio::time::sleep(left))),
            }
        }
        let over = rate.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
        if over { Err(BodyError::Exceeded(Exceeded::Rate)) } else { Ok(()) }
    }
}

/// Longer than anything lasts, and short enough to be added to any time.
const FAR: Duration = super::units::Duration::MAX;

#[cfg(test)]
mod tests {
    use super::Floor;
    use proptest::prelude::*;
    use std::time::Duration;

    proptest! {
        #[test]
        fn more_bytes_earn_more_time_and_never_overflow(
            rate in any::<u64>(), bytes in any::<u64>(),
            more in any::<u64>(), grace in any::<u64>(),
        ) {
            let floor = Floor { bytes_per_second: rate, grace: Duration::from_secs(grace) };
            prop_assert!(floor.allowed(0) == floor.grace);
            prop_assert!(floor.allowed(bytes) <= floor.allowed(bytes.saturating_add(more)));
        }
    }

    #[test]
    fn a_second_is_earned_by_what_comes_in_a_second() {
        let floor = Floor { bytes_per_second: 200, grace: Duration::from_secs(30) };
        assert_eq!(floor.allowed(100), Duration::from_millis(30_500));
        assert_eq!(floor.allowed(1_000), Duration::from_secs(35));
    }
}

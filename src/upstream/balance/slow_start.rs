//! Slow start: how much an endpoint weighs that is in use for a short time only.

use std::time::Duration;

/// The percent of its weight with which an endpoint begins.
const BEGIN_PERCENT: u128 = 10;

/// What an endpoint weighs that is in use for so long, in hundredths: a tenth of its weight at
/// first, growing evenly until the window is over.
pub fn effective_weight(weight: u32, age: Duration, window: Duration) -> u32 {
    let percent = if age >= window {
        100
    } else {
        BEGIN_PERCENT + (100 - BEGIN_PERCENT) * age.as_nanos() / window.as_nanos().max(1)
    };
    weight.saturating_mul(u32::try_from(percent).unwrap_or(100))
}

#[cfg(test)]
mod tests {
    use super::effective_weight;
    use std::time::Duration;

    #[test]
    fn a_weight_grows_evenly_from_a_tenth_to_all_of_it() {
        let window = Duration::from_secs(30);
        let at = |seconds| effective_weight(2, Duration::from_secs(seconds), window);
        assert_eq!([0, 10, 15, 20, 30, 31].map(at), [20, 80, 110, 140, 200, 200]);
        assert_eq!(effective_weight(1, Duration::ZERO, window), 10);
        assert_eq!(effective_weight(1, Duration::ZERO, Duration::ZERO), 100);
        assert_eq!(effective_weight(3, Duration::ZERO, Duration::MAX), 30);
        assert_eq!(effective_weight(3, Duration::MAX, Duration::MAX), 300);
    }
}

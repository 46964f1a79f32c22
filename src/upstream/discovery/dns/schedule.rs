//! When a name is looked up again.

use super::DnsConfig;
use std::time::Duration;

/// The least time between two look-ups because all endpoints fail.
pub(super) const DISTRESS_PAUSE: Duration = Duration::from_secs(1);
/// The pause after the first look-up that brought nothing.
const MISS_PAUSE: Duration = Duration::from_secs(1);

/// The pause after an answer with this time to live.
pub(super) fn after_answer(ttl: Option<Duration>, config: &DnsConfig) -> Duration {
    let (least, most) = (config.ttl_min.0, config.ttl_max.0);
    ttl.map_or(most, |ttl| ttl.max(least).min(most))
}

/// The pause after so many look-ups in a row that brought nothing: it doubles, and is up to a
/// quarter shorter by chance, so that many proxies do not ask at the same time.
pub(super) fn after_miss(misses: u32, config: &DnsConfig, random: u64) -> Duration {
    let doubled = 2_u32.saturating_pow(misses.saturating_sub(1));
    let whole = MISS_PAUSE.saturating_mul(doubled).min(config.ttl_max.0);
    // 0 to 255 parts of 1024.
    let shorter = u32::try_from(random % 256).unwrap_or_default();
    whole.saturating_sub(whole / 1024 * shorter)
}

#[cfg(test)]
mod tests {
    use super::{after_answer, after_miss};
    use crate::base::units;
    use crate::upstream::discovery::dns::DnsConfig;
    use proptest::prelude::*;
    use std::time::Duration;

    fn config(ttl_min: u64, ttl_max: u64) -> DnsConfig {
        DnsConfig {
            host: String::new(),
            port: 1,
            ttl_min: units::Duration::from_secs(ttl_min),
            ttl_max: units::Duration::from_secs(ttl_max),
            timeout: units::Duration::from_secs(5),
            servers: Vec::new(),
        }
    }

    #[test]
    fn the_pause_after_a_miss_doubles_up_to_the_longest_time_to_live() {
        let pauses = [1, 2, 3, 4, 5, 6, 7, 100, u32::MAX].map(|n| after_miss(n, &config(5, 60), 0));
        let seconds = pauses.map(|pause| pause.as_secs());
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        // Even where that is less than a second.
        let hurried =
            DnsConfig { ttl_max: units::Duration(Duration::from_millis(200)), ..config(0, 0) };
        assert_eq!(after_miss(1, &hurried, 0), Duration::from_millis(200));
    }

    #[test]
    fn records_that_do_not_say_how_long_they_live_are_kept_for_the_longest_time() {
        assert_eq!(after_answer(None, &config(5, 60)), Duration::from_mins(1));
    }

    proptest! {
        #[test]
        fn the_pause_after_an_answer_is_within_bounds(ttl: u32, least in 1_u64..100, more: u32) {
            let most = least + u64::from(more);
            let ttl = Duration::from_secs(ttl.into());
            let pause = after_answer(Some(ttl), &config(least, most));
            prop_assert!(pause >= Duration::from_secs(least) && pause <= Duration::from_secs(most));
            prop_assert!(pause == ttl || ttl < Duration::from_secs(least) || pause < ttl);
        }

        #[test]
        fn chance_takes_at_most_a_quarter(misses: u32, random: u64, most in 1_u64..10_000) {
            let config = config(1, most);
            let whole = after_miss(misses, &config, 0);
            let pause = after_miss(misses, &config, random);
            prop_assert!(pause <= whole && pause >= whole / 4 * 3);
        }
    }
}

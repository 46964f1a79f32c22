//! Of two endpoints drawn at random the one that is likely to answer first, by the peak-sensitive
//! moving average of its latency, as in Finagle and Linkerd.

use super::{Candidates, Question};
use std::time::Duration;

/// The time in which what is known of a latency counts for e times less.
const MEMORY: Duration = Duration::from_secs(10);
/// What an endpoint is taken for of which nothing is known: so that it gets some requests, and not
/// all of them until its first answer.
const NEW: Duration = Duration::from_millis(30);
/// Latencies below it count as this one: their differences are noise, and an endpoint that nobody
/// asked for long does not look endlessly fast until it has answered.
const NOISE: Duration = Duration::from_millis(1);
/// A failure counts at least as an answer that took this long, and a further one for twice as much
/// as is known already, up to the most.
const FAILURE_MIN: Duration = Duration::from_secs(1);
const FAILURE_MAX: Duration = Duration::from_mins(1);
/// Where weights differ they decide as long as the costs are within this factor.
const ALIKE: f64 = 2.0;

/// What is known of an endpoint's latency at some time, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latency(f64);

impl Default for Latency {
    fn default() -> Self {
        Self(NEW.as_secs_f64())
    }
}

impl Latency {
    /// What it counts for so long after, in seconds.
    pub fn after(self, pause: Duration) -> f64 {
        self.0 * weight_after(pause)
    }

    /// With an answer that took so long, after a pause: a slower one counts at once, a faster one
    /// the more the longer the last one is ago.
    #[must_use]
    pub fn answered(self, pause: Duration, took: Duration) -> Self {
        let took = took.as_secs_f64();
        let before = self.after(pause);
        Self(if took > before { took } else { before + took * (1.0 - weight_after(pause)) })
    }

    /// With a failure that took so long, after a pause: it counts as a slow answer, however fast
    /// it was.
    #[must_use]
    pub fn failed(self, pause: Duration, took: Duration) -> Self {
        let twice = (self.after(pause) * 2.0).min(FAILURE_MAX.as_secs_f64());
        Self(took.max(FAILURE_MIN).as_secs_f64().max(twice))
    }
}

fn weight_after(pause: Duration) -> f64 {
    (-pause.as_secs_f64() / MEMORY.as_secs_f64()).exp()
}

/// Two different endpoints are drawn by weight, and the one with the lower cost is chosen: its
/// latency, times its requests in flight and this one. Where weights differ, the requests in flight
/// count for what the endpoint weighs compared with the average, and the first stays if the costs
/// are alike.
#[expect(clippy::cast_precision_loss, reason = "nobody has so many requests in flight")]
pub(super) fn choose<C: Candidates>(question: &Question<'_, C>) -> usize {
    let among = question.among;
    let weights = among.weights();
    let (first, second) = weights.draw_two(question.random);
    let average = weights.total() as f64 / weights.count() as f64;
    let cost = |endpoint| {
        let load = among.in_flight(endpoint) as f64 * average / weights.of(endpoint) as f64;
        among.latency(endpoint).max(NOISE.as_secs_f64()) * (load + 1.0)
    };
    let alike = if weights.are_even() { 1.0 } else { ALIKE };
    if cost(second) * alike < cost(first) { second } else { first }
}

#[cfg(test)]
mod tests {
    use super::{FAILURE_MAX, FAILURE_MIN, Latency, MEMORY, choose};
    use crate::upstream::balance::tests::Pretended;
    use crate::upstream::balance::weights::tests::{are_shared_by, randoms};
    use proptest::prelude::*;
    use std::time::Duration;

    const MOMENT: Duration = Duration::from_millis(1);

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// The seconds that a latency counts for at once.
    fn now(latency: Latency) -> f64 {
        latency.after(Duration::ZERO)
    }

    fn is_about(one: f64, other: f64) -> bool {
        (one - other).abs() < other * 0.001
    }

    #[test]
    fn a_slow_answer_counts_at_once_and_is_forgotten_slowly() {
        let slow = Latency::default().answered(MOMENT, millis(500));
        assert!(is_about(now(slow), 0.5));
        let after_one_fast = slow.answered(MOMENT, millis(5));
        assert!(now(after_one_fast) > 0.499);
        let after_a_while = slow.answered(MEMORY, millis(5));
        let kept = (-1.0_f64).exp();
        assert!(is_about(now(after_a_while), 0.5 * kept + 0.005 * (1.0 - kept)));
        assert!(is_about(slow.after(MEMORY), 0.5 * kept));
    }

    #[test]
    fn a_failure_counts_as_slow_however_fast_it_was() {
        let failed = Latency::default().failed(MOMENT, Duration::ZERO);
        assert!(is_about(now(failed), FAILURE_MIN.as_secs_f64()));
        assert!(is_about(now(failed.failed(Duration::ZERO, Duration::ZERO)), 2.0));
        assert!(is_about(now(failed.failed(Duration::ZERO, millis(9_000))), 9.0));
        let often = (0..99).fold(failed, |latency, _| latency.failed(MOMENT, Duration::ZERO));
        assert!(now(often) <= FAILURE_MAX.as_secs_f64());
        assert!(is_about(now(often.failed(MOMENT, millis(90_000))), 90.0));
    }

    #[test]
    fn of_two_the_faster_is_chosen_until_it_is_busier() {
        let mut among = Pretended { latency: vec![0.010, 0.035], ..Pretended::even(2) };
        for random in randoms(100) {
            among.in_flight = vec![2, 0];
            assert_eq!(choose(&among.question(random)), 0);
            among.in_flight = vec![3, 0];
            assert_eq!(choose(&among.question(random)), 1);
        }
    }

    #[test]
    fn latencies_below_what_is_noise_are_the_same() {
        let among = Pretended { latency: vec![0.000_9, 0.0], ..Pretended::even(2) };
        let mut chosen = [0; 2];
        for random in randoms(10_000) {
            chosen[choose(&among.question(random))] += 1;
        }
        assert!(are_shared_by(&chosen, &[1, 1]), "{chosen:?}");
    }

    #[test]
    fn endpoints_of_like_latency_share_by_weight() {
        for weights in [[9, 1, 1], [1, 2, 3], [1_000, 1, 1]] {
            let latency = vec![0.020, 0.015, 0.025];
            let among = Pretended { latency, ..Pretended::weighing(&weights) };
            let mut chosen = [0; 3];
            for random in randoms(100_000) {
                chosen[choose(&among.question(random))] += 1;
            }
            assert!(are_shared_by(&chosen, &weights), "{weights:?}: {chosen:?}");
        }
    }

    #[test]
    fn a_slow_endpoint_loses_its_requests_whatever_it_weighs() {
        let among = Pretended { latency: vec![0.1, 0.01], ..Pretended::weighing(&[9, 1]) };
        for random in randoms(100) {
            assert_eq!(choose(&among.question(random)), 1);
        }
    }

    /// Requests that come every 10 ms one after the other; all endpoints answer in 5 ms, but the
    /// first fails at once. Says how many it got of 10,000.
    fn got_by_one_that_fails(endpoints: usize) -> usize {
        let mut among = Pretended::even(endpoints);
        let mut known = vec![(Latency::default(), Duration::ZERO); endpoints];
        let mut got = 0;
        for (number, random) in randoms(10_000).enumerate() {
            let time = millis(10) * u32::try_from(number).unwrap();
            among.latency =
                known.iter().map(|(known, at)| known.after(time.abs_diff(*at))).collect();
            let chosen = choose(&among.question(random));
            let (latency, at) = known[chosen];
            let pause = time.abs_diff(at);
            let latency = match chosen {
                0 => latency.failed(pause, Duration::ZERO),
                _ => latency.answered(pause, millis(5)),
            };
            known[chosen] = (latency, time);
            got += usize::from(chosen == 0);
        }
        got
    }

    #[test]
    fn an_endpoint_that_fails_fast_gets_next_to_nothing() {
        for endpoints in [2, 3, 10] {
            let got = got_by_one_that_fails(endpoints);
            // It is tried again now and then, or nobody would see that it is well again.
            assert!((1..20).contains(&got), "{got} with {endpoints}");
        }
    }

    proptest! {
        #[test]
        fn a_latency_is_never_less_than_nothing_nor_more_than_was_seen(
            events in
                proptest::collection::vec((any::<bool>(), 0_u64..20_000, 0_u64..90_000), 0..50),
        ) {
            let mut latency = Latency::default();
            let mut most = FAILURE_MAX.as_secs_f64();
            for (failed, pause, took) in events {
                let (pause, took) = (millis(pause), millis(took));
                most = most.max(took.as_secs_f64());
                latency = if failed {
                    latency.failed(pause, took)
                } else {
                    latency.answered(pause, took)
                };
                prop_assert!((0.0..=most).contains(&now(latency)), "{:?}", latency);
            }
        }
    }
}

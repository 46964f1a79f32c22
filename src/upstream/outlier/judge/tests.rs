//! The judgement: the cap, the row, success rates, and any order of events.

use super::{Case, Counted, Ejection, Sentence, judge, least_rate, out_max, wake};
use crate::base::units;
use crate::upstream::outlier::history::{History, Standing};
use crate::upstream::outlier::trial::TrialState;
use crate::upstream::outlier::{OutlierConfig, SuccessRateConfig};
use proptest::prelude::*;
use std::time::{Duration, Instant};

const fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

fn config(percent: u8) -> OutlierConfig {
    OutlierConfig { max_ejection_percent: percent, ..OutlierConfig::default() }
}

fn case(failures: u32) -> Case {
    Case { history: History::default(), failures, trial: TrialState::None, counted: None }
}

fn ejected(place: usize) -> (usize, Sentence) {
    (place, Sentence::Eject(Ejection::ConsecutiveFailures, seconds(10)))
}

fn out(cases: &[Case]) -> usize {
    cases.iter().filter(|case| case.history.is_out()).count()
}

#[test]
fn the_cap_is_rounded_down() {
    for (endpoints, percent, most) in
        [(1, 50, 0), (1, 99, 0), (1, 100, 1), (2, 50, 1), (3, 50, 1), (4, 50, 2), (10, 0, 0)]
    {
        assert_eq!(out_max(endpoints, percent), most, "{endpoints} {percent}");
    }
}

#[test]
fn an_endpoint_that_failed_often_enough_is_ejected_and_tried_and_back() {
    let (config, start) = (config(100), Instant::now());
    let mut cases = [case(4), case(5), case(0)];
    assert_eq!(judge(&mut cases, &config, start), [ejected(1)]);
    assert_eq!(wake(&cases, &config, start + seconds(60)), Some(start + seconds(10)));
    cases[1].failures = 0;
    assert_eq!(judge(&mut cases, &config, start + seconds(9)), []);
    let now = start + seconds(10);
    assert_eq!(judge(&mut cases, &config, now), [(1, Sentence::TryOut)]);
    for trial in [TrialState::Open, TrialState::Taken] {
        cases[1].trial = trial;
        assert_eq!(judge(&mut cases, &config, now + seconds(1_000)), []);
    }
    assert_eq!(wake(&cases, &config, now), None);
    cases[1].trial = TrialState::Failed;
    let again = Sentence::Eject(Ejection::TrialFailed, seconds(20));
    assert_eq!(judge(&mut cases, &config, now), [(1, again)]);
    assert_eq!(judge(&mut cases, &config, now + seconds(20)), [(1, Sentence::TryOut)]);
    cases[1].trial = TrialState::Passed;
    assert_eq!(judge(&mut cases, &config, now + seconds(20)), [(1, Sentence::Admit)]);
    assert_eq!(out(&cases), 0);
}

#[test]
fn the_worst_are_ejected_up_to_the_cap_and_others_when_there_is_room() {
    let (config, now) = (config(50), Instant::now());
    let mut cases = [case(5), case(7), case(9), case(6)];
    assert_eq!(judge(&mut cases, &config, now), [ejected(2), ejected(1)]);
    let tick = now + seconds(5);
    assert_eq!(wake(&cases, &config, tick), Some(tick));
    assert_eq!(judge(&mut cases, &config, tick), []);
    judge(&mut cases, &config, now + seconds(10));
    cases[1].trial = TrialState::Passed;
    let sentences = judge(&mut cases, &config, now + seconds(10));
    assert_eq!(sentences, [(1, Sentence::Admit), ejected(3)]);
}

#[test]
fn a_pool_that_has_become_smaller_gets_those_back_that_are_too_many() {
    let (config, now) = (config(50), Instant::now());
    let mut cases = vec![case(5), case(0), case(0), case(0)];
    judge(&mut cases, &config, now);
    cases[1].failures = 5;
    judge(&mut cases, &config, now + seconds(1));
    assert_eq!(out(&cases), 2);
    cases.truncate(2);
    assert_eq!(judge(&mut cases, &config, now + seconds(2)), [(0, Sentence::Admit)]);
    cases.remove(0);
    assert_eq!(judge(&mut cases, &config, now + seconds(60)), [(0, Sentence::Admit)]);
}

#[test]
fn a_row_of_ejections_becomes_shorter_in_use() {
    let (config, start) = (config(100), Instant::now());
    let mut cases = [case(5)];
    judge(&mut cases, &config, start);
    judge(&mut cases, &config, start + seconds(10));
    cases[0].trial = TrialState::Passed;
    judge(&mut cases, &config, start + seconds(10));
    assert!(cases[0].history.is_shrinking());
    let mut soon = cases;
    soon[0].failures = 5;
    let sentences = judge(&mut soon, &config, start + seconds(19));
    assert_eq!(sentences, [(0, Sentence::Eject(Ejection::ConsecutiveFailures, seconds(20)))]);
    judge(&mut cases, &config, start + seconds(20));
    assert!(!cases[0].history.is_shrinking());
    assert_eq!(wake(&cases, &config, start), None);
    cases[0].failures = 5;
    assert_eq!(judge(&mut cases, &config, start + seconds(21)), [ejected(0)]);
}

fn rated(rates: &[(u64, u64)]) -> Vec<Case> {
    let counted = |(successes, failures)| Some(Counted { successes, failures });
    rates.iter().map(|rate| Case { counted: counted(*rate), ..case(0) }).collect()
}

fn by_rate(min_endpoints: u32) -> OutlierConfig {
    let success_rate = Some(SuccessRateConfig { min_endpoints, ..SuccessRateConfig::default() });
    OutlierConfig { consecutive_failures: 0, success_rate, ..config(50) }
}

#[test]
fn the_least_rate_is_that_of_envoy() {
    // outlier_detection_impl_test.cc: rates of 50 and four times 100, a factor of 1.9.
    let least = least_rate([50.0, 100.0, 100.0, 100.0, 100.0].into_iter(), 1900);
    assert!((least - 52.0).abs() < 1e-9, "{least}");
    assert!((least_rate([100.0; 5].into_iter(), 1900) - 100.0).abs() < 1e-9);
}

#[test]
fn an_endpoint_that_succeeds_too_seldom_is_ejected_if_enough_are_compared() {
    let now = Instant::now();
    let rates = [(200, 0), (100, 0), (100, 100), (101, 0), (300, 0)];
    let sentence = (2, Sentence::Eject(Ejection::SuccessRate, seconds(10)));
    assert_eq!(judge(&mut rated(&rates), &by_rate(5), now), [sentence]);
    assert_eq!(judge(&mut rated(&rates), &by_rate(6), now), []);
    // 99 requests are too few to be compared.
    let fewer = [(200, 0), (100, 0), (100, 100), (99, 0), (300, 0)];
    assert_eq!(judge(&mut rated(&fewer), &by_rate(5), now), []);
    // All alike, well or badly: nobody is an outlier.
    for rate in [(100, 0), (0, 100), (50, 50)] {
        assert_eq!(judge(&mut rated(&[rate; 5]), &by_rate(5), now), []);
    }
    // Between two ticks nothing is compared, and nobody who is out.
    assert_eq!(judge(&mut [case(0); 5], &by_rate(0), now), []);
    let mut cases = rated(&rates);
    assert_eq!(judge(&mut cases, &by_rate(5), now).len(), 1);
    assert_eq!(judge(&mut cases, &by_rate(5), now + seconds(1)), []);
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Fail(usize, u32),
    Count(usize, u64, u64),
    Decide(usize, bool),
    Wait(u64),
    Leave,
    Come,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (0..12_usize, 1..12_u32).prop_map(|(place, times)| Event::Fail(place, times)),
        2 => (0..12_usize, 0..300_u64, 0..300_u64).prop_map(|(p, s, f)| Event::Count(p, s, f)),
        4 => (0..12_usize, any::<bool>()).prop_map(|(place, well)| Event::Decide(place, well)),
        4 => (0..40_u64).prop_map(Event::Wait),
        1 => Just(Event::Leave),
        1 => Just(Event::Come),
    ];
    prop::collection::vec(event, 0..120)
}

proptest! {
    #[test]
    fn never_are_more_out_than_may_be_and_states_follow_each_other(
        events in events(),
        endpoints in 1..12_usize,
        percent in 0..=100_u8,
    ) {
        let success_rate = Some(SuccessRateConfig { min_endpoints: 3, ..Default::default() });
        let config = OutlierConfig {
            success_rate,
            base_ejection_time: units::Duration::from_secs(10),
            max_ejection_time: units::Duration::from_secs(60),
            ..config(percent)
        };
        let mut cases = vec![case(0); endpoints];
        let mut now = Instant::now();
        for event in events {
            match event {
                Event::Fail(place, times) => {
                    if let Some(case) = cases.get_mut(place) {
                        case.failures += times;
                    }
                }
                Event::Count(place, successes, failures) => {
                    if let Some(case) = cases.get_mut(place) {
                        case.counted = Some(Counted { successes, failures });
                    }
                }
                Event::Decide(place, well) => match cases.get_mut(place) {
                    Some(case) if case.trial == TrialState::Open => {
                        case.trial = if well { TrialState::Passed } else { TrialState::Failed };
                    }
                    _ => {}
                },
                Event::Wait(time) => now += seconds(time),
                Event::Leave => drop(cases.pop()),
                Event::Come => cases.push(case(0)),
            }
            let before = cases.clone();
            let sentences = judge(&mut cases, &config, now);
            let mut places: Vec<_> = sentences.iter().map(|(place, _)| *place).collect();
            places.sort_unstable();
            places.dedup();
            prop_assert_eq!(places.len(), sentences.len(), "one sentence each");
            for (place, case) in cases.iter_mut().enumerate() {
                let sentence = sentences.iter().find(|(other, _)| *other == place);
                let was = before[place].history.standing();
                match (was, sentence.map(|(_, sentence)| *sentence)) {
                    (was, None) => prop_assert_eq!(
                        case.history.is_out(),
                        !matches!(was, Standing::In(_))
                    ),
                    (Standing::In(_), Some(Sentence::Eject(why, time))) => {
                        prop_assert!(why != Ejection::TrialFailed);
                        prop_assert!(seconds(10) <= time && time <= seconds(60));
                    }
                    (Standing::OnTrial, Some(Sentence::Eject(why, _))) => {
                        prop_assert_eq!(before[place].trial, TrialState::Failed);
                        prop_assert_eq!(why, Ejection::TrialFailed);
                    }
                    (Standing::Out(until), Some(Sentence::TryOut)) => prop_assert!(until <= now),
                    (Standing::Out(_) | Standing::OnTrial, Some(Sentence::Admit)) => {}
                    wrong => prop_assert!(false, "{:?}", wrong),
                }
                case.counted = None;
                match sentence {
                    Some((_, Sentence::TryOut)) => case.trial = TrialState::Open,
                    Some(_) => (case.trial, case.failures) = (TrialState::None, 0),
                    None => {}
                }
            }
            prop_assert!(out(&cases) <= out_max(cases.len(), percent));
            // There is always a time at which something that is out is looked at, or a request.
            let is_out = |case: &Case| matches!(case.history.standing(), Standing::Out(_));
            let waits = cases.iter().any(is_out);
            prop_assert!(!waits || wake(&cases, &config, now + seconds(999)).is_some());
        }
    }
}

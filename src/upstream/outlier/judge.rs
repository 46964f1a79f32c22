//! The judgement over a pool's endpoints: who is ejected, tried, and back. Time is an argument.

use super::history::{History, Standing};
use super::trial::TrialState;
use super::{OutlierConfig, SuccessRateConfig};
use crate::telemetry::events::Ejection;
use std::time::{Duration, Instant};

/// What is known of one endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    /// Its ejections.
    pub(super) history: History,
    /// Failed attempts in a row.
    pub(super) failures: u32,
    /// Where its trial stands.
    pub(super) trial: TrialState,
    /// What it did in the interval that is over, if one is.
    pub(super) counted: Option<Counted>,
}

/// Attempts in an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    /// Those that went well.
    pub(super) successes: u64,
    /// Those that did not.
    pub(super) failures: u64,
}

/// What becomes of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sentence {
    /// It is ejected for a time.
    Eject(Ejection, Duration),
    /// Its time is over: one request decides.
    TryOut,
    /// It is in use again.
    Admit,
}

/// Judges the endpoints that the pool has, without those that are going away. What changes is told
/// by the endpoints' places, and is in their histories already. Never more are out than may be:
/// what is too many, because the pool has become smaller, is admitted again.
pub(super) fn judge(
    cases: &mut [Case],
    config: &OutlierConfig,
    now: Instant,
) -> Vec<(usize, Sentence)> {
    let mut sentences = Vec::new();
    for (place, case) in cases.iter_mut().enumerate() {
        match (case.history.standing(), case.trial) {
            (Standing::Out(until), _) if until <= now => {
                case.history.try_out();
                sentences.push((place, Sentence::TryOut));
            }
            (Standing::OnTrial, TrialState::Passed) => {
                case.admit(now);
                sentences.push((place, Sentence::Admit));
            }
            (Standing::OnTrial, TrialState::Failed) => {
                let time = case.history.eject(config, now);
                sentences.push((place, Sentence::Eject(Ejection::TrialFailed, time)));
            }
            _ => case.history.shrink(config.interval.0, now),
        }
    }
    let out_max = out_max(cases.len(), config.max_ejection_percent);
    let out = cases.iter().filter(|case| case.history.is_out()).count();
    admit_beyond(cases, out.saturating_sub(out_max), now, &mut sentences);
    for (place, why) in suspects(cases, config).into_iter().take(out_max.saturating_sub(out)) {
        if let Some(case) = cases.get_mut(place) {
            let time = case.history.eject(config, now);
            sentences.push((place, Sentence::Eject(why, time)));
        }
    }
    sentences
}

/// When to judge again though nothing happens; nothing if there is no such time. `tick` is when the
/// interval is over.
pub(super) fn wake(cases: &[Case], config: &OutlierConfig, tick: Instant) -> Option<Instant> {
    let returns = cases.iter().filter_map(|case| match case.history.standing() {
        Standing::Out(until) => Some(until),
        _ => None,
    });
    let counts = config.success_rate.is_some();
    let waits = |case: &Case| case.history.is_shrinking() || case.has_failed(config);
    let ticks = (counts || cases.iter().any(waits)).then_some(tick);
    returns.chain(ticks).min()
}

/// How many of so many endpoints may be out at one time.
fn out_max(endpoints: usize, percent: u8) -> usize {
    endpoints * usize::from(percent) / 100
}

impl Case {
    /// Takes it into use again; what it failed before does not count any more.
    fn admit(&mut self, now: Instant) {
        self.history.admit(now);
        self.failures = 0;
    }

    /// Whether it is in use and has failed too often.
    fn has_failed(&self, config: &OutlierConfig) -> bool {
        let most = config.consecutive_failures;
        !self.history.is_out() && most > 0 && self.failures >= most
    }
}

/// Admits so many: first those on trial, then those whose time is over first.
fn admit_beyond(
    cases: &mut [Case],
    number: usize,
    now: Instant,
    sentences: &mut Vec<(usize, Sentence)>,
) {
    if number == 0 {
        return;
    }
    let left = |(place, case): (usize, &Case)| Some((case.history.left(now)?, place));
    let mut out: Vec<(Duration, usize)> = cases.iter().enumerate().filter_map(left).collect();
    out.sort_unstable();
    for (_, place) in out.into_iter().take(number) {
        if let Some(case) = cases.get_mut(place) {
            case.admit(now);
            sentences.retain(|(other, _)| *other != place);
            sentences.push((place, Sentence::Admit));
        }
    }
}

/// Whom to eject, the worst first.
fn suspects(cases: &[Case], config: &OutlierConfig) -> Vec<(usize, Ejection)> {
    let in_use = || (0..).zip(cases).filter(|(_, case)| !case.history.is_out());
    let mut failed: Vec<(u32, usize)> = in_use()
        .filter(|(_, case)| case.has_failed(config))
        .map(|(place, case)| (case.failures, place))
        .collect();
    failed.sort_unstable_by(|one, other| other.cmp(one));
    let failed = failed.into_iter().map(|(_, place)| (place, Ejection::ConsecutiveFailures));
    let mut suspects: Vec<_> = failed.collect();
    if let Some(config) = &config.success_rate {
        let counted: Vec<(usize, Counted)> =
            in_use().filter_map(|(place, case)| Some((place, case.counted?))).collect();
        for place in unsuccessful(&counted, config) {
            if !suspects.iter().any(|(known, _)| *known == place) {
                suspects.push((place, Ejection::SuccessRate));
            }
        }
    }
    suspects
}

/// The endpoints that succeeded too seldom compared with the others, the worst first.
fn unsuccessful(counted: &[(usize, Counted)], config: &SuccessRateConfig) -> Vec<usize> {
    let all = |counted: &Counted| counted.successes.saturating_add(counted.failures);
    let enough =
        counted.iter().filter(|(_, one)| all(one) >= u64::from(config.min_requests).max(1));
    #[expect(clippy::cast_precision_loss, reason = "a rate, not a count")]
    let rate = |one: &Counted| one.successes as f64 / all(one) as f64;
    let mut rates: Vec<(f64, usize)> = enough.map(|(place, one)| (rate(one), *place)).collect();
    if rates.is_empty() || rates.len() < usize::try_from(config.min_endpoints).unwrap_or(usize::MAX)
    {
        return Vec::new();
    }
    let least = least_rate(rates.iter().map(|(rate, _)| *rate), config.stdev_factor);
    rates.retain(|(rate, _)| *rate < least);
    rates.sort_unstable_by(|(one, _), (other, _)| one.total_cmp(other));
    rates.into_iter().map(|(_, place)| place).collect()
}

/// The average less so many thousandths of the standard deviation.
fn least_rate(rates: impl Iterator<Item = f64> + Clone, stdev_factor: u32) -> f64 {
    let number = rates.clone().fold(0.0, |number, _| number + 1.0);
    let mean = rates.clone().sum::<f64>() / number;
    let variance = rates.map(|rate| (rate - mean).powi(2)).sum::<f64>() / number;
    mean - variance.sqrt() * f64::from(stdev_factor) / 1_000.0
}

#[cfg(test)]
mod tests;

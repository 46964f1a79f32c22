//! From a route's settings to its split, with every check on the way.

use super::arm::Share;
use super::cohort::Cohort;
use super::key::Key;
use super::overriding::Override;
use super::{Arm, ArmConfig, CohortConfig, OverrideConfig, PoolIndex, PoolNames, Split, To};
use crate::base::problem::{Location, Problems, Spanned};
use crate::base::units::Weight;
use crate::predicate::{Condition, Segments};
use std::collections::HashSet;

/// The settings of a route that a split is made of.
#[derive(Debug, Clone, Copy)]
pub struct SplitConfig<'a> {
    /// The route's name, the default salt.
    pub route: &'a Spanned<String>,
    /// The arms of `split`.
    pub arms: &'a Spanned<Vec<ArmConfig>>,
    /// Who counts as the same user.
    pub cohort: Option<&'a CohortConfig>,
    /// The header by which a request names its pool.
    pub override_: Option<&'a OverrideConfig>,
    /// The pool for when no pool of the arm can take the request.
    pub fallback: Option<&'a Spanned<String>>,
}

/// The pools that a route may use, collected while its settings are read.
struct Pools<'a> {
    names: &'a PoolNames,
    used: Vec<(String, PoolIndex)>,
}

impl Split {
    /// Checks and compiles a route's settings; after an error the split is not to be used.
    pub fn compile(
        config: SplitConfig<'_>,
        segments: &Segments,
        pools: &PoolNames,
        problems: &mut Problems,
    ) -> Self {
        let SplitConfig { route, arms, cohort, override_, fallback } = config;
        if arms.is_empty() && !problems.is_partial(arms.at) {
            let message = format!("the split of route `{}` has no arm", route.value);
            let help = "add one that takes every request, such as `split: [{ to: stable }]`";
            problems.error(arms.at, message).help = Some(help.to_owned());
        }
        check_names(arms, problems);
        let mut pools = Pools { names: pools, used: Vec::new() };
        let salt = cohort.and_then(|cohort| cohort.salt.as_ref()).unwrap_or(&route.value);
        let compile_arm = |(index, arm): (usize, &ArmConfig)| Arm {
            name: label(index, arm).into(),
            when: arm
                .when
                .as_ref()
                .map_or_else(Condition::always, |when| when.compile(segments, problems)),
            shares: pools.shares(&arm.to, salt, problems).into(),
        };
        let compiled: Vec<_> = arms.iter().enumerate().map(compile_arm).collect();
        // A condition that is wrong may stand for any other: what follows from it is no news.
        if !problems.any_error() {
            check_reach(arms, &compiled, fallback, problems);
        }
        let cohort = cohort.map(|cohort| Cohort {
            key: Key::compile(&cohort.key, problems),
            on_missing: (cohort.on_missing.as_ref())
                .filter(|name| name.value != "random")
                .and_then(|name| pools.index(name, name.at, problems)),
        });
        Self {
            override_: override_.map(Override::compile).map(Box::new),
            fallback: fallback.and_then(|name| pools.index(name, name.at, problems)),
            arms: compiled.into(),
            cohort: cohort.map(Box::new),
            pools: pools.used.into(),
        }
    }
}

impl Pools<'_> {
    fn index(&mut self, name: &str, at: Location, problems: &mut Problems) -> Option<PoolIndex> {
        let Some(index) = self.names.index(name) else {
            problems.unknown(at, "pool", name, self.names.iter());
            return None;
        };
        if !self.used.iter().any(|(_, used)| *used == index) {
            self.used.push((name.to_owned(), index));
        }
        Some(index)
    }

    fn shares(&mut self, to: &Spanned<To>, salt: &str, problems: &mut Problems) -> Vec<Share> {
        let weights = match &to.value {
            To::Pool(name) => {
                let whole = Weight::new(1).unwrap_or_default();
                let pool = self.index(name, to.at, problems);
                return pool.map(|pool| Share::new(pool, name, whole, salt)).into_iter().collect();
            }
            To::Pools(weights) => weights,
        };
        if problems.is_partial(to.at) {
            // Which weights were meant is not known.
        } else if weights.is_empty() {
            let help = "name a pool, or map pools to weights: `to: { stable: 95, canary: 5 }`";
            problems.error(to.at, "`to` names no pool").help = Some(help.to_owned());
        } else if weights.iter().all(|(_, weight)| weight.number() == 0) {
            let help = "give at least one pool a weight above 0";
            problems.error(to.at, "the weights add up to 0").help = Some(help.to_owned());
        }
        let mut names = HashSet::new();
        let mut shares = Vec::with_capacity(weights.len());
        for (name, weight) in weights {
            if !names.insert(name.as_str()) {
                problems.error(name.at, format!("pool `{}` is named twice", name.value));
                continue;
            }
            let pool = self.index(name, name.at, problems);
            shares.extend(pool.map(|pool| Share::new(pool, name, *weight, salt)));
        }
        shares
    }
}

/// What an arm is called in metrics: its name, or its number.
fn label(index: usize, arm: &ArmConfig) -> String {
    arm.name.as_ref().map_or_else(|| index.to_string(), |name| name.value.clone())
}

fn place(arm: &ArmConfig) -> Location {
    arm.name.as_ref().map_or(arm.to.at, |name| name.at)
}

fn check_names(arms: &[ArmConfig], problems: &mut Problems) {
    let mut labels = HashSet::new();
    for (index, arm) in arms.iter().enumerate() {
        let label = label(index, arm);
        if !labels.contains(&label) {
            labels.insert(label);
            continue;
        }
        let message = format!("two arms of the split are called `{label}`");
        let help = "metrics tell arms apart by name; one without a name is called by its number";
        problems.error(place(arm), message).help = Some(help.to_owned());
    }
}

/// Warns of arms that no request reaches, and of requests that no arm takes.
fn check_reach(
    configs: &[ArmConfig],
    arms: &[Arm],
    fallback: Option<&Spanned<String>>,
    problems: &mut Problems,
) {
    if let Some(last) = arms.iter().position(|arm| arm.when.is_always()) {
        let name = arms.get(last).map_or("", Arm::name);
        for arm in configs.iter().skip(last + 1) {
            let message = format!("no request reaches this arm: arm `{name}` takes every request");
            let help = format!("move it above arm `{name}`, or give that one a `when`");
            problems.warning(place(arm), message).help = Some(help);
        }
    } else if let Some(last) = configs.last() {
        let message = "the last arm has a `when`, so a request may be taken by no arm";
        let help = match fallback {
            Some(pool) => format!("it goes to the fallback `{}`", pool.value),
            None => "it is answered with 503, as there is no `fallback`".to_owned(),
        };
        let help = format!("{help}; add a last arm without `when` to decide about it");
        problems.warning(place(last), message).help = Some(help);
    }
}

//! From a configuration to a snapshot: names become numbers, conditions become code.

use super::check::check;
use super::diagnostic::Diagnostic;
use super::root::{Config, RouteConfig};
use super::source::RawFile;
use super::tree::Document;
use crate::base::courtesy;
use crate::base::problem::Problems;
use crate::predicate::{Condition, Match, PathRule, Segments};
use crate::proxy::ambiguity::Ambiguity;
use crate::proxy::retry::Retry;
use crate::proxy::snapshot::{Counts, Route, Snapshot};
use crate::proxy::terms::{KnownTerms, Terms};
use crate::route::{Entry, Table};
use crate::split::{PoolNames, Split, SplitConfig};
use crate::telemetry::metrics::{Metrics, SplitWeight};
use crate::upstream::discovery::Source;
use crate::upstream::registry::Registry;
use std::sync::Arc;

/// The most routes of a document.
pub const ROUTES_MAX: usize = 100_000;

/// A document that may be taken into use, with all that was made of it.
#[derive(Debug)]
pub struct Compiled {
    /// The document, for telling where things are written.
    pub document: Document,
    /// The settings.
    pub config: Config,
    /// What requests will read.
    pub snapshot: Snapshot,
    /// What it asks of each arm, for `serin_split_weight`.
    pub weights: Vec<SplitWeight>,
    /// What is strange, but no reason to refuse it.
    pub warnings: Vec<Diagnostic>,
}

/// Parses, checks and compiles; or says everything that is wrong.
pub fn compile(
    files: &[RawFile],
    generation: u64,
    registry: &Registry,
    metrics: &Metrics,
) -> Result<Compiled, Vec<Diagnostic>> {
    let mut problems = Problems::default();
    let document = Document::parse(files, &mut problems)?;
    let config = Config::read(&document, &mut problems);
    check(&document, &config, &mut problems);
    let snapshot = snapshot(&config, generation, registry, metrics, &mut problems);
    let failed = problems.any_error();
    let diagnostics = document.diagnose(problems);
    if failed {
        return Err(diagnostics);
    }
    let weights = split_weights(&snapshot);
    Ok(Compiled { document, config, snapshot, weights, warnings: diagnostics })
}

fn snapshot(
    config: &Config,
    generation: u64,
    registry: &Registry,
    metrics: &Metrics,
    problems: &mut Problems,
) -> Snapshot {
    if let Some(first) = config.routes.get(ROUTES_MAX) {
        problems.error(first.name.at, format!("a document has at most {ROUTES_MAX} routes"));
    }
    let segments = Segments::compile(&config.segments, problems);
    // Those that were left out for being wrong come last: what names them is not wrong for that.
    let pools = config.pools.iter().map(|pool| &pool.name);
    let names = pools.chain(&config.left_out.pools.names).map(|name| name.value.as_str());
    let names: PoolNames = names.collect();
    let mut entries = Vec::with_capacity(config.routes.len());
    let mut routes = Vec::with_capacity(config.routes.len());
    let mut known_terms = KnownTerms::default();
    for route in config.routes.iter().take(ROUTES_MAX) {
        courtesy::give_way();
        entries.push(entry(route, &segments, problems));
        let terms = known_terms.share(terms(route));
        routes.push(self::route(route, terms, &segments, &names, metrics, problems));
    }
    Snapshot {
        generation,
        table: Table::build(entries, || _ = courtesy::give_way()),
        routes,
        pools: config.pools.iter().map(|pool| registry.pool(&pool.name)).collect(),
        balances: config.pools.iter().map(|pool| pool.balance.compile(problems)).collect(),
        ambiguity: (&config.ambiguity).into(),
        statuses: config.metrics.http_request_duration.then(|| metrics.statuses()),
        ..empty(metrics)
    }
}

/// The snapshot before there is any configuration: no route, every request gets 404.
pub fn empty(metrics: &Metrics) -> Snapshot {
    Snapshot {
        generation: 0,
        table: Table::default(),
        routes: Vec::new(),
        pools: Vec::new(),
        balances: Vec::new(),
        ambiguity: Ambiguity::default(),
        unmatched: Counts::resolve(metrics, "", &Split::default(), &PoolNames::default()),
        statuses: None,
    }
}

fn entry(route: &RouteConfig, segments: &Segments, problems: &mut Problems) -> Entry {
    let matches = route.matches.iter().map(|item| item.compile_match(segments, problems));
    let mut matches: Vec<Match> = matches.collect();
    if matches.is_empty() {
        matches.push(Match {
            path: PathRule::Prefix("/".to_owned()),
            method: false,
            headers: 0,
            queries: 0,
            rest: Condition::always(),
        });
    }
    Entry { hostnames: route.hostnames.clone(), matches }
}

fn route(
    config: &RouteConfig,
    terms: Arc<Terms>,
    segments: &Segments,
    names: &PoolNames,
    metrics: &Metrics,
    problems: &mut Problems,
) -> Route {
    let split = SplitConfig {
        route: &config.name,
        arms: &config.split,
        cohort: config.cohort.as_ref(),
        override_: config.r#override.as_ref(),
        fallback: config.fallback.as_ref(),
    };
    let split = Split::compile(split, segments, names, problems);
    let counts = Counts::resolve(metrics, &config.name, &split, names);
    Route { name: config.name.value.as_str().into(), split, terms, counts }
}

fn terms(config: &RouteConfig) -> Terms {
    let retry = config.retry.as_ref().map(|retry| retry.value.clone()).unwrap_or_default();
    Terms {
        timeouts: (&config.timeouts).into(),
        limits: (&config.limits).into(),
        retry: Retry::new(&retry),
        upgrades: config.upgrades.as_slice().into(),
    }
}

/// What the configuration asks of each arm, for `serin_split_weight`.
fn split_weights(snapshot: &Snapshot) -> Vec<SplitWeight> {
    let mut weights = Vec::new();
    for route in &snapshot.routes {
        courtesy::give_way();
        for arm in route.split.arms() {
            let name: Arc<str> = arm.name().into();
            for (pool, weight) in arm.pools() {
                let pool = snapshot.pool_name(pool).cloned().unwrap_or_default();
                weights.push((Arc::clone(&route.name), Arc::clone(&name), pool, weight.number()));
            }
        }
    }
    weights
}

/// Gives the pools the endpoints that the configuration lists, where nothing is served. Pools whose
/// endpoints are looked for count as usable: nobody is asked there.
pub fn apply_endpoints(config: &Config, snapshot: &Snapshot) {
    for (pool, settings) in snapshot.pools.iter().zip(&config.pools) {
        if Source::of(settings).is_some() {
            pool.presume_usable();
        } else {
            pool.replace(settings.listed().iter().map(|endpoint| &endpoint.value));
        }
    }
}

//! `/api/routes`: the routes of the configuration in use, as they were understood.

use super::State;
use super::answer::{Answer, json as answer};
use crate::base::units;
use crate::proxy::snapshot::{Route, Snapshot};
use crate::proxy::terms::Terms;
use crate::split::{Arm, PoolIndex, Split};
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;

#[derive(Serialize)]
struct Routes {
    generation: u64,
    routes: Vec<Shown>,
}

/// One route.
#[derive(Serialize)]
struct Shown {
    name: Arc<str>,
    /// Empty for any host.
    hostnames: Vec<String>,
    matches: Vec<String>,
    arms: Vec<ShownArm>,
    cohort: Option<Cohort>,
    r#override: Option<Override>,
    fallback: Option<Arc<str>>,
    timeouts: Timeouts,
    retry: Retry,
}

#[derive(Serialize)]
struct ShownArm {
    /// Its number, if it was given no name.
    name: String,
    /// Whether it takes only some requests.
    when: bool,
    weights: Map<String, Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Cohort {
    key: Vec<String>,
    on_missing: Arc<str>,
}

#[derive(Serialize)]
struct Override {
    header: String,
    trusted: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Timeouts {
    connect: String,
    backend_request: String,
    idle: String,
}

#[derive(Serialize)]
struct Retry {
    attempts: u8,
}

/// The routes in the order of the document.
pub(super) fn json(state: &State, _: &[u8]) -> Answer {
    let snapshot = state.snapshot.load_full();
    let routes = snapshot.routes.iter().enumerate();
    let routes = routes.map(|(index, route)| shown(&snapshot, index, route)).collect();
    answer(&Routes { generation: snapshot.generation, routes })
}

fn shown(snapshot: &Snapshot, index: usize, route: &Route) -> Shown {
    let Route { name, split, terms, .. } = route;
    let Terms { timeouts, retry, .. } = &**terms;
    let pool = |pool: PoolIndex| snapshot.pool_name(pool).cloned().unwrap_or_default();
    Shown {
        name: Arc::clone(name),
        hostnames: snapshot.table.hostnames(index).iter().map(ToString::to_string).collect(),
        matches: snapshot.table.matches(index).collect(),
        arms: split.arms().iter().map(|arm| shown_arm(arm, &pool)).collect(),
        cohort: split.cohort_key().map(|key| Cohort {
            key,
            on_missing: split.on_missing().map_or_else(|| "random".into(), pool),
        }),
        r#override: shown_override(split),
        fallback: split.fallback().map(pool),
        timeouts: Timeouts {
            connect: units::Duration(timeouts.connect).to_string(),
            backend_request: units::Duration(timeouts.response).to_string(),
            idle: units::Duration(timeouts.idle).to_string(),
        },
        retry: Retry { attempts: retry.attempts },
    }
}

fn shown_arm(arm: &Arm, pool_name: &dyn Fn(PoolIndex) -> Arc<str>) -> ShownArm {
    let weight = |(pool, weight): (PoolIndex, units::Weight)| {
        (pool_name(pool).to_string(), weight.number().into())
    };
    ShownArm {
        name: arm.name().to_owned(),
        when: !arm.when().is_always(),
        weights: arm.pools().map(weight).collect(),
    }
}

fn shown_override(split: &Split) -> Option<Override> {
    split.override_header().map(|header| Override {
        header: header.to_string(),
        trusted: split.override_trusted().iter().map(ToString::to_string).collect(),
    })
}

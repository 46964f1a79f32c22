//! `/api/pools`: the pools of the configuration in use and the state of their endpoints now.

use super::State;
use super::answer::{Answer, json as answer};
use crate::base::clock;
use crate::upstream::balance::Balance;
use crate::upstream::pool::Pool;
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::Arc;

#[derive(Serialize)]
struct Pools {
    generation: u64,
    pools: Vec<Shown>,
}

/// One pool.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    name: Arc<str>,
    /// How a request's endpoint is chosen.
    balance: &'static str,
    /// How many endpoints may get requests.
    usable: usize,
    /// Whether requests go to the other endpoints too, because too few are usable.
    health_ignored: bool,
    endpoints: Vec<Endpoint>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    address: SocketAddr,
    state: &'static str,
    weight: u32,
    /// The attempts that are going on there.
    in_flight: i64,
    /// Failed attempts in a row, if there are any.
    #[serde(skip_serializing_if = "is_zero")]
    failures_in_a_row: u32,
    /// How long it is still ejected, in seconds; 0 while one request decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    ejected_seconds: Option<u64>,
    /// How its last health check ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<Health>,
}

/// How a health check ended.
#[derive(Serialize)]
struct Health {
    healthy: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The pools in the order of the document.
pub(super) fn json(state: &State, _: &[u8]) -> Answer {
    let snapshot = state.snapshot.load_full();
    let pools = snapshot.pools.iter().zip(&snapshot.balances);
    let pools = pools.map(|(pool, balance)| shown(pool, balance)).collect();
    answer(&Pools { generation: snapshot.generation, pools })
}

fn shown(pool: &Pool, balance: &Balance) -> Shown {
    let now = clock::now();
    let endpoints = pool.endpoints();
    Shown {
        name: Arc::clone(&pool.name),
        balance: balance.name(),
        usable: endpoints.iter().filter(|endpoint| endpoint.is_usable()).count(),
        health_ignored: pool.is_panicking(),
        endpoints: endpoints
            .iter()
            .map(|endpoint| Endpoint {
                address: endpoint.address,
                state: endpoint.state().name(),
                weight: endpoint.weight(),
                in_flight: endpoint.in_flight(),
                failures_in_a_row: endpoint.failures_in_a_row(),
                ejected_seconds: endpoint.history.lock().left(now).map(|left| left.as_secs()),
                health: endpoint
                    .health
                    .lock()
                    .last()
                    .map(|last| Health { healthy: last.is_ok(), reason: last.err() }),
            })
            .collect(),
    }
}

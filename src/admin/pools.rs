//! `/api/pools`: the pools of the configuration in use and the state of their endpoints now.

use super::State;
use super::answer::{Answer, json as answer};
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
}

/// The pools in the order of the document.
pub(super) fn json(state: &State, _: &[u8]) -> Answer {
    let snapshot = state.snapshot.load_full();
    let pools = snapshot.pools.iter().zip(&snapshot.balances);
    let pools = pools.map(|(pool, balance)| shown(pool, balance)).collect();
    answer(&Pools { generation: snapshot.generation, pools })
}

fn shown(pool: &Pool, balance: &Balance) -> Shown {
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
            })
            .collect(),
    }
}

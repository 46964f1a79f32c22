//! `/api/pools`: the pools of the configuration in use and the state of their endpoints now.

use super::State;
use super::answer::{Answer, json as answer};
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
struct Shown {
    name: Arc<str>,
    /// How many endpoints may get requests.
    usable: usize,
    endpoints: Vec<Endpoint>,
}

#[derive(Serialize)]
struct Endpoint {
    address: SocketAddr,
    state: &'static str,
}

/// The pools in the order of the document.
pub(super) fn json(state: &State, _: &[u8]) -> Answer {
    let snapshot = state.snapshot.load_full();
    let pools = snapshot.pools.iter().map(|pool| shown(pool)).collect();
    answer(&Pools { generation: snapshot.generation, pools })
}

fn shown(pool: &Pool) -> Shown {
    let endpoints = pool.endpoints();
    Shown {
        name: Arc::clone(&pool.name),
        usable: endpoints.iter().filter(|endpoint| endpoint.is_usable()).count(),
        endpoints: endpoints
            .iter()
            .map(|endpoint| Endpoint { address: endpoint.address, state: endpoint.state().name() })
            .collect(),
    }
}

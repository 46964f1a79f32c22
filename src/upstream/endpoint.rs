//! One address of a pool and what is known of it; outlives snapshots.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// One address of a pool.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    state: AtomicU8,
}

/// Whether an endpoint may get requests, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointState {
    /// It may get requests.
    Usable,
    /// Its health check fails.
    Unhealthy,
    /// It was taken out because of how it answered.
    Ejected,
    /// It is going away.
    Draining,
}

impl EndpointState {
    /// Every state, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Usable, Self::Unhealthy, Self::Ejected, Self::Draining];

    /// Its name in metrics and the admin API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Usable => "usable",
            Self::Unhealthy => "unhealthy",
            Self::Ejected => "ejected",
            Self::Draining => "draining",
        }
    }
}

impl Endpoint {
    /// An endpoint that may get requests.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, state: AtomicU8::new(EndpointState::Usable as u8) }
    }

    /// Its state now.
    pub fn state(&self) -> EndpointState {
        let number = usize::from(self.state.load(Relaxed));
        EndpointState::ALL.get(number).copied().unwrap_or(EndpointState::Usable)
    }

    /// Whether it may get requests.
    pub fn is_usable(&self) -> bool {
        self.state() == EndpointState::Usable
    }
}

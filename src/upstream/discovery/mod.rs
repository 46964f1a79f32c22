//! Where a pool's endpoints come from: one file per source.

pub mod dns;
pub mod listed;

use std::net::SocketAddr;

/// An endpoint as a source found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its part of the pool's requests, relative to the weights of the others; at least 1.
    pub weight: u32,
    /// Whether it is going away: it gets no new requests, and those in flight finish.
    pub draining: bool,
}

impl From<SocketAddr> for Found {
    fn from(address: SocketAddr) -> Self {
        Self { address, weight: 1, draining: false }
    }
}

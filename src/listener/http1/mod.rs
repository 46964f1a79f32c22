//! HTTP/1.1 with clients (RFC 9112), stricter than it must be about what comes: a proxy and its
//! upstream must never disagree on where a message ends.
//!
//! A connection is one task. While it waits for a request it holds nothing but its socket, of which
//! the runtime is told then at the latest.

mod connection;
pub mod head;
mod respond;
mod waiting;

pub(super) use connection::{Start, serve};

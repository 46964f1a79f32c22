//! HTTP/1.1 towards the endpoints (RFC 9112), stricter than it must be about what comes back: a
//! proxy and its upstream must never disagree on where a message ends.
//!
//! A connection is driven by the request that uses it, without a task of its own: that saves the
//! channels, wake-ups and copies between the two, a third of the work of a small request.

mod beside;
pub mod connection;
pub mod exchange;
pub mod head;
mod switched;
pub mod upload;

pub use connection::Connection;
pub use exchange::{ReceiveError, Receiving, SendError, Sending};
pub use upload::Upload;

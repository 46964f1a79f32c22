//! HTTP/2 towards the endpoints (RFC 9113): many requests share a connection, each as a stream.
//!
//! The h2 crate does the frames. Hyper's client on top of it takes a request's body away for good
//! and passes it on in a task of its own; here a request that was refused before it was looked at
//! still has its body, and its stream is driven by who waits for it.

pub mod connection;
pub mod connections;
pub mod exchange;
pub mod head;
mod silence;
mod switched;
pub mod upload;

pub use connection::{Connection, Lease};
pub use connections::{Connections, Opening};
pub use exchange::{Receiving, SendError, Sending};
pub use switched::SwitchedError;

//! The life of a request: decided, delivered, recorded.

mod again;
pub mod ambiguity;
pub mod attempt;
pub mod authority;
pub mod decide;
pub mod deliver;
pub mod downstream;
mod either;
pub mod error;
pub mod exchange;
pub mod explain;
pub mod framing;
pub mod grpc;
pub mod headers;
pub mod limits;
pub mod path;
pub mod retry;
pub mod snapshot;
pub mod terms;
pub mod timeouts;
pub mod upgrade;
pub mod worker;

pub use worker::Proxy;

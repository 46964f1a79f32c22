//! The life of a request: decided, delivered, recorded.

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
pub mod headers;
pub mod snapshot;
pub mod upgrade;
pub mod worker;

pub use worker::Proxy;

//! The services behind: pools, their endpoints, which one takes a request, and the connections.

pub mod balance;
pub mod endpoint;
pub mod http1;
pub mod local;
pub mod pool;
pub mod registry;

//! The services behind: pools, their endpoints, which one takes a request, and the connections.

mod aside;
pub mod balance;
pub mod changes;
pub mod control;
pub mod discovery;
pub mod endpoint;
pub mod health;
pub mod http1;
pub mod http2;
pub mod keep_alive;
pub mod kept;
pub mod limits;
pub mod local;
pub mod opening;
pub mod outgoing;
pub mod outlier;
pub mod pool;
pub mod quota;
pub mod receiving;
pub mod registry;
pub mod settings;
pub mod stream;
pub mod transport;

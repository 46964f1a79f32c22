//! What every layer may use: bodies, time, draining, typed units, positions in a document.

pub mod accepted;
pub mod body;
pub mod bounds;
pub mod clock;
pub mod courtesy;
pub mod deadline;
pub mod drain;
pub mod http1;
pub mod http2;
pub mod incoming;
pub mod io;
pub mod problem;
pub mod quiet;
pub mod socket;
pub mod status;
pub mod units;

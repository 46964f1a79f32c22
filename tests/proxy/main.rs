//! The whole proxy in the test's process, on free ports, against origins that do as they are told.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

mod bodies;
mod cohorts;
mod connections;
mod drain;
mod explain;
mod failures;
mod framing;
mod headers;
mod http1;
mod http2;
mod listeners;
mod metrics;
mod reload;
mod routing;
mod semantics;
mod support;
mod timeouts;
mod tls;

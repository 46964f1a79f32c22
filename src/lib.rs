//! Serin: a gray-release data plane. This page is the map of the code, bottom layer first.
//!
//! Every request is *decided*, *delivered* and *recorded*; every configuration change is *read*,
//! *parsed*, *checked*, *compiled*, *bound*, *swapped* and *drained*. A module imports only
//! modules before it in this list; `tests/tidy.rs` proves it.
//!
//! | module | what it is for |
//! |---|---|

pub mod base;
pub mod config;
pub mod listener;
pub mod predicate;
pub mod proxy;
pub mod route;
pub mod split;
pub mod telemetry;
pub mod upstream;

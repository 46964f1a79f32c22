//! Serin: a gray-release data plane. This page is the map of the code, bottom layer first.
//!
//! Every request is *decided*, *delivered* and *recorded*; every configuration change is *read*,
//! *parsed*, *checked*, *compiled*, *bound*, *swapped* and *drained*. A module imports only
//! modules above it in the list below; `tests/tidy.rs` proves it.

pub mod base;
pub mod predicate;

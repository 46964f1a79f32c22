//! Serin: a gray-release data plane. This page is the map of the code, bottom layer first.
//!
//! Every request is *decided*, *delivered* and *recorded*; every configuration change is *read*,
//! *parsed*, *checked*, *compiled*, *bound*, *swapped* and *drained*. A module imports only
//! modules before it in this list; `tests/tidy.rs` proves it.
//!
//! | module | what it is for |
//! |---|---|
//! | [`base`] | what every layer may use: bodies, time, draining, typed units |
//! | [`telemetry`] | metrics, counted per worker and summed when scraped |
//! | [`cluster`] | the Kubernetes API: how it is reached, and what is watched there |
//! | [`tls`] | certificates, their names, and how listeners and pools speak TLS |
//! | [`predicate`] | what can be asked of a request head; pure |
//! | [`route`] | which route takes a request; pure |
//! | [`split`] | which pool takes a request: override, arm, cohort, weights; pure |
//! | [`upstream`] | pools, endpoints, balancing, connections |
//! | [`proxy`] | the life of a request: decide, deliver, record; explain |
//! | [`listener`] | sockets and client connections, one worker thread per core |
//! | [`config`] | the document: read, checked, compiled, reloaded |
//! | [`admin`] | health, metrics, the API and the dashboard |
//! | [`app`] | the composition root |
//! | [`cli`] | one file per command |

pub mod admin;
pub mod app;
pub mod base;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod listener;
pub mod predicate;
pub mod proxy;
pub mod route;
pub mod split;
pub mod telemetry;
pub mod tls;
pub mod upstream;

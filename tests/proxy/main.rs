//! The whole proxy in the test's process, on free ports, against origins that do as they are told.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

mod balance;
mod bodies;
mod bounds;
#[cfg(feature = "kube")]
mod cluster_accounts;
#[cfg(feature = "kube")]
mod cluster_support;
#[cfg(feature = "kube")]
mod cluster_trouble;
#[cfg(feature = "kube")]
mod cluster_writes;
mod cohorts;
#[cfg(feature = "kube")]
mod configmap;
mod connections;
#[cfg(feature = "dns")]
mod dns;
mod drain;
mod duplex;
mod events;
mod explain;
mod failures;
mod flagger;
mod framing;
mod grpc;
mod headers;
mod health;
mod hostile_endpoints;
mod http1;
mod http2;
mod http2_conformance;
mod http2_floods;
mod http2_lengths;
mod interop;
mod keep_alive;
#[cfg(feature = "kube")]
mod kubernetes;
mod limits;
mod listeners;
mod metrics;
mod outlier;
mod outliving;
mod paths;
mod pool_limits;
mod pool_lines;
mod proxy_protocol;
#[cfg(feature = "kube")]
mod rbac;
mod reload;
mod retries;
mod routing;
mod semantics;
mod support;
mod timeouts;
mod tls;
mod upgrade;
mod upgrade_http2;
mod upstream_http2;
mod upstream_streams;
mod upstream_tls;

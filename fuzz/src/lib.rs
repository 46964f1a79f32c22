//! What is fuzzed: each target takes any bytes and panics if Serin does what it never may.
//!
//! The targets of libFuzzer call these functions, and so does `tests/seeds.rs`, with the files in
//! `seeds/`, by a stable compiler.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a target tells what is wrong"
)]

pub mod chunked_body;
pub mod configuration;
pub mod cookies;
pub mod naive;
pub mod proxy_protocol;
pub mod request_head;
pub mod response_head;
pub mod rewrite;
pub mod version;

/// A target: any bytes, and a panic for what is wrong.
pub type Target = fn(&[u8]);

/// Every target by its name, which is that of its seeds' folder.
pub const TARGETS: &[(&str, Target)] = &[
    ("chunked_body", chunked_body::run),
    ("configuration", configuration::run),
    ("cookies", cookies::run),
    ("proxy_protocol", proxy_protocol::run),
    ("request_head", request_head::run),
    ("response_head", response_head::run),
    ("rewrite", rewrite::run),
    ("version", version::run),
];

//! TLS: certificates, their names, and what listeners and pools need to speak it.

pub mod certificates;
pub mod client;
pub mod identity;
pub mod server;
mod unverified;

pub use certificates::Covered;
pub use client::{Client, ClientTlsConfig};
pub use server::{Server, ServerTlsConfig};

use rustls::crypto::CryptoProvider;
use std::sync::Arc;

/// The cryptography that is used everywhere, named in one place.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

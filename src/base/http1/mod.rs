//! What reading and writing HTTP/1.1 (RFC 9112) has in common on both sides of the proxy.

pub mod decode;
pub mod fields;
pub mod informational;
pub mod scratch;
pub mod wire;

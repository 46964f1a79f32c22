//! What reading and writing HTTP/1.1 (RFC 9112) has in common on both sides of the proxy.

pub mod decode;
pub mod fields;
pub mod informational;
pub mod lines;
pub mod scratch;
pub mod wire;

/// How much of a body is read and passed on at once, in bytes. Somewhat less than 64 KiB, because
/// no segment holds more (with its headers, before Linux cuts it for the network): each piece of
/// 64 KiB would go out as two segments, the second nearly empty, at a quarter more of CPU time.
pub const PIECE_BYTES: usize = 60 * 1024;

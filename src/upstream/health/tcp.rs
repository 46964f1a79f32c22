//! The check that only connects: through TLS, if the pool speaks it.

use super::failed;
use crate::upstream::transport::Transport;
use std::net::SocketAddr;
use tokio::io::AsyncWriteExt;

/// Connects, and closes at once.
pub(super) async fn ask(transport: &Transport, address: SocketAddr) -> Result<(), String> {
    let (mut stream, _) = transport.connect(address).await.map_err(|error| failed(&error))?;
    // What becomes of it does not matter: the endpoint has taken the connection.
    let _ = stream.shutdown().await;
    Ok(())
}

//! Steady load: clients that ask again and again, and count what went wrong.

use super::Client;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use tokio::task::JoinHandle;

/// Clients that ask until told to stop.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// This many clients, each on one connection.
    pub(crate) fn start(address: SocketAddr, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicUsize::new(0));
        let clients = (0..clients)
            .map(|_| {
                let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
                tokio::spawn(async move {
                    let mut client = Client::connect(address).await;
                    let mut failures = Vec::new();
                    while !stop.load(SeqCst) {
                        client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
                        match client.response().await {
                            Ok(response) if response.status == 200 => {}
                            Ok(response) => failures.push(response.head.first),
                            Err(broken) => {
                                failures.push(format!("{broken:?}"));
                                client = Client::connect(address).await;
                            }
                        }
                        sent.fetch_add(1, SeqCst);
                    }
                    failures
                })
            })
            .collect();
        Self { stop, sent, clients }
    }

    /// How many requests were answered so far.
    pub(crate) fn sent(&self) -> usize {
        self.sent.load(SeqCst)
    }

    /// Stops, and says what went wrong.
    pub(crate) async fn failures(self) -> Vec<String> {
        self.stop.store(true, SeqCst);
        let mut failures = Vec::new();
        for client in self.clients {
            failures.append(&mut client.await.unwrap());
        }
        failures
    }
}

//! Look-ups by the system's own resolver, which does not say how long its answers hold.

use super::{Answer, DnsConfig, LookUp};
use crate::upstream::discovery::Missed;
use std::io;
use std::net::SocketAddr;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// The system's resolver for one name.
pub(super) struct System {
    host: String,
    port: u16,
    /// A call that took longer than the look-up it was made for: there is one at a time, for each
    /// occupies a thread.
    asking: Option<JoinHandle<io::Result<Vec<SocketAddr>>>>,
}

impl System {
    pub(super) fn new(config: &DnsConfig) -> Self {
        Self { host: config.host.clone(), port: config.port, asking: None }
    }
}

impl LookUp for System {
    async fn look_up(&mut self, deadline: Instant) -> Result<Answer, Missed> {
        let (host, port) = (self.host.clone(), self.port);
        let asking = self.asking.get_or_insert_with(|| {
            tokio::spawn(async move {
                Ok(tokio::net::lookup_host((host.as_str(), port)).await?.collect())
            })
        });
        let asked = timeout_at(deadline, asking).await.map_err(|_| Missed::Timeout)?;
        self.asking = None;
        let found = asked.map_err(io::Error::from).flatten();
        let found = found.map_err(|error| Missed::Failed(error.to_string()))?;
        let addresses = found.iter().map(SocketAddr::ip).collect();
        Ok(Answer { addresses, ttl: None, unknown: None })
    }
}

#[cfg(test)]
mod tests {
    use super::{DnsConfig, LookUp, System};
    use std::time::Duration;
    use tokio::time::Instant;

    #[tokio::test]
    async fn the_system_knows_its_own_address() {
        let config: DnsConfig = serde_json::from_str(r#"{"host":"localhost","port":80}"#).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let answer = System::new(&config).look_up(deadline).await.unwrap();
        assert!(answer.addresses.iter().all(std::net::IpAddr::is_loopback));
        assert!(!answer.addresses.is_empty() && answer.ttl.is_none());
    }
}

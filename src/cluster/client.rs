//! How the API is reached: found out when it is first needed, and again when it refuses us.

use super::failure::{Failure, Reason};
use http::HeaderValue;
use http::header::USER_AGENT;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::{Client, client::ClientBuilder};
use parking_lot::Mutex;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How long making a connection to the API may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How the API is reached.
#[derive(Default)]
pub(super) struct Access {
    /// The file that says it; without it, as every client of Kubernetes finds it out.
    kubeconfig: Option<PathBuf>,
    client: Mutex<Option<Client>>,
}

impl Access {
    /// By this file; without it by `KUBECONFIG` or `~/.kube/config`, else as the pod that this is.
    pub(super) fn new(kubeconfig: Option<PathBuf>) -> Self {
        Self { kubeconfig, client: Mutex::default() }
    }

    /// A client; cheap to ask for again. Fails with [`Reason::Unconfigured`] if nobody says where
    /// the API is.
    pub(super) async fn client(&self) -> Result<Client, Failure> {
        if let Some(client) = &*self.client.lock() {
            return Ok(client.clone());
        }
        let unconfigured = |error: &dyn std::error::Error| Failure {
            reason: Reason::Unconfigured,
            message: super::failure::chain(error),
        };
        let mut config = match &self.kubeconfig {
            Some(path) => {
                let path = path.clone();
                let reading = move || Kubeconfig::read_from(path);
                let read = tokio::task::spawn_blocking(reading).await;
                let read = read.map_err(|error| unconfigured(&error))?;
                let read = read.map_err(|error| unconfigured(&error))?;
                let options = KubeConfigOptions::default();
                let config = Config::from_custom_kubeconfig(read, &options).await;
                config.map_err(|error| unconfigured(&error))?
            }
            None => Config::infer().await.map_err(|error| unconfigured(&error))?,
        };
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        // Pauses between tries are ours, and every failure is to be counted.
        config.default_retry = false;
        let agent = HeaderValue::from_static(concat!("serin/", env!("CARGO_PKG_VERSION")));
        config.headers.push((USER_AGENT, agent));
        let client = ClientBuilder::try_from(config).map_err(|error| unconfigured(&error))?.build();
        *self.client.lock() = Some(client.clone());
        Ok(client)
    }

    /// Finds out anew the next time: certificates and tokens may have been replaced.
    pub(super) fn forget(&self) {
        *self.client.lock() = None;
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Access").field("kubeconfig", &self.kubeconfig).finish_non_exhaustive()
    }
}

//! How the API is reached: found out when it is first needed, and again when it refuses us.

use super::failure::{Failure, Reason};
use http::header::USER_AGENT;
use http::{HeaderValue, Uri};
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
    reached: Mutex<Option<Reached>>,
}

/// The API as it is reached now.
#[derive(Clone)]
pub(super) struct Reached {
    pub(super) client: Client,
    /// Where it is: versions of one place say nothing in another.
    pub(super) at: Uri,
}

impl Access {
    /// By this file; without it by `KUBECONFIG` or `~/.kube/config`, else as the pod that this is.
    pub(super) fn new(kubeconfig: Option<PathBuf>) -> Self {
        Self { kubeconfig, reached: Mutex::default() }
    }

    /// A client; cheap to ask for again. Fails with [`Reason::Unconfigured`] if nobody says where
    /// the API is.
    pub(super) async fn client(&self) -> Result<Client, Failure> {
        Ok(self.reach().await?.client)
    }

    /// The same with where that is.
    pub(super) async fn reach(&self) -> Result<Reached, Failure> {
        if let Some(reached) = &*self.reached.lock() {
            return Ok(reached.clone());
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
        let at = config.cluster_url.clone();
        let client = ClientBuilder::try_from(config).map_err(|error| unconfigured(&error))?.build();
        let reached = Reached { client, at };
        *self.reached.lock() = Some(reached.clone());
        Ok(reached)
    }

    /// Finds out anew the next time: certificates, tokens and the address may have been replaced.
    pub(super) fn forget(&self) {
        *self.reached.lock() = None;
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Access").field("kubeconfig", &self.kubeconfig).finish_non_exhaustive()
    }
}

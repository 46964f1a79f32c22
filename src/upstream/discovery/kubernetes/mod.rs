//! Endpoints by the Kubernetes API: those of a Service, or pods chosen by their labels.

#[cfg(feature = "kube")]
mod follow;
#[cfg(feature = "kube")]
mod pods;
mod port;
mod selector;
#[cfg(feature = "kube")]
mod service;

#[cfg(feature = "kube")]
pub(super) use follow::follow;
pub use port::Port;
pub use selector::{SelectorError, check as check_selector};

use schemars::JsonSchema;
use serde::Deserialize;
use std::fmt;

/// Where in the cluster the endpoints of a pool are: exactly one of `service` and `selector`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubernetesConfig {
    /// The namespace.
    pub namespace: String,
    /// The Service whose endpoints are meant.
    #[serde(default)]
    pub service: Option<String>,
    /// The labels of the pods that are meant, such as `app=shop,version in (v2, v3)`.
    #[serde(default)]
    pub selector: Option<String>,
    /// The Service's port, or the port on which the pods listen: its number or its name.
    pub port: Port,
}

impl fmt::Display for KubernetesConfig {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let what = self.service.as_ref().or(self.selector.as_ref());
        write!(f, "{}/{}:{}", self.namespace, what.map_or("", String::as_str), self.port)
    }
}

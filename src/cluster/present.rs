//! The cluster: whoever asks for a set of objects gets what is there, as it changes.

use super::client::Access;
use super::events::Events;
use super::facts::{ConfigMapFacts, PodFacts, ServiceFacts, SliceFacts};
use super::failure::Failure;
use super::shared::{Scope, Shared, Watching};
use super::tally::Tally;
use crate::telemetry::metrics::Source;
use crate::telemetry::sink::Sink;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The cluster in which endpoints and configurations are found.
#[derive(Debug)]
pub struct Cluster {
    access: Arc<Access>,
    tally: Arc<Tally>,
    pods: Shared<PodFacts>,
    slices: Shared<SliceFacts>,
    services: Shared<ServiceFacts>,
    config_maps: Shared<ConfigMapFacts>,
}

impl Cluster {
    /// The cluster that this file leads to; without it that of `KUBECONFIG` or `~/.kube/config`,
    /// else the one in which this is a pod. Nobody is asked before something is to be watched.
    pub fn new(kubeconfig: Option<PathBuf>) -> Self {
        Self {
            access: Arc::new(Access::new(kubeconfig)),
            tally: Arc::default(),
            pods: Shared::default(),
            slices: Shared::default(),
            services: Shared::default(),
            config_maps: Shared::default(),
        }
    }

    /// A client of its API; cheap to ask for again.
    pub async fn client(&self) -> Result<kube::Client, Failure> {
        self.access.client().await
    }

    /// What tells of objects by Events, at most one in this time. To be called inside a tokio
    /// runtime.
    pub fn events(&self, pause: Duration) -> Events {
        Events::start(Arc::clone(&self.access), Arc::clone(&self.tally), pause)
    }

    /// The pods in a scope, as they change.
    pub fn pods(&self, scope: Scope) -> Watching<PodFacts> {
        self.pods.watch(&self.access, &self.tally, scope)
    }

    /// The slices of endpoints in a scope, as they change.
    pub fn slices(&self, scope: Scope) -> Watching<SliceFacts> {
        self.slices.watch(&self.access, &self.tally, scope)
    }

    /// The Services in a scope, as they change.
    pub fn services(&self, scope: Scope) -> Watching<ServiceFacts> {
        self.services.watch(&self.access, &self.tally, scope)
    }

    /// The ConfigMaps in a scope, as they change.
    pub fn config_maps(&self, scope: Scope) -> Watching<ConfigMapFacts> {
        self.config_maps.watch(&self.access, &self.tally, scope)
    }
}

impl Source for Cluster {
    fn collect(&self, sink: &mut Sink) {
        self.tally.collect(sink);
    }
}

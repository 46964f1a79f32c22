//! What stands in for the cluster in a build that knows no Kubernetes.

use crate::telemetry::metrics::Source;
use crate::telemetry::sink::Sink;
use std::path::PathBuf;

/// No cluster.
#[derive(Debug)]
pub struct Cluster(());

impl Cluster {
    /// The cluster that nobody asks for: a document that does is refused.
    pub fn new(_kubeconfig: Option<PathBuf>) -> Self {
        Self(())
    }
}

impl Source for Cluster {
    fn collect(&self, _sink: &mut Sink) {}
}

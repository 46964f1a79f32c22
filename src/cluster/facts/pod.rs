//! What is kept of a pod.

use super::Facts;
use k8s_openapi::api::core::v1::Pod;
use std::net::IpAddr;

/// What is kept of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodFacts {
    /// Its address, if it has one yet and its containers have not all ended.
    pub ip: Option<IpAddr>,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// The named ports of its containers, the first of a name; over TCP.
    pub ports: Vec<(String, u16)>,
}

impl Facts for PodFacts {
    type Object = Pod;
    const RESOURCE: &'static str = "pods";

    fn of(object: Pod) -> Self {
        let status = object.status.unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let ready = conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
        let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        let ip = status.pod_ip.and_then(|ip| ip.parse().ok());
        let spec = object.spec.unwrap_or_default();
        // A native sidecar is an initial container that goes on, and may serve.
        let initial = spec.init_containers.unwrap_or_default();
        let initial = initial.into_iter().filter(|c| c.restart_policy.as_deref() == Some("Always"));
        let containers = spec.containers.into_iter().chain(initial);
        let ports = containers.flat_map(|container| container.ports.unwrap_or_default());
        let ports = ports.filter(|port| port.protocol.as_deref().is_none_or(|name| name == "TCP"));
        let ports =
            ports.filter_map(|port| Some((port.name?, port.container_port.try_into().ok()?)));
        Self {
            ip: ip.filter(|_| !ended),
            ready,
            terminating: object.metadata.deletion_timestamp.is_some(),
            ports: ports.collect(),
        }
    }
}

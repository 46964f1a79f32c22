//! What is kept of a Service.

use super::Facts;
use k8s_openapi::api::core::v1::Service;

/// What is kept of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceFacts {
    /// Its ports over TCP: the number, and the name by which its slices know it; empty for none.
    pub ports: Vec<(u16, String)>,
}

impl Facts for ServiceFacts {
    type Object = Service;
    const RESOURCE: &'static str = "services";

    fn of(object: Service) -> Self {
        let ports = object.spec.and_then(|spec| spec.ports).unwrap_or_default();
        let ports = ports.into_iter().filter(|port| port.protocol.as_deref().is_none_or(is_tcp));
        let ports = ports
            .filter_map(|port| Some((port.port.try_into().ok()?, port.name.unwrap_or_default())));
        Self { ports: ports.collect() }
    }
}

/// Whether a protocol is TCP, which it is where nobody says anything.
pub(super) fn is_tcp(protocol: &str) -> bool {
    protocol == "TCP"
}

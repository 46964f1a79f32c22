//! What is kept of an `EndpointSlice`.

use super::Facts;
use super::service::is_tcp;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::net::IpAddr;

/// What is kept of an `EndpointSlice`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceFacts {
    /// Its ports over TCP.
    pub ports: Vec<SlicePort>,
    /// Its endpoints whose address is an IP address.
    pub endpoints: Vec<SliceEndpoint>,
}

/// A port of all endpoints of a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlicePort {
    /// The name of the Service's port; empty for none.
    pub name: String,
    /// Where the endpoints listen.
    pub port: u16,
    /// What is spoken there, such as `kubernetes.io/h2c`; empty if nobody says.
    pub protocol: String,
}

/// An endpoint of a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// Its address.
    pub ip: IpAddr,
    /// Whether it takes new requests. It does where nobody says anything.
    pub ready: bool,
    /// Whether it answers requests, though it may be about to end.
    pub serving: bool,
    /// Whether it is about to end.
    pub terminating: bool,
}

impl Facts for SliceFacts {
    type Object = EndpointSlice;
    const RESOURCE: &'static str = "endpointslices";

    fn of(object: EndpointSlice) -> Self {
        let ports = object.ports.unwrap_or_default().into_iter();
        let ports = ports.filter(|port| port.protocol.as_deref().is_none_or(is_tcp));
        let ports = ports.filter_map(|port| {
            Some(SlicePort {
                name: port.name.unwrap_or_default(),
                port: port.port?.try_into().ok()?,
                protocol: port.app_protocol.unwrap_or_default(),
            })
        });
        let endpoints = object.endpoints.into_iter().filter_map(|endpoint| {
            let conditions = endpoint.conditions.unwrap_or_default();
            // All addresses of one are the same endpoint (EndpointSlice API).
            let ip = endpoint.addresses.first()?.parse().ok()?;
            let terminating = conditions.terminating.unwrap_or(false);
            let ready = conditions.ready.unwrap_or(true);
            let serving = conditions.serving.unwrap_or(ready);
            Some(SliceEndpoint { ip, ready, serving, terminating })
        });
        Self { ports: ports.collect(), endpoints: endpoints.collect() }
    }
}

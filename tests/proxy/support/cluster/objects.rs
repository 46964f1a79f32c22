//! Objects for tests, put together step by step.

use super::resource::Resource;
use serde_json::{Value, json};
use std::marker::PhantomData;

/// An object of a kind.
#[derive(Debug, Clone)]
pub(crate) struct Object<K> {
    value: Value,
    kind: PhantomData<K>,
}

/// Kinds, which decide what an object has.
#[derive(Debug, Clone)]
pub(crate) enum PodKind {}
#[derive(Debug, Clone)]
pub(crate) enum ServiceKind {}
#[derive(Debug, Clone)]
pub(crate) enum EndpointSliceKind {}
#[derive(Debug, Clone)]
pub(crate) enum ConfigMapKind {}

/// A pod of one container, which waits to be scheduled.
pub(crate) fn pod(namespace: &str, name: &str) -> Object<PodKind> {
    object("pods", namespace, name)
        .set("/spec", json!({ "containers": [{ "name": "main", "image": "image" }] }))
        .set("/status", json!({ "phase": "Pending" }))
}

/// A service without ports.
pub(crate) fn service(namespace: &str, name: &str) -> Object<ServiceKind> {
    object("services", namespace, name)
        .set("/spec", json!({ "type": "ClusterIP", "clusterIP": "10.96.0.10", "ports": [] }))
}

/// A slice without endpoints, which belongs to this service.
pub(crate) fn endpoint_slice(
    namespace: &str,
    name: &str,
    service: &str,
) -> Object<EndpointSliceKind> {
    object("endpointslices", namespace, name)
        .label("kubernetes.io/service-name", service)
        .set("/addressType", "IPv4".into())
        .set("/endpoints", json!([]))
        .set("/ports", json!([]))
}

/// An empty `ConfigMap`.
pub(crate) fn config_map(namespace: &str, name: &str) -> Object<ConfigMapKind> {
    object("configmaps", namespace, name)
}

fn object<K>(plural: &str, namespace: &str, name: &str) -> Object<K> {
    let resource = Resource::named(plural);
    let value = json!({
        "kind": resource.kind,
        "apiVersion": resource.api_version(),
        "metadata": { "namespace": namespace, "name": name },
    });
    Object { value, kind: PhantomData }
}

impl<K> From<Object<K>> for Value {
    fn from(object: Object<K>) -> Self {
        object.value
    }
}

impl<K> Object<K> {
    pub(crate) fn label(mut self, key: &str, value: &str) -> Self {
        self.value["metadata"]["labels"][key] = value.into();
        self
    }

    pub(crate) fn annotation(mut self, key: &str, value: &str) -> Self {
        self.value["metadata"]["annotations"][key] = value.into();
        self
    }

    /// Anything else: the value at a pointer (RFC 6901) whose last name may be new.
    pub(crate) fn set(mut self, pointer: &str, value: Value) -> Self {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        self.value.pointer_mut(parent).unwrap()[name] = value;
        self
    }

    /// When its deletion was asked for: it still runs, but is about to go.
    pub(crate) fn terminating(mut self) -> Self {
        self.value["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z".into();
        self.value["metadata"]["deletionGracePeriodSeconds"] = 30.into();
        self
    }

    fn push(mut self, pointer: &str, value: Value) -> Self {
        let place = self.value.pointer_mut(pointer).unwrap();
        if place.is_null() {
            *place = json!([]);
        }
        place.as_array_mut().unwrap().push(value);
        self
    }
}

impl Object<PodKind> {
    /// It is scheduled, runs, and has this IP address.
    pub(crate) fn address(mut self, ip: &str) -> Self {
        self.value["status"]["podIP"] = ip.into();
        self.value["status"]["podIPs"] = json!([{ "ip": ip }]);
        self.value["status"]["phase"] = "Running".into();
        self.value["spec"]["nodeName"] = "node-1".into();
        self
    }

    pub(crate) fn phase(self, phase: &str) -> Self {
        self.set("/status/phase", phase.into())
    }

    pub(crate) fn ready(self, ready: bool) -> Self {
        let status = if ready { "True" } else { "False" };
        self.set("/status/conditions", json!([{ "type": "Ready", "status": status }]))
    }

    /// A named port of its container.
    pub(crate) fn port(mut self, name: &str, number: u16) -> Self {
        let container = &mut self.value["spec"]["containers"][0];
        if container["ports"].is_null() {
            container["ports"] = json!([]);
        }
        self.push("/spec/containers/0/ports", json!({ "name": name, "containerPort": number }))
    }
}

impl Object<ServiceKind> {
    pub(crate) fn selector(mut self, key: &str, value: &str) -> Self {
        self.value["spec"]["selector"][key] = value.into();
        self
    }

    /// A port, and the number or the name of the port of the pods that it goes to.
    pub(crate) fn port(self, name: &str, number: u16, target: impl Into<Value>) -> Self {
        let target: Value = target.into();
        let port = json!({ "name": name, "port": number, "targetPort": target, "protocol": "TCP" });
        self.push("/spec/ports", port)
    }

    pub(crate) fn headless(self) -> Self {
        self.set("/spec/clusterIP", "None".into())
    }
}

impl Object<EndpointSliceKind> {
    /// An endpoint that is ready, or is not.
    pub(crate) fn endpoint(self, address: &str, ready: bool) -> Self {
        let conditions = json!({ "ready": ready, "serving": ready, "terminating": false });
        self.endpoint_of(json!({ "addresses": [address], "conditions": conditions }))
    }

    /// An endpoint whose pod is about to go, and that may serve until then.
    pub(crate) fn leaving(self, address: &str, serving: bool) -> Self {
        let conditions = json!({ "ready": false, "serving": serving, "terminating": true });
        self.endpoint_of(json!({ "addresses": [address], "conditions": conditions }))
    }

    /// An endpoint as it is written.
    pub(crate) fn endpoint_of(self, endpoint: Value) -> Self {
        self.push("/endpoints", endpoint)
    }

    pub(crate) fn port(self, name: &str, number: u16) -> Self {
        self.push("/ports", json!({ "name": name, "port": number, "protocol": "TCP" }))
    }

    /// `IPv4`, unless this is said.
    pub(crate) fn address_type(self, kind: &str) -> Self {
        self.set("/addressType", kind.into())
    }
}

impl Object<ConfigMapKind> {
    /// A text under a key of its data.
    pub(crate) fn key(mut self, key: &str, text: &str) -> Self {
        self.value["data"][key] = text.into();
        self
    }
}

//! Objects of Kubernetes, read so that nothing misspelt is lost.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, Namespace, PodSpec, PodTemplateSpec, Service, ServiceAccount,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Names and values.
pub(crate) type Labels = BTreeMap<String, String>;

/// A kind of the Prometheus operator, as far as it is used.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ServiceMonitor {
    api_version: String,
    kind: String,
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: ServiceMonitorSpec,
}

/// What is scraped, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ServiceMonitorSpec {
    pub(crate) selector: LabelSelector,
    pub(crate) endpoints: Vec<MonitoredPort>,
}

/// One port of a Service.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct MonitoredPort {
    pub(crate) port: String,
    pub(crate) path: String,
    pub(crate) interval: String,
}

/// Declares the kinds that are used; any other is refused.
macro_rules! kinds {
    ($($kind:ident $version:literal;)*) => {
        /// An object of a kind that is used.
        #[derive(Debug, Clone)]
        pub(crate) enum Object { $($kind(Box<$kind>)),* }

        impl Object {
            fn read(value: &Value) -> Result<Self, String> {
                let text = |key: &str| value[key].as_str().unwrap_or_default();
                match (text("apiVersion"), text("kind")) {
                    $(($version, stringify!($kind)) => strict(value).map(Self::$kind),)*
                    (version, kind) => Err(format!("{version} {kind} is not expected here")),
                }
            }
        }

        $(impl Kind for $kind {
            fn of(object: &Object) -> Option<&Self> {
                match object { Object::$kind(object) => Some(&**object), _ => None }
            }
        })*
    };
}

/// One of the kinds.
pub(crate) trait Kind: Sized {
    /// The object, if it is of this kind.
    fn of(object: &Object) -> Option<&Self>;
}

kinds! {
    ConfigMap "v1";
    Deployment "apps/v1";
    HorizontalPodAutoscaler "autoscaling/v2";
    Namespace "v1";
    NetworkPolicy "networking.k8s.io/v1";
    PodDisruptionBudget "policy/v1";
    Role "rbac.authorization.k8s.io/v1";
    RoleBinding "rbac.authorization.k8s.io/v1";
    Service "v1";
    ServiceAccount "v1";
    ServiceMonitor "monitoring.coreos.com/v1";
}

/// Reads a value whose every field must be known.
fn strict<T: DeserializeOwned + Serialize>(value: &Value) -> Result<T, String> {
    let typed: T = serde_json::from_value(value.clone()).map_err(|error| error.to_string())?;
    let again = serde_json::to_value(&typed).map_err(|error| error.to_string())?;
    let mut lost = Vec::new();
    missing(value, &again, "", &mut lost);
    if lost.is_empty() { Ok(typed) } else { Err(lost.join(", ")) }
}

/// What is in a value, but not in what was made of it.
fn missing(value: &Value, again: &Value, path: &str, lost: &mut Vec<String>) {
    match (value, again) {
        (Value::Object(value), Value::Object(again)) => {
            for (key, part) in value {
                let path = format!("{path}.{key}");
                missing(part, again.get(key).unwrap_or(&Value::Null), &path, lost);
            }
        }
        (Value::Array(value), Value::Array(again)) if value.len() == again.len() => {
            for (number, (part, again)) in value.iter().zip(again).enumerate() {
                missing(part, again, &format!("{path}[{number}]"), lost);
            }
        }
        _ if value == again => {}
        _ => lost.push(format!("{path} is unknown or not {value}")),
    }
}

/// Objects that are applied together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Objects {
    pub(crate) all: Vec<Object>,
}

impl Objects {
    /// Reads the objects of a YAML text; panics with what is wrong.
    pub(crate) fn parse(name: &str, text: &str) -> Self {
        let values: Vec<Value> =
            serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let read = |value: &Value| {
            let place = format!("{name}: {} {}", value["kind"], value["metadata"]["name"]);
            Object::read(value).unwrap_or_else(|error| panic!("{place}: {error}"))
        };
        let all: Vec<Object> = values.iter().filter(|value| !value.is_null()).map(read).collect();
        assert!(!all.is_empty(), "{name} has no objects");
        Self { all }
    }

    /// Those of a kind.
    pub(crate) fn of<'o, K: Kind + 'o>(&'o self) -> impl Iterator<Item = &'o K> {
        self.all.iter().filter_map(K::of)
    }

    /// The one of a kind with a name.
    pub(crate) fn named<K: Kind + Named>(&self, name: &str) -> Option<&K> {
        self.of::<K>().find(|object| object.metadata().name.as_deref() == Some(name))
    }
}

/// What has a name.
pub(crate) trait Named {
    /// Its name and so on.
    fn metadata(&self) -> &ObjectMeta;

    /// The name.
    fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }

    /// The namespace.
    fn namespace(&self) -> &str {
        self.metadata().namespace.as_deref().unwrap_or("default")
    }

    /// The labels.
    fn labels(&self) -> Labels {
        self.metadata().labels.clone().unwrap_or_default()
    }
}

impl<K: k8s_openapi::Metadata<Ty = ObjectMeta>> Named for K {
    fn metadata(&self) -> &ObjectMeta {
        k8s_openapi::Metadata::metadata(self)
    }
}

/// The pods of a Deployment.
pub(crate) struct Pods<'o> {
    pub(crate) deployment: &'o Deployment,
    pub(crate) template: &'o PodTemplateSpec,
    pub(crate) spec: &'o PodSpec,
}

impl<'o> Pods<'o> {
    /// Those of all Deployments.
    pub(crate) fn all(objects: &'o Objects) -> Vec<Self> {
        let pods = |deployment: &'o Deployment| {
            let template = &deployment.spec.as_ref().unwrap().template;
            Self { deployment, template, spec: template.spec.as_ref().unwrap() }
        };
        objects.of::<Deployment>().map(pods).collect()
    }

    /// Their labels.
    pub(crate) fn labels(&self) -> Labels {
        let metadata = self.template.metadata.as_ref();
        metadata.and_then(|metadata| metadata.labels.clone()).unwrap_or_default()
    }

    /// Their annotations.
    pub(crate) fn annotations(&self) -> Labels {
        let metadata = self.template.metadata.as_ref();
        metadata.and_then(|metadata| metadata.annotations.clone()).unwrap_or_default()
    }

    /// Sidecars and containers, in the order in which they start.
    pub(crate) fn containers(&self) -> impl Iterator<Item = &'o Container> {
        self.spec.init_containers.iter().flatten().chain(&self.spec.containers)
    }

    /// The container that is Serin, if one is.
    pub(crate) fn serin(&self) -> Option<&'o Container> {
        let runs = |container: &&Container| {
            container.args.as_ref().is_some_and(|args| args.first().is_some_and(|arg| arg == "run"))
        };
        self.containers().find(runs)
    }

    /// The rules that Serin runs with: the option and its value.
    pub(crate) fn rules(&self) -> Option<(&'o str, &'o str)> {
        let args = self.serin()?.args.as_ref()?;
        let at = args.iter().position(|arg| arg.starts_with("--configmap"))?;
        Some((&args[at], args[at + 1].strip_prefix("$(POD_NAMESPACE)/")?))
    }

    /// Who they are towards the API.
    pub(crate) fn account(&self) -> &'o str {
        self.spec.service_account_name.as_deref().unwrap_or("default")
    }
}

/// Whether a selector by labels fits.
pub(crate) fn fits(selector: &LabelSelector, labels: &Labels) -> bool {
    assert!(selector.match_expressions.is_none(), "expressions are not understood here");
    includes(labels, selector.match_labels.as_ref().unwrap())
}

/// Whether all of these are among those; none is no selector.
pub(crate) fn includes(labels: &Labels, wanted: &Labels) -> bool {
    !wanted.is_empty() && wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

#[test]
fn a_misspelt_field_is_found() {
    let read = |text: &str| Object::read(&serde_saphyr::from_str(text).unwrap()).map(|_| ());
    let pod = |field: &str| {
        read(&format!(
            "{{ apiVersion: apps/v1, kind: Deployment, metadata: {{ name: a }}, \
             spec: {{ selector: {{}}, \
             template: {{ spec: {{ containers: [{{ name: a, {field} }}] }} }} }} }}"
        ))
    };
    assert_eq!(pod("image: b, lifecycle: { preStop: { sleep: { seconds: 5 } } }"), Ok(()));
    for field in ["imgae: b", "lifecycle: { preStop: { sleeps: { seconds: 5 } } }", "image: 1"] {
        assert!(pod(field).is_err(), "{field}");
    }
    assert!(read("{ apiVersion: v1, kind: Deployment, metadata: { name: a } }").is_err());
    assert!(read("{ apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole }").is_err());
}

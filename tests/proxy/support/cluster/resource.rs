//! What the API serves, and what a request asks for.

use super::selector::{FieldSelector, LabelSelector};
use super::status::Failure;
use http::Method;
use serde_json::Value;
use std::collections::BTreeMap;

/// A kind of objects.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) group: &'static str,
    pub(super) plural: &'static str,
    pub(super) singular: &'static str,
    pub(super) kind: &'static str,
    pub(super) short: &'static [&'static str],
    /// Whether its objects are in namespaces.
    pub(super) namespaced: bool,
    /// What its objects have that is asked for by a path of its own.
    pub(super) subresources: &'static [&'static str],
}

const RBAC: &str = "rbac.authorization.k8s.io";

/// Everything that is served; all of it has the version `v1`.
pub(super) static RESOURCES: [Resource; 11] = [
    resource("", "configmaps", "configmap", "ConfigMap", &["cm"]),
    Resource { namespaced: false, ..resource("", "namespaces", "namespace", "Namespace", &["ns"]) },
    Resource { namespaced: false, ..resource("", "nodes", "node", "Node", &["no"]) },
    Resource { subresources: &["status"], ..resource("", "pods", "pod", "Pod", &["po"]) },
    resource("", "secrets", "secret", "Secret", &[]),
    Resource {
        subresources: &["token"],
        ..resource("", "serviceaccounts", "serviceaccount", "ServiceAccount", &["sa"])
    },
    resource("", "services", "service", "Service", &["svc"]),
    resource("discovery.k8s.io", "endpointslices", "endpointslice", "EndpointSlice", &[]),
    resource("events.k8s.io", "events", "event", "Event", &["ev"]),
    resource(RBAC, "rolebindings", "rolebinding", "RoleBinding", &[]),
    resource(RBAC, "roles", "role", "Role", &[]),
];

const fn resource(
    group: &'static str,
    plural: &'static str,
    singular: &'static str,
    kind: &'static str,
    short: &'static [&'static str],
) -> Resource {
    let (namespaced, subresources) = (true, &[] as &[&str]);
    Resource { group, plural, singular, kind, short, namespaced, subresources }
}

impl Resource {
    /// The one with this name in paths; there must be one.
    pub(super) fn named(plural: &str) -> &'static Self {
        let found = RESOURCES.iter().find(|resource| resource.plural == plural);
        found.unwrap_or_else(|| panic!("no resource {plural}"))
    }

    /// The one that an object is of; there must be one.
    pub(super) fn of(object: &Value) -> &'static Self {
        let found = RESOURCES.iter().find(|resource| {
            object["kind"] == resource.kind && object["apiVersion"] == resource.api_version()
        });
        found.unwrap_or_else(|| panic!("no resource for {object}"))
    }

    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() { "v1".to_owned() } else { format!("{}/v1", self.group) }
    }

    /// As messages name it: with its group.
    pub(super) fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }
}

/// The key of an object; objects are listed in the order of their keys.
pub(super) fn key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// A request for a resource.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) resource: &'static Resource,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    /// What of the object is meant; empty for the object.
    pub(super) subresource: &'static str,
    /// As rules of RBAC name it.
    pub(super) verb: &'static str,
    pub(super) query: Query,
}

impl Call {
    /// Reads a request; there is none if the path is not of a resource.
    pub(super) fn read(method: &Method, path: &str, query: &str) -> Option<Result<Self, Failure>> {
        let decoded: Vec<String> = path.trim_matches('/').split('/').map(decode).collect();
        let decoded: Vec<&str> = decoded.iter().map(String::as_str).collect();
        let (group, rest) = match decoded.as_slice() {
            ["api", "v1", rest @ ..] => ("", rest),
            ["apis", group, "v1", rest @ ..] => (*group, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
            rest => (None, rest),
        };
        let (plural, name, part) = match rest {
            [plural] => (*plural, None, None),
            [plural, name] if !name.is_empty() => (*plural, Some(*name), None),
            [plural, name, part] if !name.is_empty() => (*plural, Some(*name), Some(*part)),
            _ => return None,
        };
        let mut all = RESOURCES.iter();
        let resource = all.find(|one| one.group == group && one.plural == plural)?;
        let subresource = match part {
            Some(part) => resource.subresources.iter().find(|one| **one == part)?,
            None => "",
        };
        let query = Query::read(query);
        let verb = match (method.as_str(), name) {
            ("POST", Some(_)) if subresource == "token" => "create",
            _ if subresource == "token" => return Some(Err(Failure::method_not_allowed())),
            ("DELETE", _) if subresource == "status" => {
                return Some(Err(Failure::method_not_allowed()));
            }
            ("GET", Some(_)) => "get",
            ("GET", None) if query.flag("watch") => "watch",
            ("GET", None) => "list",
            ("POST", None) if namespace.is_some() == resource.namespaced => "create",
            ("PUT", Some(_)) => "update",
            ("PATCH", Some(_)) => "patch",
            ("DELETE", Some(_)) => "delete",
            ("DELETE", None) => "deletecollection",
            _ => return Some(Err(Failure::method_not_allowed())),
        };
        if (name.is_some() || namespace.is_some()) && namespace.is_some() != resource.namespaced {
            return None;
        }
        let (namespace, name) = (namespace.map(str::to_owned), name.map(str::to_owned));
        Some(Ok(Self { resource, namespace, name, subresource, verb, query }))
    }

    /// Whose objects a list or a watch sees.
    pub(super) fn filter(&self) -> Result<Filter, Failure> {
        Ok(Filter {
            resource: self.resource,
            namespace: self.namespace.clone(),
            labels: LabelSelector::read(self.query.text("labelSelector"))?,
            fields: FieldSelector::read(self.query.text("fieldSelector"), self.resource)?,
        })
    }

    /// The resource that the authorizer sees, with what of it is meant.
    pub(super) fn resource_for_authorizer(&self) -> String {
        let (plural, part) = (self.resource.plural, self.subresource);
        if part.is_empty() { plural.to_owned() } else { format!("{plural}/{part}") }
    }

    /// The name that the authorizer sees: the one in the path, or the only one that a list or a
    /// watch can see.
    pub(super) fn name_for_authorizer(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        if !matches!(self.verb, "list" | "watch" | "deletecollection") {
            return String::new();
        }
        let fields = FieldSelector::read(self.query.text("fieldSelector"), self.resource);
        fields.ok().and_then(|fields| fields.only_name().map(str::to_owned)).unwrap_or_default()
    }
}

/// The options of a request.
#[derive(Debug)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    fn read(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(&name.replace('+', " ")), decode(&value.replace('+', " ")))
        });
        Self(pairs.collect())
    }

    /// An option's text; empty if it is not there.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|text| !matches!(text.as_str(), "0" | "false" | "False"))
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Failure> {
        match self.text(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Failure::bad_request(format!("{name}: Invalid value: \"{text}\": not a number"))
            }),
        }
    }
}

/// Takes the percent signs out of a text.
fn decode(text: &str) -> String {
    let (mut bytes, mut at) = (Vec::new(), 0);
    let text = text.as_bytes();
    while let Some(&byte) = text.get(at) {
        let digits = text.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let decoded = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match decoded {
            Some(decoded) if byte == b'%' => {
                bytes.push(decoded);
                at += 3;
            }
            _ => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whose objects a list or a watch sees.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) resource: &'static Resource,
    namespace: Option<String>,
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Filter {
    pub(super) fn matches(&self, object: &Value) -> bool {
        let in_namespace = self.namespace.as_deref();
        in_namespace.is_none_or(|namespace| object["metadata"]["namespace"] == namespace)
            && self.labels.matches(&object["metadata"]["labels"])
            && self.fields.matches(object)
    }

    /// Whether it sees everything in its namespaces.
    pub(super) fn selects_all(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }
}

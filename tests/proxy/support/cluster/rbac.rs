//! What the rules of RBAC let a service account do, decided as the authorizer does.

use super::resource::Call;
use serde_json::Value;
use std::collections::BTreeSet;

/// What one account may do.
pub(super) struct Rbac {
    pub(super) user: String,
    grants: Vec<Grant>,
}

/// One thing that is allowed.
struct Grant {
    /// Nothing for all namespaces.
    namespace: Option<String>,
    group: String,
    resource: String,
    verb: String,
    /// Nothing for all names.
    name: Option<String>,
    used: bool,
}

impl Rbac {
    /// What the bindings among the objects give to a service account; one whose role is not among
    /// them gives nothing.
    pub(super) fn new(namespace: &str, name: &str, objects: &[Value]) -> Self {
        let user = format!("system:serviceaccount:{namespace}:{name}");
        let mut grants = Vec::new();
        for binding in objects {
            let scope = match text(binding, "/kind") {
                "RoleBinding" => Some(namespace_of(binding)),
                "ClusterRoleBinding" => None,
                _ => continue,
            };
            if !list(binding, "subjects").any(|subject| is_subject(subject, namespace, &user)) {
                continue;
            }
            let (kind, role) = (text(binding, "/roleRef/kind"), text(binding, "/roleRef/name"));
            let found = objects.iter().find(|object| {
                text(object, "/kind") == kind
                    && text(object, "/metadata/name") == role
                    && (kind == "ClusterRole" || Some(namespace_of(object)) == scope)
            });
            for rule in found.into_iter().flat_map(|role| list(role, "rules")) {
                add_grants(&mut grants, scope, rule);
            }
        }
        Self { user, grants }
    }

    /// Whether a request is allowed: nothing, or why not.
    pub(super) fn check(&mut self, call: &Call, verb: &str) -> Option<String> {
        let name = call.name_for_authorizer();
        // What is to be created has no name yet.
        let name = if verb == "create" { "" } else { &name };
        let mut allowed = false;
        for grant in &mut self.grants {
            if grant.allows(call, verb, name) {
                grant.used = true;
                allowed = true;
            }
        }
        (!allowed).then(|| refusal(&self.user, call, verb))
    }

    /// What is allowed and was never made use of, as `namespace: verb group/resource name`.
    pub(super) fn unused(&self) -> BTreeSet<String> {
        let unused = self.grants.iter().filter(|grant| !grant.used);
        unused.map(Grant::describe).collect()
    }
}

/// Why a user may not do what a request asks for.
pub(super) fn refusal(user: &str, call: &Call, verb: &str) -> String {
    let (resource, group) = (call.resource_for_authorizer(), call.resource.group);
    let place = match &call.namespace {
        Some(namespace) => format!("in the namespace \"{namespace}\""),
        None => "at the cluster scope".to_owned(),
    };
    format!(
        "User \"{user}\" cannot {verb} resource \"{resource}\" in API group \"{group}\" {place}"
    )
}

impl Grant {
    fn allows(&self, call: &Call, verb: &str, name: &str) -> bool {
        let is = |allowed: &str, asked: &str| allowed == "*" || allowed == asked;
        let namespace = self.namespace.as_ref();
        namespace.is_none_or(|namespace| call.namespace.as_ref() == Some(namespace))
            && is(&self.verb, verb)
            && is(&self.group, call.resource.group)
            && is(&self.resource, &call.resource_for_authorizer())
            && self.name.as_ref().is_none_or(|allowed| allowed == name)
    }

    fn describe(&self) -> String {
        let Self { namespace, group, resource, verb, name, .. } = self;
        let namespace = namespace.as_deref().unwrap_or("*");
        let name = name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        format!("{namespace}: {verb} {group}/{resource}{name}")
    }
}

fn add_grants(grants: &mut Vec<Grant>, scope: Option<&str>, rule: &Value) {
    let names: Vec<_> = texts(rule, "resourceNames").map(Some).collect();
    let names = if names.is_empty() { vec![None] } else { names };
    for group in texts(rule, "apiGroups") {
        for resource in texts(rule, "resources") {
            for verb in texts(rule, "verbs") {
                grants.extend(names.iter().map(|name| Grant {
                    namespace: scope.map(str::to_owned),
                    group: group.to_owned(),
                    resource: resource.to_owned(),
                    verb: verb.to_owned(),
                    name: name.map(str::to_owned),
                    used: false,
                }));
            }
        }
    }
}

/// Whether a subject of a binding is the account, or a group that it is in.
fn is_subject(subject: &Value, namespace: &str, user: &str) -> bool {
    let name = text(subject, "/name");
    match text(subject, "/kind") {
        "ServiceAccount" => {
            let account_namespace = text(subject, "/namespace");
            user == format!("system:serviceaccount:{account_namespace}:{name}")
        }
        "User" => user == name,
        _ => {
            name == "system:authenticated"
                || name == "system:serviceaccounts"
                || name == format!("system:serviceaccounts:{namespace}")
        }
    }
}

/// The account that the objects are about: a `ServiceAccount`, or one in a binding.
pub(super) fn account_of(objects: &[Value]) -> Option<(String, String)> {
    let account = objects.iter().find(|object| text(object, "/kind") == "ServiceAccount");
    if let Some(account) = account {
        let name = text(account, "/metadata/name").to_owned();
        return Some((namespace_of(account).to_owned(), name));
    }
    let mut subjects = objects.iter().flat_map(|object| list(object, "subjects"));
    let account = subjects.find(|subject| text(subject, "/kind") == "ServiceAccount")?;
    Some((text(account, "/namespace").to_owned(), text(account, "/name").to_owned()))
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value[field].as_array().into_iter().flatten()
}

fn texts<'a>(rule: &'a Value, field: &str) -> impl Iterator<Item = &'a str> {
    list(rule, field).filter_map(Value::as_str)
}

/// Where an object is put that says no namespace.
fn namespace_of(object: &Value) -> &str {
    match text(object, "/metadata/namespace") {
        "" => "default",
        namespace => namespace,
    }
}

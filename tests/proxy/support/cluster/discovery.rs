//! What the API says of itself, for clients that ask before they do anything.

use super::resource::RESOURCES;
use serde_json::{Value, json};

/// The answer to a path that is of no resource; nothing if there is none.
pub(super) fn document(path: &str) -> Option<Value> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["version"] => Some(json!({
            "major": "1", "minor": "33", "gitVersion": "v1.33.0", "gitCommit": "0",
            "gitTreeState": "clean", "buildDate": "2025-04-23T00:00:00Z", "goVersion": "go1.24.2",
            "compiler": "gc", "platform": "linux/amd64",
        })),
        ["api"] => Some(json!({
            "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [],
        })),
        ["apis"] => {
            let groups: Vec<Value> = groups().into_iter().map(group).collect();
            Some(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups }))
        }
        ["apis", name] => groups().contains(name).then(|| {
            let mut group = group(name);
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            group
        }),
        ["api", "v1"] => Some(resources("")),
        ["apis", name, "v1"] => groups().contains(name).then(|| resources(name)),
        _ => None,
    }
}

fn groups() -> Vec<&'static str> {
    let groups = RESOURCES.iter().map(|resource| resource.group);
    let mut groups: Vec<_> = groups.filter(|group| !group.is_empty()).collect();
    groups.dedup();
    groups
}

fn group(name: &str) -> Value {
    let version = json!({ "groupVersion": format!("{name}/v1"), "version": "v1" });
    json!({ "name": name, "versions": [version], "preferredVersion": version })
}

fn resources(group: &str) -> Value {
    let all = RESOURCES.iter().filter(|resource| resource.group == group).map(|resource| {
        json!({
            "name": resource.plural, "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind, "shortNames": resource.short,
            "verbs": [
                "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch",
            ],
        })
    });
    let version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
    json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version,
        "resources": all.collect::<Vec<_>>(),
    })
}

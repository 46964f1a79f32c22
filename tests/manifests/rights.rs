//! What has to hold of rights: exactly those that Serin uses, for whoever its pods run as.

use super::objects::{Named, Objects, Pods};
use super::rules::Rules;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding};
use std::collections::BTreeSet;

/// A right: group and resource, the one name if only one, and the verb.
type Right = (String, Option<String>, String);

fn rights(rules: &[PolicyRule]) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    for rule in rules {
        assert!(rule.non_resource_urls.is_none());
        let names = rule.resource_names.clone().unwrap_or_default();
        let names: Vec<Option<String>> =
            if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                for name in &names {
                    for verb in &rule.verbs {
                        let resource = format!("{group}/{resource}");
                        rights.insert((resource, name.clone(), verb.clone()));
                    }
                }
            }
        }
    }
    rights
}

fn right(resource: &str, name: Option<&str>, verb: &str) -> Right {
    (resource.to_owned(), name.map(str::to_owned), verb.to_owned())
}

/// What is needed where the rules are.
fn for_rules(option: &str, value: &str) -> BTreeSet<Right> {
    let events = ["create", "patch"].map(|verb| right("events.k8s.io/events", None, verb));
    let name = value.split('/').next();
    let name = name.filter(|_| option == "--configmap");
    let maps = ["list", "watch"].map(|verb| right("/configmaps", name, verb));
    maps.into_iter().chain(events).collect()
}

/// What is needed where pools have their endpoints.
fn for_pools() -> BTreeSet<Right> {
    let resources = ["discovery.k8s.io/endpointslices", "/services", "/pods"];
    let verbs = |resource| ["list", "watch"].map(|verb| right(resource, None, verb));
    resources.into_iter().flat_map(verbs).collect()
}

/// The rights that an account has in a namespace by the bindings there.
fn granted(
    objects: &Objects,
    namespace: &str,
    account: (&str, &str),
    wrong: &mut Vec<String>,
) -> Vec<BTreeSet<Right>> {
    let mut granted = Vec::new();
    for binding in objects.of::<RoleBinding>().filter(|known| known.namespace() == namespace) {
        let subjects = binding.subjects.iter().flatten();
        let is_meant = subjects.filter(|subject| subject.kind == "ServiceAccount").any(|subject| {
            (subject.namespace.as_deref(), &*subject.name) == (Some(account.0), account.1)
        });
        let role = objects
            .of::<Role>()
            .find(|role| role.namespace() == namespace && role.name() == binding.role_ref.name);
        let Some(role) = role.filter(|_| binding.role_ref.kind == "Role") else {
            wrong.push(format!("{}: there is no {}", binding.name(), binding.role_ref.name));
            continue;
        };
        if is_meant {
            granted.push(rights(role.rules.as_deref().unwrap_or_default()));
        }
    }
    granted
}

/// Says which rights of Serin's pods are missing and which are too many.
pub(crate) fn check(objects: &Objects, wrong: &mut Vec<String>) {
    let mut used = 0;
    for pods in Pods::all(objects) {
        let Some((option, value)) = pods.rules() else { continue };
        let namespace = pods.deployment.namespace();
        let account = (namespace, pods.account());
        let pools = Rules::of(objects, &pods).map(|rules| rules.namespaces());
        let mut namespaces: BTreeSet<String> =
            objects.of::<Role>().map(|role| role.namespace().to_owned()).collect();
        namespaces.extend(pools.clone().unwrap_or_default());
        for there in &namespaces {
            let mut expected = Vec::new();
            if *there == namespace {
                expected.push(for_rules(option, value));
            }
            // Of rules that are not here nobody knows what they name.
            let has_pools = match &pools {
                Some(pools) => pools.contains(there),
                None => granted(objects, there, account, wrong).contains(&for_pools()),
            };
            if has_pools {
                expected.push(for_pools());
            }
            let mut granted = granted(objects, there, account, wrong);
            granted.sort();
            expected.sort();
            used += granted.len();
            if granted != expected {
                let name = pods.deployment.name();
                wrong.push(format!("{name}: in {there} {granted:?} instead of {expected:?}"));
            }
        }
    }
    let roles = objects.of::<Role>().count();
    if Pods::all(objects).iter().any(|pods| pods.serin().is_some()) && used != roles {
        wrong.push(format!("{roles} roles, of which {used} are used"));
    }
}

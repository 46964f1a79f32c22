//! What the API refuses to store, as far as it concerns what is served here.

use super::resource::Resource;
use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace, Node, Pod, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use serde_json::Value;
use std::net::IpAddr;

/// What is wrong, each with its field.
pub(super) type Wrong = Vec<(String, String)>;

/// Letters and digits at both ends, and only these or one of `between` within.
fn word(text: &str, between: &str, most: usize) -> bool {
    let fine = |next: char| next.is_ascii_alphanumeric();
    (1..=most).contains(&text.len())
        && text.starts_with(fine)
        && text.ends_with(fine)
        && text.chars().all(|next| fine(next) || between.contains(next))
}

/// The name of an object, and the prefix of a qualified name: a DNS subdomain (RFC 1123).
pub(super) fn subdomain(text: &str) -> bool {
    let small = |text: &str| !text.chars().any(|next| next.is_ascii_uppercase());
    text.len() <= 253 && small(text) && text.split('.').all(|label| word(label, "-", 253))
}

/// The key of a label: a name, and before it perhaps a subdomain and a slash.
pub(super) fn qualified_name(text: &str) -> bool {
    let (prefix, name) = text.split_once('/').unwrap_or(("x", text));
    subdomain(prefix) && word(name, "-_.", 63)
}

pub(super) fn label_value(text: &str) -> bool {
    text.is_empty() || word(text, "-_.", 63)
}

/// Why an object is not of its kind, as its types are declared.
pub(super) fn decodes(resource: &Resource, object: &Value) -> Result<(), String> {
    let object = object.clone();
    let decoded = match resource.kind {
        "ConfigMap" => serde_json::from_value::<ConfigMap>(object).map(drop),
        "Namespace" => serde_json::from_value::<Namespace>(object).map(drop),
        "Node" => serde_json::from_value::<Node>(object).map(drop),
        "Secret" => serde_json::from_value::<Secret>(object).map(drop),
        "ServiceAccount" => serde_json::from_value::<ServiceAccount>(object).map(drop),
        "Role" => serde_json::from_value::<Role>(object).map(drop),
        "RoleBinding" => serde_json::from_value::<RoleBinding>(object).map(drop),
        "Pod" => serde_json::from_value::<Pod>(object).map(drop),
        "Service" => serde_json::from_value::<Service>(object).map(drop),
        "EndpointSlice" => serde_json::from_value::<EndpointSlice>(object).map(drop),
        _ => serde_json::from_value::<Event>(object).map(drop),
    };
    decoded.map_err(|error| {
        let kind = resource.kind;
        format!("{kind} in version \"v1\" cannot be handled as a {kind}: {error}")
    })
}

/// What is wrong of an object that is to be created, or to take the place of `old`.
pub(super) fn validate(resource: &Resource, object: &Value, old: Option<&Value>) -> Wrong {
    let mut wrong = Wrong::new();
    let metadata = &object["metadata"];
    let name = metadata["name"].as_str().unwrap_or_default();
    if !subdomain(name) {
        wrong.push(("metadata.name".into(), format!("Invalid value: \"{name}\": a subdomain")));
    }
    for (key, value) in metadata["labels"].as_object().into_iter().flatten() {
        if !qualified_name(key) || !label_value(value.as_str().unwrap_or_default()) {
            wrong.push(("metadata.labels".into(), format!("Invalid value: {key}={value}")));
        }
    }
    match resource.kind {
        "ConfigMap" => config_map(object, old, &mut wrong),
        "EndpointSlice" => slice(object, &mut wrong),
        "Event" => event(object, old, &mut wrong),
        _ => {}
    }
    wrong
}

/// What is said to be immutable stays.
fn config_map(object: &Value, old: Option<&Value>, wrong: &mut Wrong) {
    let Some(old) = old.filter(|old| old["immutable"] == true) else { return };
    for field in ["immutable", "data", "binaryData"] {
        if object[field] != old[field] {
            let why = "Forbidden: field is immutable when `immutable` is set";
            wrong.push((field.to_owned(), why.to_owned()));
        }
    }
}

/// Endpoints are where others can reach them.
fn slice(object: &Value, wrong: &mut Wrong) {
    for (number, endpoint) in object["endpoints"].as_array().into_iter().flatten().enumerate() {
        for address in endpoint["addresses"].as_array().into_iter().flatten() {
            let text = address.as_str().unwrap_or_default();
            let is_local = match text.parse() {
                Ok(IpAddr::V4(ip)) => ip.is_link_local(),
                Ok(IpAddr::V6(ip)) => ip.is_unicast_link_local(),
                // A name, which another address type may have.
                Err(_) => continue,
            };
            let ip: IpAddr = text.parse().unwrap();
            if is_local || ip.is_loopback() || ip.is_unspecified() {
                let why = format!("Invalid value: {text}: may not be in the loopback range");
                wrong.push((format!("endpoints[{number}].addresses"), why));
            }
        }
    }
}

/// The strict validation of `events.k8s.io/v1`.
fn event(object: &Value, old: Option<&Value>, wrong: &mut Wrong) {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let mut say = |field: &str, why: &str| wrong.push((field.to_owned(), why.to_owned()));
    for (field, most) in [("reportingInstance", 128), ("action", 128), ("reason", 128)] {
        match text(field).len() {
            0 => say(field, "Required value"),
            length if length > most => say(field, "Invalid value: can have at most 128 characters"),
            _ => {}
        }
    }
    if !qualified_name(text("reportingController")) {
        say("reportingController", "Required value: a qualified name");
    }
    if text("note").len() > 1024 {
        say("message", "Invalid value: can have at most 1024 characters");
    }
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let regarded = object["regarding"]["namespace"].as_str().unwrap_or_default();
    if regarded.is_empty() && !matches!(namespace, "default" | "kube-system") {
        say("involvedObject.namespace", "Invalid value: does not match event.namespace");
    }
    if let Some(series) = object["series"].as_object() {
        if series.get("count").and_then(Value::as_i64).is_none_or(|count| count < 2) {
            say("series.count", "Invalid value: should be at least 2");
        }
        if !series.get("lastObservedTime").and_then(Value::as_str).is_some_and(micro_time) {
            say("series.lastObservedTime", "Required value");
        }
    }
    if let Some(old) = old {
        /// All but the series and what describes the object itself.
        const FIXED: [&str; 9] = [
            "regarding",
            "reason",
            "note",
            "type",
            "eventTime",
            "action",
            "related",
            "reportingController",
            "reportingInstance",
        ];
        for field in FIXED.into_iter().filter(|field| object[field] != old[field]) {
            say(field, "Invalid value: field is immutable");
        }
        return;
    }
    if !micro_time(text("eventTime")) {
        say("eventTime", "Required value");
    }
    if !matches!(text("type"), "Normal" | "Warning") {
        say("type", "Invalid value: has invalid value");
    }
}

/// Whether Go reads a text as a time with microseconds: six digits, no more and no fewer.
pub(super) fn micro_time(text: &str) -> bool {
    let fraction = text.split_once('.').map_or("", |(_, rest)| rest);
    let digits = fraction.find(|next: char| !next.is_ascii_digit());
    digits == Some(6) && text.parse::<jiff::Timestamp>().is_ok()
}

#[test]
fn names_and_labels_are_as_the_api_wants_them() {
    let long = "x".repeat(64);
    for text in ["a", "web-1", "a.b-c.d", "1"] {
        assert!(subdomain(text), "{text}");
    }
    for text in ["", "A", "a_b", "-a", "a-", "a..b", "a/b"] {
        assert!(!subdomain(text), "{text}");
    }
    for text in ["app", "kubernetes.io/service-name", "A_b.c"] {
        assert!(qualified_name(text), "{text}");
    }
    for text in ["", "/a", "a/", "A/b", "a/b/c", &long] {
        assert!(!qualified_name(text), "{text}");
    }
    assert!(label_value("") && label_value("v1.2_3") && !label_value("a b") && !label_value(&long));
}

#[test]
fn a_time_with_microseconds_has_six_digits() {
    assert!(micro_time("2026-01-02T03:04:05.000006Z"));
    for text in ["", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.006Z", "x.000006Z"] {
        assert!(!micro_time(text), "{text}");
    }
}

//! Creating, replacing, patching and deleting of objects.

use super::resource::{Call, Resource, key};
use super::status::Failure;
use super::store::Store;
use super::validation::{decodes, validate};
use http::HeaderMap;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The media type of what is applied; JSON is YAML.
const APPLY: &str = "application/apply-patch+yaml";

/// Creates the object in the body.
pub(super) fn create(store: &mut Store, call: &Call, body: Value) -> Result<Value, Failure> {
    let (resource, mut object) = (call.resource, of_resource(call, body)?);
    let metadata = &mut object["metadata"];
    if metadata["resourceVersion"].as_str().is_some_and(|version| !version.is_empty()) {
        return Err(Failure::internal(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    if let (None, Some(prefix)) = (metadata["name"].as_str(), metadata["generateName"].as_str()) {
        metadata["name"] = format!("{prefix}{:05x}", store.count()).into();
    }
    let name = metadata["name"].as_str().unwrap_or_default().to_owned();
    if store.object(resource, namespace(call), &name).is_some() {
        return Err(Failure::already_exists(resource, &name));
    }
    identify(store, &mut object, None);
    begin(resource.kind, &mut object);
    decodes(resource, &object).map_err(Failure::bad_request)?;
    let wrong = validate(resource, &object, None);
    if !wrong.is_empty() {
        return Err(Failure::invalid(resource.kind, &name, &wrong));
    }
    if is_dry(call) {
        return Ok(object);
    }
    if resource.kind == "Namespace" {
        store.ended.remove(&name);
    }
    let created = store.change(resource, key(namespace(call), &name), Some(object));
    Ok(created.map(Arc::unwrap_or_clone).unwrap_or_default())
}

/// Puts the object in the body in the place of the one that is there.
pub(super) fn replace(store: &mut Store, call: &Call, body: Value) -> Result<Value, Failure> {
    let object = of_resource(call, body)?;
    let old = present(store, call)?;
    store_in_place(store, call, &old, object)
}

/// Whether a request creates an object: also one that applies what is not there does.
pub(super) fn creates(store: &Store, call: &Call, headers: &HeaderMap) -> bool {
    let applies = call.verb == "patch" && media_type(headers) == APPLY;
    call.verb == "create" || applies && present(store, call).is_err()
}

fn media_type(headers: &HeaderMap) -> &str {
    let kind = headers.get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.unwrap_or_default().split(';').next().unwrap_or_default()
}

/// Merges the body into the object that is there; an applied one may be new.
pub(super) fn patch(
    store: &mut Store,
    call: &Call,
    headers: &HeaderMap,
    body: &Value,
) -> Result<Value, Failure> {
    let kind = media_type(headers);
    let applied = kind == APPLY;
    let merged = ["application/merge-patch+json", "application/strategic-merge-patch+json"];
    if !applied && !merged.contains(&kind) {
        return Err(Failure::unsupported_media_type(kind));
    }
    if applied && call.query.text("fieldManager").is_empty() {
        let wrong = ("fieldManager".into(), "Required value: is required for apply patch".into());
        return Err(Failure::invalid("PatchOptions.meta.k8s.io", "", &[wrong]));
    }
    let old = match present(store, call) {
        Ok(old) => old,
        Err(_) if applied => return create(store, call, body.clone()),
        Err(failure) => return Err(failure),
    };
    let mut object = Value::clone(&old);
    merge(&mut object, body);
    let object = of_resource(call, object)?;
    store_in_place(store, call, &old, object)
}

/// Deletes one object.
pub(super) fn delete(store: &mut Store, call: &Call, options: &Value) -> Result<Value, Failure> {
    let old = present(store, call)?;
    let (resource, name) = (call.resource, call.name.as_deref().unwrap_or_default());
    for field in ["uid", "resourceVersion"] {
        let (wanted, is) = (&options["preconditions"][field], &old["metadata"][field]);
        if !wanted.is_null() && wanted != is {
            let why = format!("the {field} in the precondition ({wanted}) does not match {is}");
            return Err(Failure::conflict(resource, name, &why));
        }
    }
    if !is_dry_delete(call, options) {
        if resource.kind == "Namespace" {
            return Ok(end_namespace(store, name, &old));
        }
        if let Some(held) = take(store, resource, &old) {
            return Ok(held);
        }
    }
    let mut details =
        json!({ "name": name, "kind": resource.plural, "uid": old["metadata"]["uid"] });
    if !resource.group.is_empty() {
        details["group"] = resource.group.into();
    }
    Ok(json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": details,
    }))
}

/// Takes an object away, or notes that it is to go as long as somebody holds it; the object then.
fn take(store: &mut Store, resource: &'static Resource, object: &Value) -> Option<Value> {
    let metadata = &object["metadata"];
    let text = |field: &str| metadata[field].as_str().unwrap_or_default();
    let key = key(text("namespace"), text("name"));
    if !is_held(object) {
        store.change(resource, key, None);
        return None;
    }
    let mut object = object.clone();
    if metadata["deletionTimestamp"].is_null() {
        object["metadata"]["deletionTimestamp"] = now().into();
        object["metadata"]["deletionGracePeriodSeconds"] = 0.into();
        store.change(resource, key, Some(object.clone()));
    }
    Some(object)
}

fn is_held(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|holders| !holders.is_empty())
}

/// Takes away all that is in a namespace, and then the namespace, if nothing in it is held.
fn end_namespace(store: &mut Store, name: &str, old: &Value) -> Value {
    let inside = store.inside(name);
    let held = inside.iter().filter(|(resource, object)| take(store, resource, object).is_some());
    let is_over = held.count() == 0;
    let mut object = old.clone();
    object["metadata"]["deletionTimestamp"] = now().into();
    object["status"]["phase"] = "Terminating".into();
    let key = key("", name);
    let resource = Resource::named("namespaces");
    if is_over {
        store.ended.insert(name.to_owned());
        store.change(resource, key, None);
    } else {
        store.change(resource, key, Some(object.clone()));
    }
    object
}

/// What an object has at its begin, whatever who creates it says.
fn begin(kind: &str, object: &mut Value) {
    match kind {
        "Pod" => object["status"] = json!({ "phase": "Pending" }),
        "Namespace" => object["status"] = json!({ "phase": "Active" }),
        _ => {}
    }
}

/// Deletes what the request selects, and lists it.
pub(super) fn delete_all(
    store: &mut Store,
    call: &Call,
    options: &Value,
) -> Result<Value, Failure> {
    let list = super::reads::list(store, call)?;
    if is_dry_delete(call, options) {
        return Ok(list);
    }
    for item in list["items"].as_array().into_iter().flatten() {
        let metadata = &item["metadata"];
        let (namespace, name) = (metadata["namespace"].as_str(), metadata["name"].as_str());
        let key = key(namespace.unwrap_or_default(), name.unwrap_or_default());
        store.change(call.resource, key, None);
    }
    Ok(list)
}

/// Gives a new object its identity, or keeps that of the one in whose place it comes.
pub(super) fn identify(store: &mut Store, object: &mut Value, old: Option<&Value>) {
    let uid = format!("00000000-0000-4000-8000-{:012x}", store.count());
    let old = |field: &str| old.map(|old| old["metadata"][field].clone());
    object["metadata"]["uid"] = old("uid").unwrap_or_else(|| uid.into());
    object["metadata"]["creationTimestamp"] =
        old("creationTimestamp").unwrap_or_else(|| now().into());
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn namespace(call: &Call) -> &str {
    call.namespace.as_deref().unwrap_or_default()
}

fn is_dry(call: &Call) -> bool {
    call.query.text("dryRun") == "All"
}

/// A deletion says it in its body.
fn is_dry_delete(call: &Call, options: &Value) -> bool {
    is_dry(call) || options["dryRun"][0] == "All"
}

fn present(store: &Store, call: &Call) -> Result<Arc<Value>, Failure> {
    let name = call.name.as_deref().unwrap_or_default();
    let found = store.object(call.resource, namespace(call), name);
    found.map(Arc::clone).ok_or_else(|| Failure::not_found(call.resource, name))
}

/// The object, if it is of the kind, the namespace and the name that the path says.
fn of_resource(call: &Call, mut object: Value) -> Result<Value, Failure> {
    let resource = call.resource;
    let Some(fields) = object.as_object_mut() else {
        return Err(Failure::bad_request("the object provided is unrecognized"));
    };
    for (field, wanted) in [("apiVersion", &*resource.api_version()), ("kind", resource.kind)] {
        let is = fields.entry(field).or_insert_with(|| wanted.into());
        if is != wanted {
            let message =
                format!("the {field} in the data ({is}) does not match the expected ({wanted})");
            return Err(Failure::bad_request(message));
        }
    }
    let metadata = fields.entry("metadata").or_insert_with(|| Map::new().into());
    let named = [("namespace", call.namespace.as_deref()), ("name", call.name.as_deref())];
    for (field, wanted) in named {
        let Some(wanted) = wanted else { continue };
        if metadata[field].as_str().unwrap_or_default().is_empty() {
            metadata[field] = wanted.into();
        } else if metadata[field] != wanted {
            let message = format!(
                "the {field} of the provided object does not match the {field} sent on the request"
            );
            return Err(Failure::bad_request(message));
        }
    }
    // Who owns which field is not kept.
    metadata
        .as_object_mut()
        .unwrap()
        .retain(|field, value| field != "managedFields" && !value.is_null());
    Ok(object)
}

fn store_in_place(
    store: &mut Store,
    call: &Call,
    old: &Value,
    mut object: Value,
) -> Result<Value, Failure> {
    let (resource, name) = (call.resource, call.name.as_deref().unwrap_or_default());
    let version = &object["metadata"]["resourceVersion"];
    if !version.is_null() && version != "" && *version != old["metadata"]["resourceVersion"] {
        let why = "the object has been modified; please apply your changes to the latest version \
                   and try again";
        return Err(Failure::conflict(resource, name, why));
    }
    let uid = &object["metadata"]["uid"];
    if !uid.is_null() && *uid != old["metadata"]["uid"] {
        let why = format!("Precondition failed: UID in precondition: {uid}");
        return Err(Failure::conflict(resource, name, &why));
    }
    if resource.kind == "Pod" {
        only_what_is_meant(call, old, &mut object);
    }
    identify(store, &mut object, Some(old));
    object["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
    decodes(resource, &object).map_err(Failure::bad_request)?;
    let wrong = validate(resource, &object, Some(old));
    if !wrong.is_empty() {
        return Err(Failure::invalid(resource.kind, name, &wrong));
    }
    // What changes nothing is no new version.
    if object == *old || is_dry(call) {
        return Ok(object);
    }
    let is_over = is_held(old) && !is_held(&object);
    if is_over && !object["metadata"]["deletionTimestamp"].is_null() {
        take(store, resource, &object);
        return Ok(object);
    }
    let stored = store.change(resource, key(namespace(call), name), Some(object));
    Ok(stored.map(Arc::unwrap_or_clone).unwrap_or_default())
}

/// Who writes an object does not write its status, and who writes its status nothing else.
fn only_what_is_meant(call: &Call, old: &Value, object: &mut Value) {
    if call.subresource == "status" {
        let status = std::mem::replace(&mut object["status"], Value::Null);
        *object = old.clone();
        object["status"] = status;
    } else {
        object["status"] = old["status"].clone();
    }
}

/// Merges a patch into a value (RFC 7396).
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = Map::new().into();
    }
    let into = into.as_object_mut().unwrap();
    for (name, value) in patch {
        if value.is_null() {
            into.shift_remove(name);
        } else {
            merge(into.entry(name).or_insert(Value::Null), value);
        }
    }
}

#[test]
fn a_patch_is_merged_as_rfc_7396_says() {
    let cases = [
        (json!({ "a": "b" }), json!({ "a": "c" }), json!({ "a": "c" })),
        (json!({ "a": "b" }), json!({ "b": "c" }), json!({ "a": "b", "b": "c" })),
        (json!({ "a": "b" }), json!({ "a": null }), json!({})),
        (json!({ "a": ["b"] }), json!({ "a": "c" }), json!({ "a": "c" })),
        (json!({ "a": { "b": "c" } }), json!({ "a": { "b": null } }), json!({ "a": {} })),
        (json!({}), json!({ "a": { "b": { "c": null } } }), json!({ "a": { "b": {} } })),
        (json!(["a"]), json!({ "a": "b", "c": null }), json!({ "a": "b" })),
    ];
    for (mut into, patch, wanted) in cases {
        merge(&mut into, &patch);
        assert_eq!(into, wanted);
    }
}

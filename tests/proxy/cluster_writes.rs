//! The API server of the tests, asked by kube's own client: writes, RBAC and discovery.

use crate::cluster_support::refused;
use crate::support::Cluster;
use crate::support::cluster::{config_map, endpoint_slice, pod};
use http::Request;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::api::{PartialObjectMetaExt as _, WatchParams};
use kube::core::ObjectMeta;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

fn rules(text: &str) -> ConfigMap {
    serde_json::from_value(config_map("shop", "rules").key("serin.yaml", text).into()).unwrap()
}

/// An Event as the strict validation wants it.
fn event() -> Value {
    json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": { "namespace": "shop", "name": "rules.1" },
        "eventTime": "2026-01-02T03:04:05.000006Z",
        "reportingController": "serin-proxy.io/serin",
        "reportingInstance": "serin-0",
        "action": "Reload",
        "reason": "ConfigAccepted",
        "type": "Normal",
        "note": "generation 1",
        "regarding": { "kind": "ConfigMap", "namespace": "shop", "name": "rules" },
    })
}

/// A request with a body that no type of kube would make.
async fn send(client: &Client, method: &str, path: &str, kind: &str, body: &Value) -> (u16, Value) {
    let request = Request::builder().method(method).uri(path).header("content-type", kind);
    match client.request_text(request.body(body.to_string().into_bytes()).unwrap()).await {
        Ok(text) => (200, serde_json::from_str(&text).unwrap()),
        Err(kube::Error::Api(status)) => (status.code, serde_json::to_value(status).unwrap()),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn an_object_is_created_once() {
    let cluster = Cluster::start().await;
    let api: Api<ConfigMap> = Api::namespaced(cluster.client().await, "shop");
    let created = api.create(&PostParams::default(), &rules("a")).await.unwrap();
    assert_eq!(created.resource_version().unwrap(), cluster.version().to_string());
    assert!(created.uid().is_some() && created.creation_timestamp().is_some());
    let status = refused(api.create(&PostParams::default(), &rules("b")).await);
    assert_eq!((status.code, &*status.reason), (409, "AlreadyExists"));
    assert_eq!(status.message, "configmaps \"rules\" already exists");
    let details = status.details.unwrap();
    assert_eq!((&*details.name, &*details.kind), ("rules", "configmaps"));
    assert_eq!(cluster.object("configmaps", "shop", "rules").unwrap()["data"]["serin.yaml"], "a");
    let status = refused(api.create(&PostParams::default(), &created).await);
    assert_eq!(status.message, "resourceVersion should not be set on objects to be created");
    let generated = ConfigMap {
        metadata: ObjectMeta { generate_name: Some("some-".into()), ..Default::default() },
        ..Default::default()
    };
    let one = api.create(&PostParams::default(), &generated).await.unwrap();
    let other = api.create(&PostParams::default(), &generated).await.unwrap();
    assert!(one.name_any().starts_with("some-") && one.name_any() != other.name_any());
    let version = cluster.version();
    let dry = PostParams { dry_run: true, ..Default::default() };
    api.create(&dry, &generated).await.unwrap();
    assert_eq!(cluster.version(), version);
}

#[tokio::test]
async fn what_is_no_object_of_the_resource_is_refused() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let path = "/api/v1/namespaces/shop/configmaps";
    let named = json!({ "metadata": { "name": "x" } });
    let with = |field: &str, value: Value| {
        let mut object = named.clone();
        object[field] = value;
        object
    };
    let refusals = [
        (400, with("kind", "Pod".into())),
        (400, with("apiVersion", "v2".into())),
        (400, with("data", json!({ "a": 1 }))),
        (400, with("metadata", json!({ "name": "x", "namespace": "other" }))),
        (400, json!([])),
        (422, json!({})),
        (422, with("metadata", json!({ "name": "X" }))),
        (422, with("metadata", json!({ "name": "x", "labels": { "a b": "c" } }))),
        (500, with("metadata", json!({ "name": "x", "resourceVersion": "1" }))),
    ];
    for (code, object) in refusals {
        let (answered, status) = send(&client, "POST", path, "application/json", &object).await;
        assert_eq!(answered, code, "{object}: {status}");
    }
    let protobuf = "application/vnd.kubernetes.protobuf";
    assert_eq!(send(&client, "POST", path, protobuf, &named).await.0, 415);
    let everywhere = "/api/v1/configmaps";
    assert_eq!(send(&client, "POST", everywhere, "application/json", &named).await.0, 405);
    assert_eq!(send(&client, "POST", path, "application/json", &named).await.0, 200);
}

#[tokio::test]
async fn an_object_is_replaced_only_by_who_knows_its_version() {
    let cluster = Cluster::start().await;
    let api: Api<ConfigMap> = Api::namespaced(cluster.client().await, "shop");
    let status = refused(api.replace("rules", &PostParams::default(), &rules("a")).await);
    assert!(status.is_not_found());
    let first = api.create(&PostParams::default(), &rules("a")).await.unwrap();
    let mut changed = first.clone();
    changed.data.as_mut().unwrap().insert("more.yaml".into(), "x".into());
    let second = api.replace("rules", &PostParams::default(), &changed).await.unwrap();
    assert_eq!(second.uid(), first.uid());
    let status = refused(api.replace("rules", &PostParams::default(), &changed).await);
    assert_eq!((status.code, &*status.reason), (409, "Conflict"));
    assert!(status.message.contains("the object has been modified"));
    // What changes nothing is no new version.
    let same = api.replace("rules", &PostParams::default(), &second).await.unwrap();
    assert_eq!(same.resource_version(), second.resource_version());
    // Who says no version overwrites.
    let third = api.replace("rules", &PostParams::default(), &rules("c")).await.unwrap();
    assert_ne!(third.resource_version(), second.resource_version());
    let mut stranger = rules("d");
    stranger.metadata.uid = Some("other".into());
    let status = refused(api.replace("rules", &PostParams::default(), &stranger).await);
    assert_eq!(status.code, 409);
}

#[tokio::test]
async fn a_patch_is_merged_and_an_applied_object_may_be_new() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), "shop");
    let added = Patch::Merge(json!({ "data": { "b": "2" } }));
    let status = refused(api.patch("rules", &PatchParams::default(), &added).await);
    assert!(status.is_not_found());
    let apply = PatchParams::apply("tests");
    let applied = api.patch("rules", &apply, &Patch::Apply(rules("a"))).await.unwrap();
    let merged = api.patch("rules", &PatchParams::default(), &added).await.unwrap();
    assert_eq!(merged.uid(), applied.uid());
    assert_eq!(merged.data.unwrap().into_values().collect::<Vec<_>>(), ["2", "a"]);
    let gone = Patch::Strategic(json!({ "data": { "b": null } }));
    let merged = api.patch("rules", &PatchParams::default(), &gone).await.unwrap();
    assert_eq!(merged.data.unwrap().into_keys().collect::<Vec<_>>(), ["serin.yaml"]);
    let version = cluster.version();
    api.patch("rules", &PatchParams::default(), &gone).await.unwrap();
    assert_eq!(cluster.version(), version);
    let stale = Patch::Merge(json!({ "metadata": { "resourceVersion": "1" } }));
    let status = refused(api.patch("rules", &PatchParams::default(), &stale).await);
    assert!(status.is_conflict());
    let labelled =
        ObjectMeta { labels: Some([("a".into(), "b".into())].into()), ..Default::default() };
    let labelled = labelled.into_request_partial::<ConfigMap>();
    let patched = api.patch_metadata("rules", &apply, &Patch::Apply(&labelled)).await.unwrap();
    assert_eq!(patched.labels()["a"], "b");
    let path = "/api/v1/namespaces/shop/configmaps/rules";
    let body = json!({});
    assert_eq!(send(&client, "PATCH", path, "application/json-patch+json", &body).await.0, 415);
    assert_eq!(send(&client, "PATCH", path, "application/apply-patch+yaml", &body).await.0, 422);
}

#[tokio::test]
async fn an_object_is_deleted_alone_or_with_all_that_are_selected() {
    let cluster = Cluster::start().await;
    for name in ["a", "b", "c"] {
        cluster.put(pod("shop", name).label("app", if name == "c" { "db" } else { "web" }));
    }
    cluster.put(config_map("shop", "rules"));
    let client = cluster.client().await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "shop");
    let uid = maps.get("rules").await.unwrap().uid();
    let only = |uid: Option<String>| {
        let preconditions = Preconditions { uid, resource_version: None };
        DeleteParams::default().preconditions(preconditions)
    };
    let status = refused(maps.delete("rules", &only(Some("other".into()))).await);
    assert!(status.is_conflict());
    let deleted = maps.delete("rules", &only(uid)).await.unwrap().right().unwrap();
    assert!(deleted.is_success());
    assert_eq!(deleted.details.unwrap().name, "rules");
    assert!(refused(maps.delete("rules", &DeleteParams::default()).await).is_not_found());
    let pods: Api<Pod> = Api::namespaced(client, "shop");
    let web = ListParams::default().labels("app=web");
    let dry = DeleteParams::default().dry_run();
    pods.delete_collection(&dry, &web).await.unwrap();
    assert_eq!(pods.list(&web).await.unwrap().items.len(), 2);
    let deleted = pods.delete_collection(&DeleteParams::default(), &web).await.unwrap();
    assert_eq!(deleted.left().unwrap().items.len(), 2);
    let left = pods.list(&ListParams::default()).await.unwrap();
    assert_eq!(left.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["c"]);
}

#[tokio::test]
async fn an_event_is_validated_as_strictly_as_in_the_api() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let path = "/apis/events.k8s.io/v1/namespaces/shop/events";
    let post = async |event: &Value| send(&client, "POST", path, "application/json", event).await;
    let wrong = [
        ("eventTime", Value::Null),
        ("eventTime", "2026-01-02T03:04:05Z".into()),
        ("type", "Notice".into()),
        ("action", Value::Null),
        ("reason", "x".repeat(129).into()),
        ("reportingController", "serin proxy".into()),
        ("reportingInstance", "".into()),
        ("note", "x".repeat(1025).into()),
        ("regarding", json!({ "kind": "ConfigMap", "name": "rules" })),
        ("series", json!({ "count": 1, "lastObservedTime": "2026-01-02T03:04:05.000006Z" })),
        ("series", json!({ "count": 2, "lastObservedTime": "2026-01-02T03:04:05Z" })),
    ];
    for (field, value) in wrong {
        let mut event = event();
        event[field] = value;
        let (code, status) = post(&event).await;
        assert_eq!((code, &status["reason"]), (422, &"Invalid".into()), "{field}: {status}");
    }
    assert_eq!(cluster.events(), [] as [Value; 0]);
    assert_eq!(post(&event()).await.0, 200);
    let mut other = event();
    other["metadata"]["name"] = "a.1".into();
    assert_eq!(post(&other).await.0, 200);
    let api: Api<Event> = Api::namespaced(client.clone(), "shop");
    let count = json!({ "count": 2, "lastObservedTime": "2026-01-02T03:04:06.000006Z" });
    let again = Patch::Merge(json!({ "series": count }));
    api.patch("rules.1", &PatchParams::default(), &again).await.unwrap();
    let changed = Patch::Merge(json!({ "note": "another" }));
    let status = refused(api.patch("rules.1", &PatchParams::default(), &changed).await);
    assert_eq!(status.code, 422);
    let events = cluster.events();
    let names: Vec<_> = events.iter().map(|event| &event["metadata"]["name"]).collect();
    assert_eq!(names, ["rules.1", "a.1"]);
    assert_eq!(events[0]["series"]["count"], 2);
}

/// The objects that let a service account read one `ConfigMap` and the slices of a namespace, and
/// write Events.
fn roles() -> Vec<Value> {
    let role = |namespace: &str, name: &str, rules: Value| {
        let metadata = json!({ "namespace": namespace, "name": name });
        json!({ "kind": "Role", "metadata": metadata, "rules": rules })
    };
    let binding = |namespace: &str, role: &str| {
        let account = json!({ "kind": "ServiceAccount", "namespace": "edge", "name": "serin" });
        json!({
            "kind": "RoleBinding",
            "metadata": { "namespace": namespace, "name": role },
            "roleRef": { "kind": "Role", "name": role },
            "subjects": [account],
        })
    };
    let reading = json!([
        {
            "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["rules"],
            "verbs": ["get", "list", "watch"],
        },
        { "apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"] },
    ]);
    let slices = json!([
        {
            "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"],
            "verbs": ["list", "watch"],
        },
    ]);
    vec![
        role("edge", "rules", reading),
        binding("edge", "rules"),
        role("shop", "slices", slices),
        binding("shop", "slices"),
    ]
}

#[tokio::test]
async fn a_role_allows_what_it_says_in_its_namespace_and_no_more() {
    let cluster = Cluster::start().await;
    cluster.put(config_map("edge", "rules"));
    cluster.put(config_map("edge", "secret"));
    cluster.put(endpoint_slice("shop", "web-a", "web"));
    cluster.rbac(&roles());
    let client = cluster.client().await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "edge");
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), "shop");
    let (every, named) =
        (ListParams::default(), ListParams::default().fields("metadata.name=rules"));
    maps.get("rules").await.unwrap();
    assert_eq!(maps.list(&named).await.unwrap().items.len(), 1);
    assert_eq!(slices.list(&every).await.unwrap().items.len(), 1);
    let status = refused(maps.get("secret").await);
    let message = "configmaps \"secret\" is forbidden: User \"system:serviceaccount:edge:serin\" \
                   cannot get resource \"configmaps\" in API group \"\" in the namespace \"edge\"";
    assert_eq!(status.message, message);
    assert!(refused(maps.list(&every).await).is_forbidden());
    let other = ListParams::default().fields("metadata.name!=rules");
    assert!(refused(maps.list(&other).await).is_forbidden());
    assert!(refused(slices.get("web-a").await).is_forbidden());
    let everywhere: Api<EndpointSlice> = Api::all(client.clone());
    let status = refused(everywhere.list(&every).await);
    assert!(status.message.ends_with("at the cluster scope"), "{}", status.message);
    let pods: Api<Pod> = Api::namespaced(client.clone(), "shop");
    assert!(refused(pods.list(&every).await).is_forbidden());
    assert!(refused(maps.create(&PostParams::default(), &rules("a")).await).is_forbidden());
    assert_eq!(
        Vec::from_iter(cluster.unused_grants()),
        [
            "edge: create events.k8s.io/events",
            "edge: patch events.k8s.io/events",
            "edge: watch /configmaps rules",
            "shop: watch discovery.k8s.io/endpointslices",
        ]
    );
    let watched = WatchParams::default().fields("metadata.name=rules");
    assert!(maps.watch(&watched, "0").await.is_ok());
    assert!(refused(maps.watch(&WatchParams::default(), "0").await.map(|_| ())).is_forbidden());
    assert!(!cluster.unused_grants().contains("edge: watch /configmaps rules"));
}

#[tokio::test]
async fn who_applies_what_is_new_must_be_allowed_to_create_it() {
    let cluster = Cluster::start().await;
    let mut objects = roles();
    let verbs = objects[0].pointer_mut("/rules/1/verbs").unwrap();
    *verbs = json!(["patch"]);
    cluster.rbac(&objects);
    let api: Api<Event> = Api::namespaced(cluster.client().await, "edge");
    let mut event = event();
    event["metadata"]["namespace"] = "edge".into();
    let apply = Patch::Apply(event.clone());
    let status = refused(api.patch("rules.1", &PatchParams::apply("serin"), &apply).await);
    assert!(status.is_forbidden() && status.message.contains("cannot create"));
    cluster.put(event);
    api.patch("rules.1", &PatchParams::apply("serin"), &apply).await.unwrap();
}

#[tokio::test]
async fn a_cluster_role_counts_where_it_is_bound_and_a_group_is_all_its_accounts() {
    let cluster = Cluster::start().await;
    let any = json!({ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] });
    let role = json!({ "kind": "ClusterRole", "metadata": { "name": "all" }, "rules": [any] });
    let bound = |kind: &str, subject: Value| {
        json!({
            "kind": kind,
            "metadata": { "namespace": "shop", "name": "all" },
            "roleRef": { "kind": "ClusterRole", "name": "all" },
            "subjects": [subject],
        })
    };
    let client = cluster.client().await;
    let may = async |subject: Value, kind: &str| {
        cluster.rbac_of("edge", "serin", &[role.clone(), bound(kind, subject)]);
        let (there, everywhere): (Api<Pod>, Api<Pod>) =
            (Api::namespaced(client.clone(), "shop"), Api::all(client.clone()));
        let options = ListParams::default();
        (there.list(&options).await.is_ok(), everywhere.list(&options).await.is_ok())
    };
    let group = |name: &str| json!({ "kind": "Group", "name": name });
    let account =
        |name: &str| json!({ "kind": "ServiceAccount", "namespace": "edge", "name": name });
    let user = json!({ "kind": "User", "name": "system:serviceaccount:edge:serin" });
    assert_eq!(may(account("serin"), "RoleBinding").await, (true, false));
    assert_eq!(may(account("serin"), "ClusterRoleBinding").await, (true, true));
    assert_eq!(may(account("other"), "ClusterRoleBinding").await, (false, false));
    assert_eq!(may(user, "RoleBinding").await, (true, false));
    for (name, allowed) in [
        ("system:serviceaccounts", true),
        ("system:serviceaccounts:edge", true),
        ("system:serviceaccounts:shop", false),
        ("system:authenticated", true),
        ("system:masters", false),
    ] {
        assert_eq!(may(group(name), "RoleBinding").await, (allowed, false), "{name}");
    }
}

#[tokio::test]
async fn the_api_tells_what_it_serves() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    assert_eq!(client.apiserver_version().await.unwrap().minor, "33");
    assert_eq!(client.list_core_api_versions().await.unwrap().versions, ["v1"]);
    let served = kube::Discovery::new(client.clone()).run().await.unwrap();
    let mut kinds: Vec<String> = served
        .groups()
        .flat_map(kube::discovery::ApiGroup::recommended_resources)
        .map(|(resource, _)| format!("{}/{}", resource.api_version, resource.plural))
        .collect();
    kinds.sort();
    assert_eq!(
        kinds,
        [
            "discovery.k8s.io/v1/endpointslices",
            "events.k8s.io/v1/events",
            "rbac.authorization.k8s.io/v1/rolebindings",
            "rbac.authorization.k8s.io/v1/roles",
            "v1/configmaps",
            "v1/namespaces",
            "v1/nodes",
            "v1/pods",
            "v1/secrets",
            "v1/serviceaccounts",
            "v1/services",
        ]
    );
    let get =
        async |path: &str| client.request_text(Request::get(path).body(Vec::new()).unwrap()).await;
    assert_eq!(get("/readyz").await.unwrap(), "ok");
    assert!(get("/apis/events.k8s.io").await.unwrap().contains("\"APIGroup\""));
    assert!(get("/api/v1/namespaces/shop").await.unwrap().contains("\"Namespace\""));
    assert_eq!(refused(get("/apis/apps/v1").await).code, 404);
    assert_eq!(refused(get("/openapi/v2").await).code, 404);
}

//! The rights of the manifests: with them everything works, and nothing else is allowed.

use crate::cases::{rules, told, told_again};
use crate::support::eventually;
use crate::tenant::Tenant;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchParams};
use serde_json::json;

/// The ways in which a pool finds its endpoints.
const POOLS: [(&str, &str); 3] = [
    ("pods", "selector: app=shop, port: http"),
    ("number", "service: shop, port: 80"),
    ("name", "service: shop, port: web"),
];

pub(crate) async fn the_rights_of_the_manifests_are_enough_and_no_more(tenant: &Tenant) {
    let origin = tenant.origin("a").await;
    tenant.pod("shop-1", "v1", &origin, false).await;
    tenant.service(80).await;
    tenant.slice("shop-x", &origin).await;
    let good = rules(&tenant.namespace, &POOLS);
    let app = tenant.serving(&good).await;
    for (name, _) in POOLS {
        let path = format!("/{name}");
        eventually(&path, async || app.get(&path).await.origin() == "a").await;
    }
    let map = tenant.api::<ConfigMap>().get("serin").await.unwrap();
    assert_eq!(told(tenant, &map).await[1], "ConfigAccepted");
    let map = tenant.replace_rules("routes: no").await;
    assert_eq!(told(tenant, &map).await[1], "ConfigRejected");
    assert!(app.bound.reload().await.is_err());
    told_again(tenant, &map, 2).await;
    let watches = [("state", "synced")];
    app.metric_is("serin_kubernetes_watches", &watches, 4.0).await;
    let forbidden = [("reason", "forbidden")];
    app.metric_is("serin_kubernetes_failures_total", &forbidden, 0.0).await;
    let allowed = allowed_beyond(tenant).await;
    assert!(allowed.is_empty(), "it may also {}", allowed.join(", "));
}

/// What Serin's account may do and does not need, of all that is tried.
async fn allowed_beyond(tenant: &Tenant) -> Vec<&'static str> {
    let own = || tenant.own.clone();
    let maps: Api<ConfigMap> = Api::namespaced(own(), &tenant.namespace);
    let pods: Api<Pod> = Api::namespaced(own(), &tenant.namespace);
    let services: Api<Service> = Api::namespaced(own(), &tenant.namespace);
    let slices: Api<EndpointSlice> = Api::namespaced(own(), &tenant.namespace);
    let events: Api<Event> = Api::namespaced(own(), &tenant.namespace);
    let secrets: Api<Secret> = Api::namespaced(own(), &tenant.namespace);
    let accounts: Api<ServiceAccount> = Api::namespaced(own(), &tenant.namespace);
    let other_maps: Api<ConfigMap> = Api::namespaced(own(), "default");
    let other_pods: Api<Pod> = Api::namespaced(own(), "default");
    let other_events: Api<Event> = Api::namespaced(own(), "default");
    let all_pods: Api<Pod> = Api::all(own());
    let nodes: Api<Node> = Api::all(own());
    tenant.create::<ConfigMap>(json!({ "metadata": { "name": "other" } })).await;
    let every = ListParams::default();
    let of = |name: &str| ListParams::default().fields(&format!("metadata.name={name}"));
    let watched = WatchParams::default();
    let (post, delete, dry) = (
        PostParams::default(),
        DeleteParams { dry_run: true, ..DeleteParams::default() },
        PatchParams { dry_run: true, ..PatchParams::default() },
    );
    let label = Patch::Merge(json!({ "metadata": { "labels": { "a": "b" } } }));
    let tries = [
        ("get its rules", maps.get("serin").await.map(drop)),
        ("change its rules", maps.patch("serin", &dry, &label).await.map(drop)),
        ("delete its rules", maps.delete("serin", &delete).await.map(drop)),
        ("get another ConfigMap", maps.get("other").await.map(drop)),
        ("list another ConfigMap", maps.list(&of("other")).await.map(drop)),
        ("list all ConfigMaps", maps.list(&every).await.map(drop)),
        ("watch all ConfigMaps", maps.watch(&watched, "0").await.map(drop)),
        ("list Secrets", secrets.list(&every).await.map(drop)),
        ("get a Secret", secrets.get("serin").await.map(drop)),
        ("get a pod", pods.get("shop-1").await.map(drop)),
        ("change a pod", pods.patch("shop-1", &dry, &label).await.map(drop)),
        ("change a pod's status", pods.patch_status("shop-1", &dry, &label).await.map(drop)),
        ("delete a pod", pods.delete("shop-1", &delete).await.map(drop)),
        ("get a Service", services.get("shop").await.map(drop)),
        ("get a slice", slices.get("shop-x").await.map(drop)),
        ("delete a slice", slices.delete("shop-x", &delete).await.map(drop)),
        ("list Events", events.list(&every).await.map(drop)),
        (
            "ask for tokens",
            accounts.create_token_request("serin", &post, &TokenRequest::default()).await.map(drop),
        ),
        ("list its rules elsewhere", other_maps.list(&of("serin")).await.map(drop)),
        ("list pods elsewhere", other_pods.list(&every).await.map(drop)),
        ("watch pods elsewhere", other_pods.watch(&watched, "0").await.map(drop)),
        ("tell of things elsewhere", other_events.patch("a", &dry, &label).await.map(drop)),
        ("list all pods", all_pods.list(&every).await.map(drop)),
        ("list nodes", nodes.list(&every).await.map(drop)),
    ];
    let mut allowed = Vec::new();
    for (what, result) in tries {
        match result {
            Err(kube::Error::Api(status)) if status.is_forbidden() => {}
            Err(kube::Error::Api(_)) | Ok(()) => allowed.push(what),
            Err(error) => panic!("{what}: {error}"),
        }
    }
    allowed
}

//! The API server of the tests: accounts with tokens and roles, namespaces, and the life of a pod.

use crate::cluster_support::refused;
use crate::support::Cluster;
use crate::support::cluster::{config_map, endpoint_slice, pod};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Secret, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Status;
use kube::{Client, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

/// A client with another token.
async fn client_with(cluster: &Cluster, token: &str) -> Client {
    let mut kubeconfig = Kubeconfig::from_yaml(&cluster.kubeconfig()).unwrap();
    kubeconfig.auth_infos[0].auth_info.as_mut().unwrap().token = Some(token.to_owned().into());
    let options = KubeConfigOptions::default();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

fn wanted(seconds: i64) -> TokenRequest {
    let spec = TokenRequestSpec { expiration_seconds: Some(seconds), ..Default::default() };
    TokenRequest { spec, ..Default::default() }
}

#[tokio::test]
async fn an_account_may_do_what_the_roles_that_are_there_say_as_long_as_it_is_there() {
    let cluster = Cluster::start_secured().await;
    cluster.put(pod("shop", "a"));
    let client = cluster.client().await;
    let options = PostParams::default();
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "edge");
    let missing = accounts.create_token_request("serin", &options, &wanted(3600)).await;
    assert!(refused(missing).is_not_found());
    let account = object(json!({ "metadata": { "name": "serin" } }));
    accounts.create(&options, &account).await.unwrap();
    let short = accounts.create_token_request("serin", &options, &wanted(60)).await;
    assert_eq!(refused(short).code, 422);
    let token = accounts.create_token_request("serin", &options, &wanted(3600)).await.unwrap();
    let own = client_with(&cluster, &token.status.unwrap().token).await;
    let pods: Api<Pod> = Api::namespaced(own.clone(), "shop");
    let every = ListParams::default();
    let list = async || pods.list(&every).await.map(|list| list.items.len());
    let status = refused(list().await);
    assert_eq!(
        status.message,
        "pods is forbidden: User \"system:serviceaccount:edge:serin\" cannot list resource \
         \"pods\" in API group \"\" in the namespace \"shop\""
    );
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), "shop");
    let binding = object(json!({
        "metadata": { "name": "pods" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "pods" },
        "subjects": [{ "kind": "ServiceAccount", "namespace": "edge", "name": "serin" }],
    }));
    bindings.create(&options, &binding).await.unwrap();
    assert!(refused(list().await).is_forbidden());
    let roles: Api<Role> = Api::namespaced(client.clone(), "shop");
    let listing = json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["list", "patch"] });
    let role = object(json!({ "metadata": { "name": "pods" }, "rules": [listing] }));
    roles.create(&options, &role).await.unwrap();
    assert_eq!(list().await.unwrap(), 1);
    // What a rule does not name it does not give.
    let patch = Patch::Merge(json!({ "status": { "phase": "Running" } }));
    let status = refused(pods.patch_status("a", &PatchParams::default(), &patch).await);
    assert!(status.message.contains("cannot patch resource \"pods/status\""), "{status:?}");
    let secrets: Api<Secret> = Api::namespaced(own, "shop");
    assert!(refused(secrets.list(&every).await).is_forbidden());
    bindings.delete("pods", &DeleteParams::default()).await.unwrap();
    assert!(refused(list().await).is_forbidden());
    accounts.delete("serin", &DeleteParams::default()).await.unwrap();
    accounts.create(&options, &account).await.unwrap();
    assert_eq!(refused(list().await).code, 401);
    let nodes: Api<Node> = Api::all(client);
    assert!(nodes.list(&every).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn a_namespace_goes_with_all_that_is_in_it() {
    let cluster = Cluster::start().await;
    cluster.put(config_map("other", "a"));
    let client = cluster.client().await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let shop: Namespace = object(json!({ "metadata": { "name": "shop" } }));
    let options = PostParams::default();
    namespaces.create(&options, &shop).await.unwrap();
    assert_eq!(refused(namespaces.create(&options, &shop).await).reason, "AlreadyExists");
    cluster.put(config_map("shop", "a"));
    let held = json!(["serin.test/held"]);
    cluster.put(pod("shop", "b").set("/metadata/finalizers", held));
    namespaces.delete("shop", &DeleteParams::default()).await.unwrap();
    assert!(cluster.object("configmaps", "shop", "a").is_none());
    let phase = async || namespaces.get("shop").await.unwrap().status.unwrap().phase.unwrap();
    assert_eq!(phase().await, "Terminating");
    let pods: Api<Pod> = Api::namespaced(client, "shop");
    let released = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    pods.patch("b", &PatchParams::default(), &released).await.unwrap();
    assert_eq!(cluster.namespaces(), ["shop"]);
    namespaces.delete("shop", &DeleteParams::default()).await.unwrap();
    assert_eq!(cluster.namespaces(), [""; 0]);
    assert!(refused(namespaces.get("shop").await).is_not_found());
    assert!(cluster.object("configmaps", "other", "a").is_some());
    namespaces.create(&options, &shop).await.unwrap();
    assert_eq!(phase().await, "Active");
}

#[tokio::test]
async fn a_pod_has_the_status_that_is_written_as_such_and_goes_when_nobody_holds_it() {
    let cluster = Cluster::start().await;
    let api: Api<Pod> = Api::namespaced(cluster.client().await, "shop");
    let mut made: Pod = object(pod("shop", "a").address("10.0.0.1").ready(true).into());
    made.metadata.finalizers = Some(vec!["serin.test/held".to_owned()]);
    let made = api.create(&PostParams::default(), &made).await.unwrap();
    let ip = |pod: &Pod| pod.status.as_ref().and_then(|status| status.pod_ip.clone());
    assert_eq!((ip(&made), made.status.unwrap().phase.unwrap()), (None, "Pending".to_owned()));
    let patch = async |status: bool, patch: Value| {
        let (options, patch) = (PatchParams::default(), Patch::Merge(patch));
        let done = if status {
            api.patch_status("a", &options, &patch).await
        } else {
            api.patch("a", &options, &patch).await
        };
        done.unwrap()
    };
    let both =
        |ip: &str| json!({ "metadata": { "labels": { "ip": ip } }, "status": { "podIP": ip } });
    let patched = patch(true, both("10.0.0.2")).await;
    assert_eq!((ip(&patched).as_deref(), patched.labels().len()), (Some("10.0.0.2"), 0));
    let patched = patch(false, both("10.0.0.3")).await;
    assert_eq!(ip(&patched).as_deref(), Some("10.0.0.2"));
    assert_eq!(patched.labels()["ip"], "10.0.0.3");
    api.delete("a", &DeleteParams::default()).await.unwrap();
    let held = api.get("a").await.unwrap();
    assert!(held.metadata.deletion_timestamp.is_some());
    patch(false, json!({ "metadata": { "finalizers": null } })).await;
    assert!(refused(api.get("a").await).is_not_found());
}

#[tokio::test]
async fn what_is_immutable_and_what_nobody_can_reach_is_refused() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let fixed = config_map("shop", "a").key("a.yaml", "x").set("/immutable", true.into());
    cluster.put(fixed);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "shop");
    let patch = async |patch: Value| -> kube::Result<ConfigMap> {
        maps.patch("a", &PatchParams::default(), &Patch::Merge(patch)).await
    };
    patch(json!({ "metadata": { "labels": { "app": "serin" } } })).await.unwrap();
    for change in [json!({ "data": { "a.yaml": "y" } }), json!({ "immutable": false })] {
        let status: Status = refused(patch(change).await);
        assert!(status.code == 422 && status.message.contains("field is immutable"), "{status:?}");
    }
    let slices: Api<EndpointSlice> = Api::namespaced(client, "shop");
    let create = async |address: &str| {
        let slice = endpoint_slice("shop", "x", "shop").endpoint(address, true);
        slices.create(&PostParams::default(), &object(slice.into())).await
    };
    for address in ["127.0.0.1", "169.254.0.1", "0.0.0.0", "::1", "fe80::1"] {
        assert_eq!(refused(create(address).await).code, 422, "{address}");
    }
    create("192.0.2.1").await.unwrap();
}

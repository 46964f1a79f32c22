//! The API server of the tests, asked by kube's own client.

use crate::support::Cluster;
use crate::support::cluster::{config_map, pod};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, ListParams};

#[tokio::test]
async fn objects_are_listed_by_namespace_and_label() {
    let cluster = Cluster::start().await;
    cluster.put(pod("shop", "web-1").label("app", "web").address("127.0.0.1").ready(true));
    cluster.put(pod("shop", "db-1").label("app", "db"));
    cluster.put(pod("other", "web-1").label("app", "web"));
    cluster.put(config_map("shop", "rules").key("a.yaml", "x"));
    let client = cluster.client().await;
    let names = async |api: Api<Pod>, options: ListParams| {
        let list = api.list(&options).await.unwrap();
        let named = list.items.into_iter().map(|pod| pod.metadata.name.unwrap());
        named.collect::<Vec<_>>()
    };
    let (shop, all) = (Api::namespaced(client.clone(), "shop"), Api::all(client.clone()));
    let web = ListParams::default().labels("app=web");
    assert_eq!(names(shop.clone(), ListParams::default()).await, ["db-1", "web-1"]);
    assert_eq!(names(shop, web.clone()).await, ["web-1"]);
    assert_eq!(names(all, web).await, ["web-1", "web-1"]);
    let rules: ConfigMap = Api::namespaced(client, "shop").get("rules").await.unwrap();
    assert_eq!(rules.data.unwrap()["a.yaml"], "x");
}

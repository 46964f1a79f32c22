//! The trouble that the tests' API server gets into: it breaks off, stops, hangs, fails, refuses.

use crate::cluster_support::{Watched, raw, refused};
use crate::support::cluster::{pod, service};
use crate::support::{Cluster, eventually, within};
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Api, ListParams, PostParams, WatchParams};
use kube::{Client, ResourceExt};
use std::time::Duration;

/// A server with a pod, and what watches it.
async fn watched() -> (Cluster, Client, Api<Pod>, Watched) {
    let cluster = Cluster::start().await;
    cluster.put(pod("shop", "a"));
    let client = cluster.client().await;
    let api: Api<Pod> = Api::namespaced(client.clone(), "shop");
    let mut watch = Watched::new(&client, &WatchParams::default(), "0").await;
    assert_eq!(watch.next().await, ["+a"]);
    (cluster, client, api, watch)
}

#[tokio::test]
async fn a_broken_watch_has_no_end_and_one_that_ended_has() {
    let cluster = Cluster::start().await;
    cluster.put(pod("shop", "a"));
    let client = cluster.client().await;
    let watched = async |trouble: &dyn Fn()| {
        let (told, ()) = tokio::join!(raw(&client, "/api/v1/pods?watch=true"), async {
            eventually("the watch is open", async || cluster.open_watches("pods") == 1).await;
            trouble();
        });
        told.map(|told| told["object"]["metadata"]["name"].clone())
    };
    assert_eq!(watched(&|| cluster.end_watches()).await.unwrap(), "a");
    let broken = watched(&|| cluster.break_watches()).await.unwrap_err();
    assert!(!matches!(broken, kube::Error::Api(_)), "{broken}");
}

#[tokio::test]
async fn a_stopped_server_refuses_connections_and_comes_back_on_its_port() {
    let (cluster, client, api, mut watch) = watched().await;
    for _ in 0..2 {
        cluster.stop().await;
        assert!(!matches!(within(watch.0.next()).await, Some(Ok(_))));
        assert_eq!(cluster.open_watches("pods"), 0);
        let connecting = tokio::net::TcpStream::connect(cluster.address).await;
        assert_eq!(connecting.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
        assert!(matches!(api.get("a").await, Err(kube::Error::Service(_))));
        cluster.start_again().await;
        assert_eq!(api.get("a").await.unwrap().name_any(), "a");
        watch = Watched::new(&client, &WatchParams::default(), "0").await;
        assert_eq!(watch.next().await, ["+a"]);
    }
}

#[tokio::test]
async fn a_hanging_server_answers_when_it_recovers() {
    let (cluster, _, api, mut watch) = watched().await;
    cluster.hang();
    let asking = tokio::spawn(async move { api.get("a").await.unwrap().name_any() });
    eventually("the request is there", async || cluster.requests("pods", "get") == 1).await;
    cluster.put(pod("shop", "b"));
    let watched = tokio::time::timeout(Duration::from_millis(50), watch.0.next()).await;
    assert!(watched.is_err() && !asking.is_finished());
    cluster.recover();
    assert_eq!(within(asking).await.unwrap(), "a");
    assert_eq!(watch.next().await, ["+b"]);
}

#[tokio::test]
async fn a_failing_server_fails_as_it_is_told() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let api: Api<Service> = Api::all(client.clone());
    let reasons = [
        (401, "Unauthorized"),
        (403, "Forbidden"),
        (429, "TooManyRequests"),
        (500, "InternalError"),
        (503, "ServiceUnavailable"),
        (504, "Timeout"),
        (418, ""),
    ];
    for (code, reason) in reasons {
        cluster.fail_with(code);
        let status = refused(api.list(&ListParams::default()).await);
        assert_eq!((status.code, &*status.reason), (code, reason));
        let seconds = status.details.map(|details| details.retry_after_seconds);
        assert_eq!(seconds, matches!(code, 429 | 503).then_some(1));
    }
    cluster.recover();
    cluster.put(service("shop", "web").selector("app", "web").port("http", 80, "http").headless());
    let list = api.list(&ListParams::default()).await.unwrap();
    let spec = list.items[0].spec.clone().unwrap();
    assert_eq!(spec.cluster_ip.unwrap(), "None");
    assert_eq!(cluster.requests("services", "list"), reasons.len() + 1);
}

#[tokio::test]
async fn a_forbidden_resource_is_refused_until_it_is_allowed() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let api: Api<Pod> = Api::namespaced(client.clone(), "shop");
    let mut watch = Watched::new(&client, &WatchParams::default(), "0").await;
    cluster.forbid("pods");
    let status = refused(api.list(&ListParams::default()).await);
    let message = "pods is forbidden: User \"tester\" cannot list resource \"pods\" in API group \
                   \"\" in the namespace \"shop\"";
    assert_eq!((status.code, &*status.reason, &*status.message), (403, "Forbidden", message));
    assert!(refused(api.get("a").await).is_forbidden());
    let watching = api.watch(&WatchParams::default(), "0").await.map(|_| ());
    assert!(refused(watching).is_forbidden());
    let one: Pod = serde_json::from_value(pod("shop", "a").into()).unwrap();
    api.create(&PostParams::default(), &one).await.unwrap();
    assert_eq!(watch.next().await, ["+a"]);
    cluster.allow("pods");
    assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 1);
    cluster.forbid_create("pods");
    assert!(refused(api.create(&PostParams::default(), &one).await).is_forbidden());
    cluster.allow("pods");
    assert!(refused(api.create(&PostParams::default(), &one).await).is_already_exists());
}

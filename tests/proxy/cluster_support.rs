//! The API server of the tests, asked by kube's own client: reads, watches and trouble.

use crate::support::cluster::{config_map, endpoint_slice, pod, service};
use crate::support::{Cluster, eventually, within};
use futures_util::{Stream, StreamExt as _};
use http::Request;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams, VersionMatch, WatchEvent, WatchParams};
use kube::core::Status;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use std::pin::Pin;
use std::time::Duration;

/// Why a request was refused.
pub(crate) fn refused<T>(result: kube::Result<T>) -> Status {
    match result {
        Err(kube::Error::Api(status)) => *status,
        Err(error) => panic!("not a refusal: {error}"),
        Ok(_) => panic!("it should have been refused"),
    }
}

/// The answer to a request as it is written.
pub(crate) async fn raw(client: &Client, path: &str) -> kube::Result<Value> {
    let text = client.request_text(Request::get(path).body(Vec::new()).unwrap()).await?;
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    Ok(if lines.len() == 1 { lines[0].clone() } else { lines.into() })
}

/// A watch of pods.
pub(crate) struct Watched(pub(crate) Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<Pod>>>>>);

impl Watched {
    pub(crate) async fn new(client: &Client, options: &WatchParams, version: &str) -> Self {
        let api: Api<Pod> = Api::namespaced(client.clone(), "shop");
        Self(Box::pin(api.watch(options, version).await.unwrap()))
    }

    /// The next events: what happened to which object.
    pub(crate) async fn next<const N: usize>(&mut self) -> [String; N] {
        let mut told = Vec::new();
        while told.len() < N {
            told.push(match within(self.0.next()).await.expect("it should go on").unwrap() {
                WatchEvent::Added(pod) => format!("+{}", pod.name_any()),
                WatchEvent::Modified(pod) => format!("={}", pod.name_any()),
                WatchEvent::Deleted(pod) => {
                    format!("-{} {}", pod.name_any(), pod.resource_version().unwrap())
                }
                WatchEvent::Bookmark(mark) => format!("at {}", mark.metadata.resource_version),
                WatchEvent::Error(status) => format!("{} {}", status.code, status.reason),
            });
        }
        told.try_into().unwrap()
    }
}

/// What a watcher says, one by one.
type Watching<K> = Pin<Box<dyn Stream<Item = watcher::Result<Event<K>>> + Send>>;

/// The names that a watcher knows, after so many of its lists were complete: those that it listed.
async fn listed<K>(watching: &mut Watching<K>) -> Vec<String>
where
    K: kube::Resource,
{
    let mut names = Vec::new();
    loop {
        match within(watching.next()).await.unwrap() {
            Ok(Event::Init) => names.clear(),
            Ok(Event::InitApply(object)) => names.push(object.name_any()),
            Ok(Event::InitDone) => return names,
            Ok(_) | Err(_) => {}
        }
    }
}

#[tokio::test]
async fn objects_are_listed_by_namespace_label_and_name() {
    let cluster = Cluster::start().await;
    cluster.put(pod("shop", "web-1").label("app", "web").address("127.0.0.1").ready(true));
    cluster.put(pod("shop", "db-1").label("app", "db"));
    cluster.put(pod("other", "web-1").label("app", "web"));
    cluster.put(config_map("shop", "rules").key("a.yaml", "x"));
    let client = cluster.client().await;
    let names = async |api: &Api<Pod>, options: ListParams| {
        let list = api.list(&options).await.unwrap();
        let named = list.items.into_iter().map(|pod| pod.metadata.name.unwrap());
        named.collect::<Vec<_>>()
    };
    let (shop, all) = (Api::namespaced(client.clone(), "shop"), Api::all(client.clone()));
    let every = ListParams::default();
    assert_eq!(names(&shop, every.clone()).await, ["db-1", "web-1"]);
    assert_eq!(names(&all, every.clone()).await, ["web-1", "db-1", "web-1"]);
    assert_eq!(names(&shop, every.clone().labels("app in (web)")).await, ["web-1"]);
    assert_eq!(names(&all, every.clone().labels("app=web")).await, ["web-1", "web-1"]);
    assert_eq!(names(&shop, every.clone().labels("app!=web")).await, ["db-1"]);
    assert_eq!(names(&shop, every.clone().fields("metadata.name=db-1")).await, ["db-1"]);
    assert_eq!(names(&shop, every.clone().fields("status.phase=Running")).await, ["web-1"]);
    let status = refused(shop.list(&every.labels("app in web")).await);
    assert_eq!((status.code, &*status.reason), (400, "BadRequest"));
    let rules: ConfigMap = Api::namespaced(client, "shop").get("rules").await.unwrap();
    assert_eq!(rules.data.unwrap()["a.yaml"], "x");
}

#[tokio::test]
async fn a_list_says_its_kind_and_version_and_its_items_do_not() {
    let cluster = Cluster::start().await;
    cluster.put(endpoint_slice("shop", "web-a", "web"));
    let client = cluster.client().await;
    let path = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices";
    let list = raw(&client, path).await.unwrap();
    assert_eq!(list["kind"], "EndpointSliceList");
    assert_eq!(list["apiVersion"], "discovery.k8s.io/v1");
    assert_eq!(list["metadata"]["resourceVersion"], cluster.version().to_string());
    assert_eq!(list["items"][0]["metadata"]["name"], "web-a");
    assert_eq!(list["items"][0].get("kind"), None);
    let one = raw(&client, &format!("{path}/web-a")).await.unwrap();
    assert_eq!(one["kind"], "EndpointSlice");
    let missing = refused(raw(&client, &format!("{path}/web-b")).await);
    assert_eq!(missing.message, "endpointslices.discovery.k8s.io \"web-b\" not found");
    assert!(missing.is_not_found());
    assert_eq!(refused(raw(&client, "/apis/apps/v1/deployments").await).code, 404);
}

#[tokio::test]
async fn the_pages_of_a_list_are_of_one_version() {
    let cluster = Cluster::start().await;
    for name in ["a", "b", "c", "d", "e"] {
        cluster.put(pod("shop", name));
    }
    let version = cluster.version().to_string();
    let api: Api<Pod> = Api::namespaced(cluster.client().await, "shop");
    let mut options = ListParams::default().limit(2);
    let mut pages: Vec<Vec<String>> = Vec::new();
    let mut remaining = Vec::new();
    loop {
        let page = api.list(&options).await.unwrap();
        pages.push(page.items.iter().map(ResourceExt::name_any).collect());
        assert_eq!(page.metadata.resource_version.as_ref(), Some(&version));
        remaining.push(page.metadata.remaining_item_count);
        let Some(next) = page.metadata.continue_ else { break };
        options.continue_token = Some(next);
        // What changes meanwhile is of another version.
        if cluster.object("pods", "shop", "c").is_some() {
            cluster.delete("pods", "shop", "c");
        }
        cluster.put(pod("shop", "bb"));
    }
    assert_eq!(pages, [vec!["a", "b"], vec!["c", "d"], vec!["e"]]);
    assert_eq!(remaining, [Some(3), Some(1), None]);
}

#[tokio::test]
async fn the_next_page_of_a_forgotten_version_is_gone_and_the_rest_can_still_be_had() {
    let cluster = Cluster::start().await;
    for name in ["a", "b", "c", "d"] {
        cluster.put(pod("shop", name));
    }
    let client = cluster.client().await;
    let api: Api<Pod> = Api::namespaced(client.clone(), "shop");
    let page = api.list(&ListParams::default().limit(2)).await.unwrap();
    cluster.delete("pods", "shop", "c");
    cluster.compact();
    let next = page.metadata.continue_.unwrap();
    let status = refused(api.list(&ListParams::default().continue_token(&next)).await);
    assert_eq!((status.code, &*status.reason), (410, "Expired"));
    let next = status.metadata.unwrap().continue_.unwrap();
    let rest = api.list(&ListParams::default().continue_token(&next)).await.unwrap();
    assert_eq!(rest.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["d"]);
    let status = refused(api.list(&ListParams::default().continue_token("nonsense")).await);
    assert_eq!(status.code, 400);
}

#[tokio::test]
async fn a_list_is_of_the_version_that_is_asked_for() {
    let cluster = Cluster::start().await;
    cluster.put(pod("shop", "a"));
    let before = cluster.version();
    cluster.put(pod("shop", "b"));
    let client = cluster.client().await;
    let list = async |options: &str| {
        let list = raw(&client, &format!("/api/v1/namespaces/shop/pods?{options}")).await;
        list.map(|list| list["items"].as_array().unwrap().len())
    };
    let exact = format!("resourceVersion={before}&resourceVersionMatch=Exact");
    assert_eq!(list(&exact).await.unwrap(), 1);
    assert_eq!(list(&format!("resourceVersion={before}")).await.unwrap(), 2);
    // The cache does not know pages.
    assert_eq!(list("resourceVersion=0&limit=1").await.unwrap(), 2);
    assert_eq!(list("limit=1").await.unwrap(), 1);
    cluster.compact();
    assert_eq!(refused(list(&exact).await).code, 410);
    let status = refused(list(&format!("resourceVersion={}", before + 100)).await);
    assert_eq!((status.code, &*status.reason), (504, "Timeout"));
    for wrong in [
        "resourceVersionMatch=Exact",
        "resourceVersion=0&resourceVersionMatch=Exact",
        "resourceVersion=5&resourceVersionMatch=Roughly",
    ] {
        assert_eq!(refused(list(wrong).await).code, 422, "{wrong}");
    }
    for wrong in ["resourceVersion=x", "limit=-1", "resourceVersion=5&continue=x"] {
        assert_eq!(refused(list(wrong).await).code, 400, "{wrong}");
    }
    let api: Api<Pod> = Api::namespaced(client.clone(), "shop");
    let version = cluster.version().to_string();
    let options = ListParams::default().at(&version).matching(VersionMatch::NotOlderThan);
    assert_eq!(api.list(&options).await.unwrap().items.len(), 2);
}

#[tokio::test]
async fn a_watch_without_a_version_begins_with_what_is_there() {
    let cluster = Cluster::start().await;
    cluster.put(pod("shop", "a"));
    cluster.put(pod("other", "b"));
    let client = cluster.client().await;
    let mut watch = Watched::new(&client, &WatchParams::default(), "0").await;
    assert_eq!(watch.next().await, ["+a"]);
    cluster.put(pod("shop", "b"));
    cluster.put(pod("other", "c"));
    cluster.put(config_map("shop", "d"));
    cluster.edit("pods", "shop", "a", |pod| pod["status"]["phase"] = "Failed".into());
    cluster.delete("pods", "shop", "b");
    let gone = format!("-b {}", cluster.version());
    assert_eq!(watch.next().await, ["+b", "=a", &*gone]);
}

#[tokio::test]
async fn a_watch_of_a_version_is_told_what_it_missed() {
    let cluster = Cluster::start().await;
    cluster.put(pod("shop", "a"));
    let before = cluster.version();
    cluster.put(pod("shop", "b").label("app", "web"));
    cluster.delete("pods", "shop", "a");
    let gone = format!("-a {}", cluster.version());
    let client = cluster.client().await;
    let mut watch = Watched::new(&client, &WatchParams::default(), &before.to_string()).await;
    assert_eq!(watch.next().await, ["+b", &*gone]);
    cluster.put(pod("shop", "c"));
    assert_eq!(watch.next().await, ["+c"]);
    let labels = WatchParams::default().labels("app=web");
    let mut watch = Watched::new(&client, &labels, &before.to_string()).await;
    assert_eq!(watch.next().await, ["+b"]);
    // A version that is not there yet: only what comes after it is told.
    let later = (cluster.version() + 1).to_string();
    let mut watch = Watched::new(&client, &WatchParams::default(), &later).await;
    cluster.put(pod("shop", "d"));
    cluster.put(pod("shop", "e"));
    assert_eq!(watch.next().await, ["+e"]);
}

#[tokio::test]
async fn an_object_comes_and_goes_for_a_watch_as_its_labels_match() {
    let cluster = Cluster::start().await;
    cluster.put(pod("shop", "a").label("app", "web"));
    let client = cluster.client().await;
    let options = WatchParams::default().labels("app=web");
    let mut watch = Watched::new(&client, &options, &cluster.version().to_string()).await;
    let put = |app: &str, track: &str| {
        cluster.put(pod("shop", "a").label("app", app).label("track", track));
        cluster.version()
    };
    put("web", "canary");
    let left = put("db", "canary");
    put("db", "stable");
    put("web", "stable");
    cluster.put(pod("shop", "b").label("app", "db"));
    cluster.delete("pods", "shop", "b");
    cluster.delete("pods", "shop", "a");
    let gone = format!("-a {}", cluster.version());
    assert_eq!(watch.next().await, ["=a", &*format!("-a {left}"), "+a", &*gone]);
}

#[tokio::test]
async fn a_watch_is_told_how_an_object_was_when_it_last_matched() {
    let cluster = Cluster::start().await;
    let version = cluster.put(pod("shop", "a").label("app", "web"))["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .to_owned();
    cluster.put(pod("shop", "a").label("app", "db"));
    let client = cluster.client().await;
    let path = format!("/api/v1/pods?watch=1&labelSelector=app%3Dweb&resourceVersion={version}");
    let (told, ()) = tokio::join!(raw(&client, &path), async {
        eventually("the watch is open", async || cluster.open_watches("pods") == 1).await;
        cluster.end_watches();
    });
    let told = told.unwrap();
    assert_eq!(told["type"], "DELETED");
    assert_eq!(told["object"]["kind"], "Pod");
    assert_eq!(told["object"]["metadata"]["labels"]["app"], "web");
    assert_eq!(told["object"]["metadata"]["resourceVersion"], cluster.version().to_string());
}

#[tokio::test]
async fn a_watch_of_a_forgotten_version_is_told_that_it_is_gone() {
    let cluster = Cluster::start().await;
    cluster.put(pod("shop", "a"));
    let before = cluster.version().to_string();
    cluster.put(config_map("shop", "b"));
    let client = cluster.client().await;
    let mut open = Watched::new(&client, &WatchParams::default(), &before).await;
    cluster.compact();
    let mut watch = Watched::new(&client, &WatchParams::default(), &before).await;
    assert_eq!(watch.next().await, ["410 Expired"]);
    assert!(watch.0.next().await.is_none());
    cluster.answer_gone();
    let api: Api<Pod> = Api::namespaced(client.clone(), "shop");
    let answer = api.watch(&WatchParams::default(), &before).await.map(|_| ());
    assert_eq!(refused(answer).code, 410);
    // The newest version is known, and who watched all the time misses nothing.
    let now = cluster.version().to_string();
    let mut watch = Watched::new(&client, &WatchParams::default(), &now).await;
    cluster.put(pod("shop", "c"));
    assert_eq!(watch.next().await, ["+c"]);
    assert_eq!(open.next().await, ["+c"]);
}

#[tokio::test]
async fn only_the_newest_changes_are_remembered() {
    let cluster = Cluster::start().await;
    cluster.remember(2);
    let versions: Vec<String> = ["a", "b", "c"]
        .iter()
        .map(|name| {
            let version = cluster.version();
            cluster.put(pod("shop", name));
            version.to_string()
        })
        .collect();
    let client = cluster.client().await;
    let mut watch = Watched::new(&client, &WatchParams::default(), &versions[0]).await;
    assert_eq!(watch.next().await, ["410 Expired"]);
    let mut watch = Watched::new(&client, &WatchParams::default(), &versions[1]).await;
    assert_eq!(watch.next().await, ["+b", "+c"]);
}

#[tokio::test]
async fn bookmarks_come_to_those_who_want_them_when_told_periodically_and_at_the_end() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let now = cluster.version().to_string();
    let silent = WatchParams::default().disable_bookmarks();
    let mut silent = Watched::new(&client, &silent, &now).await;
    let mut watch = Watched::new(&client, &WatchParams::default(), &now).await;
    cluster.put(config_map("shop", "x"));
    cluster.bookmark();
    let mark = format!("at {}", cluster.version());
    assert_eq!(watch.next().await, [&*mark]);
    cluster.put(pod("shop", "a"));
    assert_eq!(silent.next().await, ["+a"]);
    let now = cluster.version().to_string();
    let mark = format!("at {now}");
    cluster.bookmark_every(Duration::from_millis(1));
    let mut watch = Watched::new(&client, &WatchParams::default(), &now).await;
    assert_eq!(watch.next().await, [&*mark, &*mark]);
    cluster.bookmark_every(Duration::from_mins(1));
    let brief = WatchParams::default().timeout(1);
    let mut watch = Watched::new(&client, &brief, &now).await;
    assert_eq!(watch.next().await, [&*mark]);
    assert!(within(watch.0.next()).await.is_none());
}

#[tokio::test]
async fn a_watcher_of_kube_lists_in_pages_or_as_a_stream_and_goes_on() {
    let cluster = Cluster::start().await;
    for name in ["a", "b", "c"] {
        cluster.put(pod("shop", name));
    }
    let api: Api<Pod> = Api::namespaced(cluster.client().await, "shop");
    let config = watcher::Config::default();
    for (config, lists) in [(config.clone().page_size(2), 2), (config.streaming_lists(), 2)] {
        let mut watching: Watching<Pod> = Box::pin(watcher(api.clone(), config));
        assert_eq!(listed(&mut watching).await, ["a", "b", "c"]);
        assert_eq!(cluster.requests("pods", "list"), lists);
        cluster.edit("pods", "shop", "b", |pod| pod["status"]["phase"] = "Failed".into());
        let Event::Apply(pod) = within(watching.next()).await.unwrap().unwrap() else {
            panic!("not a change")
        };
        assert_eq!(
            (pod.name_any(), pod.status.unwrap().phase.unwrap()),
            ("b".into(), "Failed".into())
        );
    }
    let path = "/api/v1/pods?watch=1&sendInitialEvents=true&allowWatchBookmarks=true";
    let client = cluster.client().await;
    assert_eq!(refused(raw(&client, path).await).code, 422);
    let path = "/api/v1/pods?watch=1&resourceVersionMatch=NotOlderThan";
    assert_eq!(refused(raw(&client, path).await).code, 422);
}

#[tokio::test]
async fn a_watcher_goes_on_after_its_watch_ended_broke_or_expired() {
    let cluster = Cluster::start().await;
    let slice = |name: &str| endpoint_slice("shop", name, "web").endpoint("10.0.0.1", true);
    cluster.put(slice("a"));
    let api: Api<EndpointSlice> = Api::namespaced(cluster.client().await, "shop");
    let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut watching: Watching<EndpointSlice> =
            Box::pin(watcher(api, watcher::Config::default()));
        while let Some(event) = watching.next().await {
            let event = match event {
                Ok(Event::Init) => "init".to_owned(),
                Ok(Event::InitApply(slice)) => format!("+{}", slice.name_any()),
                Ok(Event::InitDone) => "done".to_owned(),
                Ok(Event::Apply(slice)) => format!("={}", slice.name_any()),
                Ok(Event::Delete(slice)) => format!("-{}", slice.name_any()),
                Err(_) => "error".to_owned(),
            };
            sender.send(event).unwrap();
        }
    });
    let mut next = async |count| {
        let mut events = Vec::new();
        while events.len() < count {
            events.push(within(told.recv()).await.unwrap());
        }
        eventually("it watches", async || cluster.open_watches("endpointslices") == 1).await;
        events
    };
    assert_eq!(next(3).await, ["init", "+a", "done"]);
    cluster.end_watches();
    cluster.put(slice("b"));
    assert_eq!(next(1).await, ["=b"]);
    cluster.break_watches();
    cluster.delete("endpointslices", "shop", "b");
    // kube takes it for an end.
    assert_eq!(next(1).await, ["-b"]);
    assert_eq!(cluster.requests("endpointslices", "list"), 1);
    cluster.end_watches();
    cluster.put(slice("c"));
    cluster.compact();
    assert_eq!(next(5).await, ["error", "init", "+a", "+c", "done"]);
    assert_eq!(cluster.requests("endpointslices", "list"), 2);
    assert_eq!(cluster.requests("endpointslices", "watch"), 5);
}

#[tokio::test]
async fn requests_tokens_agents_and_open_watches_are_seen() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let api: Api<Pod> = Api::namespaced(client.clone(), "shop");
    assert_eq!(cluster.last_token(), "");
    let first = Watched::new(&client, &WatchParams::default(), "0").await;
    let second = Watched::new(&client, &WatchParams::default(), "0").await;
    assert_eq!(cluster.open_watches("pods"), 2);
    assert_eq!(cluster.open_watches("services"), 0);
    assert_eq!(cluster.requests("pods", "watch"), 2);
    drop(first);
    eventually("one is closed", async || cluster.open_watches("pods") == 1).await;
    drop(second);
    eventually("both are closed", async || cluster.open_watches("pods") == 0).await;
    assert_eq!(cluster.last_token(), "token-of-the-test");
    cluster.accept_token("another");
    let status = refused(api.get("a").await);
    assert_eq!((status.code, &*status.reason), (401, "Unauthorized"));
    let file = cluster.kubeconfig_file();
    assert_eq!(std::fs::read_to_string(file).unwrap(), cluster.kubeconfig());
    let api: Api<Pod> = Api::namespaced(cluster.client().await, "shop");
    assert!(refused(api.get("a").await).is_not_found());
    assert_eq!(cluster.last_token(), "another");
    let asked = Request::get("/version").header("user-agent", "tests/1").body(Vec::new());
    cluster.client().await.request_text(asked.unwrap()).await.unwrap();
    assert!(cluster.user_agents().contains("tests/1"));
}

#[tokio::test]
async fn objects_of_every_kind_are_as_they_were_put_together() {
    let cluster = Cluster::start().await;
    cluster.put(
        pod("shop", "a")
            .annotation("note", "x")
            .address("10.0.0.1")
            .ready(false)
            .phase("Succeeded")
            .port("http", 8080)
            .port("admin", 9090)
            .terminating(),
    );
    cluster.put(
        endpoint_slice("shop", "web-a", "web")
            .address_type("IPv6")
            .endpoint("::1", true)
            .leaving("::2", true)
            .endpoint_of(json!({ "addresses": ["::3"] }))
            .port("http", 8080),
    );
    let client = cluster.client().await;
    let pod: Pod = Api::namespaced(client.clone(), "shop").get("a").await.unwrap();
    assert!(pod.metadata.deletion_timestamp.is_some());
    assert_eq!(pod.annotations()["note"], "x");
    let (spec, status) = (pod.spec.unwrap(), pod.status.unwrap());
    let ports = spec.containers[0].ports.clone().unwrap();
    let numbers: Vec<i32> = ports.iter().map(|port| port.container_port).collect();
    assert_eq!(numbers, [8080, 9090]);
    assert_eq!(status.pod_ip.unwrap(), "10.0.0.1");
    assert_eq!(status.conditions.unwrap()[0].status, "False");
    assert_eq!(status.phase.unwrap(), "Succeeded");
    let slices: Api<EndpointSlice> = Api::namespaced(client, "shop");
    let options = ListParams::default().labels("kubernetes.io/service-name=web");
    let slice = slices.list(&options).await.unwrap().items.remove(0);
    assert_eq!(slice.address_type, "IPv6");
    let endpoints = slice.endpoints;
    let serving: Vec<Option<bool>> = endpoints
        .iter()
        .map(|endpoint| endpoint.conditions.as_ref().and_then(|conditions| conditions.serving))
        .collect();
    assert_eq!(serving, [Some(true), Some(true), None]);
}

/// Serves people and kubectl after that, for as long as they say:
/// `SERIN_CLUSTER_SECONDS=600 cargo test --test proxy who_sends_no_token -- --nocapture`
#[tokio::test]
async fn who_sends_no_token_is_served_where_none_is_known() {
    let cluster = Cluster::start().await;
    cluster.put(pod("shop", "web-1").label("app", "web").address("127.0.0.1").ready(true));
    cluster.put(config_map("shop", "rules").key("serin.yaml", "routes: []"));
    cluster.put(service("shop", "web").selector("app", "web").port("http", 80, "http"));
    cluster.put(endpoint_slice("shop", "web-a", "web").endpoint("127.0.0.1", true).port("http", 1));
    let url = format!("http://{}", cluster.address).parse().unwrap();
    let anybody = kube::Client::try_from(kube::Config::new(url)).unwrap();
    let pods: Api<Pod> = Api::namespaced(anybody, "shop");
    let refused = pods.get("web-1").await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 401));
    // kubectl sends none without TLS.
    cluster.accept_token("");
    assert_eq!(pods.get("web-1").await.unwrap().name_any(), "web-1");
    if let Ok(seconds) = std::env::var("SERIN_CLUSTER_SECONDS") {
        println!("KUBECONFIG={}", cluster.kubeconfig_file().display());
        let time = Duration::from_secs(seconds.parse().unwrap());
        let _ = tokio::time::timeout(time, tokio::signal::ctrl_c()).await;
    }
}

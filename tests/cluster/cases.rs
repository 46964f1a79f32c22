//! What becomes of requests as rules, pods and slices change.

use crate::support::{App, Connection, Load, Origin, all_to, eventually};
use crate::tenant::Tenant;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::Role;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use serin::config::Place;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// How soon a change of the rules must be live.
const RULES_LIVE: Duration = Duration::from_millis(500);
/// How soon a pod that is deleted must get nothing new.
const POD_SPARED: Duration = Duration::from_millis(100);

/// Rules that send everything to the pool `shop`, and `/NAME` to each pool of that name.
pub(crate) fn rules(namespace: &str, pools: &[(&str, &str)]) -> String {
    let found = pools.iter().map(|(name, found)| {
        format!("  - {{ name: {name}, kubernetes: {{ namespace: {namespace}, {found} }} }}\n")
    });
    let routes = pools.iter().map(|(name, _)| {
        let matches = format!("matches: [{{ path: {{ exact: /{name} }} }}]");
        format!("  - {{ name: {name}, {matches}, split: [{{ to: {name} }}] }}\n")
    });
    format!(
        "listeners: [{{ name: web, address: '127.0.0.1:0' }}]\n\
         drain: {{ delay: 0s, timeout: 10s }}\npools:\n{}routes:\n{}\
         \u{20}\u{20}- {{ name: all, split: [{{ to: {} }}] }}\n",
        found.collect::<String>(),
        routes.collect::<String>(),
        pools[0].0
    )
}

/// Which origins answer at a path.
async fn answering(app: &App, path: &str) -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..20 {
        names.push(app.get(path).await.origin().to_owned());
    }
    names.sort_unstable();
    names.dedup();
    names
}

async fn answer(app: &App, path: &str, expected: &[&str]) {
    let what = format!("{expected:?} answer at {path}");
    eventually(&what, async || answering(app, path).await == expected).await;
}

async fn usable(app: &App, number: f64) {
    let usable = [("pool", "shop"), ("state", "usable")];
    app.metric_is("serin_endpoints", &usable, number).await;
}

/// Steady load that is under way.
async fn load(app: &App) -> Load {
    let load = Load::start(app.address, 2);
    eventually("the load is under way", async || load.sent() > 20).await;
    load
}

pub(crate) async fn rules_are_live_in_under_half_a_second(tenant: &Tenant) {
    let (a, b) = (tenant.origin("a").await, tenant.origin("b").await);
    let app = tenant.serving(&all_to(&[a.address], "")).await;
    let load = load(&app).await;
    for (origin, other) in [(&b, &a), (&a, &b), (&b, &a), (&a, &b), (&b, &a)] {
        let before = origin.requests();
        tenant.replace_rules(&all_to(&[origin.address], "")).await;
        let accepted = Instant::now();
        eventually("the change is live", async || origin.requests() > before).await;
        let took = accepted.elapsed();
        println!("live {took:?} after the API accepted it");
        assert!(took < RULES_LIVE, "{took:?}");
        let before = other.requests();
        app.get("/").await;
        assert_eq!(other.requests(), before);
    }
    assert_eq!(load.failures().await, Vec::<String>::new());
}

pub(crate) async fn pods_are_chosen_by_a_set_of_labels(tenant: &Tenant) {
    let mut origins = Vec::new();
    for version in ["v1", "v2", "v3"] {
        let origin = tenant.origin(version).await;
        tenant.pod(&format!("shop-{version}"), version, &origin, false).await;
        origins.push(origin);
    }
    let starting = tenant.origin("starting").await;
    tenant.make_pod("starting", "v2", starting.address.port(), false).await;
    let selector = "selector: 'app=shop,version in (v2, v3)', port: http";
    let app = tenant.serving(&rules(&tenant.namespace, &[("shop", selector)])).await;
    answer(&app, "/", &["v2", "v3"]).await;
    let load = load(&app).await;
    tenant.run_pod("starting", false).await;
    tenant.patch::<Pod>("shop-v1", json!({ "metadata": { "labels": { "version": "v3" } } })).await;
    answer(&app, "/", &["v1", "v2", "v3"]).await;
    tenant.run_pod("starting", true).await;
    tenant.patch::<Pod>("shop-v3", json!({ "metadata": { "labels": { "version": "v4" } } })).await;
    answer(&app, "/", &["starting", "v1", "v2"]).await;
    tenant.run_pod("shop-v2", false).await;
    answer(&app, "/", &["starting", "v1"]).await;
    assert_eq!(load.failures().await, Vec::<String>::new());
}

pub(crate) async fn a_pod_that_is_deleted_gets_nothing_new_within_a_tenth_of_a_second(
    tenant: &Tenant,
) {
    let slow = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&slow);
    let leaving = Origin::listen(tenant.listen().await, move |mut connection: Connection| {
        let gate = Arc::clone(&gate);
        async move {
            while let Ok((head, _)) = connection.request().await {
                if head.target() == "/slow" {
                    gate.acquire().await.unwrap().forget();
                }
                connection.answer("leaving").await;
            }
        }
    });
    let staying = tenant.origin("staying").await;
    let selector = [("shop", "selector: app=shop, port: http")];
    let app = tenant.serving(&rules(&tenant.namespace, &selector)).await;
    // One that goes at once, and one that is seen to go.
    for (name, held) in [("gone", false), ("held", true)] {
        tenant.pod(name, "v1", &leaving, held).await;
        usable(&app, 1.0).await;
        let asked = leaving.requests();
        let mut client = app.connect().await;
        client.send("GET /slow HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
        eventually("the slow request is there", async || leaving.requests() > asked).await;
        tenant.pod(&format!("staying-{name}"), "v1", &staying, false).await;
        usable(&app, 2.0).await;
        let load = load(&app).await;
        tenant.api::<Pod>().delete(name, &DeleteParams::default()).await.unwrap();
        let accepted = Instant::now();
        usable(&app, 1.0).await;
        let took = accepted.elapsed();
        println!("{name}: nothing new {took:?} after the API accepted it");
        assert!(took < POD_SPARED, "{took:?}");
        // What had been given to it by then is answered.
        let sent = load.sent();
        eventually("the load goes on", async || load.sent() > sent + 10).await;
        let before = leaving.requests();
        assert_eq!(answering(&app, "/").await, ["staying"]);
        eventually("the load goes on", async || load.sent() > sent + 100).await;
        assert_eq!(leaving.requests(), before);
        if held {
            let draining = [("pool", "shop"), ("state", "draining")];
            app.metric_is("serin_endpoints", &draining, 1.0).await;
            tenant.release_pod(name).await;
            app.metric_is("serin_endpoints", &draining, 0.0).await;
        }
        slow.add_permits(1);
        assert_eq!(client.response().await.unwrap().origin(), "leaving");
        assert_eq!(load.failures().await, Vec::<String>::new());
        let staying = format!("staying-{name}");
        tenant.api::<Pod>().delete(&staying, &DeleteParams::default()).await.unwrap();
        usable(&app, 0.0).await;
    }
}

pub(crate) async fn the_slices_of_a_service_are_joined(tenant: &Tenant) {
    let (a, b) = (tenant.origin("a").await, tenant.origin("b").await);
    tenant.service(80).await;
    tenant.slice("shop-a", &a).await;
    tenant.slice("shop-b", &b).await;
    let pools = [("name", "service: shop, port: web"), ("number", "service: shop, port: 80")];
    let app = tenant.serving(&rules(&tenant.namespace, &pools)).await;
    for path in ["/name", "/number"] {
        answer(&app, path, &["a", "b"]).await;
    }
    tenant.change_slice("shop-b", false).await;
    answer(&app, "/name", &["a"]).await;
    tenant.change_slice("shop-b", true).await;
    let slices = tenant.api::<EndpointSlice>();
    slices.delete("shop-a", &DeleteParams::default()).await.unwrap();
    for path in ["/name", "/number"] {
        answer(&app, path, &["b"]).await;
    }
    // The Service says what its port means, and may change its mind.
    let ports = json!({ "spec": { "ports": [{ "name": "web", "port": 81 }] } });
    tenant.patch::<Service>("shop", ports).await;
    eventually("no port is 80", async || app.get("/number").await.status == 503).await;
    assert_eq!(answering(&app, "/name").await, ["b"]);
}

/// The Event about this version of the rules.
async fn event(tenant: &Tenant, map: &ConfigMap) -> Option<Event> {
    let events = tenant.api::<Event>().list(&ListParams::default()).await.unwrap();
    events.into_iter().find(|event| {
        let regarding = event.regarding.as_ref().unwrap();
        regarding.resource_version == map.metadata.resource_version
            && regarding.uid == map.metadata.uid
    })
}

/// Waits for the Event about this version of the rules; its type, reason and note.
pub(crate) async fn told(tenant: &Tenant, map: &ConfigMap) -> [String; 3] {
    let mut found = None;
    eventually("an Event tells of the rules", async || {
        found = event(tenant, map).await;
        found.is_some()
    })
    .await;
    let event = found.unwrap();
    assert_eq!(event.regarding.unwrap().name.as_deref(), Some("serin"));
    assert_eq!(event.reporting_controller.as_deref(), Some("serin"));
    [event.type_, event.reason, event.note].map(Option::unwrap)
}

/// Waits until the Event about this version was told so often.
pub(crate) async fn told_again(tenant: &Tenant, map: &ConfigMap, times: i32) {
    eventually("it is told again", async || {
        let series = event(tenant, map).await.and_then(|event| event.series);
        series.is_some_and(|series| series.count == times)
    })
    .await;
}

pub(crate) async fn events_say_what_became_of_the_rules(tenant: &Tenant) {
    let origin = tenant.origin("a").await;
    let good = all_to(&[origin.address], "");
    let app = tenant.serving(&good).await;
    let map = tenant.api::<ConfigMap>().get("serin").await.unwrap();
    assert_eq!(
        told(tenant, &map).await,
        ["Normal", "ConfigAccepted", "generation 1 is in use"].map(str::to_owned)
    );
    let map = tenant.replace_rules(&good.replace("to: only", "to: onyl")).await;
    let [kind, reason, note] = told(tenant, &map).await;
    assert_eq!((&*kind, &*reason), ("Warning", "ConfigRejected"));
    let place = format!("configmap/{}/serin/serin.yaml:", tenant.namespace);
    assert!(note.starts_with(&place) && note.contains("no pool is named `onyl`"), "{note}");
    // Whoever asks for a reload is told the same, and the Event counts it.
    assert!(app.bound.reload().await.is_err());
    told_again(tenant, &map, 2).await;
    assert_eq!(app.get("/").await.origin(), "a");
    let map = tenant.replace_rules(&good.replace("name: all", "name: any")).await;
    assert_eq!(told(tenant, &map).await[1..], ["ConfigAccepted", "generation 2 is in use"]);
}

pub(crate) async fn the_newest_immutable_config_map_is_used(tenant: &Tenant) {
    let (old, new) = (tenant.origin("old").await, tenant.origin("new").await);
    // As the chart does for a selector: a list by labels can not be allowed by names.
    let resources = json!({
        "apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"],
    });
    let events = json!({
        "apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"],
    });
    tenant.patch::<Role>("serin-rules", json!({ "rules": [resources, events] })).await;
    tenant.has_its_rights(&ListParams::default().labels("app=serin")).await;
    let map = |name: &str, origin: &Origin| {
        json!({
            "metadata": { "name": name, "labels": { "app": "serin" } },
            "immutable": true,
            "data": { "serin.yaml": all_to(&[origin.address], "") },
        })
    };
    let first: ConfigMap = tenant.create(map("serin-z1", &old)).await;
    let place = Place::newest(&format!("{}/app=serin", tenant.namespace)).unwrap();
    let app = tenant.app(place).await;
    answer(&app, "/", &["old"]).await;
    let maps = tenant.api::<ConfigMap>();
    let other = Patch::Merge(json!({ "data": { "serin.yaml": "routes: []" } }));
    assert!(maps.patch("serin-z1", &PatchParams::default(), &other).await.is_err());
    let load = load(&app).await;
    // Times of creation are whole seconds.
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let probe: ConfigMap = serde_json::from_value(map("probe", &old)).unwrap();
    eventually("another second begins", async || {
        let probed = maps.create(&dry, &probe).await.unwrap();
        probed.creation_timestamp() > first.creation_timestamp()
    })
    .await;
    tenant.create::<ConfigMap>(map("serin-a2", &new)).await;
    let accepted = Instant::now();
    eventually("the newest is used", async || new.requests() > 0).await;
    assert!(accepted.elapsed() < RULES_LIVE, "{:?}", accepted.elapsed());
    maps.delete("serin-a2", &DeleteParams::default()).await.unwrap();
    answer(&app, "/", &["old"]).await;
    assert_eq!(load.failures().await, Vec::<String>::new());
}

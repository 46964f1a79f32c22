//! The configuration in a ConfigMap: live at once, and the last good one in use whatever happens.

use crate::support::cluster::config_map;
use crate::support::{App, Cluster, Load, Origin, all_to, config, eventually, within};
use serde_json::Value;
use serin::app::{Options, Stop};
use serin::config::Place;
use serin::telemetry::metrics::Reload;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How soon a change must be live.
const LIVE: Duration = Duration::from_millis(500);

fn options(cluster: &Cluster, config: Place) -> Options {
    Options {
        kubeconfig: Some(cluster.kubeconfig_file()),
        admin: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        event_pause: Duration::from_millis(50),
        ..Options::at(config)
    }
}

/// Starts with this place in the cluster, whether anything is there or not.
async fn start(cluster: &Cluster, place: &str) -> App {
    App::start_early(options(cluster, Place::config_map(place).unwrap())).await
}

/// Starts with a `ConfigMap` that is there and right.
async fn serving(cluster: &Cluster, place: &str) -> App {
    let mut app = start(cluster, place).await;
    app.listening().await;
    app
}

/// Puts this text into `shop/serin`.
fn put(cluster: &Cluster, yaml: &str) -> Value {
    cluster.put(config_map("shop", "serin").key("serin.yaml", yaml))
}

async fn api_config(app: &App) -> Value {
    serde_json::from_str(&app.admin("/api/config").await.text()).unwrap()
}

/// Why the newest configuration is not in use, as `/api/config` says it; empty if it is.
async fn last_error(app: &App) -> String {
    match &api_config(app).await["lastError"] {
        Value::Null => String::new(),
        error => error["diagnostics"].to_string(),
    }
}

async fn says(app: &App, error: &str) {
    eventually(error, async || last_error(app).await.contains(error)).await;
}

async fn reaches(app: &App, origin: &Origin) {
    let before = origin.requests();
    eventually("the origin is reached", async || {
        app.get("/").await;
        origin.requests() > before
    })
    .await;
}

/// The reason and the note of each Event, with what it is about.
fn events(cluster: &Cluster) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let events = cluster.events();
    events.iter().map(|event| (text(&event["reason"]), text(&event["note"]))).collect()
}

async fn ready(app: &App) -> u16 {
    app.admin("/readyz").await.status
}

/// It is ready, and requests reach this origin.
async fn serves(app: &App, origin: &str) {
    assert_eq!(ready(app).await, 200);
    assert_eq!(app.get("/").await.origin(), origin);
}

#[tokio::test]
async fn a_change_is_live_in_under_half_a_second_and_fails_no_request() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let cluster = Cluster::start().await;
    put(&cluster, &all_to(&[a.address], ""));
    let app = serving(&cluster, "shop/serin").await;
    let load = Load::start(app.address, 4);
    eventually("the load runs", async || load.sent() > 50).await;
    for (origin, other) in [(&b, &a), (&a, &b), (&b, &a)] {
        let before = origin.requests();
        let changed = Instant::now();
        put(&cluster, &all_to(&[origin.address], ""));
        eventually("the change is live", async || origin.requests() > before).await;
        let elapsed = changed.elapsed();
        println!("live after {elapsed:?}");
        assert!(elapsed < LIVE, "{elapsed:?}");
        let sent = load.sent();
        eventually("the load goes on", async || load.sent() > sent + 50).await;
        let before = other.requests();
        app.get("/").await;
        assert_eq!(other.requests(), before);
    }
    assert_eq!(load.failures().await, Vec::<String>::new());
    assert_eq!(api_config(&app).await["source"], "configmap shop/serin");
    // One connection lists and watches, and nobody asks again and again.
    assert_eq!(cluster.requests("configmaps", "list"), 1);
}

#[tokio::test]
async fn all_keys_that_end_in_yaml_are_merged_in_the_order_of_their_names() {
    let origin = Origin::named("a").await;
    let base = config(&[("only", &[origin.address])], "").replace("routes:", "");
    let route = |name: &str| {
        format!(
            "routes: [{{ name: {name}, matches: [{{ path: {{ exact: /{name} }} }}], split: [{{ to: only }}] }}]\n"
        )
    };
    let cluster = Cluster::start().await;
    let map = config_map("shop", "serin").key("c.yaml", &route("last")).key("b.yml", &base);
    cluster.put(map.key("a.yaml", &route("first")).key("README", "{ no yaml"));
    let app = serving(&cluster, "shop/serin").await;
    let shown: Value = serde_json::from_str(&app.admin("/api/routes").await.text()).unwrap();
    let names = shown["routes"].as_array().unwrap().iter().map(|route| route["name"].clone());
    assert_eq!(names.collect::<Vec<_>>(), ["first", "last"]);
    assert_eq!(app.get("/first").await.status, 200);
}

#[tokio::test]
async fn the_one_key_that_is_named_is_read_alone() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let cluster = Cluster::start().await;
    let map = |rules: &str| {
        config_map("shop", "serin").key("rules", rules).key("other.yaml", "{ no document")
    };
    cluster.put(map(&all_to(&[a.address], "")));
    let app = serving(&cluster, "shop/serin/rules").await;
    reaches(&app, &a).await;
    cluster.put(map(&all_to(&[b.address], "")));
    reaches(&app, &b).await;
    assert_eq!(api_config(&app).await["source"], "configmap shop/serin/rules");
    cluster.put(config_map("shop", "serin").key("rule", "").key("other.yaml", ""));
    says(&app, "there is no key `rules`").await;
    says(&app, "did you mean `rule`?").await;
    reaches(&app, &b).await;
}

#[tokio::test]
async fn a_wrong_document_changes_nothing_and_an_event_says_why_until_it_is_right_again() {
    let origin = Origin::named("a").await;
    let good = all_to(&[origin.address], "");
    let cluster = Cluster::start().await;
    put(&cluster, &good);
    let app = serving(&cluster, "shop/serin").await;
    eventually("the first is accepted", async || events(&cluster).len() == 1).await;
    let event = cluster.events().remove(0);
    let map = cluster.object("configmaps", "shop", "serin").unwrap();
    for (field, expected) in [
        ("/type", "Normal".into()),
        ("/reason", "ConfigAccepted".into()),
        ("/action", "Reload".into()),
        ("/note", "generation 1 is in use".into()),
        ("/reportingController", "serin".into()),
        ("/regarding/kind", "ConfigMap".into()),
        ("/regarding/name", "serin".into()),
        ("/regarding/namespace", "shop".into()),
        ("/regarding/uid", map["metadata"]["uid"].clone()),
        ("/regarding/resourceVersion", map["metadata"]["resourceVersion"].clone()),
    ] {
        assert_eq!(event.pointer(field), Some(&expected), "{field}");
    }
    assert_ne!(event["reportingInstance"], "");

    let wrong = good.replace("to: only", "to: onyl");
    put(&cluster, &wrong);
    eventually("it is refused", async || events(&cluster).len() == 2).await;
    let (reason, note) = events(&cluster).remove(1);
    assert_eq!(reason, "ConfigRejected");
    assert!(
        note.starts_with("configmap/shop/serin/serin.yaml:")
            && note.contains("error: routes[0].split[0].to: no pool is named `onyl`"),
        "{note}"
    );
    assert_eq!(cluster.events()[1]["type"], "Warning");
    says(&app, "no pool is named `onyl`").await;
    app.metric_is("serin_config_reloads_total", &[("result", "rejected")], 1.0).await;
    assert_eq!(ready(&app).await, 200);
    assert_eq!(app.get("/").await.origin(), "a");

    put(&cluster, &good);
    eventually("it is accepted again", async || events(&cluster).len() == 3).await;
    let last = ("ConfigAccepted".to_owned(), "generation 2 is in use".to_owned());
    assert_eq!(events(&cluster)[2], last);
    assert_eq!(last_error(&app).await, "");

    // What changes nothing for the proxy is nobody's concern.
    cluster.put(config_map("shop", "serin").key("serin.yaml", &good).key("notes", "new"));
    app.metric_is("serin_config_reloads_total", &[("result", "unchanged")], 1.0).await;
    put(&cluster, &wrong);
    eventually("it is refused again", async || events(&cluster).len() == 4).await;
    assert_eq!(events(&cluster)[3].0, "ConfigRejected");
}

#[tokio::test]
async fn a_config_map_that_is_deleted_leaves_the_last_good_version_in_use() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let cluster = Cluster::start().await;
    put(&cluster, &all_to(&[a.address], ""));
    let app = serving(&cluster, "shop/serin").await;
    cluster.delete("configmaps", "shop", "serin");
    says(&app, "there is no such ConfigMap").await;
    serves(&app, "a").await;
    let again = put(&cluster, &all_to(&[a.address], ""));
    eventually("it is there again", async || last_error(&app).await.is_empty()).await;
    // Who looks at it does not see what was told of the one before.
    let about = |event: &Value| event["regarding"]["uid"] == again["metadata"]["uid"];
    eventually("an Event is about it", async || cluster.events().iter().any(about)).await;
    app.metric_is("serin_config_generation", &[], 1.0).await;
    cluster.delete("configmaps", "shop", "serin");
    put(&cluster, &all_to(&[b.address], ""));
    reaches(&app, &b).await;
    app.metric_is("serin_config_reloads_total", &[("result", "rejected")], 0.0).await;
}

#[tokio::test]
async fn a_config_map_that_is_forbidden_leaves_the_last_good_version_in_use() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let cluster = Cluster::start().await;
    put(&cluster, &all_to(&[a.address], ""));
    let app = serving(&cluster, "shop/serin").await;
    cluster.forbid("configmaps");
    cluster.break_watches();
    says(&app, "is forbidden").await;
    let failures = [("resource", "configmaps"), ("reason", "forbidden")];
    assert!(app.metric("serin_kubernetes_failures_total", &failures).await >= 1.0);
    serves(&app, "a").await;
    put(&cluster, &all_to(&[b.address], ""));
    cluster.allow("configmaps");
    reaches(&app, &b).await;
    assert_eq!(last_error(&app).await, "");
    app.metric_is("serin_config_reloads_total", &[("result", "rejected")], 0.0).await;
}

#[tokio::test]
async fn an_api_server_that_is_away_leaves_the_last_good_version_in_use_until_it_is_back() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let cluster = Cluster::start().await;
    put(&cluster, &all_to(&[a.address], ""));
    let app = serving(&cluster, "shop/serin").await;
    app.metric_is("serin_kubernetes_watches", &[("state", "synced")], 1.0).await;
    cluster.stop().await;
    says(&app, "the Kubernetes API: ").await;
    let failing = [("resource", "configmaps"), ("state", "failing")];
    app.metric_is("serin_kubernetes_watches", &failing, 1.0).await;
    let unreachable = [("resource", "configmaps"), ("reason", "unreachable")];
    let failures = async || app.metric("serin_kubernetes_failures_total", &unreachable).await;
    eventually("it is tried again", async || failures().await >= 3.0).await;
    serves(&app, "a").await;
    put(&cluster, &all_to(&[b.address], ""));
    cluster.start_again().await;
    reaches(&app, &b).await;
    eventually("it is well again", async || last_error(&app).await.is_empty()).await;
    app.metric_is("serin_kubernetes_watches", &[("state", "synced")], 1.0).await;
}

#[tokio::test]
async fn changes_are_seen_after_watches_broke_ended_or_are_too_old_to_go_on() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let cluster = Cluster::start().await;
    put(&cluster, &all_to(&[a.address], ""));
    let app = serving(&cluster, "shop/serin").await;
    cluster.break_watches();
    put(&cluster, &all_to(&[b.address], ""));
    reaches(&app, &b).await;
    cluster.end_watches();
    put(&cluster, &all_to(&[a.address], ""));
    reaches(&app, &a).await;
    for (as_answer, origin) in [(false, &b), (true, &a)] {
        if as_answer {
            cluster.answer_gone();
        }
        let lists = cluster.requests("configmaps", "list");
        cluster.stop().await;
        put(&cluster, &all_to(&[origin.address], ""));
        // Something else moves the newest version on, past what the watch has seen.
        cluster.put(config_map("other", "other"));
        cluster.compact();
        cluster.start_again().await;
        reaches(&app, origin).await;
        assert!(cluster.requests("configmaps", "list") > lists);
    }
    assert_eq!(last_error(&app).await, "");
}

#[tokio::test]
async fn a_start_without_the_api_is_alive_and_not_ready_until_the_api_is_there() {
    let origin = Origin::named("a").await;
    let cluster = Cluster::start().await;
    put(&cluster, &all_to(&[origin.address], ""));
    cluster.stop().await;
    let mut app = start(&cluster, "shop/serin").await;
    says(&app, "the Kubernetes API: ").await;
    let readyz = app.admin("/readyz").await;
    assert_eq!((readyz.status, app.admin("/livez").await.status), (503, 200));
    let reason = readyz.text();
    assert!(
        reason.starts_with("not ready: no configuration is in use yet\nconfigmap/shop/serin:"),
        "{reason}"
    );
    assert_eq!(api_config(&app).await["source"], "configmap shop/serin");
    assert!(app.bound.addresses().is_empty());
    cluster.start_again().await;
    app.listening().await;
    serves(&app, "a").await;
    assert_eq!(last_error(&app).await, "");
}

#[tokio::test]
async fn a_start_without_the_config_map_or_with_a_wrong_one_waits_for_a_right_one() {
    let origin = Origin::named("a").await;
    let good = all_to(&[origin.address], "");
    let cluster = Cluster::start().await;
    let mut app = start(&cluster, "shop/serin").await;
    says(&app, "there is no such ConfigMap").await;
    assert_eq!((ready(&app).await, app.admin("/livez").await.status), (503, 200));
    cluster.put(config_map("shop", "serin").key("notes", "none"));
    says(&app, "no key ends in .yaml or .yml").await;
    put(&cluster, &good.replace("routes:", "rutes:"));
    says(&app, "unknown key `rutes`").await;
    eventually("the Events say it", async || {
        events(&cluster).iter().any(|(_, note)| note.contains("unknown key `rutes`"))
    })
    .await;
    assert_eq!(ready(&app).await, 503);
    assert!(app.admin("/readyz").await.text().contains("unknown key `rutes`"));
    app.metric_is("serin_config_reloads_total", &[("result", "rejected")], 2.0).await;
    put(&cluster, &good);
    app.listening().await;
    serves(&app, "a").await;
}

#[tokio::test]
async fn a_proxy_that_waits_for_its_first_configuration_ends_when_it_is_told_to() {
    let cluster = Cluster::start().await;
    let mut app = start(&cluster, "shop/serin").await;
    app.bound.stop(Stop::Gracefully).await;
    assert!(within(app.bound.ended()).await);
}

#[tokio::test]
async fn a_proxy_that_waits_for_its_first_endpoints_ends_when_it_is_told_to() {
    /// Far less than the endpoints are waited for.
    const AT_ONCE: Duration = Duration::from_secs(2);
    let cluster = Cluster::start().await;
    cluster.ignore("pods");
    let kubernetes = "kubernetes: { namespace: shop, selector: app=shop, port: http }";
    put(&cluster, &all_to(&[], "").replace("endpoints: []", kubernetes));
    let mut app = start(&cluster, "shop/serin").await;
    eventually("they are asked for", async || cluster.requests("pods", "list") > 0).await;
    let told = Instant::now();
    app.bound.stop(Stop::Gracefully).await;
    assert!(within(app.bound.ended()).await);
    assert!(told.elapsed() < AT_ONCE, "{:?}", told.elapsed());
    assert!(app.bound.addresses().is_empty());
}

#[tokio::test]
async fn the_newest_config_map_with_the_labels_is_used_and_the_next_when_it_is_deleted() {
    let (old, new) = (Origin::named("old").await, Origin::named("new").await);
    let cluster = Cluster::start().await;
    let map = |name: &str, origin: &Origin| {
        let map = config_map("shop", name).label("app", "serin");
        cluster.put(
            map.key("serin.yaml", &all_to(&[origin.address], "")).set("/immutable", true.into()),
        )
    };
    let made = map("serin-z1", &old)["metadata"]["creationTimestamp"].clone();
    cluster.put(config_map("shop", "stranger").key("serin.yaml", "{"));
    let place = Place::newest("shop/app=serin").unwrap();
    let mut app = App::start_early(options(&cluster, place)).await;
    app.listening().await;
    reaches(&app, &old).await;
    assert_eq!(api_config(&app).await["source"], "configmap shop/serin-z1 of app=serin");
    // Times of creation are whole seconds.
    eventually("another second begins", async || {
        let probe =
            cluster.put(config_map("other", &format!("{:?}", Instant::now()).len().to_string()));
        cluster.delete("configmaps", "other", probe["metadata"]["name"].as_str().unwrap());
        probe["metadata"]["creationTimestamp"] != made
    })
    .await;
    map("serin-a2", &new);
    reaches(&app, &new).await;
    assert_eq!(api_config(&app).await["source"], "configmap shop/serin-a2 of app=serin");
    let about =
        |name: &str| cluster.events().iter().any(|event| event["regarding"]["name"] == name);
    eventually("Events are about each", async || about("serin-z1") && about("serin-a2")).await;
    cluster.delete("configmaps", "shop", "serin-a2");
    reaches(&app, &old).await;
    cluster.delete("configmaps", "shop", "serin-z1");
    says(&app, "no ConfigMap bears these labels").await;
    serves(&app, "old").await;
}

#[tokio::test]
async fn of_many_changes_one_event_a_time_tells_the_newest_outcome() {
    /// Long enough for all changes to come within.
    const PAUSE: Duration = Duration::from_secs(3);
    let origin = Origin::named("a").await;
    let good = all_to(&[origin.address], "");
    let cluster = Cluster::start().await;
    put(&cluster, &good);
    let place = Place::config_map("shop/serin").unwrap();
    let begin = Instant::now();
    let mut app =
        App::start_early(Options { event_pause: PAUSE, ..options(&cluster, place) }).await;
    app.listening().await;
    eventually("the first Event", async || events(&cluster).len() == 1).await;
    for (number, yaml) in [(2.0, "{"), (3.0, "]"), (4.0, &good.replace("name: all", "name: other"))]
    {
        put(&cluster, yaml);
        let count = async || {
            let of = async |result| {
                app.metric("serin_config_reloads_total", &[("result", result)]).await
            };
            of("accepted").await + of("rejected").await
        };
        eventually("it is looked at", async || count().await >= number).await;
    }
    assert_eq!(events(&cluster).len(), 1);
    eventually("the second Event", async || events(&cluster).len() > 1).await;
    assert!(begin.elapsed() >= PAUSE, "{:?}", begin.elapsed());
    let second = ("ConfigAccepted".to_owned(), "generation 2 is in use".to_owned());
    assert_eq!(events(&cluster)[1..], [second]);
}

#[tokio::test]
async fn events_that_are_forbidden_are_counted_and_nothing_else() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let cluster = Cluster::start().await;
    cluster.forbid_create("events");
    put(&cluster, &all_to(&[a.address], ""));
    let app = serving(&cluster, "shop/serin").await;
    let forbidden = [("resource", "events"), ("reason", "forbidden")];
    app.metric_is("serin_kubernetes_failures_total", &forbidden, 1.0).await;
    put(&cluster, &all_to(&[b.address], ""));
    reaches(&app, &b).await;
    app.metric_is("serin_kubernetes_failures_total", &forbidden, 2.0).await;
    cluster.allow("events");
    put(&cluster, &all_to(&[a.address], ""));
    eventually("Events are allowed", async || events(&cluster).len() == 1).await;
}

#[tokio::test]
async fn what_was_refused_is_looked_at_again_when_somebody_asks() {
    let origin = Origin::named("a").await;
    let cluster = Cluster::start().await;
    put(&cluster, &all_to(&[origin.address], ""));
    let app = serving(&cluster, "shop/serin").await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let listeners = "[{ name: web, address: '127.0.0.1:0' }";
    let more = format!("{listeners}, {{ name: more, address: '{address}' }}");
    put(&cluster, &all_to(&[origin.address], "").replace(listeners, &more));
    says(&app, "can not listen on").await;
    // What the watch knows is enough.
    cluster.stop().await;
    drop(taken);
    assert_eq!(app.bound.reload().await.unwrap(), Reload::Accepted);
    assert!(app.bound.addresses().iter().any(|(name, _)| **name == *"more"));
    says(&app, "the Kubernetes API: ").await;
    assert!(!last_error(&app).await.contains("can not listen"));
}

#[tokio::test]
async fn the_admin_listener_moves_to_where_the_first_document_wants_it() {
    let origin = Origin::named("a").await;
    let cluster = Cluster::start().await;
    let mut app = start(&cluster, "shop/serin").await;
    let port = app.bound.admin.borrow().unwrap().port();
    let everywhere = format!("admin: {{ address: '0.0.0.0:{port}' }}");
    let before = "admin: { address: '127.0.0.1:0' }";
    put(&cluster, &all_to(&[origin.address], "").replace(before, &everywhere));
    app.listening().await;
    assert_eq!(*app.bound.admin.borrow(), Some(SocketAddr::from(([0, 0, 0, 0], port))));
    assert_eq!(ready(&app).await, 200);
    // A document that does not say leaves it where the command line wants it.
    put(&cluster, &all_to(&[origin.address], "").replace(before, ""));
    eventually("it is back", async || {
        app.bound.admin.borrow().is_some_and(|address| address.ip().is_loopback())
    })
    .await;
    assert_eq!(ready(&app).await, 200);
}

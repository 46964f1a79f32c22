//! Endpoints by the Kubernetes API: what is found, what is kept, and what becomes of requests.

use crate::support::cluster::{Cluster, endpoint_slice, pod, service};
use crate::support::{App, Connection, H2Origin, Load, Log, Origin, eventually};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// A configuration whose route sends everything to the pool `shop`.
fn yaml(kubernetes: &str, settings: &str) -> String {
    format!(
        "listeners: [{{ name: web, address: '127.0.0.1:0' }}]\n\
         admin: {{ address: '127.0.0.1:0' }}\n\
         drain: {{ delay: 0s, timeout: 10s }}\n\
         pools: [{{ name: shop, kubernetes: {{ namespace: shop, {kubernetes} }}{settings} }}]\n\
         routes: [{{ name: all, split: [{{ to: shop }}] }}]\n"
    )
}

const BY_LABELS: &str = "selector: 'app=shop,version in (v2, v3)', port: http";

/// How many endpoints of the pool are in each state.
async fn endpoints(app: &App, state: &str) -> usize {
    let labels = [("pool", "shop"), ("state", state)];
    app.metric("serin_endpoints", &labels).await.to_string().parse().unwrap()
}

async fn usable(app: &App, number: usize) {
    let what = format!("{number} endpoints are usable");
    eventually(&what, async || endpoints(app, "usable").await == number).await;
}

/// Which endpoints answer.
async fn answering(app: &App) -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..30 {
        names.push(app.get("/").await.origin().to_owned());
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// A pod that is ready at an origin's address.
fn pod_at(origin: &Origin, name: &str, version: &str) -> serde_json::Value {
    let ip = origin.address.ip().to_string();
    let pod = pod("shop", name).label("app", "shop").label("version", version).address(&ip);
    pod.port("http", origin.address.port()).ready(true).into()
}

#[tokio::test]
async fn pods_are_chosen_by_their_labels_and_need_no_service() {
    let cluster = Cluster::start().await;
    let ips = &["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"];
    let origins = Origin::siblings(ips).await;
    for (number, (origin, version)) in origins.iter().zip(["v1", "v2", "v3", "v3"]).enumerate() {
        cluster.put(pod_at(origin, &format!("shop-{number}"), version));
    }
    cluster.edit("pods", "shop", "shop-3", |pod| {
        pod["status"]["conditions"][0]["status"] = "False".into();
    });
    let app = App::start_in(&cluster, &yaml(BY_LABELS, "")).await;
    // A start waits for the first answer.
    assert_eq!(answering(&app).await, ["127.0.0.3", "127.0.0.4"]);
    cluster.edit("pods", "shop", "shop-3", |pod| {
        pod["status"]["conditions"][0]["status"] = "True".into();
    });
    cluster.edit("pods", "shop", "shop-0", |pod| {
        pod["metadata"]["labels"]["version"] = "v2".into();
    });
    cluster.delete("pods", "shop", "shop-1");
    eventually("the pool follows", async || {
        answering(&app).await == ["127.0.0.2", "127.0.0.4", "127.0.0.5"]
    })
    .await;
    let shown = app.admin("/api/pools").await.text();
    assert!(shown.contains("127.0.0.5"), "{shown}");
}

#[tokio::test]
async fn the_slices_of_a_service_are_joined_by_its_port() {
    let cluster = Cluster::start().await;
    let [a, b, c] = [Origin::named("a").await, Origin::named("b").await, Origin::named("c").await];
    for (slice, origin) in [("shop-x", &a), ("shop-y", &b)] {
        let slice = endpoint_slice("shop", slice, "shop").endpoint("127.0.0.1", true);
        cluster.put(slice.port("web", origin.address.port()).port("admin", 1));
    }
    let other = endpoint_slice("shop", "other-x", "other").endpoint("127.0.0.1", true);
    cluster.put(other.port("web", c.address.port()));
    cluster.put(service("shop", "shop").port("web", 80, 8080).port("admin", 90, "admin"));
    let by_name = App::start_in(&cluster, &yaml("service: shop, port: web", "")).await;
    assert_eq!(answering(&by_name).await, ["a", "b"]);
    assert_eq!(cluster.open_watches("services"), 0);
    let by_number = App::start_in(&cluster, &yaml("service: shop, port: 80", "")).await;
    assert_eq!(answering(&by_number).await, ["a", "b"]);
    // The Service says what its port means, and may change its mind.
    cluster.put(service("shop", "shop").port("web", 81, 8080).port("admin", 80, "admin"));
    eventually("the port is another one", async || by_number.get("/").await.status == 503).await;
    assert_eq!(answering(&by_name).await, ["a", "b"]);
}

#[tokio::test]
async fn the_service_says_what_its_endpoints_speak() {
    let cluster = Cluster::start().await;
    let origin = H2Origin::named("h2").await;
    let slice = |protocol: &str| {
        let slice = endpoint_slice("shop", "shop-x", "shop").endpoint("127.0.0.1", true);
        let slice = slice.port("web", origin.address.port());
        if protocol.is_empty() { slice } else { slice.set("/ports/0/appProtocol", protocol.into()) }
    };
    cluster.put(slice("kubernetes.io/h2c"));
    let by_name = yaml("service: shop, port: web", "");
    let app = App::start_in(&cluster, &by_name).await;
    assert_eq!(app.get("/").await.origin(), "h2");
    // Not forgotten by a reload.
    app.reload(&format!("{by_name}# another\n")).await;
    assert_eq!(app.get("/").await.origin(), "h2");
    // What the document says counts more.
    app.reload(&yaml("service: shop, port: web", ", protocol: http1")).await;
    assert_eq!(app.get("/").await.status, 502);
    app.reload(&by_name).await;
    assert_eq!(app.get("/").await.origin(), "h2");
    cluster.put(slice(""));
    eventually("nobody says it any more", async || app.get("/").await.status == 502).await;
}

#[tokio::test]
async fn a_service_over_tls_that_is_spoken_to_in_plain_http_is_warned_of_once() {
    const WARNING: &str = "`tls`";
    let log = Log::start();
    let cluster = Cluster::start().await;
    let slice = |protocol: &str, ips: &[&str]| {
        let slice = endpoint_slice("shop", "shop-x", "shop").port("web", 443);
        let slice = slice.set("/ports/0/appProtocol", protocol.into());
        cluster.put(ips.iter().fold(slice, |slice, ip| slice.endpoint(ip, true)));
    };
    slice("https", &["127.0.0.2"]);
    let plain = yaml("service: shop, port: web", "");
    let app = App::start_in(&cluster, &plain).await;
    assert_eq!(log.times(WARNING), 1);
    assert!(log.says("pool=shop") && log.says("`https`"));
    slice("https", &["127.0.0.2", "127.0.0.3"]);
    usable(&app, 2).await;
    app.reload(&format!("{plain}# another\n")).await;
    assert_eq!(log.times(WARNING), 1);
    // Nothing is wrong with TLS, and it is news when it is taken away.
    let secure = yaml("service: shop, port: web", ", tls: { verify: false }");
    app.reload(&secure).await;
    slice("https", &["127.0.0.2", "127.0.0.3", "127.0.0.4"]);
    usable(&app, 3).await;
    assert_eq!(log.times(WARNING), 1);
    app.reload(&plain).await;
    eventually("it is told again", async || log.times(WARNING) == 2).await;
    // So it is when it is another Service's word.
    slice("http", &["127.0.0.2"]);
    usable(&app, 1).await;
    slice("kubernetes.io/wss", &["127.0.0.2", "127.0.0.3"]);
    usable(&app, 2).await;
    assert_eq!(log.times(WARNING), 3);
}

#[tokio::test]
async fn what_a_service_says_of_its_endpoints_is_forgotten_with_it() {
    let cluster = Cluster::start().await;
    let h2 = H2Origin::named("h2").await;
    let plain = Origin::named("plain").await;
    let slice = endpoint_slice("shop", "shop-x", "shop").endpoint("127.0.0.1", true);
    let slice = slice.port("web", h2.address.port());
    cluster.put(slice.set("/ports/0/appProtocol", "kubernetes.io/h2c".into()));
    cluster.put(pod_at(&plain, "plain", "v2"));
    let by_service = yaml("service: shop, port: web", "");
    let listed = by_service.replace(
        "kubernetes: { namespace: shop, service: shop, port: web }",
        &format!("endpoints: ['{}']", plain.address),
    );
    let app = App::start_in(&cluster, &by_service).await;
    assert_eq!(app.get("/").await.origin(), "h2");
    app.reload(&yaml(BY_LABELS, "")).await;
    eventually("pods are HTTP/1.1", async || app.get("/").await.origin() == "plain").await;
    app.reload(&by_service).await;
    eventually("the Service is HTTP/2", async || app.get("/").await.origin() == "h2").await;
    app.reload(&listed).await;
    assert_eq!(app.get("/").await.origin(), "plain");
}

#[tokio::test]
async fn a_pod_that_is_deleted_gets_nothing_new_within_a_tenth_of_a_second_and_finishes() {
    static HELD: Semaphore = Semaphore::const_new(0);
    let cluster = Cluster::start().await;
    let leaving = Origin::start(async |mut connection: Connection| {
        while let Ok((head, _)) = connection.request().await {
            if head.target() == "/slow" {
                HELD.acquire().await.unwrap().forget();
            }
            connection.answer("leaving").await;
        }
    })
    .await;
    let staying = Origin::named("staying").await;
    cluster.put(pod_at(&leaving, "leaving", "v2"));
    let app = App::start_in(&cluster, &yaml(BY_LABELS, "")).await;
    let mut slow = app.connect().await;
    slow.send("GET /slow HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    eventually("the slow request is there", async || leaving.requests() == 1).await;
    // An idle connection of each worker.
    eventually("others are answered", async || {
        app.get("/").await;
        leaving.connections() > 2
    })
    .await;
    cluster.put(pod_at(&staying, "staying", "v2"));
    usable(&app, 2).await;
    let told = Instant::now();
    cluster.edit("pods", "shop", "leaving", |pod| {
        pod["metadata"]["deletionTimestamp"] = "2026-11-27T12:00:00Z".into();
    });
    usable(&app, 1).await;
    let took = told.elapsed();
    assert!(took < Duration::from_millis(100), "{took:?}");
    let before = leaving.requests();
    assert_eq!(answering(&app).await, ["staying"]);
    assert_eq!(leaving.requests(), before);
    assert_eq!(endpoints(&app, "draining").await, 1);
    let idle = [("pool", "shop"), ("state", "idle")];
    // The one idle connection that is left is that to the other, of each worker.
    eventually("idle connections to it are closed", async || {
        app.metric("serin_upstream_connections", &idle).await <= 2.0
    })
    .await;
    // The object is gone; what is in flight is not.
    cluster.delete("pods", "shop", "leaving");
    eventually("it is forgotten", async || endpoints(&app, "draining").await == 0).await;
    HELD.add_permits(1);
    assert_eq!(slow.response().await.unwrap().origin(), "leaving");
}

#[tokio::test]
async fn while_the_api_is_away_the_endpoints_stay_and_then_it_goes_on() {
    let cluster = Cluster::start().await;
    let origins = Origin::siblings(&["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"]).await;
    cluster.put(pod_at(&origins[0], "a", "v2"));
    let app = App::start_in(&cluster, &yaml(BY_LABELS, "")).await;
    let load = Load::start(app.address, 2);
    let failures = async |reason: &str| {
        let labels = [("resource", "pods"), ("reason", reason)];
        app.metric("serin_kubernetes_failures_total", &labels).await
    };
    usable(&app, 1).await;
    let lists = cluster.requests("pods", "list");
    // A watch that ends or breaks goes on from where it was.
    cluster.end_watches();
    cluster.put(pod_at(&origins[1], "b", "v2"));
    usable(&app, 2).await;
    cluster.break_watches();
    cluster.put(pod_at(&origins[2], "c", "v2"));
    usable(&app, 3).await;
    assert_eq!(cluster.requests("pods", "list"), lists);
    // The server is away, and what changed in the meantime can not be told any more.
    cluster.stop().await;
    eventually("that is noticed", async || failures("unreachable").await > 0.0).await;
    let failing = [("resource", "pods"), ("state", "failing")];
    app.metric_is("serin_kubernetes_watches", &failing, 1.0).await;
    assert_eq!(endpoints(&app, "usable").await, 3);
    cluster.delete("pods", "shop", "a");
    cluster.put(pod_at(&origins[3], "d", "v2"));
    cluster.delete("pods", "shop", "b");
    cluster.compact();
    cluster.start_again().await;
    usable(&app, 2).await;
    assert_eq!(answering(&app).await, ["127.0.0.4", "127.0.0.5"]);
    assert!(cluster.requests("pods", "list") > lists);
    app.metric_is("serin_kubernetes_watches", &failing, 0.0).await;
    // It refuses.
    cluster.put(pod_at(&origins[0], "a", "v2"));
    usable(&app, 3).await;
    cluster.forbid("pods");
    cluster.break_watches();
    eventually("that is noticed", async || failures("forbidden").await > 0.0).await;
    assert_eq!(endpoints(&app, "usable").await, 3);
    cluster.allow("pods");
    cluster.delete("pods", "shop", "d");
    usable(&app, 2).await;
    assert_eq!(load.failures().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_start_without_the_api_serves_as_soon_as_it_is_there() {
    let cluster = Cluster::start().await;
    cluster.stop().await;
    let origin = Origin::named("a").await;
    cluster.put(pod_at(&origin, "a", "v2"));
    let app = App::start_in(&cluster, &yaml(BY_LABELS, "")).await;
    assert_eq!(app.get("/").await.status, 503);
    cluster.start_again().await;
    eventually("it serves", async || app.get("/").await.status == 200).await;
}

#[tokio::test]
async fn a_start_waits_longer_than_a_change_for_an_api_that_takes_its_time() {
    let cluster = Cluster::start().await;
    let origin = Origin::named("a").await;
    cluster.put(pod_at(&origin, "a", "v2"));
    cluster.hang();
    // Time is what is tested.
    let recovering = async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        cluster.recover();
    };
    let yaml = yaml(BY_LABELS, "");
    let (app, ()) = tokio::join!(App::start_in(&cluster, &yaml), recovering);
    assert_eq!(app.get("/").await.origin(), "a");
}

#[tokio::test]
async fn a_kubeconfig_that_leads_elsewhere_is_followed_when_the_api_is_away() {
    let (first, second) = (Cluster::start().await, Cluster::start().await);
    let origins = Origin::siblings(&["127.0.0.2", "127.0.0.3"]).await;
    second.put(pod_at(&origins[1], "b", "v2"));
    // The versions of one say nothing in the other.
    for _ in 0..20 {
        first.put(pod_at(&origins[0], "a", "v2"));
    }
    let app = App::start_in(&first, &yaml(BY_LABELS, "")).await;
    assert_eq!(answering(&app).await, ["127.0.0.2"]);
    let path = first.kubeconfig_file();
    first.stop().await;
    std::fs::write(path, second.kubeconfig()).unwrap();
    eventually("the other is asked", async || answering(&app).await == ["127.0.0.3"]).await;
}

#[tokio::test]
async fn what_two_pools_ask_for_is_watched_once_and_only_while_it_is_asked_for() {
    let cluster = Cluster::start().await;
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let both = pod("shop", "x").label("app", "shop").address("127.0.0.1").ready(true);
    cluster.put(both.port("http", a.address.port()).port("admin", b.address.port()));
    let pool = |name: &str, port: &str| {
        let kubernetes = format!("{{ namespace: shop, selector: app=shop, port: {port} }}");
        format!("  - {{ name: {name}, kubernetes: {kubernetes} }}\n")
    };
    let yaml = |pools: &str| {
        format!(
            "listeners: [{{ name: web, address: '127.0.0.1:0' }}]\n\
             admin: {{ address: '127.0.0.1:0' }}\n\
             pools:\n{pools}  - {{ name: none, endpoints: [] }}\n\
             routes: [{{ name: all, split: [{{ to: {{ shop: 1, other: 1 }} }}] }}]\n"
        )
    };
    let pools = [pool("shop", "http"), pool("other", "admin")].concat();
    let app = App::start_in(&cluster, &yaml(&pools)).await;
    eventually("both are asked", async || answering(&app).await == ["a", "b"]).await;
    eventually("it is watched", async || cluster.open_watches("pods") == 1).await;
    assert_eq!(cluster.requests("pods", "list"), 1);
    let listed = "  - { name: shop, endpoints: [] }\n  - { name: other, endpoints: [] }\n";
    app.reload(&yaml(listed)).await;
    eventually("it is watched no more", async || cluster.open_watches("pods") == 0).await;
    assert_eq!(answering(&app).await, [""]);
}

#[tokio::test]
async fn a_thousand_pods_come_and_go_and_no_request_notices() {
    let cluster = Cluster::start().await;
    // One origin at all addresses of the machine.
    let socket = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let origin = Origin::listen(socket, async |mut connection| {
        while connection.request().await.is_ok() {
            connection.answer("any").await;
        }
    });
    let put = |number: u16| {
        let ip = format!("127.1.{}.{}", number / 250, number % 250 + 1);
        let pod = pod("shop", &format!("p-{number}")).label("app", "shop").label("version", "v3");
        cluster.put(pod.address(&ip).port("http", origin.address.port()).ready(true));
    };
    put(1_000);
    let app = App::start_in(&cluster, &yaml(BY_LABELS, ", balance: random")).await;
    let load = Load::start(app.address, 4);
    let goes_on = async || {
        let sent = load.sent();
        eventually("the load goes on", async || load.sent() > sent + 200).await;
    };
    goes_on().await;
    (0..1_000).for_each(put);
    usable(&app, 1_001).await;
    goes_on().await;
    for number in 0..1_000 {
        cluster.edit("pods", "shop", &format!("p-{number}"), |pod| {
            pod["metadata"]["deletionTimestamp"] = "2026-11-27T12:00:00Z".into();
        });
    }
    eventually("all of them drain", async || endpoints(&app, "draining").await == 1_000).await;
    goes_on().await;
    for number in 0..1_000 {
        cluster.delete("pods", "shop", &format!("p-{number}"));
    }
    eventually("all of them are gone", async || endpoints(&app, "draining").await == 0).await;
    assert_eq!(endpoints(&app, "usable").await, 1);
    assert_eq!(load.failures().await, Vec::<String>::new());
    // More than the one that stays were asked, each on connections of its own.
    assert!(origin.connections() > 50, "{}", origin.connections());
}

#[tokio::test]
async fn a_rolling_upgrade_of_both_versions_loses_no_request() {
    let cluster = Cluster::start().await;
    let mut pods = Vec::new();
    for (version, number) in [("v1", 0), ("v1", 1), ("v1", 2), ("v2", 0), ("v2", 1), ("v2", 2)] {
        let (origin, name) = (Origin::named(version).await, format!("{version}-{number}"));
        cluster.put(pod_at(&origin, &name, version));
        pods.push((origin, name, version));
    }
    let pool = |name: &str, version: &str| {
        let labels = format!("selector: version={version}");
        format!("  - {{ name: {name}, kubernetes: {{ namespace: shop, {labels}, port: http }} }}\n")
    };
    let yaml = format!(
        "listeners: [{{ name: web, address: '127.0.0.1:0' }}]\n\
         admin: {{ address: '127.0.0.1:0' }}\n\
         drain: {{ delay: 0s, timeout: 10s }}\n\
         pools:\n{}{}\
         routes: [{{ name: all, split: [{{ to: {{ stable: 1, shop: 1 }} }}] }}]\n",
        pool("stable", "v1"),
        pool("shop", "v2")
    );
    let app = App::start_in(&cluster, &yaml).await;
    let load = Load::start(app.address, 4);
    let count = async |state| app.metric("serin_endpoints", &[("state", state)]).await;
    let mut kept = Vec::new();
    for (origin, name, version) in pods {
        // One more, and when it is in use, one less: what is told to end ends when nobody asks it.
        let new = Origin::named(version).await;
        cluster.put(pod_at(&new, &format!("{name}-new"), version));
        eventually("the new one is in use", async || count("usable").await > 6.5).await;
        cluster.edit("pods", "shop", &name, |pod| {
            pod["metadata"]["deletionTimestamp"] = "2026-11-27T12:00:00Z".into();
        });
        eventually("the old one is not", async || count("draining").await > 0.5).await;
        let asked = origin.requests();
        drop(origin);
        cluster.delete("pods", "shop", &name);
        eventually("it is forgotten", async || count("draining").await < 0.5).await;
        assert!(asked > 0, "{name}");
        kept.push(new);
    }
    assert!(load.sent() > 500, "{}", load.sent());
    assert_eq!(load.failures().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_port_that_is_renamed_loses_no_endpoint_while_service_and_slices_differ() {
    let cluster = Cluster::start().await;
    let origin = Origin::named("a").await;
    let slice = |port: &str| {
        let slice = endpoint_slice("shop", "shop-x", "shop").endpoint("127.0.0.1", true);
        slice.port(port, origin.address.port())
    };
    cluster.put(slice("web"));
    cluster.put(service("shop", "shop").port("web", 80, 8080));
    let app = App::start_in(&cluster, &yaml("service: shop, port: 80", "")).await;
    assert_eq!(app.get("/").await.origin(), "a");
    cluster.put(service("shop", "shop").port("http", 80, 8080));
    let missed = [("pool", "shop"), ("result", "failure")];
    app.metric_is("serin_discovery_updates_total", &missed, 1.0).await;
    assert_eq!(app.get("/").await.origin(), "a");
    cluster.put(slice("http"));
    let found = [("pool", "shop"), ("result", "unchanged")];
    app.metric_is("serin_discovery_updates_total", &found, 1.0).await;
    assert_eq!(app.get("/").await.origin(), "a");
}

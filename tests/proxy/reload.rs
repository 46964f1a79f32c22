//! Changes of the configuration under load: at once, all or nothing, and unnoticed by requests.

use crate::support::{App, Connection, Load, Origin, all_to, config, eventually, within};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

fn weights(stable: SocketAddr, canary: SocketAddr, weights: (u32, u32)) -> String {
    let (a, b) = weights;
    let routes =
        format!("  - {{ name: shop, split: [{{ to: {{ stable: {a}, canary: {b} }} }}] }}\n");
    config(&[("stable", &[stable]), ("canary", &[canary])], &routes)
}

#[tokio::test]
async fn a_changed_weight_is_live_within_a_second_and_fails_no_request() {
    let (stable, canary) = (Origin::named("stable").await, Origin::named("canary").await);
    let app = App::start(&weights(stable.address, canary.address, (100, 0))).await;
    let load = Load::start(app.address, 8);
    eventually("the load runs", async || load.sent() > 100).await;
    assert_eq!(canary.requests(), 0);
    let written = Instant::now();
    app.write(&weights(stable.address, canary.address, (0, 100)));
    eventually("the canary gets requests", async || canary.requests() > 0).await;
    let elapsed = written.elapsed();
    // 300 ms on a quiet machine.
    assert!(elapsed < Duration::from_secs(1), "{elapsed:?}");
    app.metric_is("serin_config_generation", &[], 2.0).await;
    let sent = load.sent();
    eventually("the load goes on", async || load.sent() > sent + 100).await;
    assert_eq!(load.failures().await, Vec::<String>::new());
    let before = stable.requests();
    assert_eq!(app.get("/").await.origin(), "canary");
    assert_eq!(stable.requests(), before);
    let weight = [("route", "shop"), ("pool", "canary")];
    app.metric_is("serin_split_weight", &weight, 100.0).await;
}

#[tokio::test]
async fn a_wrong_configuration_changes_nothing() {
    let origin = Origin::named("a").await;
    let good = all_to(&[origin.address], "");
    let app = App::start(&good).await;
    let rejected = [("result", "rejected")];
    for (wrong, number) in [
        (good.replace("to: only", "to: nobody"), 1.0),
        (good.replace("routes:", "rutes:"), 2.0),
        ("{".to_owned(), 3.0),
        (String::new(), 4.0),
    ] {
        app.write(&wrong);
        app.metric_is("serin_config_reloads_total", &rejected, number).await;
        assert_eq!(app.get("/").await.status, 200);
        app.metric_is("serin_config_generation", &[], 1.0).await;
        assert_eq!(app.admin("/readyz").await.status, 200);
    }
    app.reload(&good.replace("name: all", "name: renamed")).await;
    app.get("/").await;
    app.metric_is("serin_requests_total", &[("route", "renamed")], 1.0).await;
}

#[tokio::test]
async fn a_configuration_that_was_refused_is_refused_again_when_asked_again() {
    let origin = Origin::named("a").await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let rejected = [("result", "rejected")];
    app.write("{");
    app.metric_is("serin_config_reloads_total", &rejected, 1.0).await;
    assert!(!app.bound.reload().await.unwrap_err().is_empty());
    app.metric_is("serin_config_reloads_total", &rejected, 2.0).await;
}

/// Puts a version of the documents into a folder as the kubelet does with a ConfigMap.
fn mount(folder: &Path, version: &str, yaml: &str) {
    let data = folder.join(format!("..{version}"));
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("serin.yaml"), yaml).unwrap();
    symlink(format!("..{version}"), folder.join("..data_tmp")).unwrap();
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
}

#[tokio::test]
async fn a_mounted_configmap_is_read_again_when_its_link_is_swapped() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    mount(&path, "2026_1", &all_to(&[a.address], ""));
    symlink("..data/serin.yaml", path.join("serin.yaml")).unwrap();
    let app = App::start_at(folder, path.clone(), path.join("unused")).await;
    assert_eq!(app.get("/").await.origin(), "a");
    for (version, origin) in [("2026_2", &b), ("2026_3", &a), ("2026_4", &b)] {
        mount(&path, version, &all_to(&[origin.address], ""));
        let name = if origin.address == a.address { "a" } else { "b" };
        eventually(version, async || app.get("/").await.origin() == name).await;
    }
}

#[tokio::test]
async fn changed_endpoints_are_used_at_once_and_those_that_stay_keep_their_connections() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let app = App::start(&all_to(&[a.address], "")).await;
    let mut client = app.connect().await;
    assert_eq!(client.get("/", "").await.origin(), "a");
    app.reload(&all_to(&[a.address, b.address], "")).await;
    let reached = async || client.get("/", "").await.origin() == "b";
    eventually("the new endpoint gets requests", reached).await;
    app.reload(&all_to(&[b.address], "")).await;
    for _ in 0..20 {
        assert_eq!(client.get("/", "").await.origin(), "b");
    }
    assert_eq!((a.connections(), b.connections()), (1, 1));
    // Connections to an endpoint that is gone are not kept.
    app.metric_is("serin_upstream_connections", &[], 1.0).await;
    app.reload(&all_to(&[], "")).await;
    assert_eq!(client.get("/", "").await.status, 503);
    app.metric_is("serin_upstream_connections", &[], 0.0).await;
}

#[tokio::test]
async fn connections_to_endpoints_that_a_change_removes_close_unasked() {
    /// Far less than the time between two looks at idle connections.
    const PROMPT: Duration = Duration::from_secs(3);
    let (closed, mut closings) = mpsc::unbounded_channel();
    let origin = Origin::start(move |mut connection: Connection| {
        let closed = closed.clone();
        async move {
            while let Ok((_, _)) = connection.request().await {
                connection.answer("a").await;
            }
            let _ = closed.send(());
        }
    })
    .await;
    let address = origin.address;
    let here = all_to(&[address], "");
    let elsewhere = here.replace(&address.to_string(), "127.0.0.3:80");
    let renamed = elsewhere.replace("only", "other");
    let app = App::start(&here).await;
    // Once the endpoint goes, once the whole pool.
    for without in [elsewhere, renamed] {
        assert_eq!(app.get("/").await.origin(), "a");
        app.reload(&without).await;
        let since = Instant::now();
        within(closings.recv()).await.unwrap();
        assert!(since.elapsed() < PROMPT, "{:?}", since.elapsed());
        app.reload(&here).await;
    }
}

#[tokio::test]
async fn fifty_reloads_under_load_fail_no_request_and_cost_no_connection() {
    let (stable, canary) = (Origin::named("stable").await, Origin::named("canary").await);
    let yaml = |number: u32| weights(stable.address, canary.address, (100, number));
    let app = App::start(&yaml(0)).await;
    let load = Load::start(app.address, 8);
    eventually("the load runs", async || load.sent() > 100).await;
    for number in 1..=50 {
        app.write(&yaml(number));
        app.bound.reload().await.unwrap();
    }
    let sent = load.sent();
    eventually("the load goes on", async || load.sent() > sent + 100).await;
    assert_eq!(load.failures().await, Vec::<String>::new());
    app.metric_is("serin_split_weight", &[("pool", "canary")], 50.0).await;
    // At most one connection per client, on whichever worker it is.
    assert!(stable.connections() <= 8, "{}", stable.connections());
    assert!(canary.connections() <= 8, "{}", canary.connections());
}

#[tokio::test]
async fn a_request_finishes_on_the_configuration_that_it_began_with() {
    let (going, mut go) = tokio::sync::mpsc::channel::<()>(1);
    let go = std::sync::Arc::new(tokio::sync::Mutex::new(async move || go.recv().await));
    let origin = Origin::start(move |mut connection| {
        let go = std::sync::Arc::clone(&go);
        async move {
            connection.request().await.unwrap();
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst").await;
            (go.lock().await)().await;
            connection.send("-last").await;
        }
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = app.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    let head = client.head().await.unwrap();
    assert_eq!(client.take(5).await.unwrap(), b"first");
    app.reload(&config(&[], "  []")).await;
    assert_eq!(app.get("/").await.status, 404);
    going.send(()).await.unwrap();
    assert_eq!(head.get("content-length"), Some("10"));
    assert_eq!(client.take(5).await.unwrap(), b"-last");
    assert_eq!(client.get("/", "").await.status, 404);
    app.metric_is("serin_requests_in_flight", &[], 0.0).await;
}

//! What is counted: each exchange once, whatever became of it.

use crate::support::{App, Origin, all_to, config, nobody};
use http::Request;
use serin::base::incoming::Incoming;
use serin::config::reload::empty_cell;
use serin::proxy::Proxy;
use serin::proxy::downstream::{Downstream, Forwarding};
use serin::telemetry::metrics::Metrics;
use serin::telemetry::shard::WorkerIndex;
use serin::upstream::changes::Changes;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;

#[tokio::test]
async fn every_exchange_is_counted_once_whatever_became_of_it() {
    let good = Origin::named("good").await;
    let bad = Origin::saying("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n", false).await;
    let torn = Origin::saying("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", true).await;
    let garbage = Origin::saying("garbage\r\n\r\n", true).await;
    let dead = nobody();
    let pools = [
        ("good", &[good.address][..]),
        ("bad", &[bad.address]),
        ("torn", &[torn.address]),
        ("garbage", &[garbage.address]),
        ("dead", &[dead]),
        ("empty", &[]),
    ];
    let mut routes = String::new();
    for (pool, _) in pools {
        use std::fmt::Write as _;
        let when = format!("matches: [{{ path: {{ prefix: /{pool} }} }}]");
        let _ = writeln!(routes, "  - {{ name: {pool}, {when}, split: [{{ to: {pool} }}] }}");
    }
    let app = App::start(&config(&pools, &routes)).await;
    let expected = [
        ("good", "200", "good"),
        ("bad", "500", "bad"),
        ("torn", "200", "torn"),
        ("garbage", "502", "garbage"),
        ("dead", "503", "dead"),
        ("empty", "503", ""),
        ("none", "404", ""),
    ];
    for _ in 0..5 {
        for (path, ..) in expected {
            let mut client = app.connect().await;
            client.send(format!("GET /{path} HTTP/1.1\r\nhost: a.test\r\n\r\n")).await;
            let response = client.response().await;
            assert_eq!(response.is_ok(), path != "torn", "{path}");
        }
    }
    app.metric_is("serin_requests_total", &[], 35.0).await;
    app.metric_is("serin_request_duration_seconds_count", &[], 35.0).await;
    app.metric_is("serin_requests_in_flight", &[], 0.0).await;
    for (path, code, pool) in expected {
        let route = if path == "none" { "" } else { path };
        let labels = [("route", route), ("code", code), ("pool", pool)];
        app.metric_is("serin_requests_total", &labels, 5.0).await;
        let decided = if pool.is_empty() { 0.0 } else { 5.0 };
        app.metric_is("serin_decisions_total", &[("route", route)], decided).await;
    }
    attempts_and_causes_are_counted(&app).await;
    app.metric_is("serin_downstream_connections", &[], 0.0).await;
    app.metric_is("serin_panics_total", &[], 0.0).await;
}

async fn attempts_and_causes_are_counted(app: &App) {
    for (pool, outcome, count) in [
        ("good", "success", 5.0),
        ("bad", "server_error", 5.0),
        ("torn", "success", 5.0),
        ("garbage", "invalid_response", 5.0),
        ("dead", "connect_failure", 5.0),
        ("dead", "retry_connect_failure", 5.0),
    ] {
        let labels = [("pool", pool), ("outcome", outcome)];
        app.metric_is("serin_attempts_total", &labels, count).await;
    }
    app.metric_is("serin_attempts_total", &[], 30.0).await;
    for (cause, count) in [
        ("response_broken", 5.0),
        ("invalid_response", 5.0),
        ("connect_failed", 5.0),
        ("no_endpoint", 5.0),
        ("no_route", 5.0),
    ] {
        app.metric_is("serin_errors_total", &[("cause", cause)], count).await;
    }
    app.metric_is("serin_errors_total", &[], 25.0).await;
}

#[tokio::test]
async fn a_connection_is_counted_as_idle_only_while_it_is_open() {
    let origin = Origin::saying("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false).await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = app.connect().await;
    client.get("/", "").await;
    app.metric_is("serin_upstream_connections", &[("state", "idle")], 1.0).await;
    app.metric_is("serin_upstream_connections", &[("state", "active")], 0.0).await;

    let close = Arc::new(Notify::new());
    let told = Arc::clone(&close);
    let origin = Origin::start(move |mut connection| {
        let close = Arc::clone(&told);
        async move {
            if connection.request().await.is_ok() {
                connection.answer("closing").await;
                close.notified().await;
            }
        }
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    assert_eq!(app.get("/").await.status, 200);
    app.metric_is("serin_upstream_connections", &[("state", "idle")], 1.0).await;
    close.notify_one();
    app.metric_is("serin_upstream_connections", &[("state", "idle")], 0.0).await;
    app.metric_is("serin_upstream_connections", &[("state", "active")], 0.0).await;
}

#[test]
fn the_future_of_a_request_stays_small() {
    /// What each request in flight costs at least.
    const BYTES_MAX: usize = 4 * 1024;
    fn size<S: tower::Service<Request<Incoming>>>(_: &S) -> usize {
        size_of::<S::Future>()
    }
    let metrics = Arc::new(Metrics::new(1));
    let cell = empty_cell(&metrics);
    let proxy = Rc::new(Proxy::new(WorkerIndex(0), metrics, cell, Changes::default()));
    let peer = ([127, 0, 0, 1], 1).into();
    let service = proxy.service(Downstream::new(peer, Arc::new(Forwarding::default())));
    assert!(size(&service) <= BYTES_MAX, "{} bytes", size(&service));
}

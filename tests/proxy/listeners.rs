//! Listeners that come and go with the configuration.

use crate::support::{App, Client, Origin, config_with, eventually, nobody, within};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::Notify;

fn listening(listeners: &[(&str, SocketAddr)], timeout: &str, origin: SocketAddr) -> String {
    let listeners: Vec<_> = listeners
        .iter()
        .map(|(name, address)| format!("{{ name: {name}, address: '{address}' }}"))
        .collect();
    config_with(
        &format!("[{}]", listeners.join(", ")),
        &format!("{{ delay: 0s, timeout: {timeout} }}"),
        &[("only", &[origin])],
        "  - { name: all, split: [{ to: only }] }\n",
    )
}

fn web() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// An origin that tells of each request and answers when it may.
async fn slow() -> (Origin, Arc<Notify>, Arc<Notify>) {
    let (came, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let told = (Arc::clone(&came), Arc::clone(&go));
    let origin = Origin::start(move |mut connection| {
        let (came, go) = (Arc::clone(&told.0), Arc::clone(&told.1));
        async move {
            while let Ok((_, _)) = connection.request().await {
                came.notify_one();
                go.notified().await;
                connection.answer("slow").await;
            }
        }
    })
    .await;
    (origin, came, go)
}

#[tokio::test]
async fn a_listener_is_added_and_one_that_is_removed_finishes_its_requests() {
    let (origin, came, go) = slow().await;
    let second = nobody();
    let app = App::start(&listening(&[("web", web())], "10s", origin.address)).await;
    app.reload(&listening(&[("web", web()), ("second", second)], "10s", origin.address)).await;
    let mut idle = Client::connect(second).await;
    let mut busy = Client::connect(second).await;
    let accepted = [("listener", "second")];
    app.metric_is("serin_downstream_connections", &accepted, 2.0).await;
    go.notify_one();
    assert_eq!(idle.get("/", "").await.text(), "slow");
    within(came.notified()).await;
    busy.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    within(came.notified()).await;

    app.reload(&listening(&[("web", web())], "10s", origin.address)).await;
    eventually("nobody listens there", async || TcpStream::connect(second).await.is_err()).await;
    idle.closed().await;
    go.notify_one();
    let response = busy.response().await.unwrap();
    assert_eq!(response.text(), "slow");
    assert_eq!(response.head.get("connection"), Some("close"));
    busy.closed().await;
    go.notify_one();
    assert_eq!(app.get("/").await.text(), "slow");
}

#[tokio::test]
async fn a_removed_listener_is_cut_off_when_its_time_is_up() {
    let (origin, came, _go) = slow().await;
    let second = nobody();
    let both = [("web", web()), ("second", second)];
    let app = App::start(&listening(&both, "100ms", origin.address)).await;
    let mut busy = Client::connect(second).await;
    busy.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    within(came.notified()).await;
    app.reload(&listening(&[("web", web())], "100ms", origin.address)).await;
    busy.closed().await;
    app.metric_is("serin_requests_in_flight", &[], 0.0).await;
}

#[tokio::test]
async fn a_listener_that_is_removed_can_be_put_back_at_once() {
    let origin = Origin::named("a").await;
    let second = nobody();
    let (with, without) = (
        listening(&[("web", web()), ("second", second)], "10s", origin.address),
        listening(&[("web", web())], "10s", origin.address),
    );
    let app = App::start(&with).await;
    for _ in 0..20 {
        app.write(&without);
        let _ = app.bound.reload().await;
        app.write(&with);
        let _ = app.bound.reload().await;
        let mut client = Client::connect(second).await;
        assert_eq!(client.get("/", "").await.origin(), "a");
    }
}

#[tokio::test]
async fn an_address_that_is_taken_changes_nothing_and_is_tried_again() {
    let origin = Origin::named("a").await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let second = taken.local_addr().unwrap();
    let app = App::start(&listening(&[("web", web())], "10s", origin.address)).await;
    let both = listening(&[("web", web()), ("second", second)], "10s", origin.address);
    app.write(&both.replace("name: all", "name: renamed"));
    app.metric_is("serin_config_reloads_total", &[("result", "rejected")], 1.0).await;
    assert_eq!(app.get("/").await.status, 200);
    app.metric_is("serin_requests_total", &[("route", "all")], 1.0).await;
    app.metric_is("serin_config_generation", &[], 1.0).await;

    drop(taken);
    app.bound.reload().await.unwrap();
    assert_eq!(Client::connect(second).await.get("/", "").await.status, 200);
    app.metric_is("serin_requests_total", &[("route", "renamed")], 1.0).await;
}

#[tokio::test]
async fn a_listener_keeps_its_port_and_its_connections_when_only_its_settings_change() {
    let origin = Origin::named("a").await;
    let yaml = listening(&[("web", web())], "10s", origin.address);
    let app = App::start(&yaml).await;
    let mut client = app.connect().await;
    assert_eq!(client.get("/", "").await.status, 200);
    app.reload(&yaml.replace("'127.0.0.1:0' }]", "'127.0.0.1:0', via: edge }]")).await;
    // A connection keeps the settings that it was accepted with.
    client.get("/", "").await;
    assert_eq!(origin.last().get("via"), None);
    app.get("/").await;
    assert_eq!(origin.last().get("via"), Some("1.1 edge"));
    app.metric_is("serin_downstream_connections_total", &[("listener", "web")], 2.0).await;
}

#[tokio::test]
async fn a_listener_that_moves_is_still_one_in_the_metrics() {
    let (origin, came, go) = slow().await;
    let (here, there) = (nobody(), nobody());
    let app = App::start(&listening(&[("web", here)], "10s", origin.address)).await;
    let mut busy = Client::connect(here).await;
    busy.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    within(came.notified()).await;
    app.reload(&listening(&[("web", there)], "10s", origin.address)).await;
    let text = app.admin("/metrics").await.text();
    let samples = text.lines().filter(|line| line.starts_with("serin_downstream_connections{"));
    assert_eq!(samples.collect::<Vec<_>>(), [r#"serin_downstream_connections{listener="web"} 1"#]);
    go.notify_one();
    assert_eq!(busy.response().await.unwrap().text(), "slow");
}

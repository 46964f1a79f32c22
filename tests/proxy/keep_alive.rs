//! How long connections to endpoints are kept and used again.

use crate::support::{
    App, Client, H2Client, H2Origin, Load, Origin, eventually, pool_of, pool_with, within,
};
use h2::server::Builder;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Both versions of HTTP: what a pool says of it.
const VERSIONS: [&str; 2] = ["protocol: http1", "protocol: h2"];

/// An origin in either version.
enum Either {
    Http1(Origin),
    Http2(H2Origin),
}

impl Either {
    async fn new(protocol: &str) -> Self {
        if protocol.ends_with('2') {
            Self::Http2(H2Origin::named("one").await)
        } else {
            Self::Http1(Origin::named("one").await)
        }
    }

    fn config(&self, settings: &str) -> String {
        match self {
            Self::Http1(origin) => pool_with(origin.address, settings, ""),
            Self::Http2(origin) => {
                pool_with(origin.address, &format!("protocol: h2, {settings}"), "")
            }
        }
    }

    async fn app(&self, settings: &str) -> (App, Client) {
        let app = App::start(&self.config(settings)).await;
        let client = app.connect().await;
        (app, client)
    }

    fn connections(&self) -> usize {
        match self {
            Self::Http1(origin) => origin.connections(),
            Self::Http2(origin) => origin.accepted(),
        }
    }
}

async fn ask(client: &mut Client) {
    assert_eq!(client.get("/", "").await.status, 200);
}

async fn idle(app: &App, number: f64) {
    app.metric_is("serin_upstream_connections", &[("state", "idle")], number).await;
    app.metric_is("serin_upstream_connections", &[("state", "active")], 0.0).await;
}

#[tokio::test]
async fn a_connection_is_not_used_after_it_was_idle_for_too_long() {
    const IDLE: Duration = Duration::from_millis(50);
    for version in VERSIONS {
        let origin = Either::new(version).await;
        let (app, mut client) = origin.app("keepAlive: { idle: 50ms }").await;
        for connections in 1..=3 {
            ask(&mut client).await;
            assert_eq!(origin.connections(), connections, "{version}");
            tokio::time::sleep(IDLE).await;
        }
        // Without another request it is closed by who looks through them.
        idle(&app, 0.0).await;
    }
}

#[tokio::test]
async fn with_no_time_to_be_idle_none_is_kept() {
    for version in VERSIONS {
        let origin = Either::new(version).await;
        let (app, mut client) = origin.app("keepAlive: { idle: 0s }").await;
        for connections in 1..=5 {
            ask(&mut client).await;
            idle(&app, 0.0).await;
            assert_eq!(origin.connections(), connections, "{version}");
        }
        let load = Load::start(app.address, 8);
        eventually("there was some load", async || load.sent() > 300).await;
        assert_eq!(load.failures().await, Vec::<String>::new());
        idle(&app, 0.0).await;
    }
}

#[tokio::test]
async fn a_connection_takes_as_many_requests_as_it_may() {
    for version in VERSIONS {
        let origin = Either::new(version).await;
        let (app, mut client) = origin.app("keepAlive: { requests: 3 }").await;
        for requests in 1..=10_usize {
            ask(&mut client).await;
            assert_eq!(origin.connections(), requests.div_ceil(3), "{version}");
        }
        idle(&app, 1.0).await;
        app.reload(&origin.config("keepAlive: { requests: 2 }")).await;
        for _ in 0..4 {
            ask(&mut client).await;
        }
        // One more over the one that was there, and two over each new one.
        assert_eq!(origin.connections(), 6, "{version}");
    }
}

#[tokio::test]
async fn a_connection_for_each_request_loses_none() {
    for version in VERSIONS {
        let origin = Either::new(version).await;
        let (app, _client) = origin.app("keepAlive: { requests: 1 }").await;
        let load = Load::start(app.address, 8);
        eventually("there was much load", async || load.sent() > 500).await;
        assert_eq!(load.failures().await, Vec::<String>::new());
        idle(&app, 0.0).await;
        let attempts = app.metric("serin_attempts_total", &[("outcome", "success")]).await;
        let connections = f64::from(u32::try_from(origin.connections()).unwrap());
        assert!(connections >= attempts, "{version}: {connections} for {attempts}");
        // Each worker may have opened one that nobody needed any more.
        assert!(connections < attempts * 1.1, "{version}: {connections} for {attempts}");
    }
}

#[tokio::test]
async fn old_connections_take_no_more_requests() {
    for version in VERSIONS {
        let origin = Either::new(version).await;
        let (app, mut client) = origin.app("keepAlive: { age: 100ms }").await;
        let mut requests = 0;
        while origin.connections() < 4 {
            ask(&mut client).await;
            requests += 1;
        }
        assert!(requests > 4, "{version}: {requests}");
        let load = Load::start(app.address, 8);
        let before = origin.connections();
        eventually("all were replaced", async || origin.connections() > before + 20).await;
        assert_eq!(load.failures().await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn an_old_http_2_connection_ends_after_its_last_stream() {
    let go = Arc::new(Notify::new());
    let wait = Arc::clone(&go);
    let origin = H2Origin::requests(Builder::new(), move |answering| {
        let wait = Arc::clone(&wait);
        async move {
            if answering.head.uri.path() == "/slow" {
                wait.notified().await;
            }
            answering.say("two").await;
        }
    })
    .await;
    let settings = "protocol: h2, keepAlive: { requests: 2 }";
    let app = App::start(&pool_with(origin.address, settings, "")).await;
    let client = H2Client::connect(app.address).await;
    let slow = client.clone();
    let slow = tokio::spawn(async move { slow.get("/slow").await.unwrap().body });
    app.metric_is("serin_upstream_connections", &[("state", "active")], 1.0).await;
    for _ in 0..4 {
        assert_eq!(client.get("/").await.unwrap().body, b"two");
    }
    assert_eq!(origin.accepted(), 3);
    app.metric_is("serin_upstream_connections", &[("state", "active")], 1.0).await;
    go.notify_one();
    assert_eq!(within(slow).await.unwrap(), b"two");
    app.metric_is("serin_upstream_connections", &[("state", "active")], 0.0).await;
    app.metric_is("serin_upstream_connections", &[("state", "idle")], 1.0).await;
}

#[tokio::test]
async fn a_reload_closes_no_connection_that_may_still_be_used() {
    for version in VERSIONS {
        let origin = Either::new(version).await;
        let (app, mut client) = origin.app("keepAlive: { idle: 50s }").await;
        ask(&mut client).await;
        for settings in [
            "keepAlive: { idle: 40s, age: 1h, requests: 100 }",
            "keepAlive: { idle: 40s }, limits: { connections: 5 }",
            "limits: { connections: 1, requests: 1, pending: 3 }",
            "keepAlive: { idle: 55s }",
        ] {
            app.reload(&origin.config(settings)).await;
            ask(&mut client).await;
            assert_eq!(origin.connections(), 1, "{version}, {settings}");
        }
        app.reload(&origin.config("keepAlive: { requests: 1 }")).await;
        ask(&mut client).await;
        assert_eq!(origin.connections(), 2, "{version}");
    }
}

#[tokio::test]
async fn idle_connections_to_a_removed_endpoint_are_closed_and_come_back_with_it() {
    let closed = Arc::new(Notify::new());
    let closing = Arc::clone(&closed);
    let going = Origin::start(move |mut connection| {
        let closing = Arc::clone(&closing);
        async move {
            while let Ok((_, _)) = connection.request().await {
                connection.answer("going").await;
            }
            closing.notify_one();
        }
    })
    .await;
    let staying = Origin::named("staying").await;
    let both = pool_of(&[going.address, staying.address], "balance: roundRobin", "");
    let app = App::start(&both).await;
    let mut client = app.connect().await;
    for _ in 0..4 {
        ask(&mut client).await;
    }
    assert_eq!((going.connections(), staying.connections()), (1, 1));
    app.reload(&pool_of(&[staying.address], "balance: roundRobin", "")).await;
    ask(&mut client).await;
    within(closed.notified()).await;
    app.reload(&both).await;
    for _ in 0..4 {
        ask(&mut client).await;
    }
    assert_eq!((going.connections(), staying.connections()), (2, 1));
    idle(&app, 2.0).await;
}

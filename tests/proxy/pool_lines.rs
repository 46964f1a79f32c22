//! Requests that wait in the line of a pool whose endpoints go away.

use crate::pool_limits::{Gate, asking, pending, statuses};
use crate::support::{App, H2Client, H2Origin, Origin, config, nobody};
use std::net::SocketAddr;

fn falling_back(only: &[SocketAddr], second: &[SocketAddr], more: &str) -> String {
    let route = "  - { name: all, split: [{ to: only }], fallback: second }";
    // In this order they change.
    config(&[("second", second), ("only", only)], route)
        .replace("] }\n  - { name: only", &format!("]{more} }}\n  - {{ name: only"))
        .replace("] }\nroutes", "], limits: { requests: 1, pendingTimeout: 1h } }\nroutes")
}

#[tokio::test]
async fn who_waits_goes_to_the_fallback_when_the_last_endpoint_goes_away() {
    let (http1, h2) = (Origin::named("http1").await, H2Origin::named("h2").await);
    for (second, protocol, version) in
        [(http1.address, "", "http1"), (h2.address, ", protocol: h2", "h2")]
    {
        let gate = Gate::new().await;
        let yaml = |only: &[SocketAddr]| falling_back(only, &[second], protocol);
        let app = App::start(&yaml(&[gate.origin.address])).await;
        let held = asking(&H2Client::connect(app.address).await);
        gate.has(1).await;
        let (mut one, mut other) = (app.connect().await, app.connect().await);
        one.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
        other.send("PUT / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 4\r\n\r\nbody").await;
        pending(&app, 2.0).await;
        app.reload(&yaml(&[])).await;
        for client in [&mut one, &mut other] {
            assert_eq!(client.response().await.unwrap().origin(), version);
        }
        pending(&app, 0.0).await;
        gate.let_through(1);
        assert_eq!(statuses(vec![held]).await, [200]);
        for (pool, requests) in [("only", 1.0), ("second", 2.0)] {
            let labels = [("pool", pool), ("code", "200")];
            app.metric_is("serin_requests_total", &labels, requests).await;
        }
        // What was decided stays so.
        app.metric_is("serin_decisions_total", &[("pool", "only")], 3.0).await;
        app.metric_is("serin_decisions_total", &[("pool", "second")], 0.0).await;
    }
}

#[tokio::test]
async fn who_has_nowhere_to_go_waits_for_an_endpoint_of_any_pool() {
    let (gate, second) = (Gate::new().await, Origin::named("second").await);
    let (only, second) = ([gate.origin.address], [second.address]);
    for (only_later, second_later) in [(&only[..], &[][..]), (&[], &second)] {
        let app = App::start(&falling_back(&only, &[], "")).await;
        let client = H2Client::connect(app.address).await;
        let held = asking(&client);
        gate.has(1).await;
        let waiting = asking(&client);
        pending(&app, 1.0).await;
        app.reload(&falling_back(&[], &[], "")).await;
        // The worker has seen it.
        assert_eq!(statuses(vec![asking(&client)]).await, [503]);
        app.reload(&falling_back(only_later, second_later, "")).await;
        // The place in the pool is still taken.
        pending(&app, if second_later.is_empty() { 1.0 } else { 0.0 }).await;
        gate.let_through(if second_later.is_empty() { 2 } else { 1 });
        assert_eq!(statuses(vec![held, waiting]).await, [200; 2]);
    }
}

#[tokio::test]
async fn who_waits_in_the_fallback_goes_back_when_that_has_no_endpoint_left() {
    let (first, second) = (Gate::new().await, Gate::new().await);
    let (at_first, at_second) = ([first.origin.address], [second.origin.address]);
    let limits = ", limits: { requests: 1, pendingTimeout: 1h }";
    let yaml = |only: &[SocketAddr], second: &[SocketAddr]| falling_back(only, second, limits);
    let app = App::start(&yaml(&[], &at_second)).await;
    let client = H2Client::connect(app.address).await;
    let mut requests = vec![asking(&client)];
    second.has(1).await;
    app.reload(&yaml(&at_first, &at_second)).await;
    requests.push(asking(&client));
    first.has(1).await;
    requests.push(asking(&client));
    pending(&app, 1.0).await;
    app.reload(&yaml(&[], &at_second)).await;
    app.metric_is("serin_pool_pending_requests", &[("pool", "second")], 1.0).await;
    app.reload(&yaml(&at_first, &[])).await;
    pending(&app, 1.0).await;
    first.let_through(2);
    second.let_through(1);
    assert_eq!(statuses(requests).await, [200; 3]);
    assert_eq!((first.origin.requests(), second.origin.requests()), (2, 1));
}

#[tokio::test]
async fn a_pool_that_health_speaks_against_is_gone_to_last() {
    let (gate, second) = (Gate::new().await, Origin::named("second").await);
    let route = "  - { name: all, split: [{ to: { only: 1, sick: 1 } }], fallback: second }";
    let sick = "panicThreshold: 100, health: { tcp: {}, interval: 20ms, timeout: 2s }";
    let nobody = nobody();
    let yaml = |only: &[SocketAddr]| {
        config(&[("second", &[second.address]), ("sick", &[nobody]), ("only", only)], route)
            .replace("] }\n  - { name: only", &format!("], {sick} }}\n  - {{ name: only"))
            .replace("] }\nroutes", "], limits: { requests: 1, pendingTimeout: 1h } }\nroutes")
    };
    let app = App::start(&yaml(&[gate.origin.address])).await;
    let unhealthy = [("pool", "sick"), ("state", "unhealthy")];
    app.metric_is("serin_endpoints", &unhealthy, 1.0).await;
    let client = H2Client::connect(app.address).await;
    let held = asking(&client);
    gate.has(1).await;
    let waiting = asking(&client);
    pending(&app, 1.0).await;
    app.reload(&yaml(&[])).await;
    assert_eq!(statuses(vec![waiting]).await, [200]);
    assert_eq!(second.requests(), 1);
    gate.let_through(1);
    assert_eq!(statuses(vec![held]).await, [200]);
}

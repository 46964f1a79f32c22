//! Which endpoint of a pool takes a request: weights, keys, latencies, slow starts.

use crate::support::{App, Client, Origin, eventually};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A configuration whose only pool has these endpoints, as they are written, and settings.
fn pool(endpoints: &[String], settings: &str) -> String {
    format!(
        "listeners: [{{ name: web, address: '127.0.0.1:0' }}]\n\
         admin: {{ address: '127.0.0.1:0' }}\n\
         drain: {{ delay: 0s, timeout: 10s }}\n\
         pools: [{{ name: only, endpoints: [{}], {settings} }}]\n\
         routes: [{{ name: all, split: [{{ to: only }}] }}]\n",
        endpoints.join(", ")
    )
}

fn weighing(address: SocketAddr, weight: u32) -> String {
    format!("{{ address: '{address}', weight: {weight} }}")
}

fn plain(address: SocketAddr) -> String {
    format!("'{address}'")
}

async fn named() -> [Origin; 3] {
    [Origin::named("a").await, Origin::named("b").await, Origin::named("c").await]
}

/// Asks so often over one connection, and so of one worker.
async fn ask(client: &mut Client, requests: usize) {
    for _ in 0..requests {
        client.get("/", "").await;
    }
}

#[tokio::test]
async fn endpoints_get_requests_by_their_weights() {
    const REQUESTS: usize = 600;
    for balance in ["roundRobin", "leastRequest", "random"] {
        let origins = named().await;
        let endpoints: Vec<_> =
            (1..).zip(&origins).map(|(weight, origin)| weighing(origin.address, weight)).collect();
        let app = App::start(&pool(&endpoints, &format!("balance: {balance}"))).await;
        ask(&mut app.connect().await, REQUESTS).await;
        let got = origins.each_ref().map(Origin::requests);
        if balance == "roundRobin" {
            assert_eq!(got, [100, 200, 300]);
        }
        assert_eq!(got.iter().sum::<usize>(), REQUESTS);
        for (got, fair) in got.into_iter().zip([100, 200, 300]) {
            // Five standard deviations: once in two million runs.
            assert!(got.abs_diff(fair) <= 62, "{balance}: {got} instead of {fair}");
        }
    }
}

/// Which origin answers each of the users, each asked over a connection of its own.
async fn origins_of_users(app: &App) -> Vec<String> {
    let mut origins = Vec::new();
    for user in 0..60 {
        let response = app.fetch_with("/", &format!("x-user-id: u-{user}\r\n")).await;
        origins.push(response.origin().to_owned());
    }
    origins
}

#[tokio::test]
async fn a_key_has_its_endpoint_on_every_worker_and_only_a_lost_endpoint_loses_its_keys() {
    let origins = named().await;
    let balance = "balance: { consistentHash: [{ header: x-user-id }] }";
    let [a, b, c] = origins.each_ref().map(|origin| plain(origin.address));
    let app = App::start(&pool(&[a.clone(), b.clone(), c], balance)).await;
    let first = origins_of_users(&app).await;
    assert_eq!(origins_of_users(&app).await, first);
    for name in ["a", "b", "c"] {
        let keys = first.iter().filter(|origin| *origin == name).count();
        assert!(keys > 5, "{keys} for {name}");
    }
    app.reload(&pool(&[b, a], balance)).await;
    for (user, (before, after)) in first.iter().zip(origins_of_users(&app).await).enumerate() {
        assert_ne!(after, "c", "user {user}");
        assert!(*before == after || before == "c", "user {user}: {before} to {after}");
    }
}

#[tokio::test]
async fn an_endpoint_that_fails_fast_attracts_less_than_its_share_by_latency() {
    let broken = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";
    let broken = Origin::saying(broken, false).await;
    let [a, b, _c] = named().await;
    let endpoints = [&broken, &a, &b].map(|origin| plain(origin.address));
    let app = App::start(&pool(&endpoints, "balance: peakEwma")).await;
    ask(&mut app.connect().await, 300).await;
    let got = [&broken, &a, &b].map(Origin::requests);
    assert!(got[0] < 10 && got[1] > 20 && got[2] > 20, "{got:?}");
}

#[tokio::test]
async fn a_new_endpoint_gets_its_full_share_only_after_a_while() {
    const WINDOW: Duration = Duration::from_secs(2);
    const REQUESTS: usize = 100;
    let [a, b, _c] = named().await;
    let settings = format!("balance: roundRobin, slowStart: {}s", WINDOW.as_secs());
    let app = App::start(&pool(&[plain(a.address)], &settings)).await;
    let mut client = app.connect().await;
    // Until the first one is no longer new there is nothing to see, and only time makes it old.
    tokio::time::sleep(WINDOW).await;
    let added = Instant::now();
    app.reload(&pool(&[plain(a.address), plain(b.address)], &settings)).await;
    ask(&mut client, REQUESTS).await;
    let part = added.elapsed().as_secs_f64() / WINDOW.as_secs_f64();
    let most = 0.1 + 0.9 * part.min(1.0);
    let (got, all) = (b.requests(), f64::from(u32::try_from(REQUESTS).unwrap()));
    let bound = all * most / (1.0 + most) + 2.0;
    assert!(got > 0 && f64::from(u32::try_from(got).unwrap()) <= bound, "{got} of {bound}");
    eventually("both get the same", async || {
        let before = a.requests();
        ask(&mut client, 20).await;
        a.requests() - before == 10
    })
    .await;
}

#[tokio::test]
async fn the_api_tells_what_balancing_goes_by() {
    let (go, going) = watch::channel(false);
    let origin = Origin::start(move |mut connection| {
        let mut going = going.clone();
        async move {
            while connection.request().await.is_ok() {
                going.wait_for(|going| *going).await.unwrap();
                connection.answer("a").await;
            }
        }
    })
    .await;
    let settings = "balance: random, panicThreshold: 50";
    let app = App::start(&pool(&[weighing(origin.address, 7)], settings)).await;
    let shown = async || {
        let answer = app.admin("/api/pools").await;
        let answer: serde_json::Value = serde_json::from_slice(&answer.body.bytes).unwrap();
        answer["pools"][0].clone()
    };
    let mut client = app.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    eventually("it waits", async || shown().await["endpoints"][0]["inFlight"] == 1).await;
    let pool = shown().await;
    assert_eq!(pool["balance"], "random");
    assert_eq!(pool["healthIgnored"], false);
    assert_eq!(pool["endpoints"][0]["weight"], 7);
    go.send(true).unwrap();
    assert_eq!(client.response().await.unwrap().status, 200);
    eventually("it is done", async || shown().await["endpoints"][0]["inFlight"] == 0).await;
}

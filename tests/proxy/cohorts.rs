//! Who lands where: cohorts that stick, draws that share out by weight.

use crate::support::{App, Origin, config};
use std::net::SocketAddr;

const USERS: usize = 150;

fn by_user(stable: SocketAddr, canary: SocketAddr, weights: (u32, u32)) -> String {
    let routes = format!(
        "  - name: shop
    cohort: {{ key: [{{ header: x-user-id }}, {{ cookie: uid }}] }}
    split: [{{ to: {{ stable: {}, canary: {} }} }}]
",
        weights.0, weights.1
    );
    config(&[("stable", &[stable]), ("canary", &[canary])], &routes)
}

async fn pools_of_users(app: &App) -> Vec<String> {
    let mut pools = Vec::new();
    for user in 0..USERS {
        // A connection each, so that both workers are asked.
        let response = app.fetch_with("/", &format!("x-user-id: u-{user}\r\n")).await;
        pools.push(response.origin().to_owned());
    }
    pools
}

#[tokio::test]
async fn a_user_stays_in_the_pool_and_a_raised_weight_only_moves_users_into_it() {
    let (stable, canary) = (Origin::named("stable").await, Origin::named("canary").await);
    let app = App::start(&by_user(stable.address, canary.address, (80, 20))).await;
    let first = pools_of_users(&app).await;
    assert_eq!(pools_of_users(&app).await, first);
    let canaries = first.iter().filter(|pool| *pool == "canary").count();
    assert!((10..60).contains(&canaries), "{canaries}");

    app.reload(&by_user(stable.address, canary.address, (80, 80))).await;
    let second = pools_of_users(&app).await;
    for (user, (before, after)) in first.iter().zip(&second).enumerate() {
        assert!(before == after || after == "canary", "user {user}: {before} to {after}");
    }
    assert!(second.iter().filter(|pool| *pool == "canary").count() > canaries);
}

#[tokio::test]
async fn the_same_key_from_a_cookie_lands_in_the_same_pool_as_from_the_header() {
    let (stable, canary) = (Origin::named("stable").await, Origin::named("canary").await);
    let app = App::start(&by_user(stable.address, canary.address, (50, 50))).await;
    let mut client = app.connect().await;
    for user in 0..40 {
        let by_header = client.get("/", &format!("x-user-id: u-{user}\r\n")).await;
        let by_cookie = client.get("/", &format!("cookie: a=b; uid=u-{user}\r\n")).await;
        assert_eq!(by_header.origin(), by_cookie.origin());
    }
}

#[tokio::test]
async fn without_a_key_the_configured_pool_takes_the_request() {
    let (stable, canary) = (Origin::named("stable").await, Origin::named("canary").await);
    let routes = "  - name: shop
    cohort: { key: [{ header: x-user-id }], onMissing: stable }
    split: [{ to: { stable: 1, canary: 99 } }]
";
    let pools = [("stable", &[stable.address][..]), ("canary", &[canary.address])];
    let app = App::start(&config(&pools, routes)).await;
    let mut client = app.connect().await;
    for _ in 0..30 {
        assert_eq!(client.get("/", "").await.origin(), "stable");
    }
    let reason = [("route", "shop"), ("pool", "stable"), ("reason", "missing_key")];
    app.metric_is("serin_decisions_total", &reason, 30.0).await;
}

#[tokio::test]
async fn draws_share_out_by_weight() {
    const REQUESTS: u32 = 2_000;
    let (stable, canary) = (Origin::named("stable").await, Origin::named("canary").await);
    let pools = [("stable", &[stable.address][..]), ("canary", &[canary.address])];
    let routes = "  - { name: shop, split: [{ to: { stable: 70, canary: 30 } }] }\n";
    let app = App::start(&config(&pools, routes)).await;
    let mut clients = [app.connect().await, app.connect().await, app.connect().await];
    for number in 0..REQUESTS as usize {
        assert_eq!(clients[number % 3].get("/", "").await.status, 200);
    }
    // Five standard deviations: once in two million runs.
    let deviation = (f64::from(REQUESTS) * 0.3 * 0.7).sqrt();
    let drawn = f64::from(u32::try_from(canary.requests()).unwrap());
    assert!((drawn - f64::from(REQUESTS) * 0.3).abs() < 5.0 * deviation, "{drawn}");
    let weight = [("route", "shop"), ("arm", "0"), ("pool", "canary"), ("reason", "weight")];
    app.metric_is("serin_decisions_total", &weight, drawn).await;
}

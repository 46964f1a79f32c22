//! Which route and which pool, seen through the socket.

use crate::support::{App, Client, Origin, all_to, config, nobody};

#[tokio::test]
async fn without_a_route_the_answer_is_404_in_plain_text() {
    let app = App::start(&config(&[], "  []")).await;
    let response = app.get("/").await;
    assert_eq!(response.status, 404);
    assert_eq!(response.head.get("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(response.text(), "404 Not Found: no route matches this request\n");
    app.metric_is("serin_requests_total", &[("route", ""), ("code", "404")], 1.0).await;
}

#[tokio::test]
async fn hosts_and_paths_choose_by_the_order_of_the_gateway_api() {
    let [any, exact, wildcard, path, deep, get] = [
        Origin::named("any").await,
        Origin::named("exact").await,
        Origin::named("wildcard").await,
        Origin::named("path").await,
        Origin::named("deep").await,
        Origin::named("get").await,
    ];
    let pools = [
        ("any", &[any.address][..]),
        ("exact", &[exact.address]),
        ("wildcard", &[wildcard.address]),
        ("path", &[path.address]),
        ("deep", &[deep.address]),
        ("get", &[get.address]),
    ];
    let routes = "  - { name: any, split: [{ to: any }] }
  - { name: wildcard, hostnames: ['*.shop.test'], split: [{ to: wildcard }] }
  - { name: exact, hostnames: [www.shop.test], split: [{ to: exact }] }
  - { name: path, matches: [{ path: { prefix: /a } }], split: [{ to: path }] }
  - { name: deep, matches: [{ path: { exact: /a/b } }], split: [{ to: deep }] }
  - { name: get, matches: [{ path: { prefix: /a }, method: POST }], split: [{ to: get }] }
";
    let app = App::start(&config(&pools, routes)).await;
    let mut client = app.connect().await;
    for (method, host, target, origin) in [
        ("GET", "a.test", "/", "any"),
        ("GET", "WWW.Shop.Test:8080", "/", "exact"),
        ("GET", "www.shop.test.", "/a", "exact"),
        ("GET", "x.y.shop.test", "/", "wildcard"),
        ("GET", "shop.test", "/", "any"),
        ("GET", "a.test", "/a/c", "path"),
        ("GET", "a.test", "/ab", "any"),
        ("GET", "a.test", "/a/b?c", "deep"),
        ("POST", "a.test", "/a/b", "deep"),
        ("POST", "a.test", "/a", "get"),
        ("GET", "a.test", "http://www.shop.test/", "exact"),
    ] {
        client.send(format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
        let response = client.response().await.unwrap();
        assert_eq!(response.origin(), origin, "{method} {host} {target}");
    }
}

#[tokio::test]
async fn the_first_arm_that_holds_decides() {
    let (stable, canary) = (Origin::named("stable").await, Origin::named("canary").await);
    let routes = "  - name: shop
    split:
      - { name: testers, when: { cookie: { name: beta, exact: '1' } }, to: canary }
      - name: new-app
        when: { header: { name: x-app-version, version: '>=2.4, <3' } }
        to: { stable: 0, canary: 1 }
      - { to: stable }
";
    let pools = [("stable", &[stable.address][..]), ("canary", &[canary.address])];
    let app = App::start(&config(&pools, routes)).await;
    for (fields, origin) in [
        ("", "stable"),
        ("cookie: a=b; beta=1\r\n", "canary"),
        ("cookie: beta=2\r\n", "stable"),
        ("x-app-version: v2.10\r\n", "canary"),
        ("x-app-version: 3.0.0\r\n", "stable"),
    ] {
        assert_eq!(app.fetch_with("/", fields).await.origin(), origin, "{fields}");
    }
    let decided =
        |arm, pool, reason| [("route", "shop"), ("arm", arm), ("pool", pool), ("reason", reason)];
    app.metric_is("serin_decisions_total", &decided("testers", "canary", "single"), 1.0).await;
    app.metric_is("serin_decisions_total", &decided("new-app", "canary", "weight"), 1.0).await;
    app.metric_is("serin_decisions_total", &decided("2", "stable", "single"), 3.0).await;
}

#[tokio::test]
async fn a_trusted_peer_names_its_pool_and_an_untrusted_one_does_not() {
    let (stable, canary) = (Origin::named("stable").await, Origin::named("canary").await);
    let routes = "  - name: shop
    override: { header: x-serin-pool, trusted: [127.0.0.2/32] }
    split: [{ to: { stable: 1, canary: 0 } }]
";
    let pools = [("stable", &[stable.address][..]), ("canary", &[canary.address])];
    let app = App::start(&config(&pools, routes)).await;

    let mut trusted = Client::connect_from("127.0.0.2", app.address).await;
    let asked = trusted.get("/", "X-Serin-Pool: canary\r\n").await;
    assert_eq!(asked.origin(), "canary");
    assert_eq!(canary.last().get("x-serin-pool"), Some("canary"));
    let refused = [("route", "shop")];
    app.metric_is("serin_overrides_refused_total", &refused, 0.0).await;

    assert_eq!(app.fetch_with("/", "X-Serin-Pool: canary\r\n").await.origin(), "stable");
    assert_eq!(stable.last().get("x-serin-pool"), None);
    assert_eq!(trusted.get("/", "X-Serin-Pool: nothing\r\n").await.origin(), "stable");
    assert_eq!(stable.last().get("x-serin-pool"), None);
    app.metric_is("serin_overrides_refused_total", &refused, 2.0).await;
    let named = [("route", "shop"), ("pool", "canary"), ("reason", "override")];
    app.metric_is("serin_decisions_total", &named, 1.0).await;
}

#[tokio::test]
async fn a_pool_without_endpoints_is_left_out() {
    let (b, c) = (Origin::named("b").await, Origin::named("c").await);
    let pools = [("a", &[][..]), ("b", &[b.address]), ("c", &[c.address])];
    let routes = "  - { name: within, matches: [{ path: { prefix: /within } }], \
         split: [{ to: { a: 99, b: 1 } }], fallback: c }
  - { name: fallback, matches: [{ path: { prefix: /fallback } }], \
         split: [{ to: { a: 99, b: 0 } }], fallback: c }
  - { name: nobody, matches: [{ path: { prefix: /nobody } }], split: [{ to: a }] }
  - { name: no-arm, matches: [{ path: { prefix: /no-arm } }], \
         split: [{ when: { method: POST }, to: b }] }
";
    let app = App::start(&config(&pools, routes)).await;
    for _ in 0..20 {
        assert_eq!(app.get("/within").await.origin(), "b");
    }
    assert_eq!(app.get("/fallback").await.origin(), "c");
    for path in ["/nobody", "/no-arm"] {
        let response = app.get(path).await;
        assert_eq!(response.status, 503);
        assert_eq!(response.text(), "503 Service Unavailable: no endpoint can take this request\n");
    }
    let moved = [("route", "fallback"), ("pool", "c"), ("reason", "fallback")];
    app.metric_is("serin_decisions_total", &moved, 1.0).await;
    app.metric_is("serin_errors_total", &[("cause", "no_endpoint")], 2.0).await;
}

#[tokio::test]
async fn every_retry_goes_to_another_endpoint_so_a_dead_one_is_not_noticed() {
    let alive = Origin::named("alive").await;
    let app = App::start(&all_to(&[nobody(), alive.address], "")).await;
    let mut client = app.connect().await;
    for _ in 0..200 {
        assert_eq!(client.get("/", "").await.status, 200);
    }
    let retried = [("pool", "only"), ("outcome", "retry_success")];
    let failed = [("pool", "only"), ("outcome", "connect_failure")];
    assert!(app.metric("serin_attempts_total", &failed).await > 0.0);
    let failed = app.metric("serin_attempts_total", &failed).await;
    app.metric_is("serin_attempts_total", &retried, failed).await;
}

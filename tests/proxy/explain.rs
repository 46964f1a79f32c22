//! What `explain` says is what is served.

use crate::support::{App, Client, Origin, config};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serin::config::RawFile;
use serin::config::compile::{apply_endpoints, compile};
use serin::proxy::explain::{Question, explain};
use serin::proxy::snapshot::Snapshot;
use serin::telemetry::metrics::Metrics;
use serin::upstream::registry::Registry;
use std::collections::HashMap;
use std::sync::Arc;

const ROUTES: &str = r#"
  - name: shop
    hostnames: [shop.test, "*.shop.test"]
    matches:
      - path: { prefix: /a }
        header: { name: x-app, version: ">=2" }
      - path: { regex: "^/b[0-9]+$" }
      - path: { exact: /c }
        method: [POST, PUT]
        query: { name: q, exact: "1" }
    cohort: { key: [{ header: x-user }, { cookie: uid }, { query: user }], salt: s }
    override: { header: x-pool, trusted: [127.0.0.2/32] }
    split:
      - { name: testers, when: { segment: testers }, to: blue }
      - { name: near, when: { clientIp: { in: [127.0.0.3/32] } }, to: { blue: 1, green: 2, gone: 3 } }
      - { name: gone, when: { cookie: { name: beta, prefix: g, ignoreCase: true } }, to: { gone: 5, green: 0 } }
      - to: { blue: 10, green: 20, gone: 30 }
    fallback: red
  - name: drawn
    matches:
      - all: [{ header: { name: x-app, present: true } }, { not: { hostname: shop.test } }]
    split:
      - when: { any: [{ query: { name: q, range: { from: 1, to: 3 } } }, { header: { name: x-app, suffix: "0" } }] }
        to: { blue: 3, gone: 1, red: 0 }
      - when: { header: { name: x-app, contains: ".", extract: "v?([0-9.]+)" } }
        to: { gone: 1, green: 0 }
      - when: { method: PUT }
        to: { gone: 1 }
  - name: rest
    hostnames: [other.test]
    cohort: { key: [{ cookie: uid }], onMissing: green }
    override: { header: x-pool, trusted: [127.0.0.0/8] }
    split: [{ to: { red: 1, green: 1 } }]
"#;

/// Values that the predicates above are about, and some that are none.
const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];
const HOSTS: [&str; 6] =
    ["shop.test", "a.shop.test", "A.B.Shop.Test:80", "other.test.", "x.test", "127.0.0.1"];
const PATHS: [&str; 9] = ["/", "/a", "/a/x", "/ab", "/b12", "/b", "/c", "/c/", "/%61"];
const QUERIES: [&str; 6] = ["", "?q=1", "?q=2&user=u-1", "?user=u%2D2&q=9", "?q", "?=&&q=x&q=1"];
const FIELDS: [&str; 16] = [
    "x-app: 2.0",
    "x-app: v1.9.9",
    "x-app: 2.0.0-rc.1",
    "x-app: none",
    "x-user: u-1",
    "x-user: u-2",
    "x-user:",
    "cookie: uid=u-3; beta=Green",
    "cookie: beta=\"g\"; uid=u-4",
    "cookie: =; ; uid",
    "x-pool: green",
    "x-pool: red",
    "x-pool: gone",
    "x-pool: nothing",
    "x-tester: yes",
    "x-app: 3",
];
const PEERS: [&str; 3] = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];

fn snapshot(yaml: &str) -> (Snapshot, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new(1));
    let registry = Registry::new(Arc::clone(&metrics));
    let file = RawFile { name: "serin.yaml".to_owned(), bytes: yaml.into() };
    let compiled = compile(&[file], 1, &registry, &metrics).unwrap();
    apply_endpoints(&compiled.config, &compiled.snapshot);
    (compiled.snapshot, metrics)
}

fn any<'a>(random: &mut SmallRng, of: &[&'a str]) -> &'a str {
    of[random.random_range(0..of.len())]
}

#[tokio::test]
async fn what_explain_says_is_what_is_served() {
    let (blue, green, red) =
        (Origin::named("blue").await, Origin::named("green").await, Origin::named("red").await);
    let pools = [
        ("blue", &[blue.address][..]),
        ("green", &[green.address]),
        ("red", &[red.address]),
        ("gone", &[]),
    ];
    let segments = "segments: [{ name: testers, when: { header: { name: x-tester, in: [yes] } } }]";
    let yaml = format!("{segments}\n{}", config(&pools, ROUTES));
    let (snapshot, _metrics) = snapshot(&yaml);
    let app = App::start(&yaml).await;
    let mut clients = Vec::new();
    for peer in PEERS {
        clients.push((peer, Client::connect_from(peer, app.address).await));
    }

    let mut random = SmallRng::seed_from_u64(7);
    let mut reasons: HashMap<Option<&str>, usize> = HashMap::new();
    for _ in 0..600 {
        let method = any(&mut random, &METHODS);
        let host = any(&mut random, &HOSTS);
        let target = any(&mut random, &PATHS).to_owned() + any(&mut random, &QUERIES);
        let mut fields = vec![format!("host: {host}")];
        for _ in 0..random.random_range(0..5) {
            fields.push(any(&mut random, &FIELDS).to_owned());
        }
        let (peer, client) = &mut clients[random.random_range(0..PEERS.len())];

        let pairs = fields.iter().filter_map(|field| field.split_once(':'));
        let question = Question {
            method: method.to_owned(),
            url: target.clone(),
            headers: pairs.map(|(name, value)| (name.into(), value.trim().into())).collect(),
            client_ip: Some(peer.parse().unwrap()),
        };
        let said = explain(&snapshot, &question).unwrap();
        let request = format!("{method} {target} HTTP/1.1\r\n{}\r\n\r\n", fields.join("\r\n"));
        client.send(&request).await;
        let served = client.response().await.unwrap();

        assert_eq!(served.status, said.status, "{peer}: {request}{said:#?}");
        let origin = served.origin();
        match &said.pool {
            Some(pool) => assert_eq!(origin, &**pool, "{peer}: {request}{said:#?}"),
            None if said.status == 200 => {
                let weight = said.weights.get(origin).and_then(serde_json::Value::as_u64);
                assert!(weight > Some(0), "{origin} for {peer}: {request}{said:#?}");
            }
            None => assert_eq!(origin, ""),
        }
        *reasons.entry(said.reason).or_default() += 1;
    }
    // The random requests must have reached every kind of decision.
    for reason in [
        None,
        Some("override"),
        Some("cohort"),
        Some("weight"),
        Some("single"),
        Some("fallback"),
        Some("missing_key"),
    ] {
        assert!(reasons.contains_key(&reason), "{reason:?} never came: {reasons:?}");
    }
}

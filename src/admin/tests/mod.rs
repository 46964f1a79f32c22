//! Every endpoint, asked as the listener asks it, over a snapshot compiled from a document.

mod explain;

use super::{State, respond};
use crate::config::compile::{apply_endpoints, compile};
use crate::config::reload::{LastError, Status};
use crate::config::{Diagnostic, RawFile};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::shard::WorkerIndex;
use crate::upstream::registry::Registry;
use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::HeaderMap;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;

const DOCUMENT: &str = r#"
listeners: [{ name: web, address: "127.0.0.1:0" }]
pools:
  - { name: stable, endpoints: ["10.0.0.1:80", "10.0.0.2:80"] }
  - { name: canary, endpoints: ["10.0.0.3:80"] }
  - { name: empty, endpoints: [] }
routes:
  - name: shop
    hostnames: [shop.example.com, "*.shop.example.com"]
    matches:
      - { path: { prefix: /cart }, method: GET, header: { name: a, exact: b }, clientIp: { in: [::1] } }
      - path: { prefix: / }
    cohort: { key: [{ header: x-user-id }, { cookie: uid }] }
    override: { header: x-serin-pool, trusted: [10.0.0.0/8] }
    split:
      - { name: testers, when: { header: { name: x-test, present: true } }, to: canary }
      - to: { stable: 95, canary: 5 }
    fallback: stable
    timeouts: { backendRequest: 1m30s }
  - name: drawn
    hostnames: [drawn.example.com]
    split: [{ to: { stable: 9, canary: 1, empty: 1 } }]
  - name: gone
    hostnames: [gone.example.com]
    split: [{ to: empty }]
"#;

/// The state over the document above, in its seventh generation.
pub(super) fn state() -> Arc<State> {
    let metrics = Arc::new(Metrics::new(1));
    let registry = Registry::new(Arc::clone(&metrics));
    let file = RawFile { name: "serin.yaml".into(), bytes: DOCUMENT.into() };
    let compiled = compile(&[file], 7, &registry, &metrics).unwrap();
    apply_endpoints(&compiled.config, &compiled.snapshot);
    Arc::new(State {
        metrics,
        snapshot: Arc::new(ArcSwap::from_pointee(compiled.snapshot)),
        status: Arc::default(),
        draining: false.into(),
    })
}

struct Answered {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answered {
    fn json(&self) -> Value {
        assert_eq!(self.headers["content-type"], "application/json");
        assert_eq!(self.headers["cache-control"], "no-store");
        assert_eq!(self.headers["x-content-type-options"], "nosniff");
        serde_json::from_str(&self.body).unwrap()
    }
}

async fn send(state: &Arc<State>, request: Request<Full<Bytes>>) -> Answered {
    let (head, body) = respond(state, true, request).await.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    let body = String::from_utf8(body).unwrap();
    Answered { status: head.status.as_u16(), headers: head.headers, body }
}

async fn ask(state: &Arc<State>, method: Method, path: &str, body: &str) -> Answered {
    let request = Request::builder().method(method).uri(path).header("host", "localhost:9901");
    send(state, request.body(body.to_owned().into()).unwrap()).await
}

async fn get(state: &Arc<State>, path: &str) -> Answered {
    ask(state, Method::GET, path, "").await
}

#[tokio::test]
async fn health_says_whether_and_why_not() {
    let state = state();
    let seen = async || {
        let (live, ready) = (get(&state, "/livez").await, get(&state, "/readyz?verbose").await);
        (live.status, live.body, ready.status, ready.body)
    };
    assert_eq!(seen().await, (200, "ok\n".into(), 200, "ok\n".into()));
    state.draining.store(true, Ordering::Relaxed);
    assert_eq!(seen().await, (200, "ok\n".into(), 503, "not ready: draining\n".into()));
    state.draining.store(false, Ordering::Relaxed);
    let empty = crate::config::compile::empty(&state.metrics);
    state.snapshot.store(Arc::new(empty));
    let reason = "not ready: no configuration is in use yet\n";
    assert_eq!(seen().await, (200, "ok\n".into(), 503, reason.into()));
}

#[tokio::test]
async fn metrics_are_in_the_text_format() {
    let answer = get(&state(), "/metrics").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert!(answer.body.contains("\nserin_build_info{version="), "{}", answer.body);
}

#[tokio::test]
async fn the_configuration_in_use_is_told_with_the_last_error() {
    let state = state();
    *state.status.lock() = Status {
        generation: 7,
        source: "serin.yaml".into(),
        time: Some("2026-01-02T03:04:05Z".into()),
        ..Status::default()
    };
    let expected = json!({
        "generation": 7, "source": "serin.yaml", "time": "2026-01-02T03:04:05Z",
        "warnings": [], "lastError": null,
    });
    assert_eq!(get(&state, "/api/config").await.json(), expected);
    state.status.lock().last_error = Some(LastError {
        time: "2026-01-02T03:04:06Z".into(),
        diagnostics: vec![Diagnostic::error("serin.yaml".into(), "no")],
    });
    let error = json!({
        "time": "2026-01-02T03:04:06Z",
        "diagnostics": [{
            "severity": "error", "file": "serin.yaml", "line": 1, "column": 1, "path": "",
            "message": "no", "help": null,
        }],
    });
    assert_eq!(get(&state, "/api/config").await.json()["lastError"], error);
}

#[tokio::test]
async fn routes_are_told_as_they_were_understood() {
    let shown = get(&state(), "/api/routes").await.json();
    assert_eq!(shown["generation"], 7);
    let expected = json!({
        "name": "shop",
        "hostnames": ["shop.example.com", "*.shop.example.com"],
        "matches": ["prefix /cart, method, 1 header, 1 other", "prefix /"],
        "arms": [
            { "name": "testers", "when": true, "weights": { "canary": 1 } },
            { "name": "1", "when": false, "weights": { "stable": 95, "canary": 5 } },
        ],
        "cohort": { "key": ["header x-user-id", "cookie uid"], "onMissing": "random" },
        "override": { "header": "x-serin-pool", "trusted": ["10.0.0.0/8"] },
        "fallback": "stable",
        "timeouts": { "connect": "1s", "backendRequest": "1m30s", "idle": "5m" },
        "retry": { "attempts": 1 },
    });
    assert_eq!(shown["routes"][0], expected);
    let plain = &shown["routes"][2];
    assert_eq!(plain["matches"], json!(["prefix /"]));
    assert!([&plain["cohort"], &plain["override"], &plain["fallback"]].iter().all(|v| v.is_null()));
}

#[tokio::test]
async fn pools_are_told_with_their_endpoints() {
    let shown = get(&state(), "/api/pools").await.json();
    let endpoint = |address: &str| json!({ "address": address, "state": "usable", "weight": 1, "inFlight": 0 });
    let pool = |name: &str, addresses: &[&str]| {
        let endpoints: Vec<_> = addresses.iter().map(|address| endpoint(address)).collect();
        json!({ "name": name, "balance": "leastRequest", "usable": endpoints.len(),
            "healthIgnored": false, "endpoints": endpoints })
    };
    let expected = json!({ "generation": 7, "pools": [
        pool("stable", &["10.0.0.1:80", "10.0.0.2:80"]),
        pool("canary", &["10.0.0.3:80"]),
        pool("empty", &[]),
    ]});
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn stats_tell_what_was_decided_by_arm_and_what_became_of_it_by_pool() {
    let state = state();
    assert_eq!(get(&state, "/api/stats").await.json()["routes"], json!([]));
    let snapshot = state.snapshot.load_full();
    let worker = WorkerIndex(0);
    let (counts, stable) = (&snapshot.routes[0].counts, Some(crate::split::PoolIndex(0)));
    for (arm, code) in [(Some(1), 200), (Some(1), 503), (None, 200)] {
        let shard = counts.cell(arm, stable).unwrap().choice.shards.of(worker);
        shard.codes.increment(code);
        shard.reasons[0].increment();
    }
    let durations = &counts.cell(None, stable).unwrap().duration;
    durations.shards.of(worker).observe(std::time::Duration::from_millis(3));
    let series = snapshot.pools[0].series.shards.of(worker);
    series.attempt(false, crate::telemetry::series::Outcome::Reset);
    series.attempt(true, crate::telemetry::series::Outcome::Success);
    snapshot.unmatched.cell(None, None).unwrap().choice.shards.of(worker).codes.increment(404);
    let shown = get(&state, "/api/stats").await.json();
    let expected = json!([{ "name": "shop", "inFlight": 0, "overridesRefused": 0, "arms": [
        { "name": "1", "decisions": { "stable": 2 } },
        { "name": null, "decisions": { "stable": 1 } },
    ]}]);
    assert_eq!(shown["routes"], expected);
    assert_eq!(shown["unmatched"], 1);
    let pool = &shown["pools"][0];
    let number = |name: &str| pool[name].as_u64().unwrap();
    assert_eq!(
        ["requests", "errors", "attempts", "retries", "failures"].map(number),
        [3, 1, 2, 1, 1]
    );
    assert_eq!((&pool["seconds"], &pool["buckets"][3]), (&json!(0.003), &json!(1)));
    assert_eq!(shown["bounds"][3], 0.005);
    assert_eq!(
        pool["buckets"].as_array().unwrap().len(),
        shown["bounds"].as_array().unwrap().len() + 1
    );
}

#[tokio::test]
async fn the_dashboard_runs_nothing_but_its_own_script() {
    let state = state();
    let (one, other) = (get(&state, "/").await, get(&state, "/").await);
    assert_eq!(one.headers["content-type"], "text/html; charset=utf-8");
    let policy = one.headers["content-security-policy"].to_str().unwrap();
    assert_ne!(policy, other.headers["content-security-policy"]);
    let nonce = policy.split_once("script-src 'nonce-").unwrap().1.split_once('\'').unwrap().0;
    assert_eq!(one.body.matches(&format!("nonce=\"{nonce}\"")).count(), 2);
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let forbidden =
        ["{{", "innerHTML", "outerHTML", "insertAdjacentHTML", "src=", "@import", "eval("];
    for word in forbidden {
        assert!(!one.body.contains(word), "{word}");
    }
}

#[tokio::test]
async fn other_methods_and_paths_are_refused_with_what_there_is() {
    let state = state();
    for endpoint in super::ENDPOINTS {
        let allow = endpoint.access.allow();
        for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::OPTIONS] {
            let is_allowed = allow.split(", ").any(|allowed| allowed == method.as_str());
            let answer = ask(&state, method.clone(), endpoint.path, r#"{"url":"/"}"#).await;
            assert_eq!(answer.status, if is_allowed { 200 } else { 405 }, "{}", endpoint.path);
            let told = answer.headers.get("allow").map(|value| value.to_str().unwrap());
            assert_eq!(told, (!is_allowed).then_some(allow));
            assert_eq!(answer.body.is_empty(), method == Method::HEAD);
            assert_ne!(answer.headers["content-length"], "0");
        }
    }
    let unknown = get(&state, "/api/nothing").await;
    assert_eq!(unknown.status, 404);
    assert!(super::ENDPOINTS.iter().all(|known| unknown.body.contains(known.about)));
}

#[tokio::test]
async fn every_endpoint_is_guarded() {
    let state = state();
    for endpoint in super::ENDPOINTS {
        let method = endpoint.access.allow().split(',').next().unwrap();
        let request = Request::builder().method(method).uri(endpoint.path);
        let request = request.header("host", "rebound.example").body(Full::default()).unwrap();
        assert_eq!(send(&state, request).await.status, 403, "{}", endpoint.path);
    }
}

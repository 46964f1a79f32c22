//! What a decision costs with 1, 100 and 10,000 routes: it must be flat.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, Method};
use serin::config::RawFile;
use serin::config::compile::{apply_endpoints, compile};
use serin::predicate::Head;
use serin::proxy::decide::decide;
use serin::proxy::snapshot::Snapshot;
use serin::telemetry::metrics::Metrics;
use serin::upstream::registry::Registry;
use std::fmt::Write;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Half of the routes differ by host, half by path; each splits 90/10.
fn snapshot(routes: usize, extra: &str) -> Snapshot {
    let mut text = String::from(
        "listeners: [{ name: web, address: 127.0.0.1:0 }]\n\
         pools:\n\
         \x20 - { name: stable, endpoints: [127.0.0.1:1] }\n\
         \x20 - { name: canary, endpoints: [127.0.0.1:2] }\n\
         routes:\n",
    );
    for number in 0..routes {
        let (host, path) = match number % 2 {
            0 => ("shop.example.com".to_owned(), format!("/service-{number}")),
            _ => (format!("shop-{number}.example.com"), "/".to_owned()),
        };
        write!(
            text,
            "  - name: route-{number}\n    hostnames: [{host}]\n    \
             matches: [{{ path: {{ prefix: {path} }} }}]\n{extra}    \
             split: [{{ to: {{ stable: 90, canary: 10 }} }}]\n"
        )
        .unwrap();
    }
    let metrics = Arc::new(Metrics::new(1));
    let registry = Registry::new(Arc::clone(&metrics));
    let files = [RawFile { name: "bench.yaml".to_owned(), bytes: text.into() }];
    let compiled = compile(&files, 1, &registry, &metrics).unwrap();
    apply_endpoints(&compiled.config, &compiled.snapshot);
    compiled.snapshot
}

fn benches(criterion: &mut Criterion) {
    let mut headers = HeaderMap::new();
    headers.insert("x-user-id", HeaderValue::from_static("u-4711"));
    let head = Head {
        method: &Method::GET,
        host: "shop.example.com",
        path: "/service-0/cart/items",
        query: None,
        headers: &headers,
        client: Ipv4Addr::LOCALHOST.into(),
        peer: Ipv4Addr::LOCALHOST.into(),
        certificate_names: &[],
    };
    for (kind, extra) in
        [("weight", ""), ("cohort", "    cohort: { key: [{ header: x-user-id }] }\n")]
    {
        for routes in [1, 100, 10_000] {
            let snapshot = snapshot(routes, extra);
            let mut random = 1_u64;
            criterion.bench_function(&format!("decide/{kind}/{routes} routes"), |bencher| {
                bencher.iter(|| {
                    random = random.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1);
                    let usability = |pool| snapshot.usability(pool);
                    black_box(decide(&snapshot, black_box(&head), &usability, Some(random)))
                });
            });
        }
    }
}

criterion_group!(decide_benches, benches);
criterion_main!(decide_benches);

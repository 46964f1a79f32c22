//! What taking in a document of 10,000 routes costs, from its bytes to the snapshot.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use serin::config::RawFile;
use serin::config::compile::compile;
use serin::telemetry::metrics::Metrics;
use serin::upstream::registry::Registry;
use std::fmt::Write;
use std::sync::Arc;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn document(routes: usize) -> [RawFile; 1] {
    let mut text = String::from(
        "listeners: [{ name: web, address: 127.0.0.1:0 }]\n\
         pools:\n\
         \x20 - { name: stable, endpoints: [127.0.0.1:1] }\n\
         \x20 - { name: canary, endpoints: [127.0.0.1:2] }\n\
         routes:\n",
    );
    for number in 0..routes {
        write!(
            text,
            "  - name: route-{number}\n    hostnames: [shop-{number}.example.com]\n    \
             matches:\n      - path: {{ prefix: /cart }}\n    \
             cohort: {{ key: [{{ header: x-user-id }}] }}\n    \
             split:\n      - when: {{ header: {{ name: x-beta, exact: \"1\" }} }}\n        \
             to: canary\n      - to: {{ stable: 90, canary: 10 }}\n    fallback: stable\n"
        )
        .unwrap();
    }
    [RawFile { name: "bench.yaml".to_owned(), bytes: text.into() }]
}

fn benches(criterion: &mut Criterion) {
    let metrics = Arc::new(Metrics::new(2));
    let registry = Registry::new(Arc::clone(&metrics));
    for routes in [100, 10_000] {
        let files = document(routes);
        // The snapshot in use while the next one is compiled.
        let current = compile(&files, 1, &registry, &metrics).unwrap();
        let mut group = criterion.benchmark_group("reload");
        group.sample_size(20);
        group.bench_function(format!("{routes} routes"), |bencher| {
            bencher.iter_batched(
                || (),
                |()| compile(&files, current.snapshot.generation + 1, &registry, &metrics).unwrap(),
                BatchSize::PerIteration,
            );
        });
        group.finish();
    }
}

criterion_group!(reload_benches, benches);
criterion_main!(reload_benches);

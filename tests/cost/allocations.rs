//! Allocations of a decision, and of a request that is forwarded.

use crate::ALLOCATOR;
use crate::exchange::{Client, origin, yaml};
use crate::http2::Http2Client;
use http::{HeaderMap, HeaderValue, Method};
use parking_lot::Mutex;
use serin::app::{Bound, Options, Stop, bind};
use serin::config::RawFile;
use serin::config::compile::{apply_endpoints, compile};
use serin::predicate::Head;
use serin::proxy::decide::decide;
use serin::telemetry::metrics::Metrics;
use serin::upstream::registry::Registry;
use stats_alloc::Region;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};

/// What a forwarded request may allocate: its future, the request's head as it is read, what its
/// parts share of it, the name of a field that HTTP does not know, the head as it is written, where
/// the fields of the response stand, and the response on its way out of the attempt.
const REQUEST_MAX: usize = 7;
/// All of that together; most of it is the future.
const REQUEST_BYTES_MAX: usize = 3_100;

/// The same over HTTP/2: beside that, what h2 needs for a head and a stream.
const STREAM_MAX: usize = 14;
/// All of that together: a task for each stream, or a new place for its state, is thousands more.
const STREAM_BYTES_MAX: usize = 3_000;

/// What a connection without a request may keep; its clients' part included, which is little.
const CONNECTION_BYTES_MAX: usize = 2_048;

/// One test runs at a time: the allocator is that of the process.
pub(crate) static COUNTING: Mutex<()> = Mutex::new(());

/// The whole proxy with one worker.
struct Proxy {
    address: SocketAddr,
    runtime: Runtime,
    bound: Bound,
    _folder: tempfile::TempDir,
}

impl Proxy {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("serin.yaml");
        std::fs::write(&file, yaml(origin())).unwrap();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let options = Options { workers: Some(1), ..Options::new(&file) };
        let bound = runtime.block_on(bind(options)).unwrap();
        Self { address: bound.addresses()[0].1, runtime, bound, _folder: folder }
    }

    fn stop(&mut self) {
        self.runtime.block_on(async {
            self.bound.stop(Stop::Soon).await;
            assert!(self.bound.ended().await);
        });
    }
}

#[test]
fn a_decision_allocates_nothing() {
    const DECISIONS: usize = 1_000;
    let _counting = COUNTING.lock();
    let metrics = Arc::new(Metrics::new(1));
    let registry = Registry::new(Arc::clone(&metrics));
    let text = yaml(([127, 0, 0, 1], 1).into());
    let files = [RawFile { name: "cost.yaml".to_owned(), bytes: text.into() }];
    let compiled = compile(&files, 1, &registry, &metrics).unwrap();
    apply_endpoints(&compiled.config, &compiled.snapshot);
    let snapshot = compiled.snapshot;
    let mut headers = HeaderMap::new();
    headers.insert("x-user-id", HeaderValue::from_static("u-4711"));
    let head = Head {
        method: &Method::GET,
        host: "shop.example.com",
        path: "/cart/items",
        query: Some("page=2"),
        headers: &headers,
        client: Ipv4Addr::LOCALHOST.into(),
        peer: Ipv4Addr::LOCALHOST.into(),
        certificate_names: &[],
    };
    let usability = |pool| snapshot.usability(pool);
    let region = Region::new(ALLOCATOR);
    for random in 0..DECISIONS as u64 {
        let decision = decide(&snapshot, &head, &usability, Some(random));
        assert!(decision.choice.pool.is_some());
    }
    let change = region.change();
    // A few are those of the test runner, which tells meanwhile how another test has ended.
    let allocations = change.allocations + change.reallocations;
    assert!(allocations < DECISIONS / 2, "{change:?}");
}

#[test]
fn a_forwarded_request_allocates_little_and_grows_nothing() {
    const REQUESTS: usize = 2_000;
    let _counting = COUNTING.lock();
    let mut proxy = Proxy::start();
    let mut client = Client::connect(proxy.address);
    // Connections, buffers and tables are there afterwards.
    client.ask(500);
    let region = Region::new(ALLOCATOR);
    client.ask(REQUESTS);
    let change = region.change();
    // What the control plane does once a second is not the request's.
    let each = |count: usize| count.saturating_sub(200).div_ceil(REQUESTS);
    let (allocations, reallocations) = (each(change.allocations), each(change.reallocations));
    assert!(allocations <= REQUEST_MAX, "{change:?}");
    assert!(each(change.bytes_allocated) <= REQUEST_BYTES_MAX, "{change:?}");
    assert_eq!(reallocations, 0, "something grows with each request: {change:?}");
    drop(client);
    proxy.stop();
}

#[test]
fn a_forwarded_request_of_http_2_allocates_little() {
    const ROUNDS: usize = 200;
    const REQUESTS: usize = ROUNDS * Http2Client::STREAMS;
    let _counting = COUNTING.lock();
    let mut proxy = Proxy::start();
    let mut client = Http2Client::connect(proxy.address);
    // Connections, buffers and tables are there afterwards.
    client.ask(50);
    let region = Region::new(ALLOCATOR);
    client.ask(ROUNDS);
    let change = region.change();
    // What the control plane does once a second is not the request's.
    let each = |count: usize| count.saturating_sub(200).div_ceil(REQUESTS);
    assert!(each(change.allocations) <= STREAM_MAX, "{change:?}");
    // The maps of fields grow once each when ours are added.
    assert!(each(change.reallocations) <= 2, "{change:?}");
    assert!(each(change.bytes_allocated) <= STREAM_BYTES_MAX, "{change:?}");
    drop(client);
    proxy.stop();
}

#[test]
fn an_idle_connection_is_small() {
    const CONNECTIONS: usize = 1_000;
    let _counting = COUNTING.lock();
    let mut proxy = Proxy::start();
    let connect = || {
        let mut client = Client::connect(proxy.address);
        client.ask(1);
        client
    };
    let warm: Vec<_> = (0..CONNECTIONS).map(|_| connect()).collect();
    let region = Region::new(ALLOCATOR);
    let idle: Vec<_> = (0..CONNECTIONS).map(|_| connect()).collect();
    let change = region.change();
    let bytes = change.bytes_allocated - change.bytes_deallocated;
    assert!(bytes / CONNECTIONS <= CONNECTION_BYTES_MAX, "{change:?}");
    drop((warm, idle));
    proxy.stop();
}

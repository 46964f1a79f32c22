//! The histogram by status alone: what Flagger's built-in checks query, for who asks for it.

use crate::support::{App, Connection, Origin, config, eventually};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::mpsc;

const COUNT: &str = "http_request_duration_seconds_count";
const BUCKET: &str = "http_request_duration_seconds_bucket";
const SUM: &str = "http_request_duration_seconds_sum";
const ON: &str = "metrics: { httpRequestDuration: true }\n";
const OFF: &str = "metrics: { httpRequestDuration: false }\n";

/// A configuration with this section, whose routes are named as their path and pool are.
fn with(section: &str, pools: &[(&str, SocketAddr)]) -> String {
    let mut routes = String::new();
    for (pool, _) in pools {
        let when = format!("matches: [{{ path: {{ prefix: /{pool} }} }}]");
        let _ = writeln!(routes, "  - {{ name: {pool}, {when}, split: [{{ to: {pool} }}] }}");
    }
    let pools: Vec<_> = pools.iter().map(|(pool, address)| (*pool, vec![*address])).collect();
    let pools: Vec<_> = pools.iter().map(|(pool, list)| (*pool, list.as_slice())).collect();
    format!("{section}{}", config(&pools, &routes))
}

/// The statuses that the histogram shows.
async fn statuses(app: &App) -> BTreeSet<String> {
    let text = app.admin("/metrics").await.text();
    let samples = text.lines().filter_map(|line| line.strip_prefix(COUNT)?.split('"').nth(1));
    samples.map(str::to_owned).collect()
}

#[tokio::test]
async fn every_request_is_once_in_the_histogram_of_the_status_that_was_sent() {
    let good = Origin::named("good").await;
    let busy = Origin::saying("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", false).await;
    let odd = Origin::saying("HTTP/1.1 207 Odd\r\ncontent-length: 0\r\n\r\n", false).await;
    let torn = Origin::saying("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", true).await;
    let pools = [
        ("good", good.address),
        ("busy", busy.address),
        ("odd", odd.address),
        ("torn", torn.address),
    ];
    let app = App::start(&with(ON, &pools)).await;
    assert_eq!(statuses(&app).await, BTreeSet::new(), "before any request");
    let times = [("/good", 5), ("/busy", 3), ("/odd", 1), ("/torn", 2), ("/none", 4), ("/%00", 2)];
    for (path, times) in times {
        for _ in 0..times {
            let mut client = app.connect().await;
            client.send(format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n")).await;
            assert_eq!(client.response().await.is_ok(), path != "/torn", "{path}");
        }
    }
    let sent = [("200", 7.0), ("503", 3.0), ("207", 1.0), ("404", 4.0), ("400", 2.0)];
    for (status, count) in sent {
        let labels = [("status", status)];
        app.metric_is(COUNT, &labels, count).await;
        app.metric_is("serin_requests_total", &[("code", status)], count).await;
        // Nothing here takes a minute, and nothing takes no time.
        for bound in ["60", "+Inf"] {
            app.metric_is(BUCKET, &[("status", status), ("le", bound)], count).await;
        }
        let sum = app.metric(SUM, &labels).await;
        assert!(sum > 0.0 && sum < count * 60.0, "{status}: {sum}");
    }
    // That it was asked for all this is no request of a client.
    app.metric_is(COUNT, &[], 17.0).await;
    assert_eq!(statuses(&app).await, sent.map(|(status, _)| status.to_owned()).into());
    let text = app.admin("/metrics").await.text();
    for line in ["# TYPE http_request_duration_seconds histogram", "# HELP http_request_duration_"]
    {
        assert_eq!(text.lines().filter(|shown| shown.starts_with(line)).count(), 1, "{line}");
    }
}

#[tokio::test]
async fn a_client_that_left_is_there_as_499_and_what_was_no_request_is_not() {
    let (waiting, mut waits) = mpsc::unbounded_channel();
    let origin = Origin::start(move |mut connection: Connection| {
        let waiting = waiting.clone();
        async move {
            let _ = connection.request().await;
            let _ = waiting.send(());
            std::future::pending::<()>().await;
        }
    })
    .await;
    let app = App::start(&with(ON, &[("slow", origin.address)])).await;
    let mut client = app.connect().await;
    client.send("GET /slow HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    waits.recv().await.unwrap();
    socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    app.metric_is(COUNT, &[("status", "499")], 1.0).await;
    let mut client = app.connect().await;
    client.send("GARBAGE\r\n\r\n").await;
    assert_eq!(client.response().await.unwrap().status, 400);
    app.metric_is("serin_downstream_refused_total", &[], 1.0).await;
    app.metric_is("serin_requests_total", &[], 1.0).await;
    assert_eq!(statuses(&app).await, ["499".to_owned()].into());
}

#[tokio::test]
async fn without_the_setting_there_is_no_such_histogram() {
    let origin = Origin::named("good").await;
    for section in ["", OFF, "metrics: {}\n", "metrics:\n"] {
        let app = App::start(&with(section, &[("good", origin.address)])).await;
        assert_eq!(app.get("/good").await.status, 200);
        app.metric_is("serin_requests_total", &[("code", "200")], 1.0).await;
        let text = app.admin("/metrics").await.text();
        assert!(!text.contains("http_request_duration_seconds"), "{section}");
    }
}

#[tokio::test]
async fn it_is_switched_while_running_and_goes_on_counting_for_as_long_as_it_stays_on() {
    let origin = Origin::named("good").await;
    let pools = [("good", origin.address), ("other", origin.address)];
    let app = App::start(&with(OFF, &pools)).await;
    app.get("/good").await;
    app.reload(&with(ON, &pools)).await;
    for path in ["/good", "/other", "/none"] {
        app.get(path).await;
    }
    app.metric_is(COUNT, &[("status", "200")], 2.0).await;
    app.reload(&with(ON, &pools[..1])).await;
    app.get("/good").await;
    app.get("/other").await;
    app.metric_is(COUNT, &[("status", "200")], 3.0).await;
    app.metric_is(COUNT, &[("status", "404")], 2.0).await;
    app.reload(&with(OFF, &pools)).await;
    app.get("/good").await;
    eventually("nothing is shown", async || statuses(&app).await.is_empty()).await;
    app.reload(&with(ON, &pools)).await;
    app.get("/good").await;
    app.metric_is(COUNT, &[], 1.0).await;
}

//! HTTP/2 clients that keep the proxy busy without asking for anything; others are not harmed.

use crate::support::frames::*;
use crate::support::{App, Origin, Raw, all_to, config_with, eventually};

/// More than is ever let pass at once.
const MANY: usize = 20_000;

async fn refused(app: &App, reason: &str) {
    let labels = [("listener", "web"), ("reason", reason)];
    app.metric_is("serin_downstream_refused_total", &labels, 1.0).await;
}

/// Sends the same again and again until the connection ends; says how.
async fn flood(mut raw: Raw, bytes: &[u8], times: usize) -> Outcome {
    raw.0.flood(&bytes.repeat(times)).await;
    raw.outcome(0).await
}

#[tokio::test]
async fn frames_that_ask_for_nothing_end_their_connection_and_no_other() {
    let origin = Origin::named("one").await;
    for (name, bytes) in [
        ("PING", frame(PING, 0, 0, &[7; 8])),
        ("PING ACK", frame(PING, ACK, 0, &[7; 8])),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[])),
        ("SETTINGS with values", frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])),
        ("PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("unknown", frame(0xbb, 0, 0, &[1, 2, 3])),
    ] {
        let app = App::start(&all_to(&[origin.address], "")).await;
        let mut other = Raw::connect(app.address).await;
        assert_eq!(other.get(1).await, Outcome::Status(200));
        let mut raw = Raw::connect(app.address).await;
        assert_eq!(raw.get(1).await, Outcome::Status(200));
        let outcome = flood(raw, &bytes, MANY).await;
        assert_eq!(outcome, Outcome::GoAway(ENHANCE_YOUR_CALM), "{name}");
        refused(&app, "http2_frames").await;
        assert_eq!(other.get(3).await, Outcome::Status(200));
    }
}

async fn start(limits: &str) -> (Origin, App) {
    let origin = Origin::named("one").await;
    let listener = format!("[{{ name: web, address: '127.0.0.1:0', limits: {{ {limits} }} }}]");
    let route = "  - { name: all, split: [{ to: only }], timeouts: { idle: 10s } }";
    let drain = "{ delay: 0s, timeout: 10s }";
    let app =
        App::start(&config_with(&listener, drain, &[("only", &[origin.address])], route)).await;
    (origin, app)
}

/// Whether a client of its own is served.
async fn serves(app: &App) -> bool {
    Raw::connect(app.address).await.get(1).await == Outcome::Status(200)
}

#[tokio::test]
async fn a_client_that_resets_all_that_it_asks_for_is_told_to_go_away() {
    let (_origin, app) = start("streamResets: 100").await;
    let mut raw = Raw::connect(app.address).await;
    let bytes: Vec<u8> = (0..2000)
        .flat_map(|number| {
            let stream = 2 * number + 1;
            let head = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&GET));
            [head, frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
        })
        .collect();
    raw.0.flood(&bytes).await;
    assert_eq!(raw.outcome(0).await, Outcome::GoAway(ENHANCE_YOUR_CALM));
    eventually("it is counted", async || {
        app.metric("serin_downstream_refused_total", &[("listener", "web")]).await > 0.0
    })
    .await;
    assert!(serves(&app).await);
}

#[tokio::test]
async fn a_client_that_breaks_off_now_and_then_is_served_on() {
    let (_origin, app) = start("streamResets: 5").await;
    let mut raw = Raw::connect(app.address).await;
    for round in 0..50 {
        let stream = 6 * round + 1;
        raw.head(stream, END_STREAM, &GET).await;
        raw.send(RST_STREAM, 0, stream, &[0, 0, 0, 8]).await;
        assert_eq!(raw.get(stream + 2).await, Outcome::Status(200));
        assert_eq!(raw.get(stream + 4).await, Outcome::Status(200));
    }
}

#[tokio::test]
async fn a_client_that_makes_us_reset_its_streams_is_told_to_go_away() {
    let (origin, app) = start("streamResets: 20").await;
    let mut raw = Raw::connect(app.address).await;
    let bytes: Vec<u8> = (0..50)
        .flat_map(|number| {
            let stream = 2 * number + 1;
            let head = frame(HEADERS, END_HEADERS, stream, &block(&GET));
            // A window beyond its bounds is an error of its stream (RFC 9113 section 6.9.1).
            [head, frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff])].concat()
        })
        .collect();
    raw.0.flood(&bytes).await;
    assert_eq!(raw.outcome(0).await, Outcome::GoAway(ENHANCE_YOUR_CALM));
    refused(&app, "http2_calm").await;
    assert!(origin.requests() <= 21);
    assert!(serves(&app).await);
}

#[tokio::test]
async fn heads_without_end_and_bodies_of_nothing_end_their_connection() {
    let continuation = frame(CONTINUATION, 0, 1, &block(&[("x-a", &"y".repeat(8000))]));
    let unnamed = frame(CONTINUATION, 0, 1, &[]);
    for (name, first, then) in [
        ("CONTINUATION", frame(HEADERS, 0, 1, &block(&GET)), continuation),
        ("empty CONTINUATION", frame(HEADERS, 0, 1, &block(&GET)), unnamed),
        ("empty DATA", frame(HEADERS, END_HEADERS, 1, &block(&GET)), frame(DATA, 0, 1, &[])),
        ("padding", frame(HEADERS, END_HEADERS, 1, &block(&GET)), frame(DATA, 8, 1, &[1, 0])),
    ] {
        let (origin, app) = start("streamResets: 20").await;
        let mut raw = Raw::connect(app.address).await;
        raw.0.flood(&[first, then.repeat(MANY)].concat()).await;
        assert_eq!(raw.outcome(0).await, Outcome::GoAway(ENHANCE_YOUR_CALM), "{name}");
        assert!(origin.requests() <= 1, "{name}");
        assert!(serves(&app).await, "{name}");
    }
}

#[tokio::test]
async fn a_small_block_that_stands_for_a_large_head_is_refused() {
    let (origin, app) = start("streamResets: 20").await;
    for fields in [2_000, 16_000] {
        let mut raw = Raw::connect(app.address).await;
        // A field of 4,000 bytes goes into the table, and is then named again and again.
        let mut bomb = block(&GET);
        bomb.extend([0x40, 3]);
        bomb.extend(b"x-a");
        bomb.extend([127, 0xa1, 0x1e]);
        bomb.extend([b'y'; 4000]);
        bomb.extend(std::iter::repeat_n(0x80 | 0x3e, fields));
        raw.block(1, END_STREAM, &bomb).await;
        let outcome = raw.outcome(1).await;
        let refused = [Outcome::Status(431), Outcome::GoAway(ENHANCE_YOUR_CALM)];
        assert!(refused.contains(&outcome), "{fields}: {outcome:?}");
        assert_eq!(origin.requests(), 0);
    }
    assert!(serves(&app).await);
}

#[tokio::test]
async fn a_head_has_as_many_fields_as_it_may_and_crumbs_of_a_cookie_are_one() {
    let (origin, app) = start("headers: 20").await;
    let outcome = async |more: &[(&str, &str)]| {
        let mut raw = Raw::connect(app.address).await;
        raw.head(1, END_STREAM, &[&GET, more].concat()).await;
        raw.outcome(1).await
    };
    let crumbs = [("cookie", "a=1"); 200];
    assert_eq!(outcome(&crumbs).await, Outcome::Status(200));
    assert_eq!(origin.last().get("cookie").unwrap().len(), 200 * 5 - 2);
    assert_eq!(outcome(&[("x-a", "1"); 20]).await, Outcome::Status(200));
    assert_eq!(outcome(&[("x-a", "1"); 21]).await, Outcome::Status(431));
    assert_eq!(outcome(&vec![("cookie", "a=1"); 5000]).await, Outcome::Status(431));
    assert_eq!(origin.requests(), 2);
}

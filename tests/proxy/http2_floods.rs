//! HTTP/2 clients that keep the proxy busy without asking for anything; others are not harmed.

use crate::support::frames::*;
use crate::support::{App, Origin, Raw, all_to};

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

//! What is known of endpoints outlives every change of the configuration.

use crate::support::{App, Connection, H2Client, Origin, eventually, within};
use http::Request;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// How often the configuration changes, and how many times.
const PACE: Duration = Duration::from_millis(50);
const CHANGES: u32 = 40;

/// An endpoint that holds requests for `/held` until it is let go, and answers all others.
async fn holding(name: &'static str, gate: &Arc<Semaphore>) -> Origin {
    let gate = Arc::clone(gate);
    Origin::start(move |mut connection: Connection| {
        let gate = Arc::clone(&gate);
        async move {
            while let Ok((head, _)) = connection.request().await {
                if head.target() == "/held" {
                    gate.acquire().await.unwrap().forget();
                }
                connection.answer(name).await;
            }
        }
    })
    .await
}

/// A configuration that differs by its number in what does not concern the endpoints.
fn numbered(endpoints: &[SocketAddr], number: u32) -> String {
    let mut text = String::from(
        "listeners: [{ name: web, address: '127.0.0.1:0' }]\n\
         admin: { address: '127.0.0.1:0' }\n\
         pools:\n  - name: only\n    endpoints:\n",
    );
    for endpoint in endpoints {
        let _ = writeln!(text, "      - {{ address: '{endpoint}', weight: 1 }}");
    }
    let _ = write!(
        text,
        "    outlier: {{ consecutiveFailures: 3, baseEjectionTime: 1h, maxEjectionTime: 1h }}\n\
         routes:\n  - {{ name: all, split: [{{ to: only }}] }}\n\
         \x20 - {{ name: change-{number}, hostnames: [change-{number}.test], \
         split: [{{ to: {{ only: {} }} }}] }}\n",
        number + 1
    );
    text
}

#[tokio::test]
async fn balance_ejections_and_connections_are_undisturbed_by_a_change_every_50_ms() {
    let gate = Arc::new(Semaphore::new(0));
    let (one, two) = (holding("one", &gate).await, holding("two", &gate).await);
    let failing = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";
    let failing = Origin::saying(failing, false).await;
    let endpoints = [one.address, two.address, failing.address];
    let app = App::start(&numbered(&endpoints, 0)).await;

    // One endpoint fails until it is taken out, for an hour.
    eventually("it is ejected", async || {
        app.get("/").await;
        app.metric("serin_ejections_total", &[]).await > 0.0
    })
    .await;
    // One is busy with a request. The requests of one connection are balanced by one worker.
    let client = H2Client::connect(app.address).await;
    let held = Request::get("http://a.test/held").body(()).unwrap();
    let (held, _) = client.begin(held, true).await;
    let targets = |origin: &Origin| origin.heads().iter().filter(|h| h.target() == "/held").count();
    eventually("it is held", async || targets(&one) + targets(&two) == 1).await;
    let (busy, free) = if targets(&one) == 1 { (&one, &two) } else { (&two, &one) };
    assert!(client.get("/").await.is_ok());
    let before = (busy.requests(), failing.requests(), free.connections(), busy.connections());

    let mut pace = tokio::time::interval(PACE);
    for number in 1..=CHANGES {
        pace.tick().await;
        app.write(&numbered(&endpoints, number));
        for _ in 0..20 {
            let answer = client.get("/").await.unwrap();
            assert_eq!(answer.head.status(), 200);
        }
    }
    let after = (busy.requests(), failing.requests(), free.connections(), busy.connections());
    assert_eq!(before, after);
    assert!(app.generation().await > f64::from(CHANGES) / 4.0);
    app.metric_is("serin_ejections_total", &[], 1.0).await;
    app.metric_is("serin_endpoints", &[("state", "ejected")], 1.0).await;
    app.metric_is("serin_config_reloads_total", &[("result", "rejected")], 0.0).await;
    gate.add_permits(1);
    assert_eq!(within(held).await.unwrap().status(), 200);
}

//! The end of the process: not ready, still accepting, then finishing what is there.

use crate::support::{App, Client, DEADLINE, Origin, config_with, eventually, within};
use serin::app::Stop;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::Notify;

fn draining(drain: &str, origin: SocketAddr) -> String {
    let listeners = "[{ name: web, address: '127.0.0.1:0' }]";
    let routes = "  - { name: all, split: [{ to: only }] }\n";
    config_with(listeners, drain, &[("only", &[origin])], routes)
}

/// An origin that answers `/` at once and everything else when it may.
async fn slow() -> (Origin, Arc<Notify>) {
    let go = Arc::new(Notify::new());
    let told = Arc::clone(&go);
    let origin = Origin::start(move |mut connection| {
        let go = Arc::clone(&told);
        async move {
            while let Ok((head, _)) = connection.request().await {
                if head.target() != "/" {
                    go.notified().await;
                }
                connection.answer("done").await;
            }
        }
    })
    .await;
    (origin, go)
}

async fn begin(app: &App, origin: &Origin) -> Client {
    let before = origin.requests();
    let mut client = app.connect().await;
    client.send("GET /slow HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    eventually("the request arrives", async || origin.requests() > before).await;
    client
}

#[tokio::test]
async fn a_graceful_end_is_not_ready_still_accepts_and_then_finishes() {
    let (origin, go) = slow().await;
    let mut app = App::start(&draining("{ delay: 1500ms, timeout: 10s }", origin.address)).await;
    assert_eq!(app.admin("/readyz").await.status, 200);
    let mut busy = begin(&app, &origin).await;
    let mut idle = app.connect().await;
    assert_eq!(idle.get("/", "").await.text(), "done");
    let mut active = app.connect().await;
    assert_eq!(active.get("/", "").await.head.get("connection"), None);

    let stopped = Instant::now();
    app.bound.stop(Stop::Gracefully).await;
    eventually("it is not ready", async || app.admin("/readyz").await.status == 503).await;
    assert_eq!(app.admin("/livez").await.status, 200);
    assert_eq!(app.get("/").await.text(), "done");
    // A client that is told does not send its next request into a connection that closes.
    let last = active.get("/", "").await;
    assert_eq!((last.head.get("connection"), last.text().as_str()), (Some("close"), "done"));
    active.closed().await;
    assert!(stopped.elapsed() < Duration::from_millis(1500), "too slow to have seen the delay");

    idle.closed().await;
    assert!(stopped.elapsed() >= Duration::from_millis(1500));
    let address = app.address;
    eventually("nobody listens", async || TcpStream::connect(address).await.is_err()).await;
    go.notify_one();
    assert_eq!(busy.response().await.unwrap().text(), "done");
    busy.closed().await;
    assert!(within(app.bound.ended()).await);
}

#[tokio::test]
async fn without_delay_it_stops_accepting_at_once() {
    let (origin, go) = slow().await;
    let mut app = App::start(&draining("{ delay: 1h, timeout: 10s }", origin.address)).await;
    let mut busy = begin(&app, &origin).await;
    app.bound.stop(Stop::Soon).await;
    let address = app.address;
    eventually("nobody listens", async || TcpStream::connect(address).await.is_err()).await;
    go.notify_one();
    assert_eq!(busy.response().await.unwrap().text(), "done");
    assert!(within(app.bound.ended()).await);
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_cut_off() {
    let (origin, _go) = slow().await;
    let mut app = App::start(&draining("{ delay: 0s, timeout: 200ms }", origin.address)).await;
    let mut busy = begin(&app, &origin).await;
    let stopped = Instant::now();
    assert!(!app.stop().await);
    assert!((200..5_000).contains(&stopped.elapsed().as_millis()), "{:?}", stopped.elapsed());
    busy.closed().await;
}

#[tokio::test]
async fn a_response_on_its_way_is_finished() {
    let origin = Origin::start(async move |mut connection| {
        connection.request().await.unwrap();
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 8388608\r\n\r\n").await;
        connection.send(vec![7; 8 * 1024 * 1024]).await;
    })
    .await;
    let mut app = App::start(&draining("{ delay: 0s, timeout: 10s }", origin.address)).await;
    let mut client = Client::connect_narrow(app.address).await;
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    let head = client.head().await.unwrap();
    app.bound.stop(Stop::Soon).await;
    let address = app.address;
    eventually("nobody listens", async || TcpStream::connect(address).await.is_err()).await;
    assert_eq!(client.body(&head, false).await.unwrap().bytes.len(), 8 * 1024 * 1024);
    client.closed().await;
    assert!(tokio::time::timeout(DEADLINE, app.bound.ended()).await.unwrap());
}

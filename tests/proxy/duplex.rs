//! Requests and responses at the same time: neither direction waits for the other.

use crate::support::{App, H2Client, H2Origin, Origin, all_to, pool_with, within};
use bytes::Bytes;
use h2::server::Builder;
use http::{Request, Response};
use std::time::Duration;
use tokio::sync::mpsc;

/// More than is buffered on the way.
const REQUEST_BYTES: usize = 1024 * 1024;
/// More than a client's window of HTTP/2 takes, less than sockets do.
const RESPONSE_BYTES: usize = 192 * 1024;

/// An origin that answers at once with this much, and tells how long the requests were.
async fn answering_at_once(response: usize) -> (H2Origin, mpsc::UnboundedReceiver<usize>) {
    let (lengths, told) = mpsc::unbounded_channel();
    let origin = H2Origin::requests(Builder::new(), move |mut answering| {
        let lengths = lengths.clone();
        async move {
            let head = Response::new(());
            let mut stream = answering.respond.send_response(head, false).unwrap();
            stream.send_data(Bytes::from(vec![b'x'; response]), true).unwrap();
            let (body, _) = answering.read().await.unwrap();
            lengths.send(body.len()).unwrap();
        }
    })
    .await;
    (origin, told)
}

/// Sends a request whose response is begun, but not read before the request is through.
async fn send_before_reading(app: &App, mut told: mpsc::UnboundedReceiver<usize>) {
    let client = H2Client::connect(app.address).await;
    let request = Request::post("http://a.test/").body(()).unwrap();
    let (response, mut sending) = client.begin(request, false).await;
    let mut response = within(response).await.unwrap().into_body();
    sending.send_data(Bytes::from(vec![b'y'; REQUEST_BYTES]), true).unwrap();
    assert_eq!(within(told.recv()).await, Some(REQUEST_BYTES));
    let mut read = 0;
    while let Some(data) = within(response.data()).await {
        let length = data.unwrap().len();
        read += length;
        response.flow_control().release_capacity(length).unwrap();
    }
    assert_eq!(read, RESPONSE_BYTES);
}

#[tokio::test]
async fn a_request_goes_on_while_nobody_reads_its_response_over_http_2() {
    let (origin, told) = answering_at_once(RESPONSE_BYTES).await;
    let app = App::start(&pool_with(origin.address, "protocol: h2", "")).await;
    send_before_reading(&app, told).await;
}

#[tokio::test]
async fn a_request_goes_on_while_nobody_reads_its_response_towards_http_1() {
    let (lengths, told) = mpsc::unbounded_channel();
    let origin = Origin::start(move |mut connection| {
        let lengths = lengths.clone();
        async move {
            while let Ok(head) = connection.head().await {
                connection
                    .send(format!("HTTP/1.1 200 OK\r\ncontent-length: {RESPONSE_BYTES}\r\n\r\n"))
                    .await;
                connection.send(vec![b'x'; RESPONSE_BYTES]).await;
                let body = connection.body(&head, false).await.unwrap();
                lengths.send(body.bytes.len()).unwrap();
            }
        }
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    send_before_reading(&app, told).await;
    // Both were complete, so the connection serves again.
    app.metric_is("serin_upstream_connections", &[("state", "idle")], 1.0).await;
}

#[tokio::test]
async fn a_request_goes_on_while_nobody_reads_its_response_from_http_1() {
    /// More than the sockets take.
    const LARGE_BYTES: usize = 24 * 1024 * 1024;
    let (origin, mut told) = answering_at_once(LARGE_BYTES).await;
    let app = App::start(&pool_with(origin.address, "protocol: h2", "")).await;
    let mut client = app.connect().await;
    let head = format!("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: {LARGE_BYTES}\r\n\r\n");
    client.send(head).await;
    within(client.send(vec![b'y'; LARGE_BYTES])).await;
    assert_eq!(within(told.recv()).await, Some(LARGE_BYTES));
    assert_eq!(within(client.response()).await.unwrap().body.bytes.len(), LARGE_BYTES);
    // The connection is in step.
    client.send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 2\r\n\r\nyy").await;
    assert_eq!(within(client.response()).await.unwrap().body.bytes.len(), LARGE_BYTES);
}

#[tokio::test]
async fn a_client_that_is_silent_keeps_its_request_while_the_response_moves() {
    /// Together longer than a request may pause.
    const PARTS: usize = 12;
    let pause = Duration::from_millis(100);
    let (lengths, mut told) = mpsc::unbounded_channel();
    let origin = H2Origin::requests(Builder::new(), move |mut answering| {
        let lengths = lengths.clone();
        async move {
            let mut stream = answering.respond.send_response(Response::new(()), false).unwrap();
            for _ in 0..PARTS {
                // The slowness is what is tested.
                tokio::time::sleep(pause).await;
                stream.send_data(Bytes::from_static(b"event"), false).unwrap();
            }
            let (body, _) = answering.read().await.unwrap();
            lengths.send(body.len()).unwrap();
            stream.send_data(Bytes::new(), true).unwrap();
        }
    })
    .await;
    let pool = pool_with(origin.address, "protocol: h2", "timeouts: { idle: 400ms }");
    let app = App::start(&pool).await;
    let client = H2Client::connect(app.address).await;
    let request = Request::post("http://a.test/").body(()).unwrap();
    let (response, mut sending) = client.begin(request, false).await;
    let mut response = within(response).await.unwrap().into_body();
    let mut read = 0;
    while read < PARTS * "event".len() {
        read += within(response.data()).await.unwrap().unwrap().len();
    }
    sending.send_data(Bytes::from_static(b"late"), true).unwrap();
    assert_eq!(within(told.recv()).await, Some("late".len()));
    assert!(within(response.data()).await.is_none_or(|end| end.unwrap().is_empty()));
}

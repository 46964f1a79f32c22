//! What a service says bit by bit reaches the client bit by bit: nothing is held back for more.

use crate::support::{App, Connection, Origin, all_to, within};
use bytes::Bytes;
use http::{Request, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Notify;

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
    transfer-encoding: chunked\r\n\r\n";
const UNTIL_CLOSE: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
const EVENTS: usize = 5;

fn event(number: usize) -> String {
    format!("data: {number}\n\n")
}

/// Sends each event when it is told that the one before has arrived, the first with the head.
async fn events(head: &'static str, seen: Arc<Notify>) -> Origin {
    Origin::start(move |mut connection: Connection| {
        let seen = Arc::clone(&seen);
        async move {
            connection.request().await.unwrap();
            connection.send(head).await;
            for number in 0..EVENTS {
                seen.notified().await;
                let event = event(number);
                if head == CHUNKED {
                    connection.send(format!("{:x}\r\n{event}\r\n", event.len())).await;
                } else {
                    connection.send(event).await;
                }
            }
            seen.notified().await;
            if head == CHUNKED {
                connection.send("0\r\n\r\n").await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn each_event_arrives_before_the_next_is_sent_over_http_1_1() {
    for head in [CHUNKED, UNTIL_CLOSE] {
        let seen = Arc::new(Notify::new());
        let origin = events(head, Arc::clone(&seen)).await;
        let app = App::start(&all_to(&[origin.address], "")).await;
        let mut client = app.connect().await;
        client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
        let head = client.head().await.unwrap();
        assert_eq!(head.get("content-type"), Some("text/event-stream"));
        assert_eq!(head.get("transfer-encoding"), Some("chunked"));
        for number in 0..EVENTS {
            seen.notify_one();
            assert_eq!(client.chunk().await.unwrap().unwrap(), event(number).as_bytes());
        }
        seen.notify_one();
        assert_eq!(client.chunk().await, Ok(None));
    }
}

#[tokio::test]
async fn each_event_arrives_before_the_next_is_sent_over_http_2() {
    for head in [CHUNKED, UNTIL_CLOSE] {
        let seen = Arc::new(Notify::new());
        let origin = events(head, Arc::clone(&seen)).await;
        let app = App::start(&all_to(&[origin.address], "")).await;
        let stream = TcpStream::connect(app.address).await.unwrap();
        let (mut client, connection) =
            within(h2::client::Builder::new().handshake::<_, Bytes>(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get("http://a.test/").body(()).unwrap();
        let response = client.send_request(request, true).unwrap().0;
        let response = within(response).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let mut body = response.into_body();
        for number in 0..EVENTS {
            seen.notify_one();
            assert_eq!(within(body.data()).await.unwrap().unwrap(), event(number));
        }
        seen.notify_one();
        // Whatever comes now, it is the end.
        while let Some(data) = within(body.data()).await {
            assert_eq!(data.unwrap(), Bytes::new());
        }
    }
}

#[tokio::test]
async fn a_client_that_is_heard_bit_by_bit_is_passed_on_bit_by_bit() {
    let heard = Arc::new(Notify::new());
    let hearing = Arc::clone(&heard);
    let origin = Origin::start(move |mut connection: Connection| {
        let hearing = Arc::clone(&hearing);
        async move {
            connection.head().await.unwrap();
            while let Ok(Some(_)) = connection.chunk().await {
                hearing.notify_one();
            }
            connection.take(2).await.unwrap();
            connection.answer("done").await;
        }
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = app.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for _ in 0..EVENTS {
        client.send("1\r\nx\r\n").await;
        within(heard.notified()).await;
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.response().await.unwrap().text(), "done");
}

#[tokio::test]
async fn a_long_poll_may_take_longer_than_a_body_may_pause() {
    let origin = Origin::start(async |mut connection| {
        while let Ok((_, _)) = connection.request().await {
            // The wait is the test.
            tokio::time::sleep(Duration::from_millis(700)).await;
            connection.answer("news").await;
        }
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "timeouts: { idle: 200ms }")).await;
    let mut client = app.connect().await;
    for _ in 0..2 {
        assert_eq!(client.get("/", "").await.text(), "news");
    }
    assert_eq!(origin.connections(), 1);
}

//! Bodies: streamed both ways as they come, held back when nobody reads, never changed.

use crate::support::{App, Client, DEADLINE, Origin, all_to};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

const MEBIBYTE: usize = 1024 * 1024;
/// How long a writer must wait until it counts as held back.
const STUCK: Duration = Duration::from_millis(500);

/// Bytes in which a swapped or missing part shows.
fn pattern(length: usize) -> Vec<u8> {
    let byte = |at: usize| (at.wrapping_mul(0x9E37_79B1) >> 13).to_le_bytes()[0];
    (0..length).map(byte).collect()
}

#[tokio::test]
async fn the_first_part_of_a_response_arrives_before_the_last_is_sent() {
    let go_on = Arc::new(Notify::new());
    let going = Arc::clone(&go_on);
    let origin = Origin::start(move |mut connection| {
        let going = Arc::clone(&going);
        async move {
            while let Ok((head, _)) = connection.request().await {
                let chunked = head.target() == "/chunked";
                let framing =
                    if chunked { "transfer-encoding: chunked" } else { "content-length: 10" };
                let (first, last) = if chunked {
                    ("5\r\nfirst\r\n", "4\r\nlast\r\n0\r\n\r\n")
                } else {
                    ("first", "-last")
                };
                connection.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{first}")).await;
                going.notified().await;
                connection.send(last).await;
            }
        }
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = app.connect().await;
    client.send("GET /chunked HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    let head = client.head().await.unwrap();
    assert_eq!(head.get("transfer-encoding"), Some("chunked"));
    assert_eq!(client.chunk().await.unwrap().unwrap(), b"first");
    go_on.notify_one();
    assert_eq!(client.body(&head, false).await.unwrap().bytes, b"last");

    client.send("GET /length HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    client.head().await.unwrap();
    assert_eq!(client.take(5).await.unwrap(), b"first");
    go_on.notify_one();
    assert_eq!(client.take(5).await.unwrap(), b"-last");
}

#[tokio::test]
async fn the_first_part_of_a_request_arrives_before_the_last_is_sent() {
    let (seen, mut first) = mpsc::unbounded_channel();
    let origin = Origin::start(move |mut connection| {
        let seen = seen.clone();
        async move {
            while let Ok(head) = connection.head().await {
                if head.get("content-length").is_some() {
                    seen.send(connection.take(5).await.unwrap()).unwrap();
                    seen.send(connection.take(5).await.unwrap()).unwrap();
                } else {
                    seen.send(connection.chunk().await.unwrap().unwrap()).unwrap();
                    seen.send(connection.body(&head, false).await.unwrap().bytes).unwrap();
                }
                connection.answer("done").await;
            }
        }
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = app.connect().await;
    for (framing, one, two) in [
        ("content-length: 10", "first", "-last"),
        ("transfer-encoding: chunked", "5\r\nfirst\r\n", "5\r\n-last\r\n0\r\n\r\n"),
    ] {
        client.send(format!("POST / HTTP/1.1\r\nhost: a.test\r\n{framing}\r\n\r\n{one}")).await;
        assert_eq!(first.recv().await.unwrap(), b"first");
        client.send(two).await;
        assert_eq!(first.recv().await.unwrap(), b"-last");
        assert_eq!(client.response().await.unwrap().text(), "done");
    }
}

#[tokio::test]
async fn eight_mebibytes_pass_unchanged_in_both_directions() {
    let origin = Origin::start(async move |mut connection| {
        while let Ok((head, body)) = connection.request().await {
            let bytes = body.bytes;
            if head.get("content-length").is_some() {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", bytes.len());
                connection.send(head).await;
                connection.send(bytes).await;
                continue;
            }
            connection.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            for part in bytes.chunks(70_001) {
                connection.send(format!("{:x}\r\n", part.len())).await;
                connection.send(part).await;
                connection.send("\r\n").await;
            }
            connection.send("0\r\n\r\n").await;
        }
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let bytes = pattern(8 * MEBIBYTE);
    let mut client = app.connect().await;
    client
        .send(format!("PUT / HTTP/1.1\r\nhost: a.test\r\ncontent-length: {}\r\n\r\n", bytes.len()))
        .await;
    client.send(&bytes).await;
    assert!(client.response().await.unwrap().body.bytes == bytes);

    client.send("PUT / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for part in bytes.chunks(100_003) {
        client.send(format!("{:x};a=b\r\n", part.len())).await;
        client.send(part).await;
        client.send("\r\n").await;
    }
    client.send("0\r\n\r\n").await;
    assert!(client.response().await.unwrap().body.bytes == bytes);
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_origin_back() {
    const PARTS: usize = 1024;
    let written = Arc::new(AtomicUsize::new(0));
    let (stuck, mut held) = mpsc::unbounded_channel();
    let counted = Arc::clone(&written);
    let origin = Origin::start(move |mut connection| {
        let (written, stuck) = (Arc::clone(&counted), stuck.clone());
        async move {
            connection.request().await.unwrap();
            let length = PARTS * 64 * 1024;
            connection.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n")).await;
            let part = pattern(64 * 1024);
            for _ in 0..PARTS {
                let mut rest = &part[..];
                while !rest.is_empty() {
                    let writing = tokio::time::timeout(STUCK, connection.stream.writable()).await;
                    if writing.is_err() {
                        let _ = stuck.send(());
                        tokio::time::timeout(DEADLINE, connection.stream.writable())
                            .await
                            .unwrap()
                            .unwrap();
                    }
                    match connection.stream.try_write(rest) {
                        Ok(count) => {
                            written.fetch_add(count, SeqCst);
                            rest = &rest[count..];
                        }
                        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
                    }
                }
            }
        }
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = Client::connect_narrow(app.address).await;
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    crate::support::within(held.recv()).await.unwrap();
    let plateau = written.load(SeqCst);
    assert!(plateau < PARTS * 64 * 1024 / 2, "{plateau}");
    let response = client.response().await.unwrap();
    let part = pattern(64 * 1024);
    assert!(response.body.bytes.chunks(64 * 1024).all(|read| read == part));
    assert_eq!(response.body.bytes.len(), PARTS * 64 * 1024);
}

#[tokio::test]
async fn an_origin_that_does_not_read_holds_the_client_back() {
    const LENGTH: usize = 64 * MEBIBYTE;
    let read_on = Arc::new(Notify::new());
    let reading = Arc::clone(&read_on);
    let origin = Origin::start(move |mut connection| {
        let reading = Arc::clone(&reading);
        async move {
            let head = connection.head().await.unwrap();
            reading.notified().await;
            let read = connection.body(&head, false).await.unwrap().bytes.len();
            connection.answer(if read == LENGTH { "all" } else { "less" }).await;
        }
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = app.connect().await;
    client
        .send(format!("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: {LENGTH}\r\n\r\n"))
        .await;
    let part = vec![7; 64 * 1024];
    let mut written = 0;
    let mut held = false;
    while written < LENGTH {
        if !held && tokio::time::timeout(STUCK, client.stream.writable()).await.is_err() {
            assert!(written < LENGTH / 2, "{written}");
            held = true;
            read_on.notify_one();
        }
        crate::support::within(client.stream.writable()).await.unwrap();
        if let Ok(count) = client.stream.try_write(&part[..part.len().min(LENGTH - written)]) {
            written += count;
        }
    }
    assert!(held);
    assert_eq!(client.response().await.unwrap().text(), "all");
}

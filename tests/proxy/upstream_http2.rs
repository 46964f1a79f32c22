//! HTTP/2 towards endpoints: messages translated from and to both versions of the clients.

use crate::support::{App, Broken, Client, H2Client, H2Origin, eventually, pool_with, within};
use bytes::Bytes;
use h2::Reason;
use h2::server::Builder;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use tokio::sync::{Notify, mpsc};

async fn app(origin: &H2Origin) -> App {
    App::start(&pool_with(origin.address, "protocol: h2", "")).await
}

/// Waits until all connections, of which each worker has its own, are idle.
async fn idle(app: &App, origin: &H2Origin) {
    let connections = f64::from(u32::try_from(origin.accepted()).unwrap());
    app.metric_is("serin_upstream_connections", &[("state", "idle")], connections).await;
}

fn trailers(name: &'static str, value: &'static str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert(name, HeaderValue::from_static(value));
    trailers
}

/// An origin that hands the head of each request on and answers 200.
async fn listening() -> (H2Origin, mpsc::UnboundedReceiver<http::request::Parts>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let origin = H2Origin::requests(Builder::new(), move |answering| {
        let _ = sender.send(answering.head.clone());
        answering.say("two")
    })
    .await;
    (origin, receiver)
}

/// An origin that answers with the request's body and with the trailer `x-length`.
async fn echoing() -> H2Origin {
    H2Origin::requests(Builder::new(), async |mut answering| {
        let Ok((body, sent)) = answering.read().await else { return };
        let response = Response::builder()
            .header("trailer", "x-length")
            .header(
                "x-sum",
                sent.map_or(HeaderValue::from_static("none"), |sent| sent["x-sum"].clone()),
            )
            .body(())
            .unwrap();
        let mut stream = answering.respond.send_response(response, false).unwrap();
        let length = HeaderValue::from(body.len());
        stream.send_data(Bytes::from(body), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-length", length);
        stream.send_trailers(trailers).unwrap();
    })
    .await
}

#[tokio::test]
async fn a_request_of_http_1_1_is_translated() {
    let (origin, mut heads) = listening().await;
    let app = app(&origin).await;
    let fields = "connection: x-hop\r\nx-hop: 1\r\nte: trailers, gzip\r\nx-kept: 1\r\n\
                  x-forwarded-for: 6.6.6.6\r\nx-forwarded-host: b.test\r\n";
    let response = app.fetch_with("/a?b=c", fields).await;
    assert_eq!((response.status, response.origin()), (200, "two"));
    assert_eq!(response.text(), "two");
    let head = heads.recv().await.unwrap();
    assert_eq!(head.uri.to_string(), "http://a.test/a?b=c");
    assert_eq!(head.headers["te"], "trailers");
    assert_eq!(head.headers["x-kept"], "1");
    for (name, value) in [("for", "127.0.0.1"), ("proto", "http"), ("host", "a.test")] {
        let said = head.headers.get_all(format!("x-forwarded-{name}"));
        assert_eq!(said.iter().collect::<Vec<_>>(), [value], "{name}");
    }
    for gone in ["host", "connection", "x-hop", "transfer-encoding"] {
        assert!(!head.headers.contains_key(gone), "{gone}");
    }
    let mut client = app.connect().await;
    client.send("OPTIONS * HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    assert_eq!(client.response().await.unwrap().status, 200);
    assert_eq!(heads.recv().await.unwrap().uri.path(), "*");
    idle(&app, &origin).await;
}

#[tokio::test]
async fn a_request_of_http_2_is_passed_on() {
    let (origin, mut heads) = listening().await;
    let app = app(&origin).await;
    let client = H2Client::connect(app.address).await;
    let request = Request::get("http://Shop.test:81/x")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(())
        .unwrap();
    let answered = client.exchange(request, None, None).await.unwrap();
    assert_eq!((answered.head.status(), &answered.body[..]), (StatusCode::OK, &b"two"[..]));
    let head = heads.recv().await.unwrap();
    assert_eq!(head.uri.to_string(), "http://Shop.test:81/x");
    assert_eq!(head.headers["cookie"], "a=1; b=2");
}

#[tokio::test]
async fn bodies_and_trailers_pass_from_and_to_http_1_1() {
    let origin = echoing().await;
    let app = app(&origin).await;
    let mut client = app.connect().await;
    client
        .send(
            "POST / HTTP/1.1\r\nhost: a.test\r\nte: trailers\r\ntrailer: x-sum\r\n\
             transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 7\r\nhost: b\r\n\r\n",
        )
        .await;
    let response = client.response().await.unwrap();
    assert_eq!(response.text(), "hello");
    assert_eq!(response.head.get("x-sum"), Some("7"));
    assert_eq!(response.head.get("transfer-encoding"), Some("chunked"));
    assert_eq!(response.body.trailers, [("x-length".to_owned(), "5".to_owned())]);
}

#[tokio::test]
async fn bodies_and_trailers_pass_from_and_to_http_2() {
    let origin = echoing().await;
    let app = app(&origin).await;
    let client = H2Client::connect(app.address).await;
    let sent: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let request = Request::post("http://a.test/").body(()).unwrap();
    let answered = client.exchange(request, Some(&sent), Some(trailers("x-sum", "7"))).await;
    let answered = answered.unwrap();
    assert_eq!(answered.head.headers()["x-sum"], "7");
    assert!(answered.body == sent);
    assert_eq!(answered.trailers.unwrap()["x-length"], "4000000");
}

#[tokio::test]
async fn a_request_of_known_length_keeps_it() {
    let (origin, mut heads) = listening().await;
    let app = app(&origin).await;
    let mut client = app.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 2\r\n\r\nab").await;
    assert_eq!(client.response().await.unwrap().status, 200);
    assert_eq!(heads.recv().await.unwrap().headers["content-length"], "2");
}

#[tokio::test]
async fn messages_without_bodies_end_where_they_should() {
    let origin = H2Origin::requests(Builder::new(), async |mut answering| {
        let status = answering.head.uri.path()[1..].parse().unwrap();
        let response = Response::builder().status::<u16>(status);
        let response = match status {
            200 => response.header("content-length", "5"),
            _ => response,
        };
        let _ = answering.respond.send_response(response.body(()).unwrap(), true);
    })
    .await;
    let app = app(&origin).await;
    let mut client = app.connect().await;
    client.send("HEAD /200 HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    let response = client.response_to("HEAD").await.unwrap();
    assert_eq!((response.status, response.head.get("content-length")), (200, Some("5")));
    for status in [204, 304] {
        let response = client.get(&format!("/{status}"), "").await;
        assert_eq!(response.status, status);
    }
    let h2 = H2Client::connect(app.address).await;
    assert_eq!(h2.get("/204").await.unwrap().head.status(), StatusCode::NO_CONTENT);
    app.metric_is("serin_requests_total", &[("code", "204")], 2.0).await;
    app.metric_is("serin_errors_total", &[], 0.0).await;
}

#[tokio::test]
async fn a_response_that_is_no_valid_http_gets_502() {
    let origin = H2Origin::requests(Builder::new(), async |mut answering| {
        let mut response = Response::builder();
        response = match answering.head.uri.path() {
            "/twice" => response.header("content-length", "3").header("content-length", "3"),
            "/length" => response.header("content-length", "3x"),
            _ => response.header("connection", "close"),
        };
        if let Ok(mut stream) = answering.respond.send_response(response.body(()).unwrap(), false) {
            let _ = stream.send_data(Bytes::from_static(b"abc"), true);
        }
    })
    .await;
    let app = app(&origin).await;
    for path in ["/twice", "/length"] {
        assert_eq!(app.get(path).await.status, 502, "{path}");
    }
    app.metric_is("serin_attempts_total", &[("outcome", "invalid_response")], 2.0).await;
}

#[tokio::test]
async fn a_response_that_breaks_off_breaks_off_the_clients_too() {
    let origin = H2Origin::requests(Builder::new(), async |mut answering| {
        let response = Response::builder();
        let response = match answering.head.uri.path() {
            "/short" | "/long" => response.header("content-length", "6"),
            _ => response,
        };
        let mut stream =
            answering.respond.send_response(response.body(()).unwrap(), false).unwrap();
        let reset = answering.head.uri.path() == "/reset";
        if answering.head.uri.path() == "/long" {
            // Our own side of h2 would not send it: the length is only wrong for the client's.
            stream.send_data(Bytes::from_static(b"abc"), false).unwrap();
            stream.send_reset(Reason::INTERNAL_ERROR);
            return;
        }
        let _ = stream.send_data(Bytes::from_static(b"abc"), !reset);
        if reset {
            stream.reserve_capacity(1);
            let _ = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
            tokio::task::yield_now().await;
            stream.send_reset(Reason::INTERNAL_ERROR);
        }
    })
    .await;
    let app = app(&origin).await;
    let h2 = H2Client::connect(app.address).await;
    for path in ["/short", "/long", "/reset"] {
        let mut client = app.connect().await;
        client.send(format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n")).await;
        // The head may have been held back with what never came.
        assert!(broken(&mut client).await, "{path}");
        let answered = h2.get(path).await;
        let failed = answered.map_or(true, |answered| answered.head.status() == 502);
        assert!(failed, "{path}");
    }
}

/// Whether the response breaks off, or is a 502 because it broke off before its head.
async fn broken(client: &mut Client) -> bool {
    match client.response().await {
        Err(Broken) => true,
        Ok(response) => response.status == 502,
    }
}

#[tokio::test]
async fn both_sides_speak_at_the_same_time() {
    // The response begins before the request has ended, and each part is answered on its own.
    let origin = H2Origin::requests(Builder::new(), async |mut answering| {
        let response = Response::builder().body(()).unwrap();
        let mut stream = answering.respond.send_response(response, false).unwrap();
        while let Some(Ok(data)) = answering.body.data().await {
            let _ = answering.body.flow_control().release_capacity(data.len());
            stream.send_data(data, false).unwrap();
        }
        stream.send_trailers(trailers("grpc-status", "0")).unwrap();
    })
    .await;
    let app = app(&origin).await;
    let client = H2Client::connect(app.address).await;
    let request = Request::post("http://a.test/").header("te", "trailers").body(()).unwrap();
    let (response, mut sending) = client.begin(request, false).await;
    let mut body = within(response).await.unwrap().into_body();
    for part in ["one", "two", "three"] {
        sending.send_data(Bytes::from_static(part.as_bytes()), false).unwrap();
        assert_eq!(within(body.data()).await.unwrap().unwrap(), part);
    }
    sending.send_data(Bytes::new(), true).unwrap();
    assert!(within(body.data()).await.is_none());
    assert_eq!(within(body.trailers()).await.unwrap().unwrap()["grpc-status"], "0");
}

#[tokio::test]
async fn a_response_of_trailers_alone_passes() {
    let origin = H2Origin::requests(Builder::new(), async |mut answering| {
        let response = Response::builder().header("grpc-status", "12").body(()).unwrap();
        let _ = answering.respond.send_response(response, true);
    })
    .await;
    let app = app(&origin).await;
    let answered = H2Client::connect(app.address).await.get("/").await.unwrap();
    assert_eq!(answered.head.headers()["grpc-status"], "12");
    assert!(answered.body.is_empty() && answered.trailers.is_none());
}

#[tokio::test]
async fn an_early_response_is_whole_although_the_request_is_not_wanted() {
    let origin = H2Origin::requests(Builder::new(), async |mut answering| {
        let response = Response::builder().status(413).body(()).unwrap();
        let mut stream = answering.respond.send_response(response, false).unwrap();
        stream.send_data(Bytes::from_static(b"too large"), true).unwrap();
        // Dropped without the request's end, the stream is reset with NO_ERROR.
    })
    .await;
    let app = app(&origin).await;
    let mut client = app.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 9999999\r\n\r\nabc").await;
    let response = client.response().await.unwrap();
    assert_eq!((response.status, response.text().as_str()), (413, "too large"));
}

#[tokio::test]
async fn a_client_that_leaves_resets_its_stream() {
    let resets = Arc::new(AtomicUsize::new(0));
    let begun = Arc::new(Notify::new());
    let (counted, noted) = (Arc::clone(&resets), Arc::clone(&begun));
    let origin = H2Origin::requests(Builder::new(), move |mut answering| {
        let (counted, noted) = (Arc::clone(&counted), Arc::clone(&noted));
        async move {
            noted.notify_one();
            let reset = std::future::poll_fn(|cx| answering.respond.poll_reset(cx)).await;
            if matches!(reset, Ok(Reason::CANCEL)) {
                counted.fetch_add(1, SeqCst);
            }
        }
    })
    .await;
    let app = app(&origin).await;
    let mut client = app.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    within(begun.notified()).await;
    // By a reset: after the mere end of its sending side it would still get its answer.
    socket2::SockRef::from(&client.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(client);
    eventually("the stream is reset", async || resets.load(SeqCst) == 1).await;
    let h2 = H2Client::connect(app.address).await;
    let request = Request::get("http://a.test/").body(()).unwrap();
    let (response, sending) = h2.begin(request, true).await;
    within(begun.notified()).await;
    drop((response, sending));
    eventually("the stream is reset", async || resets.load(SeqCst) == 2).await;
    // The connection is still good.
    idle(&app, &origin).await;
}

#[tokio::test]
async fn a_client_that_stops_reading_stops_the_origin() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let origin = H2Origin::requests(Builder::new(), move |mut answering| {
        let counted = Arc::clone(&counted);
        async move {
            if answering.head.uri.path() == "/small" {
                return answering.say("small").await;
            }
            let response = Response::builder().body(()).unwrap();
            let mut stream = answering.respond.send_response(response, false).unwrap();
            let part = Bytes::from(vec![b'x'; 16 * 1024]);
            loop {
                stream.reserve_capacity(part.len());
                while stream.capacity() < part.len() {
                    match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
                        Some(Ok(_)) => {}
                        _ => return,
                    }
                }
                if stream.send_data(part.clone(), false).is_err() {
                    return;
                }
                counted.fetch_add(part.len(), SeqCst);
            }
        }
    })
    .await;
    let app = app(&origin).await;
    let mut slow = Client::connect_narrow(app.address).await;
    slow.send("GET /large HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    slow.head().await.unwrap();
    let mut before = usize::MAX;
    eventually("the origin stops", async || {
        // As long as 100 small exchanges take, nothing more may be sent.
        let now = sent.load(SeqCst);
        for _ in 0..20 {
            assert_eq!(app.get("/small").await.status, 200);
        }
        std::mem::replace(&mut before, now) == now && sent.load(SeqCst) == now
    })
    .await;
    // The sockets' buffers on the way to the client hold some megabytes.
    let stopped = sent.load(SeqCst);
    assert!(stopped < 8 * 1024 * 1024, "{stopped} bytes");
    // It goes on when the client does.
    while sent.load(SeqCst) < stopped + 1024 * 1024 {
        assert!(slow.take(64 * 1024).await.is_ok());
    }
}

#[tokio::test]
async fn an_origin_that_stops_reading_stops_the_client() {
    let go = Arc::new(Notify::new());
    let wait = Arc::clone(&go);
    let origin = H2Origin::requests(Builder::new(), move |mut answering| {
        let wait = Arc::clone(&wait);
        async move {
            wait.notified().await;
            let (body, _) = answering.read().await.unwrap();
            assert_eq!(body.len(), 32 * 1024 * 1024);
            answering.say("read").await;
        }
    })
    .await;
    let app = app(&origin).await;
    let mut client = app.connect().await;
    let length = 32 * 1024 * 1024;
    client
        .send(format!("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: {length}\r\n\r\n"))
        .await;
    let part = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    // The socket takes no more for longer than one that is read would be full.
    while let Ok(written) = tokio::time::timeout(
        std::time::Duration::from_millis(300),
        tokio::io::AsyncWriteExt::write(&mut client.stream, &part),
    )
    .await
    {
        sent += written.unwrap();
        assert!(sent < length / 2, "{sent} bytes are held somewhere");
    }
    go.notify_one();
    while sent < length {
        let part = &part[..part.len().min(length - sent)];
        client.try_send(part).await.unwrap();
        sent += part.len();
    }
    assert_eq!(client.response().await.unwrap().text(), "read");
}

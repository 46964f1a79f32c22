//! Endpoints that break the rules, or keep to them in ways that are rarely seen.

use crate::support::frames::{
    ACK, DATA, END_STREAM, GOAWAY, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame,
};
use crate::support::{
    App, Broken, Connection, H2Client, Origin, Raw, RawEndpoint, all_to, eventually, pool_with,
    within,
};
use http::StatusCode;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::Notify;

/// SETTINGS with the most streams at once.
fn streams_max(streams: u32) -> Vec<u8> {
    [&[0, 3][..], &streams.to_be_bytes()].concat()
}

async fn app(origin: &Origin, route: &str) -> App {
    App::start(&pool_with(origin.address, "protocol: h2", route)).await
}

/// An origin that speaks HTTP/2 and answers every stream with these frames.
async fn saying(frames: &'static [(u8, u8, &'static [u8])]) -> Origin {
    Origin::start(move |connection| async move {
        let mut endpoint = RawEndpoint::accept(connection, &[]).await;
        while let Ok(stream) = endpoint.request().await {
            for (kind, flags, payload) in frames {
                endpoint.send(*kind, *flags, stream, payload).await;
            }
        }
    })
    .await
}

const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":authority", "a.test"), (":path", "/")];

#[tokio::test]
async fn a_request_that_its_client_resets_is_never_completed() {
    let (seen, came) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
    let (noted, begun) = (Arc::clone(&seen), Arc::clone(&came));
    let one = Origin::start(move |mut connection: Connection| {
        let (noted, begun) = (Arc::clone(&noted), Arc::clone(&begun));
        async move {
            connection.head().await.unwrap();
            assert_eq!(connection.chunk().await.unwrap().unwrap(), b"abc");
            begun.notify_one();
            let rest = connection.rest().await;
            noted.lock().push(rest);
        }
    })
    .await;
    let (noted, begun) = (Arc::clone(&seen), Arc::clone(&came));
    let two = Origin::start(move |connection| {
        let (noted, begun) = (Arc::clone(&noted), Arc::clone(&begun));
        async move {
            let mut endpoint = RawEndpoint::accept(connection, &[]).await;
            let _ = endpoint.request().await;
            while let Ok(frame) = endpoint.read().await {
                if frame.kind == RST_STREAM {
                    noted.lock().push(Vec::new());
                    return;
                }
                if frame.kind == DATA {
                    assert_eq!((frame.flags, &frame.payload[..]), (0, &b"abc"[..]));
                    begun.notify_one();
                }
            }
        }
    })
    .await;
    // NO_ERROR and CANCEL.
    for code in [0_u8, 8] {
        for app in [App::start(&all_to(&[one.address], "")).await, app(&two, "").await] {
            let before = seen.lock().len();
            let mut client = Raw::connect(app.address).await;
            client.head(1, 0, &POST).await;
            client.send(DATA, 0, 1, b"abc").await;
            within(came.notified()).await;
            client.send(RST_STREAM, 0, 1, &[0, 0, 0, code]).await;
            eventually("it broke off", async || seen.lock().len() > before).await;
            let rest = seen.lock().last().cloned().unwrap();
            assert!(rest.is_empty(), "{code}: {:?}", String::from_utf8_lossy(&rest));
        }
    }
}

#[tokio::test]
async fn waiting_for_a_stream_is_not_waiting_for_the_response() {
    const PAUSE: Duration = Duration::from_millis(1600);
    let (begun, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (counted, wait) = (Arc::clone(&begun), Arc::clone(&go));
    let origin = Origin::start(move |connection| {
        let (counted, wait) = (Arc::clone(&counted), Arc::clone(&wait));
        async move {
            let mut endpoint = RawEndpoint::accept(connection, &streams_max(1)).await;
            while let Ok(stream) = endpoint.request().await {
                if counted.fetch_add(1, SeqCst) < 8 {
                    wait.notified().await;
                } else {
                    endpoint.0.fill_for(PAUSE / 2).await;
                }
                endpoint.head(stream, END_STREAM, &[(":status", "204")]).await;
            }
        }
    })
    .await;
    let app = app(&origin, "timeouts: { connect: 9s, backendRequest: 2s }").await;
    let client = H2Client::connect(app.address).await;
    let asked: Vec<_> = (0..8)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.get("/").await.unwrap().head.status() })
        })
        .collect();
    eventually("all streams are taken", async || begun.load(SeqCst) == 8).await;
    let late = tokio::spawn(async move { client.get("/").await.unwrap().head.status() });
    tokio::time::sleep(PAUSE).await;
    go.notify_waiters();
    for request in asked {
        assert_eq!(within(request).await.unwrap(), StatusCode::NO_CONTENT);
    }
    assert_eq!(within(late).await.unwrap(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn who_waits_is_served_over_another_connection_when_a_full_one_goes_away() {
    let begun = Arc::new(AtomicUsize::new(0));
    let (leave, counted) = (Arc::new(Notify::new()), Arc::clone(&begun));
    let leaving = Arc::clone(&leave);
    let number = Arc::new(AtomicUsize::new(0));
    let origin = Origin::start(move |connection| {
        let (counted, leaving) = (Arc::clone(&counted), Arc::clone(&leaving));
        let number = number.fetch_add(1, SeqCst);
        async move {
            let mut endpoint = RawEndpoint::accept(connection, &streams_max(1)).await;
            let Ok(stream) = endpoint.request().await else { return };
            counted.fetch_add(1, SeqCst);
            if number == 0 {
                leaving.notified().await;
                endpoint.send(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]).await;
            }
            if number == 8 {
                endpoint.head(stream, END_STREAM, &[(":status", "204")]).await;
            }
            while endpoint.read().await.is_ok() {}
        }
    })
    .await;
    let app = app(&origin, "timeouts: { connect: 5s }, retry: { attempts: 0 }").await;
    let client = H2Client::connect(app.address).await;
    let ask = || {
        let client = client.clone();
        tokio::spawn(async move { client.get("/").await.unwrap().head.status() })
    };
    let stuck: Vec<_> = (0..8).map(|_| ask()).collect();
    eventually("all streams are taken", async || begun.load(SeqCst) == 8).await;
    let late = ask();
    app.metric_is("serin_requests_in_flight", &[("route", "all")], 9.0).await;
    leave.notify_one();
    assert_eq!(within(late).await.unwrap(), StatusCode::NO_CONTENT);
    stuck.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_204_that_promises_a_body_has_none_and_ends_its_connection() {
    let origin = Origin::saying("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", false);
    let origin = origin.await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    for number in 1..=2 {
        assert_eq!(app.get("/").await.status, 204);
        app.metric_is("serin_upstream_connections", &[], 0.0).await;
        assert_eq!(origin.connections(), number);
    }
    let answered = H2Client::connect(app.address).await.get("/").await.unwrap();
    assert_eq!(answered.head.status(), StatusCode::NO_CONTENT);
    assert!(!answered.head.headers().contains_key("content-length"));
}

#[tokio::test]
async fn a_stream_that_ends_after_its_last_byte_is_not_reset() {
    let frames = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&frames);
    let origin = Origin::start(move |connection| {
        let noted = Arc::clone(&noted);
        async move {
            let mut endpoint = RawEndpoint::accept(connection, &[]).await;
            let mut open = Vec::new();
            loop {
                // As after a full segment, the end comes later.
                match endpoint.0.fill_for(Duration::from_millis(50)).await {
                    None => {
                        for stream in open.drain(..) {
                            endpoint.send(DATA, END_STREAM, stream, b"").await;
                        }
                        continue;
                    }
                    Some(false) => return,
                    Some(true) => {}
                }
                let Ok(frame) = endpoint.read().await else { return };
                noted.lock().extend(Some(frame.stream).filter(|_| frame.kind == RST_STREAM));
                if frame.kind == HEADERS {
                    let fields = [(":status", "200"), ("content-length", "3")];
                    endpoint.head(frame.stream, 0, &fields).await;
                    endpoint.send(DATA, 0, frame.stream, b"abc").await;
                    open.push(frame.stream);
                }
            }
        }
    })
    .await;
    let app = app(&origin, "").await;
    let mut one = app.connect().await;
    let two = H2Client::connect(app.address).await;
    for _ in 0..3 {
        assert_eq!(one.get("/", "").await.text(), "abc");
        assert_eq!(two.get("/").await.unwrap().body, b"abc");
    }
    app.metric_is("serin_requests_in_flight", &[("route", "all")], 0.0).await;
    assert_eq!(*frames.lock(), Vec::<u32>::new());
    app.metric_is("serin_errors_total", &[], 0.0).await;
}

#[tokio::test]
async fn fields_that_are_none_reach_no_client() {
    for (field, value) in [
        ("x-a", "b\r\nset-cookie: c"),
        ("x-a", "b\nc"),
        ("x-a", "b\0c"),
        ("X-A", "b"),
        ("x a", "b"),
        ("", "b"),
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("keep-alive", "timeout=5"),
    ] {
        let origin = Origin::start(move |connection| async move {
            let mut endpoint = RawEndpoint::accept(connection, &[]).await;
            while let Ok(stream) = endpoint.request().await {
                endpoint.head(stream, END_STREAM, &[(":status", "200"), (field, value)]).await;
            }
        })
        .await;
        let app = app(&origin, "").await;
        let response = app.get("/").await;
        assert_eq!(response.status, 502, "{field:?}: {value:?}");
        assert_eq!(response.head.get("set-cookie"), None);
        let answered = H2Client::connect(app.address).await.get("/").await.unwrap();
        assert_eq!(answered.head.status(), StatusCode::BAD_GATEWAY, "{field:?}: {value:?}");
        app.metric_is("serin_errors_total", &[("cause", "invalid_response")], 2.0).await;
        app.metric_is("serin_requests_in_flight", &[("route", "all")], 0.0).await;
    }
}

#[tokio::test]
async fn informational_responses_without_end_are_cut_off() {
    let origin = Origin::start(async |connection| {
        let mut endpoint = RawEndpoint::accept(connection, &[]).await;
        while let Ok(stream) = endpoint.request().await {
            for _ in 0..1000 {
                endpoint.head(stream, 0, &[(":status", "103"), ("link", "</a>")]).await;
            }
        }
    })
    .await;
    let app = app(&origin, "").await;
    let mut client = app.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    let mut early = 0;
    let status = loop {
        match client.response().await.unwrap().status {
            103 => early += 1,
            status => break status,
        }
    };
    assert_eq!(status, 502);
    assert!(early <= 16, "{early}");
    assert_eq!(H2Client::connect(app.address).await.get("/").await.unwrap().head.status(), 502);
}

#[tokio::test]
async fn what_is_longer_or_shorter_than_was_said_never_ends_cleanly() {
    // `content-length: 3` without an index.
    const HEAD: &[u8] = b"\x88\0\x0econtent-length\x013";
    const LONG: &[(u8, u8, &[u8])] = &[(HEADERS, 4, HEAD), (DATA, END_STREAM, b"abcd")];
    const SHORT: &[(u8, u8, &[u8])] = &[(HEADERS, 4, HEAD), (DATA, END_STREAM, b"ab")];
    const NONE: &[(u8, u8, &[u8])] = &[(HEADERS, 4 | END_STREAM, HEAD)];
    const RESET: &[(u8, u8, &[u8])] =
        &[(HEADERS, 4, b"\x88"), (DATA, 0, b"ab"), (RST_STREAM, 0, &[0; 4])];
    for frames in [LONG, SHORT, NONE, RESET] {
        let origin = saying(frames).await;
        let app = app(&origin, "").await;
        let mut client = app.connect().await;
        client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
        let broken = match client.response().await {
            Err(Broken) => true,
            Ok(response) => response.status == 502,
        };
        assert!(broken, "{frames:?}");
        let answered = H2Client::connect(app.address).await.get("/").await;
        let broken = answered.map_or(true, |answered| answered.head.status() == 502);
        assert!(broken, "{frames:?}");
        app.metric_is("serin_requests_in_flight", &[("route", "all")], 0.0).await;
    }
}

#[tokio::test]
async fn a_request_that_was_looked_at_is_not_sent_again_after_a_goaway() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    let origin = Origin::start(move |connection| {
        let counted = Arc::clone(&counted);
        async move {
            let mut endpoint = RawEndpoint::accept(connection, &[]).await;
            let Ok(stream) = endpoint.request().await else { return };
            counted.fetch_add(1, SeqCst);
            let last = stream.to_be_bytes();
            endpoint.send(GOAWAY, 0, 0, &[&last[..], &[0; 4]].concat()).await;
        }
    })
    .await;
    let app = app(&origin, "retry: { attempts: 3 }").await;
    let mut client = app.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 2\r\n\r\nab").await;
    assert_eq!(client.response().await.unwrap().status, 502);
    let client = H2Client::connect(app.address).await;
    let request = http::Request::post("http://a.test/").body(()).unwrap();
    assert_eq!(client.exchange(request, None, None).await.unwrap().head.status(), 502);
    assert_eq!(seen.load(SeqCst), 2);
}

#[tokio::test]
async fn a_limit_of_streams_that_is_lowered_is_kept_to() {
    let most = Arc::new(AtomicUsize::new(0));
    let (noted, number) = (Arc::clone(&most), AtomicUsize::new(0));
    let origin = Origin::start(move |connection| {
        let (noted, number) = (Arc::clone(&noted), number.fetch_add(1, SeqCst));
        async move {
            let allowed = if number == 0 { 10 } else { 1 };
            let mut endpoint = RawEndpoint::accept(connection, &streams_max(allowed)).await;
            if number == 0 {
                let Ok(stream) = endpoint.request().await else { return };
                endpoint.send(SETTINGS, 0, 0, &streams_max(1)).await;
                while endpoint.next(SETTINGS).await.is_ok_and(|frame| frame.flags & ACK == 0) {}
                endpoint.head(stream, END_STREAM, &[(":status", "204")]).await;
            }
            let mut open = Vec::new();
            loop {
                match endpoint.0.fill_for(Duration::from_millis(20)).await {
                    Some(true) => match endpoint.read().await {
                        Ok(frame) if frame.kind == HEADERS => open.push(frame.stream),
                        Ok(_) => {}
                        Err(Broken) => return,
                    },
                    Some(false) => return,
                    None => {
                        noted.fetch_max(open.len(), SeqCst);
                        for stream in open.drain(..) {
                            endpoint.head(stream, END_STREAM, &[(":status", "204")]).await;
                        }
                    }
                }
            }
        }
    })
    .await;
    let app = app(&origin, "timeouts: { connect: 9s }").await;
    let client = H2Client::connect(app.address).await;
    assert_eq!(client.get("/").await.unwrap().head.status(), 204);
    let asked: Vec<_> = (0..30)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.get("/").await.unwrap().head.status() })
        })
        .collect();
    for request in asked {
        assert_eq!(within(request).await.unwrap(), StatusCode::NO_CONTENT);
    }
    assert_eq!(most.load(SeqCst), 1);
}

/// How many sockets of this machine are connected to a port.
#[cfg(target_os = "linux")]
fn connected_to(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let remote = format!(":{port:04X} 01 ");
    table.lines().filter(|line| line.contains(&remote)).count()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_connection_whose_endpoint_reads_nothing_is_closed_at_last() {
    let origin = Origin::start(async |mut connection| {
        // Room for more than the socket takes.
        let settings = frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]);
        let window = frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0, 0, 0]);
        connection.send([settings, window].concat()).await;
        std::future::pending::<()>().await;
    })
    .await;
    let app = app(&origin, "timeouts: { backendRequest: 200ms }").await;
    let mut client = app.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 99999999\r\n\r\n").await;
    client.flood(&vec![b'x'; 50_000_000]).await;
    assert_eq!(client.response().await.unwrap().status, 504);
    app.metric_is("serin_upstream_connections", &[], 0.0).await;
    let port = origin.address.port();
    eventually("it is closed", async || connected_to(port) == 0).await;
}

//! Other protocols over a client's connection or stream: asked for, granted, cut, counted.

use crate::support::{ASKING, Head, Upgraded, Version, ask, connect, head};
use crate::support::{App, Connection, Origin, all_to, config_with, eventually, within};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64ct::{Base64, Encoding};
use http::StatusCode;
use serin::app::Stop;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Takes up the WebSocket that is asked for.
async fn take_up(connection: &mut Connection) -> Head {
    take_up_with(connection, "").await
}

/// The same with what goes out together with the answer.
async fn take_up_with(connection: &mut Connection, more: &str) -> Head {
    let head = connection.head().await.unwrap();
    assert_eq!(head.all("upgrade"), ["websocket"]);
    assert_eq!(head.all("connection"), ["upgrade"]);
    let key = head.get("sec-websocket-key").unwrap();
    let hashed = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, hashed.as_bytes());
    let mut space = [0; 32];
    let accept = Base64::encode(hash.as_ref(), &mut space).unwrap();
    let answer = switching(&format!("sec-websocket-accept: {accept}\r\n"));
    connection.send(answer + more).await;
    head
}

fn switching(fields: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         {fields}\r\n"
    )
}

/// Says again what it is told, and ends its side after the client has ended its own.
async fn echoing() -> Origin {
    Origin::start(async |mut connection| {
        take_up(&mut connection).await;
        echo(&mut connection).await;
    })
    .await
}

async fn echo(connection: &mut Connection) {
    loop {
        let mut bytes = [0; 4096];
        match tokio::io::AsyncReadExt::read(&mut connection.stream, &mut bytes).await {
            Ok(read @ 1..) => connection.send(&bytes[..read]).await,
            _ => break,
        }
    }
    let _ = connection.stream.shutdown().await;
}

#[tokio::test]
async fn bytes_pass_both_ways_until_both_sides_have_ended() {
    let origin = echoing().await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    for (count, version) in (1_u8..).zip(Upgraded::BOTH) {
        let mut client = Upgraded::open(&app, version).await;
        for part in ["hello", "there"] {
            client.send(part).await;
            assert_eq!(client.take(5).await, part.as_bytes());
        }
        app.metric_is("serin_requests_in_flight", &[("route", "all")], 1.0).await;
        client.finish().await;
        assert_eq!(client.rest().await, b"");
        app.metric_is("serin_requests_total", &[("code", "101")], count.into()).await;
        app.metric_is("serin_requests_in_flight", &[("route", "all")], 0.0).await;
    }
    let count = f64::from(u8::try_from(Upgraded::BOTH.len()).unwrap());
    app.metric_is("serin_request_duration_seconds_count", &[], count).await;
    app.metric_is("serin_attempts_total", &[("outcome", "success")], count).await;
    app.metric_is("serin_errors_total", &[], 0.0).await;
    app.metric_is("serin_upstream_connections", &[], 0.0).await;
}

#[tokio::test]
async fn an_extended_connect_is_a_handshake_of_http_1_1_for_the_service() {
    let origin = echoing().await;
    let only_get = "matches: [{ method: GET, path: { prefix: /chat } }]";
    let app = App::start(&all_to(&[origin.address], only_get)).await;
    Upgraded::open(&app, Version::Http2).await;
    let head = origin.last();
    assert_eq!(head.first, "GET /chat?room=1 HTTP/1.1");
    assert_eq!(head.all("host"), ["a.test"]);
    assert_eq!(head.all("sec-websocket-version"), ["13"]);
    assert_eq!(head.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(head.all("x-forwarded-proto"), ["http"]);
    assert_eq!(head.all("x-forwarded-host"), ["a.test"]);
    let key = head.get("sec-websocket-key").unwrap();
    assert_eq!(Base64::decode(key, &mut [0; 32]).unwrap().len(), 16);
    for name in ["transfer-encoding", "content-length", "te"] {
        assert_eq!(head.get(name), None, "{name}");
    }
    Upgraded::open(&app, Version::Http2).await;
    assert_ne!(origin.last().get("sec-websocket-key"), head.get("sec-websocket-key"));
}

#[tokio::test]
async fn what_no_route_allows_is_no_protocol_here() {
    let origin = Origin::named("one").await;
    let app = App::start(&all_to(&[origin.address], "upgrades: []")).await;
    let client = connect(app.address).await;
    for protocol in ["websocket", "connect-udp"] {
        let answer = head(ask(&client, protocol).await.0).await;
        assert_eq!(answer.0, StatusCode::NOT_IMPLEMENTED, "{protocol}");
    }
    app.metric_is("serin_errors_total", &[("cause", "upgrade_refused")], 2.0).await;
    app.reload(&all_to(&[origin.address], "")).await;
    let answer = head(ask(&client, "connect-udp").await.0).await;
    assert_eq!(answer.0, StatusCode::NOT_IMPLEMENTED);
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn a_plain_connect_over_http_2_is_not_served() {
    let origin = Origin::named("one").await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = connect(app.address).await;
    let request = http::Request::connect("a.test:443").body(()).unwrap();
    let (response, _sending) = client.send_request(request, false).unwrap();
    assert_eq!(head(response).await.0, StatusCode::METHOD_NOT_ALLOWED);
    app.metric_is("serin_errors_total", &[("cause", "connect")], 1.0).await;
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn an_answer_that_refuses_reaches_the_client_and_one_that_ignores_is_502() {
    for (answer, status, cause) in [
        ("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno", 403, None),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno", 502, Some("not_upgraded")),
        ("HTTP/1.1 204 No Content\r\n\r\n", 502, Some("not_upgraded")),
        (&switching(""), 502, Some("invalid_response")),
        (&switching("sec-websocket-accept: bm8=\r\n"), 502, Some("invalid_response")),
        ("HTTP/1.1 101 OK\r\nupgrade: irc\r\n\r\n", 502, Some("invalid_response")),
        ("HTTP/1.1 101 OK\r\n\r\n", 502, Some("invalid_response")),
    ] {
        let origin = Origin::saying(answer, false).await;
        let app = App::start(&all_to(&[origin.address], "")).await;
        let client = connect(app.address).await;
        let (response, _sending) = ask(&client, "websocket").await;
        let response = within(response).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{answer}");
        if let Some(cause) = cause {
            app.metric_is("serin_errors_total", &[("cause", cause)], 1.0).await;
        } else {
            let data = within(response.into_body().data()).await.unwrap().unwrap();
            assert_eq!(data, &b"no"[..]);
        }
    }
}

#[tokio::test]
async fn what_comes_with_the_answer_belongs_to_the_new_protocol() {
    let origin = Origin::start(async |mut connection| {
        take_up_with(&mut connection, "first").await;
        echo(&mut connection).await;
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    for version in Upgraded::BOTH {
        let mut client = Upgraded::open(&app, version).await;
        assert_eq!(client.take(5).await, b"first");
        client.send("second").await;
        assert_eq!(client.take(6).await, b"second");
    }
}

#[tokio::test]
async fn each_side_may_go_on_after_the_other_has_ended() {
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let origin = Origin::start(move |mut connection| {
        let told = told.clone();
        async move {
            take_up(&mut connection).await;
            connection.send("bye").await;
            connection.stream.shutdown().await.unwrap();
            while let Ok(bytes) = connection.take(4).await {
                let _ = told.send(bytes);
            }
            let _ = told.send(b"end".to_vec());
        }
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    for version in Upgraded::BOTH {
        let mut client = Upgraded::open(&app, version).await;
        assert_eq!(client.rest().await, b"bye");
        for _ in 0..3 {
            client.send("more").await;
            assert_eq!(within(heard.recv()).await.unwrap(), b"more");
        }
        app.metric_is("serin_requests_in_flight", &[("route", "all")], 1.0).await;
        client.finish().await;
        assert_eq!(within(heard.recv()).await.unwrap(), b"end");
        app.metric_is("serin_requests_in_flight", &[("route", "all")], 0.0).await;
    }
    app.metric_is("serin_errors_total", &[], 0.0).await;
}

#[tokio::test]
async fn a_client_that_breaks_off_ends_it_at_the_service() {
    let gone = Arc::new(Notify::new());
    let went = Arc::clone(&gone);
    let origin = Origin::start(move |mut connection| {
        let went = Arc::clone(&went);
        async move {
            take_up(&mut connection).await;
            // It never ends its own side, and says nothing more.
            while connection.fill().await {}
            went.notify_one();
            std::future::pending::<()>().await;
        }
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    for version in Upgraded::BOTH {
        let mut client = Upgraded::open(&app, version).await;
        client.send("hello").await;
        client.reset();
        within(gone.notified()).await;
        app.metric_is("serin_requests_in_flight", &[("route", "all")], 0.0).await;
        app.metric_is("serin_upstream_connections", &[], 0.0).await;
    }
}

#[tokio::test]
async fn a_service_that_breaks_off_ends_it_for_the_client() {
    let origin = Origin::start(async |mut connection| {
        take_up(&mut connection).await;
        connection.take(5).await.unwrap();
        connection.stream.set_zero_linger().unwrap();
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    for version in Upgraded::BOTH {
        let mut client = Upgraded::open(&app, version).await;
        client.send("hello").await;
        assert_eq!(client.rest().await, b"");
        app.metric_is("serin_requests_in_flight", &[("route", "all")], 0.0).await;
    }
    app.metric_is("serin_upstream_connections", &[], 0.0).await;
}

#[tokio::test]
async fn two_that_both_send_before_they_read_do_not_wait_for_each_other() {
    const LENGTH: usize = 8 * 1024 * 1024;
    let origin = Origin::start(async |mut connection| {
        take_up(&mut connection).await;
        let (mut read, mut write) = connection.stream.split();
        let sending = async {
            write.write_all(&vec![7; LENGTH]).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let mut taken = Vec::new();
        let reading = tokio::io::AsyncReadExt::read_to_end(&mut read, &mut taken);
        let ((), taken) = tokio::join!(sending, reading);
        assert_eq!(taken.unwrap(), LENGTH);
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    for version in Upgraded::BOTH {
        let mut client = Upgraded::open(&app, version).await;
        client.send(vec![8; LENGTH]).await;
        client.finish().await;
        let taken = client.rest().await;
        assert!(taken.len() == LENGTH && taken.iter().all(|byte| *byte == 7), "{}", taken.len());
    }
}

#[tokio::test]
async fn one_direction_keeps_the_other_open_and_silence_ends_both() {
    let origin = Origin::start(async |mut connection| {
        let head = take_up(&mut connection).await;
        assert_eq!(head.target(), "/chat?room=1");
        connection.take(5).await.unwrap();
        // The client is silent from here on, for longer than either may be.
        for _ in 0..8 {
            tokio::time::sleep(Duration::from_millis(150)).await;
            connection.send("tick").await;
        }
        // Then the other way round.
        for _ in 0..8 {
            connection.take(4).await.unwrap();
        }
        connection.send("done").await;
        connection.rest().await;
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "timeouts: { idle: 400ms }")).await;
    for version in Upgraded::BOTH {
        let mut client = Upgraded::open(&app, version).await;
        client.send("hello").await;
        for _ in 0..8 {
            assert_eq!(client.take(4).await, b"tick");
        }
        for _ in 0..8 {
            tokio::time::sleep(Duration::from_millis(150)).await;
            client.send("tock").await;
        }
        assert_eq!(client.take(4).await, b"done");
        let silent = Instant::now();
        assert_eq!(client.rest().await, b"");
        let elapsed = silent.elapsed().as_millis();
        assert!((390..3_000).contains(&elapsed), "{elapsed} ms");
        app.metric_is("serin_requests_in_flight", &[("route", "all")], 0.0).await;
    }
}

#[tokio::test]
async fn the_time_for_an_answer_ends_with_the_answer() {
    let origin = echoing().await;
    let app = App::start(&all_to(&[origin.address], "timeouts: { backendRequest: 200ms }")).await;
    for version in Upgraded::BOTH {
        let mut client = Upgraded::open(&app, version).await;
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_millis(150)).await;
            client.send("hello").await;
            assert_eq!(client.take(5).await, b"hello");
        }
    }
}

#[tokio::test]
async fn an_endpoint_that_can_not_be_reached_is_passed_over() {
    let origin = echoing().await;
    let endpoints = [crate::support::nobody(), origin.address];
    let app = App::start(&all_to(&endpoints, "")).await;
    for version in Upgraded::BOTH {
        for _ in 0..4 {
            let mut client = Upgraded::open(&app, version).await;
            client.send("hello").await;
            assert_eq!(client.take(5).await, b"hello");
        }
    }
}

#[tokio::test]
async fn reloads_do_not_touch_it() {
    let origin = echoing().await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    for version in Upgraded::BOTH {
        let mut client = Upgraded::open(&app, version).await;
        for round in 0..25_u32 {
            // Even a configuration that would not let it through any more.
            let other = if round % 2 == 0 { "upgrades: []" } else { "" };
            app.reload(&all_to(&[origin.address], other)).await;
            client.send(round.to_be_bytes()).await;
            assert_eq!(client.take(4).await, round.to_be_bytes());
        }
        app.reload(&all_to(&[], "")).await;
        client.send("hello").await;
        assert_eq!(client.take(5).await, b"hello");
        app.reload(&all_to(&[origin.address], "")).await;
    }
}

fn draining(timeout: &str, origin: &Origin) -> String {
    let listeners = "[{ name: web, address: '127.0.0.1:0' }]";
    let drain = format!("{{ delay: 0s, timeout: {timeout} }}");
    let routes = "  - { name: all, split: [{ to: only }] }\n";
    config_with(listeners, &drain, &[("only", &[origin.address])], routes)
}

#[tokio::test]
async fn draining_waits_for_it() {
    let origin = echoing().await;
    for version in Upgraded::BOTH {
        let app = App::start(&draining("10s", &origin)).await;
        let mut client = Upgraded::open(&app, version).await;
        app.bound.stop(Stop::Soon).await;
        let refused = async || TcpStream::connect(app.address).await.is_err();
        eventually("nobody listens", refused).await;
        client.send("hello").await;
        assert_eq!(client.take(5).await, b"hello");
        client.finish().await;
        assert_eq!(client.rest().await, b"");
        let mut app = app;
        assert!(within(app.bound.ended()).await);
    }
}

#[tokio::test]
async fn what_does_not_end_while_draining_is_cut() {
    let origin = echoing().await;
    for version in Upgraded::BOTH {
        let mut app = App::start(&draining("200ms", &origin)).await;
        let mut client = Upgraded::open(&app, version).await;
        let stopped = Instant::now();
        assert!(!app.stop().await);
        let elapsed = stopped.elapsed().as_millis();
        assert!((200..5_000).contains(&elapsed), "{elapsed} ms");
        assert_eq!(client.rest().await, b"");
    }
}

#[tokio::test]
async fn what_is_not_let_through_goes_on_as_a_request_without_it() {
    let origin = Origin::named("one").await;
    let app = App::start(&all_to(&[origin.address], "upgrades: [irc]")).await;
    let mut client = app.connect().await;
    let irc = ["connection: upgrade\r\nupgrade: irc/6.9\r\n", "content-length: 2\r\n"];
    let requests = [
        ASKING.to_owned(),
        // Several at once, and one with a body.
        ASKING.replace("upgrade: websocket", "upgrade: irc, websocket"),
        format!("POST / HTTP/1.1\r\nhost: a\r\n{}{}\r\nhi", irc[0], irc[1]),
        format!("GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n{}\r\n", irc[0]),
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\n\
         upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n"
            .to_owned(),
        "GET / HTTP/1.1\r\nhost: a\r\nupgrade: irc/6.9\r\nhttp2-settings: AA\r\n\r\n".to_owned(),
    ];
    for request in &requests {
        client.send(request).await;
        let response = client.response().await.unwrap();
        assert_eq!((response.status, response.text().as_str()), (200, "one"), "{request}");
        assert_eq!(response.head.get("upgrade"), None, "{request}");
        let head = origin.last();
        for name in ["connection", "upgrade", "http2-settings"] {
            assert_eq!(head.get(name), None, "{request}");
        }
    }
    assert_eq!(origin.requests(), requests.len());
    app.metric_is("serin_requests_total", &[("code", "200")], 6.0).await;
}

#[tokio::test]
async fn other_protocols_pass_if_they_are_listed() {
    let origin = Origin::start(async |mut connection| {
        let head = connection.head().await.unwrap();
        assert_eq!(head.first, "OPTIONS / HTTP/1.1");
        assert_eq!(
            (head.all("connection"), head.all("upgrade")),
            (vec!["upgrade"], vec!["IRC/6.9"])
        );
        connection
            .send("HTTP/1.1 101 Go on\r\nupgrade: irc/6.9\r\nconnection: upgrade\r\n\r\n")
            .await;
        echo(&mut connection).await;
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "upgrades: [websocket, irc]")).await;
    let mut client = app.connect().await;
    client
        .send("OPTIONS / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: IRC/6.9\r\n\r\n")
        .await;
    let head = client.head().await.unwrap();
    assert_eq!(head.first, "HTTP/1.1 101 Go on");
    // In the words of the client.
    assert_eq!((head.all("connection"), head.all("upgrade")), (vec!["upgrade"], vec!["IRC/6.9"]));
    client.send("NICK a").await;
    assert_eq!(client.take(6).await.unwrap(), b"NICK a");
}

#[tokio::test]
async fn an_answer_other_than_101_leaves_the_connection_as_it_was() {
    let origin = Origin::start(async |mut connection| {
        while let Ok((head, _)) = connection.request().await {
            match head.get("upgrade") {
                Some(_) => connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno").await,
                None => connection.answer("one").await,
            }
        }
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = app.connect().await;
    // The second request has come when the first is answered: it is none of the tunnel's bytes.
    client.send(format!("{ASKING}GET / HTTP/1.1\r\nhost: a\r\n\r\n")).await;
    assert_eq!(client.response().await.unwrap().text(), "no");
    assert_eq!(client.response().await.unwrap().text(), "one");
    assert_eq!(client.get("/", "").await.text(), "one");
    assert_eq!(origin.connections(), 1);
    // Over HTTP/1.1 a client looks at the answer itself, but 101 must be what it asked for.
    for answer in ["HTTP/1.1 101 OK\r\nupgrade: irc\r\n\r\n", "HTTP/1.1 101 OK\r\n\r\n"] {
        let origin = Origin::saying(answer, false).await;
        app.reload(&all_to(&[origin.address], "")).await;
        client.send(ASKING).await;
        assert_eq!(client.response().await.unwrap().status, 502, "{answer}");
    }
    app.metric_is("serin_errors_total", &[("cause", "invalid_response")], 2.0).await;
}

#[tokio::test]
async fn what_a_client_sends_ahead_belongs_to_the_new_protocol() {
    let origin = echoing().await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = app.connect().await;
    client.send(format!("{ASKING}ahead")).await;
    assert_eq!(client.head().await.unwrap().first, "HTTP/1.1 101 Switching Protocols");
    assert_eq!(client.take(5).await.unwrap(), b"ahead");
}

#[tokio::test]
async fn the_end_of_a_side_is_no_client_that_left() {
    let listeners = "[{ name: web, address: '127.0.0.1:0', abortOnClose: true }]";
    let origin = Origin::start(async |mut connection| {
        take_up(&mut connection).await;
        while connection.fill().await {}
        connection.send("after the end").await;
    })
    .await;
    let routes = "  - { name: all, split: [{ to: only }] }\n";
    let drain = "{ delay: 0s, timeout: 10s }";
    let pools: &[(&str, &[_])] = &[("only", &[origin.address])];
    let app = App::start(&config_with(listeners, drain, pools, routes)).await;
    for version in Upgraded::BOTH {
        let mut client = Upgraded::open(&app, version).await;
        client.send("hello").await;
        client.finish().await;
        assert_eq!(client.rest().await, b"after the end");
    }
    app.metric_is("serin_requests_total", &[("code", "101")], 2.0).await;
    app.metric_is("serin_errors_total", &[], 0.0).await;
}

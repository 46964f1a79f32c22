//! Messages with and without bodies: trailers, lengths, HEAD, 204, 304, expectations.

use crate::support::{App, Origin, all_to};

#[tokio::test]
async fn trailers_pass_in_both_directions() {
    let origin = Origin::start(async move |mut connection| {
        while let Ok((head, body)) = connection.request().await {
            assert_eq!(head.get("te"), Some("trailers"));
            assert_eq!(head.get("trailer"), Some("x-sum, content-length"));
            assert_eq!(body.bytes, b"hello");
            let trailers = body.trailers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
            let trailers: String = trailers.collect();
            connection
                .send(format!(
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
                     2\r\nhi\r\n0\r\n{trailers}\r\n"
                ))
                .await;
        }
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = app.connect().await;
    client
        .send(
            "POST / HTTP/1.1\r\nhost: a.test\r\nte: gzip, trailers\r\n\
             transfer-encoding: chunked\r\ntrailer: x-sum, content-length\r\n\r\n\
             5\r\nhello\r\n0\r\nx-sum: 42\r\ncontent-length: 7\r\n\r\n",
        )
        .await;
    let response = client.response().await.unwrap();
    assert_eq!(response.body.bytes, b"hi");
    // A trailer that would change the framing does not pass.
    assert_eq!(response.body.trailers, [("x-sum".to_owned(), "42".to_owned())]);
}

#[tokio::test]
async fn the_length_of_a_body_is_kept() {
    let origin = Origin::named("twelve bytes").await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = app.connect().await;
    client.send("PUT / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 3\r\n\r\nabc").await;
    let response = client.response().await.unwrap();
    assert_eq!(origin.last().get("content-length"), Some("3"));
    assert_eq!(origin.last().get("transfer-encoding"), None);
    assert_eq!(response.head.get("content-length"), Some("12"));
    assert_eq!(response.head.get("transfer-encoding"), None);
    client.get("/", "").await;
    assert_eq!(origin.last().get("content-length"), None);
    assert_eq!(origin.last().get("transfer-encoding"), None);
    client.send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(client.response().await.unwrap().status, 200);
    assert_eq!(origin.last().get("content-length"), Some("0"));
}

#[tokio::test]
async fn responses_that_have_no_body_leave_the_connection_in_step() {
    let origin = Origin::start(async move |mut connection| {
        while let Ok((head, _)) = connection.request().await {
            let answer = match head.target() {
                "/204" => "204 No Content\r\nx-a: 1\r\n\r\n",
                "/304" => "304 Not Modified\r\netag: \"e\"\r\n\r\n",
                "/length" => "200 OK\r\ncontent-length: 5\r\n\r\n",
                _ => "200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            };
            connection.send(format!("HTTP/1.1 {answer}")).await;
        }
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = app.connect().await;
    for (method, path, status) in [
        ("GET", "/204", 204),
        ("GET", "/304", 304),
        ("HEAD", "/length", 200),
        ("HEAD", "/chunked", 200),
        ("GET", "/204", 204),
    ] {
        client.send(format!("{method} {path} HTTP/1.1\r\nhost: a.test\r\n\r\n")).await;
        let response = client.response_to(method).await.unwrap();
        assert_eq!(response.status, status, "{method} {path}");
        let length = response.head.get("content-length");
        assert_eq!(length, (path == "/length").then_some("5"), "{method} {path}");
    }
    app.metric_is("serin_requests_in_flight", &[], 0.0).await;
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_head_request_that_serin_answers_itself_has_no_body_either() {
    let app = App::start(&all_to(&[], "")).await;
    let mut client = app.connect().await;
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
        let response = client.response_to("HEAD").await.unwrap();
        assert_eq!(response.status, 503);
        assert!(response.head.get("content-length").is_some());
    }
    app.metric_is("serin_requests_in_flight", &[], 0.0).await;
    app.metric_is("serin_requests_total", &[("code", "503")], 2.0).await;
}

#[tokio::test]
async fn a_client_that_expects_100_is_told_to_go_on_before_it_sends() {
    let origin = Origin::start(async move |mut connection| {
        let head = connection.head().await.unwrap();
        assert_eq!(head.get("expect"), Some("100-continue"));
        connection.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        assert_eq!(connection.body(&head, false).await.unwrap().bytes, b"abc");
        connection.answer("done").await;
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = app.connect().await;
    let head = "POST / HTTP/1.1\r\nhost: a.test\r\nexpect: 100-continue\r\ncontent-length: 3\r\n";
    client.send(format!("{head}\r\n")).await;
    assert_eq!(client.head().await.unwrap().first, "HTTP/1.1 100 Continue");
    client.send("abc").await;
    assert_eq!(client.response().await.unwrap().text(), "done");
}

#[tokio::test]
async fn other_expectations_are_refused() {
    let origin = Origin::named("a").await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    assert_eq!(app.fetch_with("/", "expect: a miracle\r\n").await.status, 417);
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn a_request_to_upgrade_is_answered_in_the_protocol_that_it_came_in() {
    let origin = Origin::named("a").await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = app.connect().await;
    let upgrade = "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AA\r\n";
    assert_eq!(client.get("/", upgrade).await.status, 200);
    assert_eq!(client.get("/", "").await.status, 200);
    assert!(origin.heads().iter().all(|head| head.get("http2-settings").is_none()));
}

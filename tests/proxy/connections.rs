//! Connections that are used again and again: in step, in order, and never after a mistake.

use crate::support::{App, Origin, all_to, eventually};

#[tokio::test]
async fn many_requests_go_over_one_connection_on_either_side() {
    let origin = Origin::named("a").await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = app.connect().await;
    for number in 0..300 {
        assert_eq!(client.get(&format!("/{number}"), "").await.text(), "a");
        assert_eq!(origin.last().target(), format!("/{number}"));
    }
    assert_eq!(origin.connections(), 1);
    app.metric_is("serin_downstream_connections_total", &[("listener", "web")], 1.0).await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::start(async move |mut connection| {
        while let Ok((head, body)) = connection.request().await {
            let text = format!("{} {}", head.target(), body.bytes.len());
            connection.answer(&text).await;
        }
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = app.connect().await;
    let mut requests = Vec::new();
    for number in 0..50 {
        let body = "x".repeat(number);
        requests.extend([
            format!("POST /{number} HTTP/1.1\r\nhost: a\r\ncontent-length: {number}\r\n\r\n{body}"),
            format!("GET /then-{number} HTTP/1.1\r\nhost: a\r\n\r\n"),
        ]);
    }
    client.send(requests.concat()).await;
    for number in 0..50 {
        assert_eq!(client.response().await.unwrap().text(), format!("/{number} {number}"));
        assert_eq!(client.response().await.unwrap().text(), format!("/then-{number} 0"));
    }
}

#[tokio::test]
async fn a_get_with_a_body_is_passed_on_with_it_and_stays_in_step() {
    let origin = Origin::start(async move |mut connection| {
        while let Ok((head, body)) = connection.request().await {
            let body = String::from_utf8(body.bytes).unwrap().replace("\r\n", "|");
            let framing = if head.get("content-length").is_some() { "length" } else { "chunked" };
            connection.answer(&format!("{} {framing} {body}", head.first)).await;
        }
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = app.connect().await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    let (length, line) = (smuggled.len(), smuggled.replace("\r\n", "|"));
    for method in ["GET", "DELETE", "OPTIONS"] {
        client
            .send(format!(
                "{method} / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{smuggled}"
            ))
            .await;
        let text = client.response().await.unwrap().text();
        assert_eq!(text, format!("{method} / HTTP/1.1 length {line}"));
        client
            .send(format!(
                "{method} / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
                 {length:x}\r\n{smuggled}\r\n0\r\n\r\n"
            ))
            .await;
        let text = client.response().await.unwrap().text();
        assert_eq!(text, format!("{method} / HTTP/1.1 chunked {line}"));
    }
}

#[tokio::test]
async fn bytes_after_a_response_never_answer_another_request() {
    let extra = "HTTP/1.1 200 OK\r\nx-origin: stolen\r\ncontent-length: 0\r\n\r\n";
    for framing in
        ["content-length: 2\r\n\r\nhi", "transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"]
    {
        let origin = Origin::saying(format!("HTTP/1.1 200 OK\r\n{framing}{extra}"), false).await;
        let app = App::start(&all_to(&[origin.address], "")).await;
        let mut client = app.connect().await;
        for requests in 1..=5 {
            let response = client.get("/", "").await;
            assert_eq!((response.text().as_str(), response.origin()), ("hi", ""), "{framing}");
            assert_eq!(origin.connections(), requests);
        }
    }
}

#[tokio::test]
async fn a_body_where_none_may_be_never_answers_another_request() {
    for (method, status) in
        [("GET", "204 No Content"), ("GET", "304 Not Modified"), ("HEAD", "200 OK")]
    {
        let body = "HTTP/1.1 200 OK\r\nx-origin: stolen\r\ncontent-length: 0\r\n\r\n";
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
        let origin = Origin::saying(answer, false).await;
        let app = App::start(&all_to(&[origin.address], "")).await;
        let mut client = app.connect().await;
        for requests in 1..=5 {
            client.send(format!("{method} / HTTP/1.1\r\nhost: a.test\r\n\r\n")).await;
            let response = client.response_to(method).await.unwrap();
            assert_eq!(response.head.first, format!("HTTP/1.1 {status}"));
            assert_eq!(origin.connections(), requests);
        }
    }
}

#[tokio::test]
async fn bytes_on_an_idle_connection_close_it() {
    let origin = Origin::start(async move |mut connection| {
        while let Ok((_, _)) = connection.request().await {
            connection.answer("a").await;
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nstolen").await;
        }
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = app.connect().await;
    for _ in 0..5 {
        assert_eq!(client.get("/", "").await.text(), "a");
        let closed = async || app.metric("serin_upstream_connections", &[]).await == 0.0;
        eventually("the connection is closed and forgotten", closed).await;
    }
    app.metric_is("serin_upstream_connections", &[("state", "idle")], 0.0).await;
    app.metric_is("serin_upstream_connections", &[("state", "active")], 0.0).await;
}

#[tokio::test]
async fn an_early_response_goes_to_the_client_and_ends_the_connection_if_it_must() {
    let origin = Origin::start(async move |mut connection| {
        if connection.head().await.is_ok() {
            connection.answer("early").await;
            connection.rest().await;
        }
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = app.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 1000000\r\n\r\nabc").await;
    assert_eq!(client.response().await.unwrap().text(), "early");
    // The rest of the body must not be taken for a request by anybody.
    client.send("GET /smuggled HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    assert_eq!(app.get("/next").await.text(), "early");
    let targets: Vec<_> = origin.heads().iter().map(|head| head.target().to_owned()).collect();
    assert_eq!(targets, ["/", "/next"]);
    assert_eq!(origin.connections(), 2);
}

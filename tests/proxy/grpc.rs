//! gRPC calls: failures told in its own words, and deadlines.

use crate::support::{App, H2Origin, Origin, all_to, config, nobody, pool_with, within};
use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, StatusCode};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (client, connection) = within(h2::client::handshake(stream)).await.unwrap();
    tokio::spawn(connection);
    client
}

fn call(path: &str) -> http::request::Builder {
    Request::builder()
        .method(Method::POST)
        .uri(format!("http://a.test{path}"))
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers")
}

/// A call with an empty message, and the head of its answer; whether that was all there was.
async fn answer(
    client: &SendRequest<Bytes>,
    call: http::request::Builder,
) -> (StatusCode, HeaderMap, bool) {
    let mut client = within(client.clone().ready()).await.unwrap();
    let (response, mut sending) = client.send_request(call.body(()).unwrap(), false).unwrap();
    // The request may be refused before this is sent.
    let _ = sending.send_data(Bytes::from_static(&[0; 5]), true);
    let response = within(response).await.unwrap();
    let ended = response.body().is_end_stream();
    (response.status(), response.headers().clone(), ended)
}

fn silent() -> impl Future<Output = Origin> {
    Origin::start(async |mut connection| while connection.request().await.is_ok() {})
}

#[tokio::test]
async fn a_call_that_can_not_be_delivered_is_answered_with_trailers_only() {
    let routes = "  - { name: gone, matches: [{ path: { prefix: /gone } }], split: [{ to: gone }] }
  - { name: none, matches: [{ path: { prefix: /none } }], split: [{ to: none }] }
  - name: slow
    matches: [{ path: { prefix: /slow } }]
    split: [{ to: slow }]
    timeouts: { backendRequest: 100ms }
  - name: wrong
    matches: [{ path: { prefix: /wrong } }]
    split: [{ to: wrong }]
  - name: small
    matches: [{ path: { prefix: /small } }]
    split: [{ to: slow }]
    limits: { bodyBytes: 3 }
";
    let (slow, wrong) = (silent().await, Origin::saying("nonsense\r\n\r\n", true).await);
    let pools: [(&str, &[SocketAddr]); 4] = [
        ("gone", &[nobody()]),
        ("none", &[]),
        ("slow", &[slow.address]),
        ("wrong", &[wrong.address]),
    ];
    let app = App::start(&config(&pools, routes)).await;
    let client = connect(app.address).await;
    for (path, status, message) in [
        ("/gone", "14", "the service can not be reached"),
        ("/none", "14", "no endpoint can take this request"),
        ("/slow", "4", "the service did not answer in time"),
        ("/wrong", "14", "the service's answer is not valid HTTP"),
        ("/small", "8", "the request body is too large"),
        ("/other", "12", "no route matches this request"),
        ("/a/..;/b", "13", "the request's path can be read in two ways"),
    ] {
        let (code, headers, ended) = answer(&client, call(path)).await;
        assert_eq!(code, StatusCode::OK, "{path}");
        assert_eq!(headers["content-type"], "application/grpc", "{path}");
        assert_eq!(headers["grpc-status"], status, "{path}");
        assert_eq!(headers["grpc-message"], message, "{path}");
        assert!(ended, "{path}");
    }
    app.metric_is("serin_requests_total", &[("code", "200")], 7.0).await;
    for (route, status) in
        [("gone", "14"), ("none", "14"), ("slow", "4"), ("small", "8"), ("", "12"), ("", "13")]
    {
        let labels = [("route", route), ("grpc_status", status)];
        app.metric_is("serin_grpc_responses_total", &labels, 1.0).await;
    }
    app.metric_is("serin_errors_total", &[("cause", "connect_failed")], 1.0).await;
    app.metric_is("serin_errors_total", &[("cause", "no_route")], 1.0).await;
}

#[tokio::test]
async fn a_call_over_http_1_1_is_answered_as_one() {
    let app = App::start(&all_to(&[nobody()], "")).await;
    let mut client = app.connect().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n")
        .await;
    let response = client.response().await.unwrap();
    assert_eq!((response.status, response.text().as_str()), (200, ""));
    assert_eq!(response.head.get("grpc-status"), Some("14"));
}

#[tokio::test]
async fn what_is_no_call_is_answered_with_a_status() {
    let app = App::start(&all_to(&[nobody()], "")).await;
    let client = connect(app.address).await;
    for kind in ["application/grpc-web+proto", "application/json"] {
        let request = Request::post("http://a.test/")
            .header("content-type", kind)
            .header("grpc-timeout", "1n");
        let (code, headers, _) = answer(&client, request).await;
        assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE, "{kind}");
        assert_eq!(headers.get("grpc-status"), None, "{kind}");
    }
}

#[tokio::test]
async fn an_answer_of_the_service_without_a_grpc_status_is_passed_on() {
    let page = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/html\r\ncontent-length: 4\r\n\r\nbusy";
    let origin = Origin::saying(page, false).await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let (code, headers, _) = answer(&connect(app.address).await, call("/")).await;
    assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(headers["content-type"], "text/html");
    assert_eq!(headers.get("grpc-status"), None);
    app.metric_is("serin_grpc_responses_total", &[("grpc_status", "none")], 1.0).await;
}

#[tokio::test]
async fn calls_are_counted_by_the_status_that_the_service_gave() {
    let origin = Origin::start(async |mut connection| {
        while let Ok((head, _)) = connection.request().await {
            let status = &head.target()[1..];
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n";
            let body = format!("1\r\nx\r\n0\r\ngrpc-status: {status}\r\n\r\n");
            connection.send(format!("{head}transfer-encoding: chunked\r\n\r\n{body}")).await;
        }
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = app.connect().await;
    for kind in ["application/grpc", "text/plain"] {
        for status in ["0", "5", "16", "17", "nonsense"] {
            let fields = format!("host: a\r\ncontent-type: {kind}\r\ncontent-length: 0\r\n");
            client.send(format!("POST /{status} HTTP/1.1\r\n{fields}\r\n")).await;
            assert_eq!(client.response().await.unwrap().body.bytes, b"x");
        }
    }
    for (status, count) in [("0", 1.0), ("5", 1.0), ("16", 1.0), ("2", 2.0)] {
        let labels = [("route", "all"), ("pool", "only"), ("grpc_status", status)];
        app.metric_is("serin_grpc_responses_total", &labels, count).await;
    }
    app.metric_is("serin_grpc_responses_total", &[], 5.0).await;
}

#[tokio::test]
async fn a_call_whose_deadline_passes_is_answered_and_broken_off_at_the_service() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let origin = Origin::start(move |mut connection| {
        let tell = tell.clone();
        async move {
            let (head, _) = connection.request().await.unwrap();
            connection.rest().await;
            let _ = tell.send(head);
        }
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let client = connect(app.address).await;
    let started = Instant::now();
    let (code, headers, ended) = answer(&client, call("/").header("grpc-timeout", "300m")).await;
    assert!((300..2_000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    assert_eq!((code, ended), (StatusCode::OK, true));
    assert_eq!(headers["grpc-status"], "4");
    assert_eq!(headers["grpc-message"], "the call's deadline is over");
    let head = within(told.recv()).await.unwrap();
    assert_eq!(head.get("grpc-timeout"), Some("300m"));
    app.metric_is("serin_errors_total", &[("cause", "deadline_exceeded")], 1.0).await;
    app.metric_is("serin_attempts_total", &[("outcome", "response_timeout")], 1.0).await;
}

#[tokio::test]
async fn a_call_whose_deadline_passes_inside_the_answer_is_reset_on_both_sides() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let origin = Origin::start(move |mut connection| {
        let tell = tell.clone();
        async move {
            connection.head().await.unwrap();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n";
            connection.send(format!("{head}transfer-encoding: chunked\r\n\r\n1\r\nx\r\n")).await;
            connection.rest().await;
            let _ = tell.send(());
        }
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "timeouts: { request: 1h }")).await;
    let mut client = within(connect(app.address).await.ready()).await.unwrap();
    let request = call("/").header("grpc-timeout", "300000u").body(()).unwrap();
    let (response, _sending) = client.send_request(request, false).unwrap();
    let started = Instant::now();
    let mut body = within(response).await.unwrap().into_body();
    assert_eq!(within(body.data()).await.unwrap().unwrap(), "x");
    let error = within(body.data()).await.unwrap().unwrap_err();
    assert!(error.is_reset(), "{error}");
    assert!((250..2_000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    within(told.recv()).await.unwrap();
    app.metric_is("serin_errors_total", &[("cause", "deadline_exceeded")], 1.0).await;
}

#[tokio::test]
async fn the_time_of_the_route_ends_a_call_that_gives_more() {
    let origin = silent().await;
    let app = App::start(&all_to(&[origin.address], "timeouts: { request: 200ms }")).await;
    let client = connect(app.address).await;
    let (_, headers, _) = answer(&client, call("/").header("grpc-timeout", "99999999H")).await;
    assert_eq!(headers["grpc-status"], "4");
    assert_eq!(headers["grpc-message"], "the request took too long");
}

#[tokio::test]
async fn a_malformed_deadline_is_none_and_is_passed_on() {
    let origin = Origin::start(async |mut connection| {
        while let Ok((_, _)) = connection.request().await {
            // The slowness is the test.
            tokio::time::sleep(Duration::from_millis(50)).await;
            connection.answer("one").await;
        }
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let client = connect(app.address).await;
    for malformed in ["1", "1x", "-1n", "123456789n", "n"] {
        let (code, headers, _) = answer(&client, call("/").header("grpc-timeout", malformed)).await;
        assert_eq!(code, StatusCode::OK, "{malformed}");
        assert_eq!(headers["x-origin"], "one", "{malformed}");
        assert_eq!(origin.last().get("grpc-timeout"), Some(malformed));
    }
}

#[tokio::test]
async fn a_call_whose_deadline_passes_resets_its_stream_and_keeps_the_connection() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let origin = H2Origin::requests(h2::server::Builder::new(), move |mut answering| {
        let tell = tell.clone();
        async move {
            let reset = if answering.head.uri.path() == "/late" {
                std::future::poll_fn(|cx| answering.respond.poll_reset(cx)).await
            } else {
                let head = http::Response::builder().header("content-type", "application/grpc");
                let head = head.body(()).unwrap();
                let mut stream = answering.respond.send_response(head, false).unwrap();
                stream.send_data(Bytes::from_static(b"x"), false).unwrap();
                std::future::poll_fn(|cx| stream.poll_reset(cx)).await
            };
            let _ = tell.send(reset.unwrap());
        }
    })
    .await;
    let app = App::start(&pool_with(origin.address, "protocol: h2", "")).await;
    let client = connect(app.address).await;
    let (_, headers, ended) = answer(&client, call("/late").header("grpc-timeout", "200m")).await;
    assert_eq!((&headers["grpc-status"], ended), (&http::HeaderValue::from_static("4"), true));
    assert_eq!(within(told.recv()).await.unwrap(), h2::Reason::CANCEL);
    let slow = call("/slow").header("grpc-timeout", "200m").body(()).unwrap();
    let mut client = within(client.ready()).await.unwrap();
    let (response, _sending) = client.send_request(slow, false).unwrap();
    let mut body = within(response).await.unwrap().into_body();
    assert_eq!(within(body.data()).await.unwrap().unwrap(), "x");
    assert!(within(body.data()).await.unwrap().unwrap_err().is_reset());
    assert_eq!(within(told.recv()).await.unwrap(), h2::Reason::CANCEL);
    assert_eq!(origin.accepted(), 1);
    app.metric_is("serin_errors_total", &[("cause", "deadline_exceeded")], 2.0).await;
}

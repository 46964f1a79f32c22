//! HTTP/2 with prior knowledge on a plain port, translated to HTTP/1.1 towards the origin.

use crate::support::{App, Origin, all_to, eventually, within};
use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, StatusCode};
use serin::app::Stop;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::Notify;

async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (client, connection) = within(h2::client::handshake(stream)).await.unwrap();
    tokio::spawn(connection);
    client
}

fn request(path: &str) -> http::request::Builder {
    Request::builder().uri(format!("http://Shop.test:81{path}"))
}

/// The status, the body and the trailers.
async fn exchange(
    client: &SendRequest<Bytes>,
    request: Request<()>,
    body: Option<&[u8]>,
) -> Result<(StatusCode, Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut client = client.clone().ready().await?;
    let (response, mut sending) = client.send_request(request, body.is_none())?;
    if let Some(body) = body {
        // h2 holds back what the window does not take yet.
        sending.send_data(Bytes::copy_from_slice(body), true)?;
    }
    let response = response.await?;
    let status = response.status();
    let mut receiving = response.into_body();
    let mut bytes = Vec::new();
    while let Some(data) = receiving.data().await {
        let data = data?;
        bytes.extend_from_slice(&data);
        receiving.flow_control().release_capacity(data.len())?;
    }
    Ok((status, bytes, receiving.trailers().await?))
}

#[tokio::test]
async fn a_request_is_translated_to_http_1_1() {
    let origin = Origin::named("one").await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let client = connect(app.address).await;
    let request = request("/a?b=c")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("te", "trailers")
        .body(());
    let (status, body, _) = within(exchange(&client, request.unwrap(), None)).await.unwrap();
    assert_eq!((status, &body[..]), (StatusCode::OK, &b"one"[..]));
    let head = origin.heads().remove(0);
    assert_eq!(head.target(), "/a?b=c");
    assert_eq!(head.get("host"), Some("Shop.test:81"));
    assert_eq!(head.get("cookie"), Some("a=1; b=2"));
    assert_eq!(head.get("te"), Some("trailers"));
    assert_eq!(head.get("x-forwarded-host"), Some("Shop.test:81"));
    assert_eq!(head.get("transfer-encoding"), None);
}

#[tokio::test]
async fn bodies_and_trailers_pass_in_both_directions() {
    let origin = Origin::start(async |mut connection| {
        while let Ok((_, body)) = connection.request().await {
            let length = body.bytes.len();
            let text = format!("{length:x}\r\n");
            connection.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            connection.send(text).await;
            connection.send(body.bytes).await;
            connection.send("\r\n0\r\nx-sum: 7\r\n\r\n").await;
        }
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let client = connect(app.address).await;
    let sent: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let request = request("/").method(Method::POST).body(()).unwrap();
    let (status, body, trailers) = within(exchange(&client, request, Some(&sent))).await.unwrap();
    assert_eq!(status, StatusCode::OK);
    assert!(body == sent);
    assert_eq!(trailers.unwrap()["x-sum"], "7");
}

#[tokio::test]
async fn many_requests_share_a_connection() {
    let origin = Origin::named("one").await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let client = connect(app.address).await;
    let requests = (0..300).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            exchange(&client, request("/").body(()).unwrap(), None).await.unwrap().0
        })
    });
    for answer in requests.collect::<Vec<_>>() {
        assert_eq!(within(answer).await.unwrap(), StatusCode::OK);
    }
    app.metric_is("serin_requests_total", &[("code", "200"), ("pool", "only")], 300.0).await;
    app.metric_is("serin_requests_in_flight", &[], 0.0).await;
}

#[tokio::test]
async fn an_authority_that_the_host_field_contradicts_is_refused() {
    let origin = Origin::named("one").await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let client = connect(app.address).await;
    let good = request("/").header("host", "shop.TEST").body(()).unwrap();
    assert_eq!(within(exchange(&client, good, None)).await.unwrap().0, StatusCode::OK);
    let bad = request("/").header("host", "other.test").body(()).unwrap();
    assert_eq!(within(exchange(&client, bad, None)).await.unwrap().0, StatusCode::BAD_REQUEST);
    assert_eq!(origin.heads().len(), 1);
}

#[tokio::test]
async fn a_client_that_resets_its_stream_ends_the_request_at_the_origin() {
    let (arrived, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (came, went) = (Arc::clone(&arrived), Arc::clone(&gone));
    let origin = Origin::start(move |mut connection| {
        let (came, went) = (Arc::clone(&came), Arc::clone(&went));
        async move {
            connection.head().await.unwrap();
            came.notify_one();
            connection.rest().await;
            went.notify_one();
        }
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = within(connect(app.address).await.ready()).await.unwrap();
    let (response, mut sending) =
        client.send_request(request("/").body(()).unwrap(), true).unwrap();
    within(arrived.notified()).await;
    sending.send_reset(h2::Reason::CANCEL);
    drop(response);
    within(gone.notified()).await;
    app.metric_is("serin_requests_total", &[("code", "499")], 1.0).await;
}

#[tokio::test]
async fn draining_lets_streams_finish() {
    let (arrived, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (came, going) = (Arc::clone(&arrived), Arc::clone(&go_on));
    let origin = Origin::start(move |mut connection| {
        let (came, going) = (Arc::clone(&came), Arc::clone(&going));
        async move {
            while let Ok((_, _)) = connection.request().await {
                came.notify_one();
                going.notified().await;
                connection.answer("one").await;
            }
        }
    })
    .await;
    let mut app = App::start(&all_to(&[origin.address], "")).await;
    let client = connect(app.address).await;
    let answer = tokio::spawn(async move {
        exchange(&client, request("/").body(()).unwrap(), None).await.unwrap()
    });
    within(arrived.notified()).await;
    app.bound.stop(Stop::Soon).await;
    eventually("no listener", async || TcpStream::connect(app.address).await.is_err()).await;
    go_on.notify_one();
    assert_eq!(within(answer).await.unwrap().1, b"one");
    assert!(within(app.bound.ended()).await);
}

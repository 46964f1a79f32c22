//! HTTP/1.1 with clients: how long they may take, how connections end, what they are told between.

use crate::support::{App, Client, Origin, all_to, config_with, eventually, within};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

const GET: &str = "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n";

/// A configuration with further settings of its listener.
fn listening(more: &str, origin: SocketAddr) -> String {
    let listeners = format!("[{{ name: web, address: '127.0.0.1:0', {more} }}]");
    let routes = "  - { name: all, split: [{ to: only }] }\n";
    config_with(&listeners, "{ delay: 0s, timeout: 10s }", &[("only", &[origin])], routes)
}

/// An origin that answers each request when it is told to.
async fn waiting() -> (Origin, Arc<Notify>) {
    let go = Arc::new(Notify::new());
    let told = Arc::clone(&go);
    let origin = Origin::start(move |mut connection| {
        let go = Arc::clone(&told);
        async move {
            while let Ok((head, _)) = connection.request().await {
                go.notified().await;
                let target = head.target().to_owned();
                connection.answer(&target).await;
            }
        }
    })
    .await;
    (origin, go)
}

#[tokio::test]
async fn a_head_that_trickles_is_408_when_its_time_is_up_whatever_was_sent() {
    let origin = Origin::named("a").await;
    let app = App::start(&listening("timeouts: { header: 400ms }", origin.address)).await;
    for beginning in ["G", "P", "GET / HTTP/1.1\r\nhost: a.test\r\n"] {
        let mut client = app.connect().await;
        let started = Instant::now();
        client.send(beginning).await;
        let mut fields = 0;
        while started.elapsed() < Duration::from_secs(5) {
            // The slowness is the test.
            let pause = Duration::from_millis(50);
            let ended = tokio::time::timeout(pause, client.stream.readable()).await.is_ok();
            let more = if beginning.ends_with('\n') { "x: y\r\n" } else { "" };
            if ended || client.try_send(more).await.is_err() {
                break;
            }
            fields += 1;
        }
        let took = started.elapsed().as_millis();
        assert!((400..2_000).contains(&took) && fields > 3, "{beginning:?}: {took} ms");
        let response = client.response().await.unwrap();
        assert_eq!(response.status, 408);
        assert_eq!(
            response.text(),
            "408 Request Timeout: the request's head did not come in time\n"
        );
        client.closed().await;
    }
    let labels = [("listener", "web"), ("reason", "head_timed_out")];
    app.metric_is("serin_downstream_refused_total", &labels, 3.0).await;
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn a_second_head_that_trickles_is_408_too() {
    let origin = Origin::named("a").await;
    let timeouts = "timeouts: { header: 300ms, keepAlive: 10m }";
    let app = App::start(&listening(timeouts, origin.address)).await;
    let mut client = app.connect().await;
    assert_eq!(client.get("/", "").await.status, 200);
    let started = Instant::now();
    client.send("GET / HT").await;
    assert_eq!(client.response().await.unwrap().status, 408);
    assert!(started.elapsed() >= Duration::from_millis(300));
    client.closed().await;
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_sent_is_closed_without_a_word() {
    let origin = Origin::named("a").await;
    let timeouts = "timeouts: { header: 300ms, keepAlive: 700ms }";
    let app = App::start(&listening(timeouts, origin.address)).await;
    let started = Instant::now();
    app.connect().await.closed().await;
    let took = started.elapsed().as_millis();
    assert!((300..700).contains(&took), "{took} ms");
    let mut client = app.connect().await;
    assert_eq!(client.get("/", "").await.status, 200);
    let answered = Instant::now();
    // An empty line is not yet a request (RFC 9112 section 2.2).
    client.send("\r\n").await;
    client.closed().await;
    let took = answered.elapsed().as_millis();
    assert!((690..2_000).contains(&took), "{took} ms");
    app.metric_is("serin_downstream_refused_total", &[], 0.0).await;
}

#[tokio::test]
async fn a_client_that_ends_its_sending_side_still_gets_its_answers() {
    for unfinished in ["", "GET /three HT"] {
        let (origin, go) = waiting().await;
        let app = App::start(&all_to(&[origin.address], "")).await;
        let mut client = app.connect().await;
        let both = ["/one", "/two"].map(|path| format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
        client.send(both.concat() + unfinished).await;
        client.stream.shutdown().await.unwrap();
        for (number, path) in (1..).zip(["/one", "/two"]) {
            eventually("the request arrives", async || origin.requests() == number).await;
            // Lets the proxy see the end of what the client sends.
            app.metric_is("serin_requests_in_flight", &[], 1.0).await;
            go.notify_one();
            let response = client.response().await.unwrap();
            assert_eq!(response.text(), path);
            let last = number == 2 && unfinished.is_empty();
            assert_eq!(response.head.get("connection"), last.then_some("close"), "{path}");
        }
        client.closed().await;
        app.metric_is("serin_requests_total", &[("code", "200")], 2.0).await;
    }
}

#[tokio::test]
async fn a_client_whose_connection_breaks_ends_its_request() {
    let (origin, _go) = waiting().await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = app.connect().await;
    client.send(GET).await;
    eventually("the request arrives", async || origin.requests() == 1).await;
    socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    app.metric_is("serin_requests_total", &[("code", "499")], 1.0).await;
    app.metric_is("serin_errors_total", &[("cause", "client_left")], 1.0).await;
    app.metric_is("serin_requests_in_flight", &[], 0.0).await;
}

#[tokio::test]
async fn a_client_whose_connection_breaks_inside_its_body_ends_its_response() {
    let origin = Origin::start(async move |mut connection| {
        if connection.head().await.is_ok() {
            // Before the request is complete, and not to its end.
            let begun = "transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n";
            connection.send(format!("HTTP/1.1 200 OK\r\n{begun}")).await;
            std::future::pending::<()>().await;
        }
    })
    .await;
    // With `abortOnClose` the end of its sending side is enough.
    for (settings, breaks) in [("", true), ("abortOnClose: true", false)] {
        let app = App::start(&listening(settings, origin.address)).await;
        let mut client = app.connect().await;
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 90\r\n\r\nabc").await;
        client.head().await.unwrap();
        assert_eq!(client.chunk().await.unwrap().unwrap(), b"hi");
        if breaks {
            socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
            drop(client);
        } else {
            client.stream.shutdown().await.unwrap();
            assert!(client.rest().await.is_empty());
        }
        app.metric_is("serin_errors_total", &[("cause", "client_left")], 1.0).await;
        app.metric_is("serin_requests_in_flight", &[], 0.0).await;
    }
}

#[tokio::test]
async fn a_connection_has_as_many_requests_as_it_may() {
    let origin = Origin::named("a").await;
    let limits = "limits: { requestsPerConnection: 3 }";
    let app = App::start(&listening(limits, origin.address)).await;
    let mut client = app.connect().await;
    client.send(GET.repeat(5)).await;
    for number in 1..=3 {
        let response = client.response().await.unwrap();
        assert_eq!(response.head.get("connection"), (number == 3).then_some("close"));
    }
    client.closed().await;
    assert_eq!(origin.requests(), 3);
}

#[tokio::test]
async fn informational_responses_are_passed_on_to_clients_that_know_them() {
    let early = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\nconnection: x-b\r\nx-b: 1\r\n\r\n";
    let answer = format!("{early}HTTP/1.1 102 Processing\r\n\r\n{}", ok("hi"));
    let origin = Origin::saying(answer, false).await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = app.connect().await;
    for _ in 0..2 {
        client.send(GET).await;
        let hints = client.head().await.unwrap();
        assert_eq!(hints.first, "HTTP/1.1 103 Early Hints");
        assert_eq!(hints.fields, [("link".to_owned(), "</a.css>".to_owned())]);
        assert_eq!(client.head().await.unwrap().first, "HTTP/1.1 102 Processing");
        assert_eq!(client.response().await.unwrap().text(), "hi");
    }
    let mut old = app.connect().await;
    old.send("GET / HTTP/1.0\r\nhost: a.test\r\n\r\n").await;
    assert_eq!(old.response().await.unwrap().text(), "hi");
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn hints_come_before_the_answer_is_there() {
    let (go, told) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let waiting = Arc::clone(&go);
    let origin = Origin::start(move |mut connection| {
        let go = Arc::clone(&waiting);
        async move {
            while let Ok((_, _)) = connection.request().await {
                connection.send("HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n").await;
                go.notified().await;
                connection.answer("a").await;
            }
        }
    })
    .await;
    drop(told);
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = app.connect().await;
    client.send(GET).await;
    assert_eq!(client.head().await.unwrap().first, "HTTP/1.1 103 Early Hints");
    go.notify_one();
    assert_eq!(client.response().await.unwrap().text(), "a");
}

#[tokio::test]
async fn an_answer_instead_of_100_closes_the_connection() {
    let origin = Origin::start(async move |mut connection| {
        if connection.head().await.is_ok() {
            let answer = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n";
            connection.send(answer).await;
            connection.rest().await;
        }
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = app.connect().await;
    let head = "POST / HTTP/1.1\r\nhost: a.test\r\nexpect: 100-continue\r\ncontent-length: 90\r\n";
    client.send(format!("{head}\r\n")).await;
    let response = client.response().await.unwrap();
    assert_eq!((response.status, response.head.get("connection")), (413, Some("close")));
    client.send(GET).await;
    client.closed().await;
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn clients_of_http_1_0_get_no_chunks_and_are_told_when_the_connection_stays() {
    let origin = Origin::start(async move |mut connection| {
        while let Ok((head, _)) = connection.request().await {
            match head.target() {
                "/chunks" => {
                    let chunks = "transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
                    connection.send(format!("HTTP/1.1 200 OK\r\n{chunks}")).await;
                }
                _ => connection.answer("a").await,
            }
        }
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = app.connect().await;
    client.send("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").await;
    let response = client.response().await.unwrap();
    assert_eq!(response.head.get("connection"), Some("keep-alive"));
    client.send("GET /chunks HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").await;
    let response = client.response().await.unwrap();
    assert_eq!(response.head.get("transfer-encoding"), None);
    assert_eq!(response.head.get("connection"), Some("close"));
    assert_eq!(response.text(), "hi");
    let mut client = app.connect().await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.response().await.unwrap().head.get("connection"), Some("close"));
    client.closed().await;
}

#[tokio::test]
async fn a_client_may_ask_for_the_connection_to_be_closed() {
    let origin = Origin::named("a").await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = app.connect().await;
    let response = client.get("/", "connection: x, Close\r\n").await;
    assert_eq!(response.head.get("connection"), Some("close"));
    client.closed().await;
}

#[tokio::test]
async fn a_response_without_a_date_gets_one_and_another_keeps_its_own() {
    for (date, own) in [("", false), ("date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", true)] {
        let answer = format!("HTTP/1.1 200 OK\r\n{date}content-length: 0\r\n\r\n");
        let origin = Origin::saying(answer, false).await;
        let app = App::start(&all_to(&[origin.address], "")).await;
        let response = app.get("/").await;
        let [date] = response.head.all("date")[..] else { panic!("{:?}", response.head) };
        assert_eq!(date == "Sun, 06 Nov 1994 08:49:37 GMT", own, "{date}");
        assert!(date.ends_with(" GMT") && date.len() == 29, "{date}");
    }
}

#[tokio::test]
async fn a_client_that_sends_on_after_a_refusal_can_read_why() {
    let app = App::start(&all_to(&[], "")).await;
    let mut client = app.connect().await;
    let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\n";
    client.send(head).await;
    // More than socket buffers hold: it is read, or this would not come to an end.
    client.send(vec![b'x'; 700_000]).await;
    assert_eq!(client.response().await.unwrap().status, 400);
    client.closed().await;
}

#[tokio::test]
async fn a_client_that_sends_ahead_for_ever_is_not_read_for_ever() {
    let (origin, go) = waiting().await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = Client::connect_narrow(app.address).await;
    client.send(GET).await;
    eventually("the request arrives", async || origin.requests() == 1).await;
    let ahead = "GET /ahead HTTP/1.1\r\nhost: a.test\r\n\r\n".repeat(1_000_000);
    let sending = client.stream.write_all(ahead.as_bytes());
    let sent = tokio::time::timeout(Duration::from_millis(500), sending).await;
    assert!(sent.is_err(), "37 MB were taken");
    go.notify_one();
    assert_eq!(client.response().await.unwrap().text(), "/");
}

#[tokio::test]
async fn a_body_that_nobody_reads_is_not_taken_from_the_client() {
    const LENGTH: usize = 64 * 1024 * 1024;
    let origin = Origin::start(async move |mut connection| {
        if connection.head().await.is_ok() {
            // Never reads the body.
            std::future::pending::<()>().await;
        }
    })
    .await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = app.connect().await;
    client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {LENGTH}\r\n\r\n")).await;
    let body = vec![0; LENGTH];
    let sending = client.stream.write_all(&body);
    assert!(tokio::time::timeout(Duration::from_secs(1), sending).await.is_err());
}

#[tokio::test]
async fn a_response_that_breaks_off_is_never_ended_cleanly() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let origin = Origin::saying(answer, true).await;
        let app = App::start(&all_to(&[origin.address], "")).await;
        let mut client = app.connect().await;
        client.send(GET).await;
        assert!(client.response().await.is_err(), "{answer}");
        // In HTTP/1.0 the end of the connection may be the end of a body: a reset is not.
        let mut client = app.connect().await;
        client.send("GET / HTTP/1.0\r\nhost: a\r\n\r\n").await;
        let head = client.head().await.unwrap();
        if head.get("content-length").is_none() {
            let mut rest = Vec::new();
            let read = tokio::io::AsyncReadExt::read_to_end(&mut client.stream, &mut rest);
            assert!(within(read).await.is_err(), "{rest:?}");
        }
    }
}

#[tokio::test]
async fn a_small_body_that_nobody_wants_does_not_cost_the_connection() {
    let app = App::start(&all_to(&[], "")).await;
    let mut client = app.connect().await;
    for body in ["content-length: 5\r\n\r\nhello", "transfer-encoding: chunked\r\n\r\n0\r\n\r\n"] {
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{body}")).await;
        let response = client.response().await.unwrap();
        assert_eq!((response.status, response.head.get("connection")), (503, None));
    }
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhel").await;
    let response = client.response().await.unwrap();
    assert_eq!((response.status, response.head.get("connection")), (503, Some("close")));
    client.send("lo").await;
    client.closed().await;
}

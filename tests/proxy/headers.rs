//! What changes in the head of a message on its way, and what does not.

use crate::support::{App, Client, Head, Origin, all_to, config_with};

/// What the origin gets of a request, and its answer's head, over an ordinary listener.
async fn sent(request: &str) -> Head {
    let origin = Origin::named("a").await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let mut client = app.connect().await;
    client.send(request).await;
    assert_eq!(client.response().await.unwrap().status, 200, "{request}");
    origin.last()
}

#[tokio::test]
async fn hop_by_hop_fields_and_those_that_connection_names_stay_behind() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: x-secret, keep-alive\r\n\
                  x-secret: 1\r\nkeep-alive: timeout=5\r\nproxy-authenticate: Basic\r\n\
                  upgrade: h2c\r\nx-kept: 1\r\nset-cookie: a\r\nset-cookie: b\r\n\r\n";
    let origin = Origin::saying(answer, false).await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let fields = "connection: x-hop, keep-alive\r\nConnection: x-forwarded-for\r\nx-hop: 1\r\n\
                  keep-alive: timeout=5\r\nproxy-connection: keep-alive\r\nupgrade: h2c\r\n\
                  te: gzip\r\nx-kept: 1\r\nx-kept: 2\r\n";
    let response = app.fetch_with("/", fields).await;
    let request = origin.last();
    for gone in ["connection", "x-hop", "keep-alive", "proxy-connection", "upgrade", "te"] {
        assert_eq!(request.get(gone), None, "{gone}");
    }
    assert_eq!(request.all("x-kept"), ["1", "2"]);
    assert_eq!(request.get("x-forwarded-for"), Some("127.0.0.1"));
    for gone in ["connection", "x-secret", "keep-alive", "proxy-authenticate", "upgrade"] {
        assert_eq!(response.head.get(gone), None, "{gone}");
    }
    assert_eq!(response.head.all("set-cookie"), ["a", "b"]);
    assert_eq!(response.head.get("x-kept"), Some("1"));
}

#[tokio::test]
async fn what_an_untrusted_peer_says_of_the_client_is_replaced() {
    let request = "GET / HTTP/1.1\r\nhost: Shop.Test:80\r\nx-forwarded-for: 6.6.6.6\r\n\
                   x-forwarded-for: 7.7.7.7\r\nx-forwarded-proto: https\r\n\
                   x-forwarded-host: evil.test\r\nx-forwarded-port: 1\r\nx-forwarded-prefix: /x\r\n\
                   x-forwarded-client-cert: By=evil\r\nforwarded: for=6.6.6.6\r\n\
                   x-real-ip: 6.6.6.6\r\n\r\n";
    let head = sent(request).await;
    assert_eq!(head.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(head.all("x-forwarded-proto"), ["http"]);
    assert_eq!(head.all("x-forwarded-host"), ["Shop.Test:80"]);
    assert_eq!(head.all("host"), ["Shop.Test:80"]);
    for gone in [
        "forwarded",
        "x-real-ip",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-client-cert",
    ] {
        assert_eq!(head.get(gone), None, "{gone}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_is_appended_to_what_it_says() {
    let origin = Origin::named("a").await;
    let listeners = "[{ name: web, address: '127.0.0.1:0', trustedProxies: [127.0.0.2/32] }]";
    let routes = "  - { name: all, split: [{ to: only }] }\n";
    let yaml = config_with(listeners, "{ delay: 0s }", &[("only", &[origin.address])], routes);
    let app = App::start(&yaml).await;
    let fields = "x-forwarded-for: 6.6.6.6\r\nx-forwarded-for: 1.2.3.4\r\n\
                  x-forwarded-proto: https\r\nx-forwarded-client-cert: By=edge\r\n";
    let mut trusted = Client::connect_from("127.0.0.2", app.address).await;
    trusted.get("/", fields).await;
    let head = origin.last();
    assert_eq!(head.all("x-forwarded-for"), ["6.6.6.6, 1.2.3.4, 127.0.0.2"]);
    assert_eq!(head.all("x-forwarded-proto"), ["https"]);
    assert_eq!(head.all("x-forwarded-host"), ["a.test"]);
    assert_eq!(head.all("x-forwarded-client-cert"), ["By=edge"]);
    let mut other = Client::connect_from("127.0.0.3", app.address).await;
    other.get("/", fields).await;
    assert_eq!(origin.last().all("x-forwarded-for"), ["127.0.0.3"]);
}

#[tokio::test]
async fn an_absolute_target_becomes_the_origin_form_and_the_host() {
    let head = sent("GET http://b.test:81/x?y=1 HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    assert_eq!(head.first, "GET /x?y=1 HTTP/1.1");
    assert_eq!(head.all("host"), ["b.test:81"]);
    let head = sent("GET http://b.test HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    assert_eq!(head.first, "GET / HTTP/1.1");
}

#[tokio::test]
async fn the_path_is_passed_on_as_it_came() {
    // What is changed are dot segments alone.
    for (dots, target) in [
        ("", "/%2e%2Ea/a//b;c=1/%C3%A4%2f?x=%20+y&&z==[]|{}"),
        ("/x/%2e%2E", "/a//b;c=1/%C3%A4%2f?x=%20+y&&z==[]|{}/../"),
    ] {
        let head = sent(&format!("GET {dots}{target} HTTP/1.1\r\nhost: a.test\r\n\r\n")).await;
        assert_eq!(head.target(), target);
    }
}

#[tokio::test]
async fn options_for_the_whole_server_is_passed_on() {
    let head = sent("OPTIONS * HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    assert_eq!(head.first, "OPTIONS * HTTP/1.1");
}

#[tokio::test]
async fn a_request_of_http_1_0_without_a_host_is_given_an_empty_one() {
    let head = sent("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(head.first, "GET / HTTP/1.1");
    assert_eq!(head.all("host"), [""]);
}

#[tokio::test]
async fn via_is_added_in_both_directions_if_it_is_asked_for() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nvia: 1.1 inner\r\n\r\n";
    let origin = Origin::saying(answer, false).await;
    let listeners = "[{ name: web, address: '127.0.0.1:0', via: edge }]";
    let routes = "  - { name: all, split: [{ to: only }] }\n";
    let yaml = config_with(listeners, "{ delay: 0s }", &[("only", &[origin.address])], routes);
    let app = App::start(&yaml).await;
    let response = app.fetch_with("/", "via: 1.0 outer\r\n").await;
    assert_eq!(origin.last().all("via"), ["1.0 outer", "1.1 edge"]);
    assert_eq!(response.head.all("via"), ["1.1 inner", "1.1 edge"]);
}

#[tokio::test]
async fn a_response_of_http_1_0_is_passed_on_as_ours() {
    let answer = "HTTP/1.0 200 OK\r\nx-origin: old\r\n\r\nto the end";
    let origin = Origin::saying(answer, true).await;
    let app = App::start(&all_to(&[origin.address], "")).await;
    let response = app.get("/").await;
    assert_eq!(response.head.first, "HTTP/1.1 200 OK");
    assert_eq!(response.head.get("transfer-encoding"), Some("chunked"));
    assert_eq!(response.text(), "to the end");
}

//! Pools whose endpoints are looked up, against a name server that answers what the test says.

use crate::support::{App, Client, Connection, Kind, NameServer, Origin, Says, eventually, within};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};

/// Far less than the time between two looks at idle connections, and than any time to live here
/// that is not zero.
const PROMPT: Duration = Duration::from_secs(3);

/// A configuration whose only pool is a name at this server; `more` is further settings of `dns`.
fn looked_up(host: &str, port: u16, server: SocketAddr, more: &str) -> String {
    with_pool(&format!(
        "dns: {{ host: {host}, port: {port}, servers: ['{server}'], ttlMin: 20ms, {more} }}"
    ))
}

fn with_pool(settings: &str) -> String {
    format!(
        "listeners: [{{ name: web, address: '127.0.0.1:0' }}]\n\
         admin: {{ address: '127.0.0.1:0' }}\n\
         drain: {{ delay: 0s, timeout: 10s }}\n\
         pools: [{{ name: only, {settings} }}]\n\
         routes: [{{ name: all, split: [{{ to: only }}] }}]\n"
    )
}

/// Waits until so many look-ups have ended like this.
async fn looked(app: &App, how: &str, least: f64) {
    let labels = [("result", how)];
    let look = async || app.metric("serin_discovery_updates_total", &labels).await >= least;
    eventually(&format!("{how} is counted"), look).await;
}

/// Asks until each of these origins, and no other, has answered ten times in a row.
async fn only_these_answer(client: &mut Client, origins: &[&str]) {
    let all: BTreeSet<String> = origins.iter().map(|&origin| origin.to_owned()).collect();
    let answers = async || {
        let mut seen = BTreeSet::new();
        for _ in 0..10 * origins.len() {
            seen.insert(client.get("/", "").await.origin().to_owned());
        }
        seen == all
    };
    eventually(&format!("{origins:?} answer"), answers).await;
}

#[tokio::test]
async fn every_address_of_both_families_gets_requests_from_the_first_on() {
    let origins = Origin::siblings(&["127.0.0.1", "127.0.0.2", "::1"]).await;
    let server = NameServer::start().await;
    server.say("all.test", &Says::addresses(&["127.0.0.2", "::1", "127.0.0.1"]));
    let port = origins[0].address.port();
    let app = App::start(&looked_up("all.test.", port, server.address, "")).await;
    let mut client = app.connect().await;
    assert_eq!(client.get("/", "").await.status, 200);
    only_these_answer(&mut client, &["127.0.0.1", "127.0.0.2", "::1"]).await;
    looked(&app, "unchanged", 3.0).await;
    app.metric_is("serin_discovery_updates_total", &[("result", "changed")], 1.0).await;
}

#[tokio::test]
async fn another_answer_is_followed_and_the_connections_to_what_is_gone_close_unasked() {
    let (closed, mut closings) = mpsc::unbounded_channel();
    let origin = Origin::start(move |mut connection: Connection| {
        let closed = closed.clone();
        async move {
            while let Ok((_, _)) = connection.request().await {
                connection.answer("old").await;
            }
            let _ = closed.send(());
        }
    })
    .await;
    let port = origin.address.port();
    let server = NameServer::start().await;
    server.say("moves.test", &Says::addresses(&["127.0.0.1"]));
    let app = App::start(&looked_up("moves.test.", port, server.address, "")).await;
    // Over several connections, so that more than one worker has some.
    for _ in 0..8 {
        assert_eq!(app.get("/").await.origin(), "old");
    }
    let open = origin.connections();
    server.say("moves.test", &Says::addresses(&["127.0.0.3"]));
    looked(&app, "changed", 2.0).await;
    let since = Instant::now();
    for _ in 0..open {
        within(closings.recv()).await.unwrap();
    }
    assert!(since.elapsed() < PROMPT, "{:?}", since.elapsed());
    app.metric_is("serin_upstream_connections", &[], 0.0).await;
    // What comes back is used again.
    server.say("moves.test", &Says::addresses(&["127.0.0.1"]));
    let back = async || app.get("/").await.status == 200;
    eventually("the address is back", back).await;
}

#[tokio::test]
async fn look_ups_that_find_nothing_keep_the_last_good_set_and_are_counted_apart() {
    let origin = Origin::named("a").await;
    let server = NameServer::start().await;
    server.say("gone.test", &Says::addresses(&["127.0.0.1"]));
    let more = "ttlMax: 20ms, timeout: 200ms";
    let port = origin.address.port();
    let app = App::start(&looked_up("gone.test.", port, server.address, more)).await;
    assert_eq!(app.get("/").await.status, 200);
    for (says, how) in [
        (Says::NoSuchName, "no_such_name"),
        (Says::NoRecords, "no_records"),
        (Says::Fails, "failure"),
        (Says::Silence, "timeout"),
    ] {
        server.say("gone.test", &says);
        looked(&app, how, 2.0).await;
        assert_eq!(app.get("/").await.status, 200, "{how}");
    }
    app.metric_is("serin_endpoints", &[("state", "usable")], 1.0).await;
    server.say("gone.test", &Says::addresses(&["127.0.0.2"]));
    looked(&app, "changed", 2.0).await;
}

#[tokio::test]
async fn one_family_is_enough_whatever_becomes_of_the_other() {
    let origin = Origin::named("a").await;
    let port = origin.address.port();
    for says in [Says::NoSuchName, Says::NoRecords, Says::Fails, Says::Silence] {
        let server = NameServer::start().await;
        server.say_of("half.test", Kind::A, &Says::addresses(&["127.0.0.1"]));
        server.say_of("half.test", Kind::Aaaa, &says);
        let app = App::start(&looked_up("half.test.", port, server.address, "")).await;
        looked(&app, "changed", 1.0).await;
        assert_eq!(app.get("/").await.status, 200, "{says:?}");
        app.metric_is("serin_endpoints", &[("state", "usable")], 1.0).await;
    }
}

#[tokio::test]
async fn a_name_none_of_whose_endpoints_can_be_reached_is_looked_up_at_once() {
    let origins = Origin::siblings(&["127.0.0.2"]).await;
    let server = NameServer::start().await;
    server.say("lost.test", &Says::Addresses(vec![[127, 0, 0, 3].into()], 60));
    let port = origins[0].address.port();
    let app = App::start(&looked_up("lost.test.", port, server.address, "")).await;
    assert_eq!(server.asked("lost.test"), 1);
    server.say("lost.test", &Says::Addresses(vec![[127, 0, 0, 2].into()], 60));
    let since = Instant::now();
    assert_eq!(app.get("/").await.status, 503);
    eventually("the other address is used", async || app.get("/").await.status == 200).await;
    assert!(since.elapsed() < PROMPT, "{:?}", since.elapsed());
    // Of all the requests that failed, at most one a second asked.
    let asked = server.asked("lost.test");
    assert!((2..=4).contains(&asked), "{asked}");
}

#[tokio::test]
async fn an_answer_too_long_for_a_datagram_is_read_whole() {
    let server = NameServer::start().await;
    let many = (1..=200).map(|last| [127, 0, 7, last].into()).collect();
    server.say("many.test", &Says::Addresses(many, 60));
    let app = App::start(&looked_up("many.test.", 80, server.address, "")).await;
    app.metric_is("serin_endpoints", &[("state", "usable")], 200.0).await;
}

#[tokio::test]
async fn a_name_server_that_fails_is_passed_over() {
    let origin = Origin::named("a").await;
    let [failing, silent, good] =
        [NameServer::start().await, NameServer::start().await, NameServer::start().await];
    failing.say("a.test", &Says::Fails);
    silent.say("a.test", &Says::Silence);
    good.say("a.test", &Says::addresses(&["127.0.0.1"]));
    let [one, two, three] = [&failing, &silent, &good].map(|server| server.address);
    let (port, servers) = (origin.address.port(), format!("['{one}', '{two}', '{three}']"));
    let app = App::start(&with_pool(&format!(
        "dns: {{ host: a.test., port: {port}, servers: {servers}, ttlMin: 20ms, timeout: 3s }}"
    )))
    .await;
    looked(&app, "changed", 1.0).await;
    assert_eq!(app.get("/").await.status, 200);
    // The one that answered is asked first from then on.
    let asked = silent.asked("a.test");
    looked(&app, "unchanged", 5.0).await;
    assert_eq!(silent.asked("a.test"), asked);
}

#[tokio::test]
async fn a_request_at_an_address_that_is_gone_finishes() {
    let go = Arc::new(Notify::new());
    let going = Arc::clone(&go);
    let origin = Origin::start(move |mut connection| {
        let go = Arc::clone(&going);
        async move {
            connection.request().await.unwrap();
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst").await;
            go.notified().await;
            connection.send("-last").await;
        }
    })
    .await;
    let server = NameServer::start().await;
    server.say("busy.test", &Says::addresses(&["127.0.0.1"]));
    let port = origin.address.port();
    let app = App::start(&looked_up("busy.test.", port, server.address, "")).await;
    let mut client = app.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    client.head().await.unwrap();
    assert_eq!(client.take(5).await.unwrap(), b"first");
    server.say("busy.test", &Says::addresses(&["127.0.0.3"]));
    looked(&app, "changed", 2.0).await;
    go.notify_one();
    assert_eq!(client.take(5).await.unwrap(), b"-last");
    app.metric_is("serin_upstream_connections", &[], 0.0).await;
}

#[tokio::test]
async fn another_name_keeps_the_endpoints_until_its_first_answer() {
    let origins = Origin::siblings(&["127.0.0.1", "127.0.0.2"]).await;
    let (port, server) = (origins[0].address.port(), NameServer::start().await);
    server.say("one.test", &Says::Addresses(vec![[127, 0, 0, 1].into()], 60));
    server.say("two.test", &Says::Silence);
    let more = "ttlMax: 50ms, timeout: 100ms";
    let one = looked_up("one.test.", port, server.address, "");
    let app = App::start(&one).await;
    let mut client = app.connect().await;
    only_these_answer(&mut client, &["127.0.0.1"]).await;
    let asked = server.asked("one.test");
    // What stays the same is not asked again.
    app.reload(&one.replace("name: all", "name: every")).await;
    app.reload(&looked_up("two.test.", port, server.address, more)).await;
    assert_eq!(server.asked("one.test"), asked);
    looked(&app, "timeout", 1.0).await;
    only_these_answer(&mut client, &["127.0.0.1"]).await;
    server.say("two.test", &Says::addresses(&["127.0.0.2"]));
    only_these_answer(&mut client, &["127.0.0.2"]).await;
}

#[tokio::test]
async fn other_settings_keep_what_is_known_of_a_family_that_can_not_be_asked_for() {
    let origins = Origin::siblings(&["127.0.0.1", "127.0.0.2", "::1"]).await;
    let (port, server) = (origins[0].address.port(), NameServer::start().await);
    let yaml = |name: &str, more: &str| looked_up(name, port, server.address, more);
    server.say("both.test", &Says::addresses(&["127.0.0.1", "::1"]));
    server.say_of("half.test", Kind::A, &Says::addresses(&["127.0.0.1"]));
    server.say_of("half.test", Kind::Aaaa, &Says::Fails);
    let app = App::start(&yaml("both.test.", "")).await;
    let mut client = app.connect().await;
    only_these_answer(&mut client, &["127.0.0.1", "::1"]).await;
    server.say_of("both.test", Kind::Aaaa, &Says::Fails);
    app.reload(&yaml("both.test.", "timeout: 4s")).await;
    server.say_of("both.test", Kind::A, &Says::addresses(&["127.0.0.2"]));
    looked(&app, "changed", 2.0).await;
    only_these_answer(&mut client, &["127.0.0.2", "::1"]).await;
    // Of another name that is nobody's address.
    app.reload(&yaml("half.test.", "timeout: 4s")).await;
    only_these_answer(&mut client, &["127.0.0.1"]).await;
}

#[tokio::test]
async fn looked_up_endpoints_give_way_to_listed_ones_and_back() {
    let origins = Origin::siblings(&["127.0.0.1", "127.0.0.2"]).await;
    let (port, server) = (origins[0].address.port(), NameServer::start().await);
    server.say("a.test", &Says::addresses(&["127.0.0.1"]));
    let by_name = looked_up("a.test.", port, server.address, "");
    let listed = with_pool(&format!("endpoints: ['127.0.0.2:{port}']"));
    let app = App::start(&listed).await;
    let mut client = app.connect().await;
    for _ in 0..3 {
        only_these_answer(&mut client, &["127.0.0.2"]).await;
        app.reload(&by_name).await;
        only_these_answer(&mut client, &["127.0.0.1"]).await;
        app.reload(&listed).await;
        let asked = server.asked("a.test");
        only_these_answer(&mut client, &["127.0.0.2"]).await;
        assert!(server.asked("a.test") <= asked + 1);
    }
}

#[tokio::test]
async fn a_name_that_is_not_answered_holds_up_neither_the_start_nor_the_other_pools() {
    let origin = Origin::named("a").await;
    let server = NameServer::start().await;
    server.say("silent.test", &Says::Silence);
    let since = Instant::now();
    let yaml = looked_up("silent.test.", 80, server.address, "timeout: 1m")
        .replace(
            "pools: [",
            &format!("pools: [{{ name: listed, endpoints: ['{}'] }}, ", origin.address),
        )
        .replace("to: only }]", "to: only }], fallback: listed");
    let app = App::start(&yaml).await;
    assert!(since.elapsed() < PROMPT, "{:?}", since.elapsed());
    assert_eq!(app.get("/").await.origin(), "a");
}

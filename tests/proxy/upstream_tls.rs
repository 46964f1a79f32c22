//! TLS towards endpoints: whom we trust, what we show, which protocol comes of it.

use crate::support::{App, Authority, Load, Origin, Pair, eventually, pool_with};
use bytes::Bytes;
use h2::server::Builder;
use http::Response;
use parking_lot::Mutex;
use rustls::{HandshakeKind, ServerConfig};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// An origin that speaks TLS, and then what was chosen in the handshake; it ends with the test.
struct Secure {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    handshakes: usize,
    resumed: usize,
    names: Vec<Option<String>>,
    protocols: Vec<String>,
    /// Whether a client showed a certificate.
    shown: Vec<bool>,
    /// For whom each request was said to be.
    clients: Vec<String>,
}

impl Secure {
    async fn start(config: ServerConfig) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let noted = Arc::clone(&seen);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let accepting = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = socket.accept().await else { return };
                let (acceptor, noted) = (acceptor.clone(), Arc::clone(&noted));
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        noted.lock().note(&stream);
                        serve(stream, &noted).await;
                    }
                });
            }
        });
        Self { address, seen, accepting }
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Seen {
    fn note(&mut self, stream: &TlsStream<TcpStream>) {
        let connection = stream.get_ref().1;
        self.handshakes += 1;
        self.resumed += usize::from(connection.handshake_kind() == Some(HandshakeKind::Resumed));
        self.names.push(connection.server_name().map(ToOwned::to_owned));
        let protocol = connection.alpn_protocol().unwrap_or_default();
        self.protocols.push(String::from_utf8_lossy(protocol).into_owned());
        self.shown.push(connection.peer_certificates().is_some());
    }
}

/// Answers every request with the protocol's name.
async fn serve(mut stream: TlsStream<TcpStream>, seen: &Mutex<Seen>) {
    const CLIENT: &str = "x-forwarded-for";
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        let Ok(mut connection) = Builder::new().handshake::<_, Bytes>(stream).await else { return };
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let client = request.headers()[CLIENT].to_str().unwrap().to_owned();
            seen.lock().clients.push(client);
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            stream.send_data(Bytes::from_static(b"h2"), true).unwrap();
        }
        return;
    }
    let mut read = Vec::new();
    while stream.read_buf(&mut read).await.is_ok_and(|read| read > 0) {
        while let Some(end) = read.windows(4).position(|part| part == b"\r\n\r\n") {
            let close = read.starts_with(b"GET /close");
            let head = String::from_utf8_lossy(&read[..end]);
            let field =
                |line: &str| Some(line.strip_prefix(CLIENT)?.strip_prefix(": ")?.to_owned());
            let client = head.lines().find_map(field).unwrap();
            seen.lock().clients.push(client);
            read.drain(..end + 4);
            let connection = if close { "close" } else { "keep-alive" };
            let head = format!("HTTP/1.1 200 OK\r\nconnection: {connection}\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(b"content-length: 5\r\n\r\nhttp1").await;
            let _ = stream.flush().await;
            if close {
                let _ = stream.shutdown().await;
                return;
            }
        }
    }
}

/// A folder with the authority's file.
fn folder(authority: &Authority) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ca.pem"), &authority.pem).unwrap();
    folder
}

async fn start(folder: TempDir, yaml: &str) -> (App, PathBuf) {
    let path = folder.path().to_owned();
    let file = path.join("serin.yaml");
    fs::write(&file, yaml).unwrap();
    (App::start_at(folder, file.clone(), file).await, path)
}

const BOTH: [&str; 2] = ["h2", "http/1.1"];
const TLS: &str = "tls: { serverName: shop.test, ca: ca.pem }";

#[tokio::test]
async fn the_endpoint_chooses_the_protocol() {
    let authority = Authority::new();
    for (offered, settings, spoken) in [
        (&BOTH[..], "", "h2"),
        (&["http/1.1"], "", "http1"),
        (&[], "", "http1"),
        (&BOTH, "protocol: http1, ", "http1"),
        (&BOTH, "protocol: h2, ", "h2"),
    ] {
        let config = authority.issue(&["shop.test"]).server(offered, None);
        let origin = Secure::start(config).await;
        let yaml = pool_with(origin.address, &format!("{settings}{TLS}"), "");
        let (app, _) = start(folder(&authority), &yaml).await;
        for _ in 0..5 {
            let response = app.get("/").await;
            assert_eq!((response.status, response.text().as_str()), (200, spoken), "{settings}");
        }
        let seen = origin.seen.lock();
        assert!(seen.names.iter().all(|name| name.as_deref() == Some("shop.test")));
        assert_eq!(seen.clients, ["127.0.0.1"; 5]);
    }
}

#[tokio::test]
async fn connections_are_shared_or_kept() {
    let authority = Authority::new();
    for offered in [&BOTH[..], &["http/1.1"]] {
        let config = authority.issue(&["shop.test"]).server(offered, None);
        let origin = Secure::start(config).await;
        let (app, _) = start(folder(&authority), &pool_with(origin.address, TLS, "")).await;
        let load = Load::start(app.address, 6);
        eventually("many requests", async || load.sent() > 300).await;
        assert_eq!(load.failures().await, Vec::<String>::new());
        let seen = origin.seen.lock();
        assert!(seen.handshakes <= 12, "{}", seen.handshakes);
    }
}

#[tokio::test]
async fn sessions_are_resumed() {
    let authority = Authority::new();
    let config = authority.issue(&["shop.test"]).server(&["http/1.1"], None);
    let origin = Secure::start(config).await;
    let (app, _) = start(folder(&authority), &pool_with(origin.address, TLS, "")).await;
    for _ in 0..6 {
        assert_eq!(app.get("/close").await.text(), "http1");
    }
    let seen = origin.seen.lock();
    assert_eq!((seen.handshakes, seen.resumed), (6, 5));
}

/// What a request gets with these settings of `tls` and this certificate.
async fn refused(tls: &str, pair: &Pair, authority: &Authority) {
    let origin = Secure::start(pair.server(&BOTH, None)).await;
    let settings = format!("tls: {tls}");
    let (app, _) = start(folder(authority), &pool_with(origin.address, &settings, "")).await;
    assert_eq!(app.get("/").await.status, 503, "{tls}");
    app.metric_is("serin_errors_total", &[("cause", "upstream_tls_failed")], 1.0).await;
    app.metric_is("serin_attempts_total", &[("outcome", "tls_failure")], 1.0).await;
}

#[tokio::test]
async fn an_endpoint_that_can_not_be_trusted_gets_no_request() {
    let (authority, other) = (Authority::new(), Authority::new());
    let named = "{ serverName: shop.test, ca: ca.pem }";
    refused(named, &other.issue(&["shop.test"]), &authority).await;
    refused(named, &authority.issue(&["other.test"]), &authority).await;
    refused(named, &authority.issue_until(&["shop.test"], 2020), &authority).await;
    refused("{ ca: ca.pem }", &authority.issue(&["shop.test"]), &authority).await;
    refused("{ serverName: 10.0.0.1, ca: ca.pem }", &authority.issue(&["127.0.0.1"]), &authority)
        .await;
}

#[tokio::test]
async fn without_a_name_the_address_is_verified() {
    let authority = Authority::new();
    let origin = Secure::start(authority.issue(&["127.0.0.1"]).server(&BOTH, None)).await;
    let yaml = pool_with(origin.address, "tls: { ca: ca.pem }", "");
    let (app, _) = start(folder(&authority), &yaml).await;
    assert_eq!(app.get("/").await.text(), "h2");
    assert_eq!(origin.seen.lock().names, [None]);
}

#[tokio::test]
async fn verification_can_be_given_up() {
    let authority = Authority::new();
    let origin = Secure::start(Authority::new().issue(&["x.test"]).server(&BOTH, None)).await;
    let yaml = pool_with(origin.address, "tls: { verify: false }", "");
    let (app, _) = start(folder(&authority), &yaml).await;
    assert_eq!(app.get("/").await.text(), "h2");
    let said = app.admin("/api/config").await.text();
    assert!(said.contains("are not verified"), "{said}");
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_who_asks() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let config = authority.issue(&["shop.test"]).server(&BOTH, Some(&clients));
    let origin = Secure::start(config).await;
    let with = "tls: { serverName: shop.test, ca: ca.pem, \
                clientCertificate: { certFile: me.crt, keyFile: me.key } }";
    let folder = folder(&authority);
    let me = clients.issue(&["serin.test"]);
    fs::write(folder.path().join("me.crt"), &me.cert).unwrap();
    fs::write(folder.path().join("me.key"), &me.key).unwrap();
    let (app, _) = start(folder, &pool_with(origin.address, with, "")).await;
    assert_eq!(app.get("/").await.text(), "h2");
    assert_eq!(origin.seen.lock().shown, [true]);
    // Without it, the endpoint breaks off: with TLS 1.3 only after our side of the handshake.
    app.reload(&pool_with(origin.address, TLS, "")).await;
    assert!(matches!(app.get("/").await.status, 502 | 503));
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join("new"), text).unwrap();
    fs::rename(folder.join("new"), folder.join(name)).unwrap();
}

#[tokio::test]
async fn a_new_authority_is_taken_into_use_and_a_bad_one_is_not() {
    let (old, new) = (Authority::new(), Authority::new());
    let origin = Secure::start(new.issue(&["shop.test"]).server(&BOTH, None)).await;
    let (app, path) = start(folder(&old), &pool_with(origin.address, TLS, "")).await;
    assert_eq!(app.get("/").await.status, 503);
    write(&path, "ca.pem", &new.pem);
    eventually("the new authority is in use", async || app.get("/").await.status == 200).await;
    let handshakes = origin.seen.lock().handshakes;
    write(&path, "ca.pem", "junk");
    app.metric_is(
        "serin_pool_certificate_reloads_total",
        &[("pool", "only"), ("result", "rejected")],
        1.0,
    )
    .await;
    assert_eq!(app.get("/").await.status, 200);
    // The connections that the good one made stay in use.
    assert!(origin.seen.lock().handshakes <= handshakes + 1);
    write(&path, "ca.pem", &old.pem);
    eventually("the old authority is in use", async || app.get("/").await.status == 503).await;
}

#[tokio::test]
async fn a_handshake_that_hangs_counts_as_connecting() {
    let origin = Origin::start(async |mut connection| {
        connection.rest().await;
    })
    .await;
    let authority = Authority::new();
    let yaml =
        pool_with(origin.address, TLS, "timeouts: { connect: 200ms }, retry: { attempts: 0 }");
    let (app, _) = start(folder(&authority), &yaml).await;
    assert_eq!(app.get("/").await.status, 504);
    app.metric_is("serin_attempts_total", &[("outcome", "connect_timeout")], 1.0).await;
}

#[tokio::test]
async fn large_bodies_pass_over_tls() {
    let authority = Authority::new();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let config = authority.issue(&["shop.test"]).server(&["http/1.1"], None);
    let length = 20_000_000;
    let serving = tokio::spawn(async move {
        let (stream, _) = socket.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await.unwrap();
        let mut read = Vec::new();
        while read.len() < length || !read.ends_with(b"end") {
            assert!(stream.read_buf(&mut read).await.unwrap() > 0);
        }
        let body = read.split_off(read.len() - length);
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        stream.flush().await.unwrap();
        stream
    });
    let (app, _) = start(folder(&authority), &pool_with(address, TLS, "")).await;
    let mut body = vec![b'x'; length - 3];
    body.extend(b"end");
    let mut client = app.connect().await;
    let head = format!("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: {length}\r\n\r\n");
    client.send(head).await;
    client.send(&body).await;
    assert!(client.response().await.unwrap().body.bytes == body);
    drop(serving.await.unwrap());
}

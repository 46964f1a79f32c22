//! TLS towards clients: certificates by name, client certificates, files that change.

use crate::support::{App, Client, Origin, eventually, within};
use rcgen::{CertificateParams, Issuer, KeyPair, SanType};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore};
use serin::app::{Options, StartError, bind};
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

type Secure = TlsStream<TcpStream>;

/// An authority.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
struct Pair {
    cert: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn issue(&self, names: &[&str]) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = names
            .iter()
            .map(|&name| {
                let kind = if name.contains("://") { SanType::URI } else { SanType::DnsName };
                kind(name.try_into().unwrap())
            })
            .collect();
        let cert = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { cert, key: key.serialize_pem() }
    }

    /// A client that trusts it.
    fn client(&self, identity: Option<&Pair>) -> Connect {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS12, &TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(pair) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(pair.cert.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap(),
                )
                .unwrap(),
        };
        Connect(config)
    }
}

impl Pair {
    fn write(&self, folder: &Path) {
        fs::write(folder.join("tls.crt"), &self.cert).unwrap();
        fs::write(folder.join("tls.key"), &self.key).unwrap();
    }

    fn is_shown_on(&self, stream: &Secure) -> bool {
        let shown = stream.get_ref().1.peer_certificates().unwrap();
        shown[0] == CertificateDer::from_pem_slice(self.cert.as_bytes()).unwrap()
    }
}

/// How a client connects.
#[derive(Clone)]
struct Connect(ClientConfig);

impl Connect {
    fn without_tickets(mut self) -> Self {
        self.0.resumption = Resumption::disabled();
        self
    }

    async fn to(&self, address: SocketAddr, name: &'static str) -> std::io::Result<Secure> {
        let connector = TlsConnector::from(Arc::new(self.0.clone()));
        let stream = within(TcpStream::connect(address)).await?;
        within(connector.connect(ServerName::try_from(name).unwrap(), stream)).await
    }
}

/// A GET and the answer's body.
async fn ask(stream: &mut Secure, fields: &str) -> std::io::Result<String> {
    let request = format!("GET / HTTP/1.1\r\nhost: a.test\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut read = Vec::new();
    loop {
        if within(stream.read_buf(&mut read)).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8_lossy(&read);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.split_once("content-length: ").unwrap().1;
        let length: usize = length.lines().next().unwrap().parse().unwrap();
        if body.len() >= length {
            return Ok(body.to_owned());
        }
    }
}

/// A configuration with TLS from these settings, and an origin for each pool.
fn config(tls: &str, stable: &Origin, canary: &Origin) -> String {
    let (stable, canary) = (stable.address, canary.address);
    format!(
        "listeners:\n  - name: web\n    address: '127.0.0.1:0'\n{tls}\
         admin: {{ address: '127.0.0.1:0' }}\n\
         drain: {{ delay: 0s, timeout: 10s }}\n\
         pools:\n  - {{ name: stable, endpoints: ['{stable}'] }}\n\
         \x20 - {{ name: canary, endpoints: ['{canary}'] }}\n\
         routes:\n  - name: beta\n    \
         matches: [{{ clientCertificate: {{ san: {{ prefix: 'spiffe://shop/beta' }} }} }}]\n    \
         split: [{{ to: canary }}]\n  - {{ name: all, split: [{{ to: stable }}] }}\n"
    )
}

const TLS: &str =
    "    tls:\n      certificates:\n        - { certFile: tls.crt, keyFile: tls.key }\n";
const MUTUAL: &str = "    tls:\n      certificates:\n        - { certFile: tls.crt, keyFile: tls.key }\n      clientCa: clients.pem\n";

/// The proxy with one certificate, its origins and the authority of both sides.
struct Setup {
    app: App,
    stable: Origin,
    canary: Origin,
    authority: Authority,
    folder: std::path::PathBuf,
}

async fn start(tls: &str) -> Setup {
    let (stable, canary) = (Origin::named("stable").await, Origin::named("canary").await);
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    authority.issue(&["a.test"]).write(folder.path());
    fs::write(folder.path().join("clients.pem"), &authority.pem).unwrap();
    let app = app(folder, &config(tls, &stable, &canary)).await;
    let folder = app.1;
    Setup { app: app.0, stable, canary, authority, folder }
}

async fn app(folder: TempDir, yaml: &str) -> (App, std::path::PathBuf) {
    let file = folder.path().join("serin.yaml");
    fs::write(&file, yaml).unwrap();
    let path = folder.path().to_owned();
    (App::start_at(folder, file.clone(), file).await, path)
}

#[tokio::test]
async fn both_versions_of_tls_are_spoken_and_the_service_is_told() {
    let setup = start(TLS).await;
    for (version, spoken) in
        [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)]
    {
        let mut connect = setup.authority.client(None);
        let provider = Arc::clone(connect.0.crypto_provider());
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(setup.authority.pem.as_bytes()).unwrap();
        roots.add(root).unwrap();
        connect.0 = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut stream = connect.to(setup.app.address, "a.test").await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(spoken));
        assert_eq!(stream.get_ref().1.alpn_protocol(), None);
        let said = "x-forwarded-proto: http\r\nx-forwarded-client-cert: Hash=1;DNS=admin\r\n";
        assert_eq!(ask(&mut stream, said).await.unwrap(), "stable");
        let head = setup.stable.last();
        assert_eq!(head.all("x-forwarded-proto"), ["https"]);
        assert!(head.all("x-forwarded-client-cert").is_empty());
    }
}

#[tokio::test]
async fn a_connection_that_closes_says_so_in_tls() {
    let setup = start(TLS).await;
    let mut stream = setup.authority.client(None).to(setup.app.address, "a.test").await.unwrap();
    assert_eq!(ask(&mut stream, "connection: close\r\n").await.unwrap(), "stable");
    // rustls takes an end without close_notify for one that somebody else made (RFC 8446 6.1).
    assert_eq!(within(stream.read(&mut [0])).await.unwrap(), 0);
}

#[tokio::test]
async fn http_2_is_agreed_on_in_the_handshake() {
    let setup = start(TLS).await;
    let mut connect = setup.authority.client(None);
    connect.0.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = connect.to(setup.app.address, "a.test").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (client, connection) = within(h2::client::handshake(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut client = within(client.ready()).await.unwrap();
    let request = http::Request::get("https://a.test/").body(()).unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    let response = within(response).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    assert_eq!(&within(body.data()).await.unwrap().unwrap()[..], b"stable");
    assert_eq!(setup.stable.last().all("x-forwarded-proto"), ["https"]);
    connect.0.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut stream = connect.to(setup.app.address, "a.test").await.unwrap();
    assert_eq!(ask(&mut stream, "").await.unwrap(), "stable");
}

#[tokio::test]
async fn the_certificate_is_chosen_by_name_and_the_first_is_for_all_others() {
    let (stable, canary) = (Origin::named("stable").await, Origin::named("canary").await);
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let pairs = [&["a.test", "z.test"][..], &["*.shop.test"], &["b.shop.test"]];
    let pairs = pairs.map(|names| authority.issue(names));
    let mut tls = "    tls:\n      certificates:\n".to_owned();
    for (number, pair) in pairs.iter().enumerate() {
        let inner = folder.path().join(number.to_string());
        fs::create_dir(&inner).unwrap();
        pair.write(&inner);
        let line = format!("{{ certFile: {number}/tls.crt, keyFile: {number}/tls.key }}");
        let _ = writeln!(tls, "        - {line}");
    }
    let (app, _) = app(folder, &config(&tls, &stable, &canary)).await;
    let connect = authority.client(None);
    for (name, number) in [("a.test", 0), ("z.test", 0), ("x.shop.test", 1), ("b.shop.test", 2)] {
        let stream = connect.to(app.address, name).await.unwrap();
        assert!(pairs[number].is_shown_on(&stream), "{name}");
    }
    // The client sees that the first certificate is not for this name.
    assert!(connect.to(app.address, "x.y.shop.test").await.is_err());
    app.metric_is("serin_tls_handshake_failures_total", &[("listener", "web")], 1.0).await;
    let labels = [("listener", "web"), ("name", "*.shop.test")];
    let expires = app.metric("serin_certificate_expiry_timestamp_seconds", &labels).await;
    assert!(expires > 1_800_000_000.0, "{expires}");
}

#[tokio::test]
async fn a_host_that_the_certificate_is_not_for_is_misdirected_if_that_is_refused() {
    let setup = start(TLS).await;
    fs::create_dir(setup.folder.join("shop")).unwrap();
    setup.authority.issue(&["*.shop.test"]).write(&setup.folder.join("shop"));
    let second = "        - { certFile: shop/tls.crt, keyFile: shop/tls.key }\n";
    let connect = setup.authority.client(None);
    for (more, expected) in [("", "stable"), ("      misdirected: refuse\n", "421 ")] {
        let tls = format!("{TLS}{second}{more}");
        setup.app.reload(&config(&tls, &setup.stable, &setup.canary)).await;
        let mut stream = connect.to(setup.app.address, "a.test").await.unwrap();
        assert_eq!(ask(&mut stream, "").await.unwrap(), "stable");
        let mut stream = connect.to(setup.app.address, "x.shop.test").await.unwrap();
        let body = ask(&mut stream, "").await.unwrap();
        assert!(body.starts_with(expected), "{body}");
    }
    let labels = [("code", "421")];
    setup.app.metric_is("serin_requests_total", &labels, 1.0).await;
}

#[tokio::test]
async fn a_proxy_says_who_the_client_is_before_the_handshake() {
    let setup = start(&format!("    proxyProtocol: {{ trusted: [127.0.0.1] }}\n{TLS}")).await;
    let connector = TlsConnector::from(Arc::new(setup.authority.client(None).0));
    let mut stream = within(TcpStream::connect(setup.app.address)).await.unwrap();
    stream.write_all(b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n").await.unwrap();
    let name = ServerName::try_from("a.test").unwrap();
    let mut stream = within(connector.connect(name, stream)).await.unwrap();
    assert_eq!(ask(&mut stream, "").await.unwrap(), "stable");
    assert_eq!(setup.stable.last().all("x-forwarded-for"), ["192.0.2.7"]);
}

#[tokio::test]
async fn a_client_certificate_is_required_routes_and_is_told_on() {
    let setup = start(MUTUAL).await;
    let address = setup.app.address;
    let beta = setup.authority.issue(&["spiffe://shop/beta/1", "beta.test"]);
    let mut stream = setup.authority.client(Some(&beta)).to(address, "a.test").await.unwrap();
    assert_eq!(ask(&mut stream, "x-forwarded-client-cert: Hash=1\r\n").await.unwrap(), "canary");
    let head = setup.canary.last();
    let told = head.all("x-forwarded-client-cert");
    assert_eq!(told.len(), 1);
    assert!(told[0].ends_with(";URI=spiffe://shop/beta/1;DNS=beta.test"), "{told:?}");
    let other = setup.authority.issue(&["spiffe://shop/other"]);
    let mut stream = setup.authority.client(Some(&other)).to(address, "a.test").await.unwrap();
    assert_eq!(ask(&mut stream, "").await.unwrap(), "stable");

    let stranger = Authority::new().issue(&["spiffe://shop/beta/1"]);
    for identity in [None, Some(&stranger)] {
        // In TLS 1.3 the client learns of the refusal only when it reads.
        let refused = match setup.authority.client(identity).to(address, "a.test").await {
            Ok(mut stream) => ask(&mut stream, "").await.is_err(),
            Err(_) => true,
        };
        assert!(refused);
    }
    setup.app.metric_is("serin_tls_handshake_failures_total", &[("listener", "web")], 2.0).await;
    assert_eq!(setup.stable.requests() + setup.canary.requests(), 2);
}

/// Swaps the files as the kubelet does with a mounted Secret.
fn mount(folder: &Path, version: &str, cert: &str, key: &str) {
    let data = folder.join(version);
    fs::create_dir(&data).unwrap();
    fs::write(data.join("tls.crt"), cert).unwrap();
    fs::write(data.join("tls.key"), key).unwrap();
    symlink(version, folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
}

#[tokio::test]
async fn new_certificate_files_are_taken_in_and_bad_ones_are_not() {
    let (stable, canary) = (Origin::named("stable").await, Origin::named("canary").await);
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::create_dir(&secret).unwrap();
    let (first, second, third) =
        (authority.issue(&["a.test"]), authority.issue(&["a.test"]), authority.issue(&["a.test"]));
    mount(&secret, "..1", &first.cert, &first.key);
    symlink("..data/tls.crt", secret.join("tls.crt")).unwrap();
    symlink("..data/tls.key", secret.join("tls.key")).unwrap();
    let tls = TLS.replace("File: ", "File: secret/");
    let (app, _) = app(folder, &config(&tls, &stable, &canary)).await;
    let connect = authority.client(None).without_tickets();
    let mut open = connect.to(app.address, "a.test").await.unwrap();
    assert_eq!(ask(&mut open, "").await.unwrap(), "stable");
    assert!(first.is_shown_on(&open));
    let reloads = "serin_certificate_reloads_total";

    mount(&secret, "..2", &second.cert, &second.key);
    app.metric_is(reloads, &[("listener", "web"), ("result", "accepted")], 1.0).await;
    assert!(second.is_shown_on(&connect.to(app.address, "a.test").await.unwrap()));
    assert_eq!(ask(&mut open, "").await.unwrap(), "stable");

    mount(&secret, "..3", &third.cert, &first.key);
    app.metric_is(reloads, &[("listener", "web"), ("result", "rejected")], 1.0).await;
    assert!(second.is_shown_on(&connect.to(app.address, "a.test").await.unwrap()));

    mount(&secret, "..4", &third.cert, &third.key);
    app.metric_is(reloads, &[("listener", "web"), ("result", "accepted")], 2.0).await;
    assert!(third.is_shown_on(&connect.to(app.address, "a.test").await.unwrap()));
    assert_eq!(ask(&mut open, "").await.unwrap(), "stable");
    assert!((app.generation().await - 1.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn broken_files_are_told_at_their_place_and_change_nothing() {
    let mut setup = start(TLS).await;
    let yaml = config(MUTUAL, &setup.stable, &setup.canary);
    fs::write(setup.folder.join("clients.pem"), "junk").unwrap();
    setup.app.write(&yaml);
    let said = setup.app.bound.reload().await.unwrap_err();
    let said: Vec<_> = said.iter().map(ToString::to_string).collect();
    let place = "serin.yaml:7:17: error: listeners[0].tls.clientCa";
    assert!(said[0].contains(place), "{said:?}");
    assert!(said[0].ends_with("`clients.pem` holds no certificate in PEM"), "{said:?}");
    let connect = setup.authority.client(None);
    let mut stream = connect.to(setup.app.address, "a.test").await.unwrap();
    assert_eq!(ask(&mut stream, "").await.unwrap(), "stable");

    // Nothing was wrong with the document, so that the right file is enough.
    fs::write(setup.folder.join("clients.pem"), &setup.authority.pem).unwrap();
    assert!(setup.app.bound.reload().await.is_ok());
    assert!(setup.app.stop().await);

    fs::remove_file(setup.folder.join("tls.crt")).unwrap();
    let options = Options { workers: Some(1), ..Options::new(setup.folder.join("serin.yaml")) };
    let Err(StartError::Config(said)) = bind(options).await else { panic!("it has started") };
    let said = said[0].to_string();
    let place =
        "serin.yaml:6:23: error: listeners[0].tls.certificates[0].certFile: `tls.crt` can not";
    assert!(said.contains(place), "{said}");
}

#[tokio::test]
async fn sessions_go_on_whichever_worker_gets_them_and_after_a_reload() {
    let setup = start(TLS).await;
    let connect = setup.authority.client(None);
    let mut first = connect.to(setup.app.address, "a.test").await.unwrap();
    assert_eq!(first.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
    ask(&mut first, "").await.unwrap();
    for round in 0..8 {
        if round == 4 {
            let new = format!("{}# new\n", config(TLS, &setup.stable, &setup.canary));
            setup.app.reload(&new).await;
        }
        let mut next = connect.to(setup.app.address, "a.test").await.unwrap();
        assert_eq!(next.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed), "{round}");
        ask(&mut next, "").await.unwrap();
    }
}

#[tokio::test]
async fn who_was_let_in_by_another_authority_must_show_a_certificate_again() {
    let setup = start(MUTUAL).await;
    let connect = setup.authority.client(Some(&setup.authority.issue(&["spiffe://shop/beta"])));
    let mut stream = connect.to(setup.app.address, "a.test").await.unwrap();
    assert_eq!(ask(&mut stream, "").await.unwrap(), "canary");
    fs::write(setup.folder.join("clients.pem"), Authority::new().pem).unwrap();
    let labels = [("listener", "web"), ("result", "accepted")];
    setup.app.metric_is("serin_certificate_reloads_total", &labels, 1.0).await;
    let refused = match connect.to(setup.app.address, "a.test").await {
        Ok(mut stream) => ask(&mut stream, "").await.is_err(),
        Err(_) => true,
    };
    assert!(refused);
}

#[tokio::test]
async fn a_listener_keeps_its_socket_when_tls_comes_and_goes() {
    let setup = start(TLS).await;
    let connect = setup.authority.client(None);
    let mut open = connect.to(setup.app.address, "a.test").await.unwrap();
    ask(&mut open, "").await.unwrap();
    setup.app.reload(&config("", &setup.stable, &setup.canary)).await;
    assert_eq!(setup.app.get("/").await.text(), "stable");
    assert_eq!(setup.stable.last().all("x-forwarded-proto"), ["http"]);
    assert_eq!(ask(&mut open, "").await.unwrap(), "stable");
    setup.app.reload(&config(TLS, &setup.stable, &setup.canary)).await;
    let mut again = connect.to(setup.app.address, "a.test").await.unwrap();
    assert_eq!(ask(&mut again, "").await.unwrap(), "stable");
}

#[tokio::test]
async fn a_plain_request_on_a_tls_port_is_not_answered() {
    let setup = start(TLS).await;
    let mut client = Client::connect(setup.app.address).await;
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    // An alert, and the end.
    let rest = client.rest().await;
    assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
    setup.app.metric_is("serin_tls_handshake_failures_total", &[("listener", "web")], 1.0).await;
    assert_eq!(setup.stable.requests(), 0);
}

#[tokio::test]
async fn a_request_in_flight_finishes_over_tls_when_the_process_ends() {
    let go = Arc::new(tokio::sync::Notify::new());
    let told = Arc::clone(&go);
    let origin = Origin::start(move |mut connection| {
        let go = Arc::clone(&told);
        async move {
            while let Ok((_, _)) = connection.request().await {
                go.notified().await;
                connection.answer("slow").await;
            }
        }
    })
    .await;
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    authority.issue(&["a.test"]).write(folder.path());
    let (mut app, _) = app(folder, &config(TLS, &origin, &origin)).await;
    let mut busy = authority.client(None).to(app.address, "a.test").await.unwrap();
    let mut idle = authority.client(None).to(app.address, "a.test").await.unwrap();
    let asking = tokio::spawn(async move { ask(&mut busy, "").await });
    eventually("the request arrives", async || origin.requests() == 1).await;
    app.bound.stop(serin::app::Stop::Soon).await;
    assert_eq!(within(idle.read(&mut [0; 1])).await.unwrap_or(0), 0);
    go.notify_one();
    assert_eq!(within(asking).await.unwrap().unwrap(), "slow");
    assert!(within(app.bound.ended()).await);
}

//! Calls of grpcio, the reference implementation of gRPC, through the proxy to a service of grpcio.

use crate::support::{App, Origin, config_with, nobody};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long all calls together may take.
const TIME_MAX: Duration = Duration::from_mins(2);

fn python() -> String {
    std::env::var("SERIN_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

fn script() -> Command {
    let mut command = Command::new(python());
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/grpc_real.py"));
    command
}

/// Whether grpcio is there; says so past the capturing of tests' output if it is not.
fn has_grpcio() -> bool {
    let mut import = Command::new(python());
    import.args(["-c", "import grpc"]).stdout(Stdio::null()).stderr(Stdio::null());
    let there = import.status().is_ok_and(|status| status.success());
    if !there {
        let _ = writeln!(
            std::io::stderr(),
            "\nSKIPPED: calls of real gRPC clients, because `{} -c 'import grpc'` fails: install \
             grpcio, or name a Python that has it in SERIN_TEST_PYTHON\n",
            python()
        );
    }
    there
}

/// A service of grpcio; it ends with the test.
struct Service {
    address: SocketAddr,
    process: Child,
}

impl Service {
    fn start() -> Self {
        let mut command = script();
        let command = command.arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port: u16 = line.trim().parse().unwrap();
        Self { address: ([127, 0, 0, 1], port).into(), process }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Makes so many kinds of calls; panics with what went wrong.
async fn call(arguments: &[&str], kinds: usize) {
    let mut command = script();
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = tokio::time::timeout(TIME_MAX, running).await.expect("in time").unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    let right = said.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(output.status.success() && right == kinds, "{said}{complained}");
}

#[tokio::test]
async fn grpcio_gets_through_the_proxy_what_it_gets_without() {
    if !has_grpcio() {
        return;
    }
    let service = Service::start();
    let silent = Origin::start(async |mut connection| {
        connection.rest().await;
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let pair = rcgen::generate_simple_self_signed(["shop.test".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    std::fs::write(&cert, pair.cert.pem()).unwrap();
    std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    let listeners = format!(
        "[{{ name: web, address: '127.0.0.1:0' }}, {{ name: secure, address: '127.0.0.2:0', \
         tls: {{ certificates: [{{ certFile: {}, keyFile: {} }}] }} }}]",
        cert.display(),
        key.display()
    );
    let pools: [(&str, &[SocketAddr]); 3] = [
        ("echo, protocol: h2", &[service.address]),
        ("gone, protocol: h2", &[nobody()]),
        ("silent", &[silent.address]),
    ];
    let routes =
        "  - { name: echo, matches: [{ path: { prefix: /test.Echo } }], split: [{ to: echo }] }
  - { name: gone, matches: [{ path: { prefix: /test.Gone } }], split: [{ to: gone }] }
  - name: silent
    matches: [{ path: { prefix: /test.Silent } }]
    split: [{ to: silent }]
    timeouts: { backendRequest: 300ms }
  - name: small
    matches: [{ path: { prefix: /test.Small } }]
    split: [{ to: echo }]
    limits: { bodyBytes: 10KiB }
";
    let drain = "{ delay: 0s, timeout: 10s }";
    let app = App::start(&config_with(&listeners, drain, &pools, routes)).await;
    let secure = app.bound.addresses().iter().find(|(name, _)| **name == *"secure").unwrap().1;
    call(&["call", &secure.to_string(), "shop.test", &cert.display().to_string()], 14).await;
    call(&["kill", &app.address.to_string()], 15).await;
    app.metric_is("serin_requests_in_flight", &[], 0.0).await;
}

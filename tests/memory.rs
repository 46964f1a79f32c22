//! How much memory the real binary takes for transfers that nobody takes further.

#![expect(clippy::unwrap_used, reason = "all of this file is tests")]

use bytes::Bytes;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// How large each transfer is said to be.
const LENGTH: u64 = 1 << 30;
/// Transfers of each kind: down and up, by HTTP/1.1 and by HTTP/2.
const EACH: usize = 250;
/// Streams on an HTTP/2 connection.
const STREAMS: usize = 50;
/// What a transfer may take of the proxy's memory, in KiB, connections and all.
const KIBIBYTES_MAX: u64 = 120;
/// What the kernel keeps for our ends of connections: little, so that they are soon full.
const KERNEL_BYTES: u32 = 16 * 1024;
/// How long anything may take.
const DEADLINE: Duration = Duration::from_mins(2);
/// Nothing has moved for this long: everything is stalled.
const QUIET: Duration = Duration::from_millis(500);

/// The bytes that anybody has sent.
static SENT: AtomicU64 = AtomicU64::new(0);
/// The transfers that have moved some bytes.
static BEGUN: AtomicU64 = AtomicU64::new(0);

/// The proxy; killed at the end.
struct Proxy {
    child: Child,
    web: SocketAddr,
    admin: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Proxy {
    fn start(upstream: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "listeners: [{{ name: web, address: 127.0.0.1:0 }}]
admin: {{ address: 127.0.0.1:0 }}
pools: [{{ name: only, endpoints: [\"{upstream}\"] }}]
routes: [{{ name: all, split: [{{ to: only }}], timeouts: {{ connect: 30s }} }}]
"
        );
        fs::write(folder.path().join("serin.yaml"), config).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_serin"))
            .args(["run", "--config", "serin.yaml", "--workers", "2", "--log-format", "json"])
            .env_remove("SERIN_LOG")
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut address = |parts: &[&str]| {
            let line = lines.find(|line| parts.iter().all(|part| line.contains(part))).unwrap();
            let at = line.find("127.0.0.1:").unwrap();
            let end = line[at..].find('"').unwrap();
            line[at..at + end].parse().unwrap()
        };
        let web = address(&["\"listening\"", "web"]);
        let admin = address(&["admin listening"]);
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, web, admin, _folder: folder }
    }

    /// A line of the process's status in KiB.
    fn kibibytes(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
    }

    async fn in_flight(&self) -> usize {
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("serin_requests_in_flight{route=\"all\"} "));
        line.map_or(0, |number| number.parse().unwrap())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn socket() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(KERNEL_BYTES).unwrap();
    socket.set_send_buffer_size(KERNEL_BYTES).unwrap();
    socket
}

async fn connect(proxy: SocketAddr) -> TcpStream {
    socket().connect(proxy).await.unwrap()
}

/// Sends zeros for as long as somebody takes them.
async fn pour(stream: &mut TcpStream) {
    let zeros = vec![0; 64 * 1024];
    let mut begun = false;
    while let Ok(sent) = stream.write(&zeros).await {
        SENT.fetch_add(sent as u64, Ordering::Relaxed);
        if !std::mem::replace(&mut begun, true) {
            BEGUN.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// An endpoint that sends without end, and takes nothing of what it is sent.
async fn endpoint(listener: TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            if head(&mut stream).await.starts_with("GET") {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n");
                stream.write_all(head.as_bytes()).await.unwrap();
                pour(&mut stream).await;
            }
            // The connection stays open for as long as the test runs.
            std::future::pending::<()>().await;
        });
    }
}

/// A download by HTTP/1.1 whose client reads the head and no more.
async fn download(proxy: SocketAddr) -> TcpStream {
    let mut stream = connect(proxy).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 200"));
    stream
}

/// Downloads by HTTP/2 whose client would take everything at once, and reads nothing.
async fn downloads(proxy: SocketAddr) -> TcpStream {
    let frame = |kind: u8, flags: u8, stream: usize, payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let stream = u32::try_from(stream).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream, payload].concat()
    };
    let mut text = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // The largest windows that there are (RFC 9113 sections 6.5.2 and 6.9).
    text.extend(frame(4, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]));
    text.extend(frame(8, 0, 0, &(0x7fff_ffff_u32 - 65_535).to_be_bytes()));
    for number in 0..STREAMS {
        // GET, http and / out of the table, and the authority `a`.
        text.extend(frame(1, 5, 2 * number + 1, &[0x82, 0x86, 0x84, 0x41, 1, b'a']));
    }
    let mut stream = connect(proxy).await;
    stream.write_all(&text).await.unwrap();
    stream
}

/// An upload by HTTP/1.1.
async fn upload(proxy: SocketAddr) {
    let mut stream = connect(proxy).await;
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {LENGTH}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    pour(&mut stream).await;
}

/// Uploads by HTTP/2, as much as the proxy's windows let them.
async fn uploads(proxy: SocketAddr) {
    let stream = connect(proxy).await;
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        client = client.ready().await.unwrap();
        let request = http::Request::post("http://a/").body(()).unwrap();
        let (response, body) = client.send_request(request, false).unwrap();
        streams.push(tokio::spawn(async move {
            fill(body).await;
            drop(response.await);
        }));
    }
    for stream in streams {
        stream.await.unwrap();
    }
}

async fn fill(mut body: h2::SendStream<Bytes>) {
    let mut begun = false;
    loop {
        body.reserve_capacity(16 * 1024);
        let Some(Ok(room)) = std::future::poll_fn(|cx| body.poll_capacity(cx)).await else {
            return;
        };
        body.send_data(Bytes::from(vec![0; room]), false).unwrap();
        SENT.fetch_add(room as u64, Ordering::Relaxed);
        if !std::mem::replace(&mut begun, true) {
            BEGUN.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Waits until all transfers have begun and none moves any more.
async fn stalled(proxy: &Proxy, transfers: usize) {
    let started = Instant::now();
    let (mut sent, mut since) = (0, Instant::now());
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = SENT.load(Ordering::Relaxed);
        if now != sent {
            (sent, since) = (now, Instant::now());
        }
        if since.elapsed() > QUIET && proxy.in_flight().await == transfers {
            return;
        }
        let begun = BEGUN.load(Ordering::Relaxed);
        let flying = proxy.in_flight().await;
        assert!(started.elapsed() < DEADLINE, "{begun} begun, {flying} in flight, {sent} sent");
    }
}

#[tokio::test]
async fn a_thousand_stalled_transfers_of_a_gibibyte_take_little_memory() {
    let socket = socket();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = socket.listen(1024).unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap());
    tokio::spawn(endpoint(listener));
    let before = proxy.kibibytes("VmHWM");
    let mut kept = Vec::new();
    for _ in 0..EACH {
        kept.push(download(proxy.web).await);
        tokio::spawn(upload(proxy.web));
    }
    for _ in 0..EACH / STREAMS {
        kept.push(downloads(proxy.web).await);
        tokio::spawn(uploads(proxy.web));
    }
    stalled(&proxy, 4 * EACH).await;
    assert_eq!(usize::try_from(BEGUN.load(Ordering::Relaxed)).unwrap(), 4 * EACH);
    // The most that there ever was, not what is left.
    let taken = proxy.kibibytes("VmHWM") - before;
    let each = taken / (4 * EACH as u64);
    println!("{taken} KiB for {} transfers: {each} KiB each", 4 * EACH);
    assert!(each <= KIBIBYTES_MAX, "{each} KiB each, at most {KIBIBYTES_MAX} are meant");
    drop(kept);
}

//! System calls of a request that is forwarded: two to receive, two to send; over HTTP/2, where
//! streams share those towards the client, fewer. A connection of its own is one more to accept it
//! and one to close it.

use crate::allocations::COUNTING;
use crate::exchange::{Client, origin, yaml};
use crate::http2::Http2Client;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// The real binary; killed at the end.
struct Proxy {
    child: Child,
    web: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Proxy {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("serin.yaml"), yaml(origin())).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_serin"))
            .args(["run", "--config", "serin.yaml", "--workers", "1", "--log-format", "json"])
            .env_remove("SERIN_LOG")
            .current_dir(folder.path())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let line = lines.find(|line| line.contains("\"listening\"")).unwrap();
        let at = line.find("127.0.0.1:").unwrap();
        let end = line[at..].find('"').unwrap();
        let web = line[at..at + end].parse().unwrap();
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, web, _folder: folder }
    }

    /// The thread that serves.
    fn worker(&self) -> String {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let name = |task: &std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
        let mut workers = tasks
            .map(Result::unwrap)
            .filter(|task| name(task).is_ok_and(|name| name.starts_with("worker")));
        workers.next().unwrap().file_name().into_string().unwrap()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How often each system call was made while this ran; nothing if there is no strace.
fn traced(thread: &str, run: impl FnOnce()) -> Option<BTreeMap<String, usize>> {
    let mut strace = Command::new("strace")
        .args(["-c", "-U", "calls,name", "-p", thread])
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let mut told = BufReader::new(strace.stderr.take().unwrap());
    let mut line = String::new();
    told.read_line(&mut line).unwrap();
    if !line.contains("attached") {
        strace.wait().unwrap();
        return None;
    }
    run();
    let id = strace.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let mut table = String::new();
    told.read_to_string(&mut table).unwrap();
    strace.wait().unwrap();
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let calls = words.next()?.parse().ok()?;
        words.next().map(|name| (name.to_owned(), calls))
    };
    Some(table.lines().filter_map(row).filter(|(name, _)| name != "total").collect())
}

#[test]
fn a_forwarded_request_makes_four_system_calls() {
    const CLIENTS: usize = 8;
    const ROUNDS: usize = 250;
    let _counting = COUNTING.lock();
    let proxy = Proxy::start();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(proxy.web)).collect();
    let mut round = |rounds: usize| {
        for _ in 0..rounds {
            clients.iter_mut().for_each(Client::send);
            clients.iter_mut().for_each(Client::receive);
        }
    };
    let began = Instant::now();
    round(100);
    let Some(calls) = traced(&proxy.worker(), || round(ROUNDS)) else {
        eprintln!("\nSKIPPED: system calls were not counted, because strace can not be run\n");
        return;
    };
    assert!(began.elapsed() < DEADLINE);
    let requests = CLIENTS * ROUNDS;
    let (waits, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
        calls.iter().partition(|(name, _)| name.as_str() == "epoll_wait");
    let others: usize = others.values().copied().sum();
    // A hundredth for what is done from time to time.
    assert!(others >= 4 * requests, "{calls:?}");
    assert!(others <= 4 * requests + requests / 100 + 20, "{calls:?}");
    // Clients and endpoints answer one by one at worst: never more than a wait for each message.
    let waits: usize = waits.values().copied().sum();
    assert!(waits <= 2 * requests + requests / 100 + 20, "{calls:?}");
}

#[test]
fn a_connection_for_one_request_makes_two_system_calls_more() {
    const CLIENTS: usize = 8;
    const ROUNDS: usize = 100;
    let _counting = COUNTING.lock();
    let proxy = Proxy::start();
    let round = |rounds: usize| {
        for _ in 0..rounds {
            let asking = |_| {
                let mut client = Client::connect(proxy.web);
                client.send_last();
                client
            };
            let mut clients: Vec<_> = (0..CLIENTS).map(asking).collect();
            clients.iter_mut().for_each(Client::receive);
        }
    };
    round(20);
    let Some(calls) = traced(&proxy.worker(), || round(ROUNDS)) else {
        eprintln!("\nSKIPPED: system calls were not counted, because strace can not be run\n");
        return;
    };
    let requests = CLIENTS * ROUNDS;
    // A build with debug assertions looks whether what it closes is open.
    let others = calls.iter().filter(|(name, _)| !["epoll_wait", "fcntl"].contains(&name.as_str()));
    let others: usize = others.map(|(_, calls)| calls).sum();
    assert!(others >= 6 * requests, "{calls:?}");
    // That nobody else waits to be accepted is found out by trying, once for several clients here.
    // One that asks late is read from in vain and has to be waited for, which is three calls more.
    assert!(others <= 7 * requests, "{calls:?}");
}

#[test]
fn streams_share_the_system_calls_towards_their_client() {
    const CLIENTS: usize = 4;
    const ROUNDS: usize = 50;
    let _counting = COUNTING.lock();
    let proxy = Proxy::start();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Http2Client::connect(proxy.web)).collect();
    let mut round = |rounds: usize| {
        for _ in 0..rounds {
            clients.iter_mut().for_each(Http2Client::send);
            clients.iter_mut().for_each(Http2Client::receive);
        }
    };
    round(20);
    let Some(calls) = traced(&proxy.worker(), || round(ROUNDS)) else {
        eprintln!("\nSKIPPED: system calls were not counted, because strace can not be run\n");
        return;
    };
    let requests = CLIENTS * ROUNDS * Http2Client::STREAMS;
    let others = calls.iter().filter(|(name, _)| name.as_str() != "epoll_wait");
    let others: usize = others.map(|(_, calls)| calls).sum();
    // Two towards the endpoint, and one for every second request at worst towards the client; it is
    // one for seven if endpoints answer as fast as they do here.
    assert!(others >= 2 * requests, "{calls:?}");
    assert!(others <= 2 * requests + requests / 2, "{calls:?}");
}

//! The real binary: commands, exit codes, signals and the demo.

#![expect(clippy::unwrap_used, clippy::panic, reason = "all of this file is tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(30);

const GOOD: &str = "\
listeners: [{ name: web, address: 127.0.0.1:0 }]
admin: { address: 127.0.0.1:0 }
drain: { delay: 0, timeout: 1s }
pools:
  - { name: stable, endpoints: [127.0.0.1:9] }
  - { name: canary, endpoints: [127.0.0.1:9] }
routes:
  - name: shop
    hostnames: [shop.example.com]
    matches: [{ path: { prefix: /shop } }]
    cohort: { key: [{ header: x-user-id }] }
    split:
      - { name: testers, when: { cookie: { name: beta, exact: 1 } }, to: canary }
      - { name: everyone, to: { stable: 75, canary: 25 } }
";

fn serin() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_serin"));
    for (variable, _) in std::env::vars_os() {
        if variable.as_encoded_bytes().starts_with(b"SERIN_") {
            command.env_remove(variable);
        }
    }
    command
}

fn output(arguments: &[&str], folder: &Path) -> Output {
    serin().args(arguments).current_dir(folder).output().unwrap()
}

/// Runs to the end and gives the exit code, standard output and standard error.
fn ended(arguments: &[&str], folder: &Path) -> (i32, String, String) {
    let output = output(arguments, folder);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// A process that serves; killed if a test ends without it.
struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: String,
}

impl Running {
    fn start(arguments: &[&str], folder: &Path) -> Self {
        Self::spawn(serin().args(arguments), folder)
    }

    fn spawn(command: &mut Command, folder: &Path) -> Self {
        let mut child = command
            .current_dir(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in streams {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
        Self { child, lines, seen: String::new() }
    }

    /// Waits for a line that has all of this in it.
    fn line(&mut self, parts: &[&str]) -> String {
        let until = Instant::now() + DEADLINE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no line with {parts:?} in:\n{}", self.seen);
            };
            self.seen.push_str(&line);
            self.seen.push('\n');
            if parts.iter().all(|part| line.contains(part)) {
                return line;
            }
        }
    }

    /// The same, if no line so far has had it.
    #[cfg(feature = "kube")]
    fn has_told(&mut self, parts: &[&str]) {
        let is_meant = |line: &str| parts.iter().all(|part| line.contains(part));
        if !self.seen.lines().any(is_meant) {
            self.line(parts);
        }
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    fn exit_code(&mut self) -> i32 {
        let code = poll(|| self.child.try_wait().unwrap());
        code.code().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until there is an answer.
fn poll<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < until, "nothing happened within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The response to a GET, head and body.
fn get(address: SocketAddr, target: &str, fields: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let request =
        format!("GET {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

/// The address in a line of the log or of the demo.
fn address(line: &str) -> SocketAddr {
    let digits =
        |character: char| character.is_ascii_digit() || character == '.' || character == ':';
    let from = line.find("127.0.0.1:").unwrap();
    let rest = &line[from..];
    rest[..rest.find(|character| !digits(character)).unwrap_or(rest.len())].parse().unwrap()
}

#[test]
fn bad_usage_is_exit_code_2() {
    let folder = folder(&[("serin.yaml", GOOD)]);
    let (code, _, help) = ended(&[], folder.path());
    assert!(code == 2 && help.contains("Usage: serin") && help.contains("Examples:"), "{help}");
    let cases: [(&[&str], &str); 11] = [
        (&["run"], "<--config <PATH>|--configmap <NAMESPACE/NAME[/KEY]>|--configmap-selector"),
        (&["run", "-c", "serin.yaml", "--configmap", "shop/serin"], "with"),
        (&["run", "-c", "serin.yaml", "--admin", "9901"], "--admin <IP:PORT>"),
        (&["run", "-c", "serin.yaml", "--workers", "0"], "1..=1024"),
        (&["run", "-c", "serin.yaml", "--workers", "1025"], "1..=1024"),
        (&["run", "-c", "serin.yaml", "--log", "inof"], "`inof` is no level"),
        (&["check"], "PATH"),
        (&["explain", "http://a/"], "--config"),
        (&["explain", "-c", "serin.yaml", "-H", "cookie", "http://a/"], "name: value"),
        (&["explain", "-c", "serin.yaml", "http://[::1"], "http://[::1"),
        (&["explain", "-c", "serin.yaml", "-H", "a b: c", "http://a/"], "`a b` is no header name"),
    ];
    for (arguments, expected) in cases {
        let (code, out, error) = ended(arguments, folder.path());
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
    for command in ["run", "check", "explain", "demo", "schema", "completions", "man"] {
        let (code, help, _) = ended(&[command, "--help"], folder.path());
        assert!(code == 0 && help.contains("Examples:"), "{command}: {help}");
    }
}

#[test]
fn a_config_map_that_can_not_be_is_bad_usage() {
    let folder = folder(&[]);
    let present = cfg!(feature = "kube");
    for (option, value, expected) in [
        ("--configmap", "serin", "write NAMESPACE/NAME or NAMESPACE/NAME/KEY, such as shop/serin"),
        ("--configmap", "Shop/serin", "`Shop` is no namespace"),
        ("--configmap", "shop/serin/a/b", "`a/b` is no key of a ConfigMap"),
        ("--configmap-selector", "app=serin", "write NAMESPACE/SELECTOR, such as shop/app=serin"),
        ("--configmap-selector", "shop/", "the selector is empty"),
    ] {
        let expected = if present { expected } else { "this build of Serin knows no Kubernetes" };
        let (code, out, error) = ended(&["run", option, value], folder.path());
        assert_eq!((code, out.as_str()), (2, ""), "{value}");
        assert!(error.contains(option) && error.contains(expected), "{value}: {error}");
        let variable = if option == "--configmap" { "CONFIGMAP" } else { "CONFIGMAP_SELECTOR" };
        let mut command = serin();
        let output = command.arg("run").env(format!("SERIN_{variable}"), value).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(expected));
    }
}

#[cfg(feature = "kube")]
#[test]
fn a_run_without_the_api_is_alive_until_it_is_terminated() {
    let folder = folder(&[]);
    for signal in ["-TERM", "-INT"] {
        let arguments = ["run", "--configmap", "shop/serin", "--kubeconfig", "none.yaml"];
        let mut command = serin();
        command.args(arguments).env("SERIN_ADMIN", "127.0.0.1:0");
        let mut running = Running::spawn(&mut command, folder.path());
        let admin = address(&running.line(&["admin listening"]));
        running.has_told(&["there is no configuration yet: configmap/shop/serin", "none.yaml"]);
        assert!(get(admin, "/livez", "").starts_with("HTTP/1.1 200 "));
        let ready = get(admin, "/readyz", "");
        assert!(ready.starts_with("HTTP/1.1 503 ") && ready.contains("none.yaml"), "{ready}");
        running.signal("-HUP");
        running.signal(signal);
        assert_eq!(running.exit_code(), 0);
    }
}

#[test]
fn an_admin_address_that_is_taken_ends_the_start() {
    let folder = folder(&[("serin.yaml", &GOOD.replace("admin:", "#"))]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let arguments = ["run", "-c", "serin.yaml", "--admin", &address];
    let (code, _, error) = ended(&arguments, folder.path());
    assert!(code == 2 && error.contains(&format!("can not listen on {address}")), "{error}");
    if cfg!(feature = "kube") {
        let arguments = ["run", "--configmap", "shop/serin", "--admin", &address];
        let (code, _, error) = ended(&arguments, folder.path());
        assert!(code == 1 && error.contains(&format!("can not be on {address}")), "{error}");
    }
}

#[test]
fn check_says_that_a_configuration_is_fine() {
    let half = GOOD.find("routes:").unwrap();
    let folder = folder(&[("serin.yaml", GOOD)]);
    let parts = folder.path().join("parts");
    std::fs::create_dir(&parts).unwrap();
    std::fs::write(parts.join("a.yaml"), &GOOD[..half]).unwrap();
    std::fs::write(parts.join("b.yml"), &GOOD[half..]).unwrap();
    let (code, out, error) = ended(&["check", "serin.yaml", "parts"], folder.path());
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    assert_eq!(out, "2 configurations checked: no problems\n");
    let json = ended(&["check", "--format", "json", "serin.yaml"], folder.path());
    assert_eq!(json, (0, "{\n  \"diagnostics\": []\n}\n".to_owned(), String::new()));
}

#[test]
fn check_tells_every_mistake_of_every_path() {
    let bad = GOOD.replace("canary: 25", "canry: 25").replace("name: web", "nam: web");
    let folder = folder(&[("bad.yaml", &bad), ("good.yaml", GOOD)]);
    let arguments = ["check", "bad.yaml", "good.yaml", "none.yaml"];
    let (code, out, error) = ended(&arguments, folder.path());
    assert_eq!((code, error.as_str()), (2, ""));
    let expected = [
        "bad.yaml:1:15: error: listeners[0].nam: unknown key `nam` (did you mean `name`?)",
        "bad.yaml:14:45: error: routes[0].split[1].to.canry: no pool is named `canry` (did you",
        " 14 |       - { name: everyone, to: { stable: 75, canry: 25 } }\n",
        "none.yaml:1:1: error: no such file or folder\n",
    ];
    for expected in expected {
        assert!(out.contains(expected), "{expected}\nis not in\n{out}");
    }
    assert!(out.lines().last().unwrap().starts_with("3 configurations checked: "), "{out}");
    assert!(!out.contains("good.yaml") && !out.contains('\x1b'));

    let arguments = ["check", "--format", "json", "bad.yaml", "good.yaml", "none.yaml"];
    let (code, out, _) = ended(&arguments, folder.path());
    assert_eq!(code, 2);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    let diagnostics = json["diagnostics"].as_array().unwrap();
    let file = |name: &str| diagnostics.iter().filter(|one| one["file"] == name).count();
    assert!(file("bad.yaml") >= 2 && file("good.yaml") == 0 && file("none.yaml") == 1, "{out}");
    assert!(diagnostics.iter().any(|one| one["line"] == 14 && one["column"] == 45));
}

#[test]
fn check_lets_warnings_pass_unless_they_are_denied() {
    let odd = GOOD.replace("      - { name: everyone, to: { stable: 75, canary: 25 } }\n", "");
    let folder = folder(&[("odd.yaml", &odd)]);
    let (code, out, _) = ended(&["check", "odd.yaml"], folder.path());
    assert!(code == 0 && out.contains(": warning: ") && out.ends_with(": 1 warning\n"), "{out}");
    assert_eq!(ended(&["check", "--deny-warnings", "odd.yaml"], folder.path()).0, 2);
}

#[test]
fn check_reads_the_files_of_pools_and_looks_for_the_systems_authorities() {
    let with = |tls: &str| {
        let stable = "name: stable, endpoints: [127.0.0.1:9]";
        GOOD.replace(stable, &format!("{stable}, {tls}"))
    };
    let folder = folder(&[
        (
            "file.yaml",
            &with("tls: { ca: none.pem, clientCertificate: { certFile: a, keyFile: b } }"),
        ),
        ("system.yaml", &with("tls: {}")),
    ]);
    let check = |file: &str| {
        let mut command = serin();
        command.args(["check", file]).current_dir(folder.path());
        command.env("SSL_CERT_FILE", "/nowhere/ca.pem").env("SSL_CERT_DIR", "/nowhere");
        let output = command.output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, out) = check("file.yaml");
    assert_eq!(code, 2);
    for expected in [
        "tls.ca: `none.pem` can not be read",
        "tls.clientCertificate.certFile: `a` can not be read",
        "tls.clientCertificate.keyFile: `b` can not be read",
    ] {
        assert!(out.contains(expected), "{expected}\nis not in\n{out}");
    }
    let (code, out) = check("system.yaml");
    assert_eq!(code, 2);
    assert!(out.contains("tls: this system has no authorities to verify with"), "{out}");
    assert!(out.contains("name a file with them in `ca`"), "{out}");
}

#[test]
fn a_reader_who_leaves_is_no_error() {
    let folder = folder(&[]);
    for command in ["schema", "man", "completions bash"] {
        let line =
            format!("'{}' {command} | true; echo ${{PIPESTATUS[0]}}", env!("CARGO_BIN_EXE_serin"));
        let output =
            Command::new("bash").args(["-c", &line]).current_dir(&folder).output().unwrap();
        assert_eq!(output.stdout, b"0\n", "{command}");
        assert_eq!(output.stderr, b"", "{command}");
    }
}

#[test]
fn explain_tells_the_decision_and_why() {
    let folder = folder(&[("serin.yaml", GOOD), ("bad.yaml", "routes: 1\n")]);
    let explain = |more: &[&str]| {
        let mut arguments = vec!["explain", "--config", "serin.yaml"];
        arguments.extend_from_slice(more);
        let (code, out, error) = ended(&arguments, folder.path());
        assert_eq!((code, error.as_str()), (0, ""));
        out
    };
    let text = explain(&["-H", "x-user-id: u-1", "http://shop.example.com/shop"]);
    for expected in [
        "GET http://shop.example.com/shop from 127.0.0.1\n",
        "route     shop\n",
        "arm       everyone\n",
        "reason    cohort: ",
        "weights   stable 75 (75%), canary 25 (25%)\n",
        "scores    stable ",
    ] {
        assert!(text.contains(expected), "{expected}\nis not in\n{text}");
    }
    let json = |more: &[&str]| -> serde_json::Value {
        let mut arguments = vec!["--format", "json"];
        arguments.extend_from_slice(more);
        serde_json::from_str(&explain(&arguments)).unwrap()
    };
    let tester = json(&["-X", "POST", "-H", "Cookie: beta=1", "shop.example.com/shop?x=1"]);
    assert_eq!((&tester["arm"], &tester["pool"]), (&"testers".into(), &"canary".into()));
    let drawn = json(&["http://shop.example.com/shop"]);
    assert!(drawn["status"] == 200 && drawn["pool"].is_null(), "{drawn}");
    let nowhere = json(&["--from", "10.0.0.9", "http://shop.example.com/"]);
    assert_eq!(nowhere["status"], 404);
    assert!(nowhere["considered"][0]["failed"].as_str().unwrap().starts_with("path"), "{nowhere}");

    let (code, out, error) = ended(&["explain", "-c", "bad.yaml", "http://a/"], folder.path());
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(error.contains("bad.yaml:1:9: error: routes: expected a list"), "{error}");
}

#[cfg(feature = "kube")]
#[test]
fn check_and_explain_need_no_cluster() {
    let stable = "name: stable, endpoints: [127.0.0.1:9]";
    let pool = "name: stable, kubernetes: { namespace: shop, service: stable, port: 80 }";
    let folder = folder(&[("serin.yaml", &GOOD.replace(stable, pool))]);
    let ended = |arguments: &[&str]| {
        let mut command = serin();
        command.args(arguments).current_dir(folder.path()).env("KUBECONFIG", "/nowhere");
        let output = command.output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let checked = ended(&["check", "serin.yaml"]);
    assert_eq!(checked, (0, "1 configuration checked: no problems\n".to_owned()));
    let user = ["-H", "x-user-id: u-1", "http://shop.example.com/shop"];
    let (code, out) = ended(&[&["explain", "-c", "serin.yaml"], &user[..]].concat());
    assert!(code == 0 && out.contains("weights   stable 75 (75%), canary 25 (25%)\n"), "{out}");
}

#[test]
fn the_committed_schema_is_current() {
    let (code, schema, _) = ended(&["schema"], Path::new("."));
    assert_eq!(code, 0);
    let committed = include_str!("../config/schema.json");
    assert!(
        schema == committed,
        "config/schema.json is not current: update it with `cargo run -- schema > config/schema.json`"
    );
}

#[test]
fn completions_and_manual_pages_name_every_command() {
    let commands = ["run", "check", "explain", "demo", "schema", "completions", "man"];
    let folder = folder(&[]);
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = ended(&["completions", shell], folder.path());
        assert_eq!(code, 0);
        for command in commands {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    let (code, page, _) = ended(&["man"], folder.path());
    assert!(code == 0 && page.contains(".TH serin 1"), "{page}");
    assert_eq!(ended(&["man", "--dir", "pages"], folder.path()), (0, String::new(), String::new()));
    assert!(folder.path().join("pages/serin.1").exists());
    for command in commands {
        assert!(page.contains(&format!(".SH \"SERIN {}\"\n", command.to_uppercase())), "{command}");
        let path = folder.path().join(format!("pages/serin-{command}.1"));
        assert!(std::fs::read_to_string(path).unwrap().contains(".SH NOTES"), "{command}");
    }
}

#[test]
fn run_serves_until_it_is_terminated() {
    let folder = folder(&[("serin.yaml", GOOD)]);
    let arguments = ["run", "--config", "serin.yaml", "--workers", "1"];
    let mut running = Running::start(&arguments, folder.path());
    let web = address(&running.line(&["\"listening\"", "web"]));
    let admin = address(&running.line(&["admin listening"]));
    assert!(get(web, "/", "").starts_with("HTTP/1.1 404 "));
    assert!(get(admin, "/readyz", "").starts_with("HTTP/1.1 200 "));

    std::fs::write(folder.path().join("serin.yaml"), GOOD.replace("/shop", "/")).unwrap();
    running.signal("-HUP");
    running.line(&["configuration in use", "\"generation\":2"]);
    std::fs::write(folder.path().join("serin.yaml"), "oops: 1\n").unwrap();
    running.signal("-HUP");
    running.line(&["rejected", "serin.yaml:1:1: error: oops: unknown key"]);

    running.signal("-TERM");
    assert_eq!(running.exit_code(), 0);
}

#[test]
fn a_second_signal_ends_the_drain() {
    let slow = GOOD.replace("delay: 0", "delay: 1h");
    let folder = folder(&[("serin.yaml", &slow)]);
    let mut running = Running::start(&["run", "-c", "serin.yaml"], folder.path());
    running.line(&["admin listening"]);
    running.signal("-TERM");
    running.line(&["still accepting"]);
    // A reload would wait for the end of the drain; it must not keep the second signal from it.
    running.signal("-HUP");
    running.signal("-TERM");
    assert_eq!(running.exit_code(), 1);
}

#[test]
fn a_signal_ends_a_start_that_hangs() {
    let folder = folder(&[]);
    assert!(Command::new("mkfifo").arg("pipe").current_dir(&folder).status().unwrap().success());
    let mut running = Running::start(&["run", "-c", "pipe"], folder.path());
    let status = format!("/proc/{}/status", running.child.id());
    poll(|| {
        let status = std::fs::read_to_string(&status).ok()?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        let terminate = 1 << (15 - 1);
        (u64::from_str_radix(caught.trim(), 16).ok()? & terminate != 0).then_some(())
    });
    running.signal("-TERM");
    assert_eq!(running.exit_code(), 0);
}

#[test]
fn run_refuses_a_bad_configuration_once_and_with_its_place() {
    let folder = folder(&[("serin.yaml", &GOOD.replace("to: canary", "to: canry"))]);
    let (code, out, error) = ended(&["run", "--config", "serin.yaml"], folder.path());
    assert_eq!((code, out.as_str()), (2, ""));
    assert_eq!(
        error.matches("serin.yaml:13:74: error: routes[0].split[0].to: ").count(),
        1,
        "{error}"
    );
    assert_eq!(ended(&["run", "--config", "none.yaml"], folder.path()).0, 2);
}

#[test]
fn the_demo_follows_its_file_and_never_overwrites_it() {
    let folder = folder(&[]);
    let path = folder.path().join("serin-demo.yaml");
    let mut demo = Running::start(&["demo"], folder.path());
    let proxy = address(&demo.line(&["  proxy "]));
    let edit = demo.line(&["sed -i.bak '/name: everyone/"]);
    demo.line(&["Ctrl-C ends the demo"]);
    let ask = |fields: &str| get(proxy, "/", fields);
    assert!(ask("cookie: beta=1\r\n").contains("x-version: v2\r\n"));
    assert!(ask("x-user-id: u-2\r\n").ends_with("\r\n\r\nstable v1, you are u-2\n"));
    assert!(get(proxy, "/?status=418", "").starts_with("HTTP/1.1 418 "));
    assert!(get(proxy, "/?fail=1", "").starts_with("HTTP/1.1 502 "));

    let edit = edit.replace("stable: 50, canary: 50", "stable: 0, canary: 100");
    let status = Command::new("sh").args(["-c", &edit]).current_dir(&folder).status().unwrap();
    assert!(status.success());
    poll(|| ask("x-user-id: u-2\r\n").ends_with("canary v2, you are u-2\n").then_some(()));
    demo.signal("-INT");
    demo.line(&["The configuration is in serin-demo.yaml"]);
    assert_eq!(demo.exit_code(), 0);

    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("stable: 0, canary: 100"));
    let mut demo = Running::start(&["demo"], folder.path());
    demo.line(&["serin-demo.yaml was here already"]);
    demo.line(&["Ctrl-C ends the demo"]);
    demo.signal("-INT");
    assert_eq!(demo.exit_code(), 0);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let elsewhere = format!("endpoints: [{}]", taken.local_addr().unwrap());
    let from = text.find("endpoints: [").unwrap();
    let to = from + text[from..].find(']').unwrap() + 1;
    std::fs::write(&path, text.replace(&text[from..to], &elsewhere)).unwrap();
    let (code, _, error) = ended(&["demo"], folder.path());
    assert!(code == 1 && error.contains("another process listens there"), "{error}");
}

#[test]
fn the_admin_listener_answers_when_clients_hold_every_file_descriptor() {
    let folder = folder(&[("serin.yaml", GOOD)]);
    let program = env!("CARGO_BIN_EXE_serin");
    let command = format!("ulimit -n 64; exec '{program}' run -c serin.yaml --workers 2");
    let mut shell = Command::new("sh");
    let mut running = Running::spawn(shell.args(["-c", &command]), folder.path());
    let web = address(&running.line(&["\"listening\"", "web"]));
    let admin = address(&running.line(&["admin listening"]));
    let clients: Vec<_> = (0..200).map(|_| TcpStream::connect(web).unwrap()).collect();
    running.line(&["can not accept"]);
    for _ in 0..20 {
        assert!(get(admin, "/readyz", "").starts_with("HTTP/1.1 200 "));
    }
    drop(clients);
    assert!(get(web, "/", "").starts_with("HTTP/1.1 404 "));
    running.signal("-TERM");
    assert_eq!(running.exit_code(), 0);
    while let Ok(line) = running.lines.recv() {
        running.seen.push_str(&line);
    }
    // One line for each worker in ten seconds, and not one for each try.
    assert!(running.seen.matches("can not accept").count() <= 6, "{}", running.seen);
}

//! The house rules that no lint knows, proven by reading the source as text.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The modules, bottom first: each imports only itself and those before it.
const LAYERS: [&str; 14] = [
    "base",
    "telemetry",
    "cluster",
    "tls",
    "predicate",
    "route",
    "split",
    "upstream",
    "proxy",
    "listener",
    "config",
    "admin",
    "app",
    "cli",
];
/// What must not be imported although it is further down: a listener is handed its service.
const STRANGERS: [(&str, &str); 1] = [("listener", "proxy")];
/// Where nothing may wait, look at a clock, read a file or draw a random number.
const PURE: [&str; 5] =
    ["src/predicate/", "src/route/", "src/split/", "src/proxy/decide.rs", "src/upstream/balance/"];
/// What would make them impure.
const IMPURE_WORDS: [&str; 21] = [
    "tokio",
    "hyper",
    "hyper_util",
    "rand",
    "fs",
    "env",
    "thread",
    "process",
    "clock",
    "courtesy",
    "Instant",
    "SystemTime",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "ToSocketAddrs",
    "Mutex",
    "RwLock",
    "async",
    "await",
];
/// Who sees the whole document: those that make it, the composition root, and the command that
/// prints its form. The `Config` of the cluster's client is another one, kube's.
const ROOT_READERS: [&str; 4] =
    ["src/config/", "src/app.rs", "src/cli/schema.rs", "src/cluster/client.rs"];
/// Words that say nothing; crates that have one in their name are not ours to rename.
const EMPTY_WORDS: [&str; 6] = ["Manager", "Helper", "Handler", "util", "utils", "Util"];
const FOREIGN_NAMES: [&str; 4] = ["hyper_util", "http_body_util", "tokio_util", "futures_util"];
/// The most lines of a file without its tests, and of a file of tests.
const LINES_MAX: usize = 500;
const TEST_LINES_MAX: usize = 800;
const COLUMNS_MAX: usize = 100;

/// A file of the tree, taken apart.
struct File {
    path: String,
    text: String,
    lines: Vec<Line>,
}

#[derive(Default)]
struct Line {
    /// What is written, without comments and without what stands in quotes.
    code: String,
    comment: String,
    /// The quoted texts that begin here.
    quoted: Vec<String>,
    /// Whether it is compiled for tests only.
    test: bool,
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        let mut lines = split(text);
        mark_tests(&mut lines);
        Self { path: path.to_owned(), text: text.to_owned(), lines }
    }

    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| match place.strip_suffix('/') {
            Some(_) => self.path.starts_with(place),
            None => self.path == *place,
        })
    }

    /// The first folder or file below `src/`; nothing for the two roots and outside of it.
    fn layer(&self) -> Option<&str> {
        let name = self.path.strip_prefix("src/")?.split('/').next()?;
        let name = name.strip_suffix(".rs").unwrap_or(name);
        (name != "lib" && name != "main").then_some(name)
    }

    /// The lines that are in the product, with their numbers.
    fn product(&self) -> impl Iterator<Item = (usize, &Line)> {
        let ours = self.path.starts_with("src/");
        let lines = self.lines.iter().enumerate().map(|(index, line)| (index + 1, line));
        lines.filter(move |(_, line)| ours && !line.test)
    }

    fn say(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

/// Takes a text apart into lines of code, comments and quoted texts.
fn split(text: &str) -> Vec<Line> {
    let mut lines = vec![Line::default()];
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let line = lines.last_mut().unwrap();
        let length = if next == '\n' {
            lines.push(Line::default());
            1
        } else if rest.starts_with("//") {
            let end = rest.find('\n').unwrap_or(rest.len());
            rest[..end].clone_into(&mut line.comment);
            end
        } else if let Some((start, length)) = quoted(rest, &line.code) {
            line.code.push_str("\"\"");
            let whole = &rest[..length];
            line.quoted.push(whole[start..].trim_end_matches(['"', '#']).to_owned());
            lines.extend(whole.matches('\n').map(|_| Line::default()));
            length
        } else if let Some(length) = character(rest) {
            line.code.push_str("' '");
            length
        } else {
            line.code.push(next);
            next.len_utf8()
        };
        rest = &rest[length..];
    }
    if text.ends_with('\n') {
        lines.pop();
    }
    lines
}

/// Where the text in a string literal starts and where the literal ends, if one begins here.
fn quoted(rest: &str, before: &str) -> Option<(usize, usize)> {
    if before.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let prefix = rest.find(|c: char| !matches!(c, 'b' | 'c' | 'r')).filter(|end| *end <= 2)?;
    let hashes = rest[prefix..].bytes().take_while(|byte| *byte == b'#').count();
    let raw = rest[..prefix].ends_with('r');
    let start = prefix + hashes + 1;
    if !rest[prefix + hashes..].starts_with('"') || (hashes > 0 && !raw) {
        return None;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let mut escaped = false;
    let found = rest[start..].char_indices().find(|(at, c)| {
        let ends = !escaped && rest[start + at..].starts_with(&end);
        escaped = !raw && !escaped && *c == '\\';
        ends
    });
    Some((start, found.map_or(rest.len(), |(at, _)| start + at + end.len())))
}

/// The length of a character literal, if one and not a lifetime begins here.
fn character(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix('\'')?;
    let first = inside.chars().next()?;
    let length = if first == '\\' { 2 + inside[2..].find('\'')? } else { first.len_utf8() };
    inside[length..].starts_with('\'').then_some(length + 2)
}

/// Marks the items that stand under `#[cfg(test)]`.
fn mark_tests(lines: &mut [Line]) {
    let mut index = 0;
    while index < lines.len() {
        if lines[index].code.trim() != "#[cfg(test)]" {
            index += 1;
            continue;
        }
        let indent = indent(&lines[index].code);
        let ends = |line: &Line| {
            let code = line.code.trim();
            self::indent(&line.code) == indent
                && (code.ends_with(';') || code.ends_with('}'))
                && !code.starts_with("#[")
        };
        let end = lines.iter().skip(index).position(ends).map_or(lines.len(), |at| index + at + 1);
        for line in &mut lines[index..end] {
            line.test = true;
        }
        index = end;
    }
}

fn indent(code: &str) -> usize {
    code.len() - code.trim_start().len()
}

/// The words of a line of code.
fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

/// The parts of the paths of a line: `a::{b, c::d}` is `a`, and `b`, and `c` and `d`.
fn paths(code: &str) -> impl Iterator<Item = Vec<&str>> {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
        .map(|path| path.split("::").collect())
}

/// Every Rust file of the project; those that `#[cfg(test)] mod x;` names are tests as a whole.
fn tree() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    let mut folders: Vec<_> =
        ["src", "tests", "benches", "examples", "fuzz"].map(|name| root.join(name)).into();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if path.file_name().is_some_and(|name| name != "target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.push(File::new(&name, &fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.sort_by(|one, two| one.path.cmp(&two.path));
    mark_test_files(&mut files);
    files
}

fn mark_test_files(files: &mut [File]) {
    let named: BTreeSet<String> = files.iter().flat_map(test_modules).collect();
    for file in files {
        if !file.path.starts_with("src/") || named.contains(&file.path) {
            file.lines.iter_mut().for_each(|line| line.test = true);
        }
    }
}

/// The files of the modules that are compiled for tests only.
fn test_modules(file: &File) -> Vec<String> {
    let folder = file
        .path
        .strip_suffix("mod.rs")
        .map_or_else(|| format!("{}/", file.path.trim_end_matches(".rs")), str::to_owned);
    let declared = file.lines.iter().filter(|line| line.test);
    let names = declared.filter_map(|line| {
        let code = line.code.trim().strip_suffix(';')?;
        code.split_once("mod ").map(|(_, name)| name)
    });
    names
        .flat_map(|name| [format!("{folder}{name}.rs"), format!("{folder}{name}/mod.rs")])
        .collect()
}

// The rules: each says what is wrong with some files.

type Rule = fn(&[File]) -> Vec<String>;

fn modules_import_only_what_is_below_them(files: &[File]) -> Vec<String> {
    let place = |layer: &str| LAYERS.iter().position(|known| *known == layer);
    let mut wrong = Vec::new();
    for file in files {
        for (number, line) in file.product() {
            for path in paths(&line.code) {
                let [root, target, ..] = path[..] else { continue };
                let from = match (file.layer(), root) {
                    (Some(layer), "crate") => layer,
                    // The binary sees the command line alone.
                    (None, "serin") if target != "cli" => {
                        wrong.push(file.say(number, format!("main imports {target}")));
                        continue;
                    }
                    _ => continue,
                };
                let allowed = match (place(from), place(target)) {
                    (Some(from), Some(target)) => target <= from,
                    _ => false,
                };
                if !allowed || STRANGERS.contains(&(from, target)) {
                    wrong.push(file.say(number, format!("{from} imports {target}")));
                }
            }
        }
    }
    wrong
}

fn nothing_climbs_out_of_its_module(files: &[File]) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in files {
        // `src/a/mod.rs` and `src/a.rs` are one level below the root, `src/a/b.rs` is two.
        let depth = file.path.trim_end_matches("/mod.rs").matches('/').count();
        for (number, line) in file.product() {
            let climbs = |path: Vec<&str>| path.iter().filter(|part| **part == "super").count();
            if paths(&line.code).map(climbs).max().unwrap_or_default() >= depth.max(1) {
                wrong.push(file.say(number, "names another layer by `super` instead of `crate`"));
            }
            if line.code.contains("crate::{") {
                wrong.push(file.say(number, "one `use crate::...` for each module"));
            }
        }
    }
    wrong
}

fn deciding_is_pure(files: &[File]) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in files.iter().filter(|file| file.is_in(&PURE)) {
        for (number, line) in file.product() {
            for word in words(&line.code).filter(|word| IMPURE_WORDS.contains(word)) {
                wrong.push(file.say(number, format!("`{word}` where nothing may be asked for")));
            }
        }
    }
    wrong
}

fn few_see_the_whole_document(files: &[File]) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in files.iter().filter(|file| !file.is_in(&ROOT_READERS)) {
        for (number, line) in file.product() {
            let names = |path: Vec<&str>| {
                let at = path.iter().position(|part| *part == "Config");
                // `StartError::Config` is a variant, not the document.
                at.is_some_and(|at| at == 0 || matches!(path[at - 1], "config" | "root"))
            };
            if paths(&line.code).any(names) {
                wrong.push(file.say(number, "names the whole `Config`"));
            }
        }
    }
    wrong
}

fn only_reload_stores_a_snapshot(files: &[File]) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in files.iter().filter(|file| file.path != "src/config/reload.rs") {
        let knows_the_cell =
            file.product().any(|(_, line)| words(&line.code).any(|word| word == "SnapshotCell"));
        for (number, line) in file.product() {
            for call in [".store(", ".swap(", ".rcu(", ".compare_and_swap("] {
                let Some((before, after)) = line.code.split_once(call) else { continue };
                let receiver = words(before).last().unwrap_or_default().to_ascii_lowercase();
                let atomic = words(after).any(|word| matches!(word, "Ordering" | "Relaxed"));
                let named = receiver.contains("cell") || receiver.contains("snapshot");
                if named || (knows_the_cell && !atomic) {
                    wrong.push(file.say(number, "stores into the place of the snapshot in use"));
                }
            }
        }
    }
    wrong
}

fn metrics_stand_in_one_table(files: &[File]) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in files.iter().filter(|file| file.path != "src/telemetry/metrics.rs") {
        for (number, line) in file.product() {
            for text in line.quoted.iter().filter(|text| text.starts_with("serin_")) {
                wrong.push(file.say(number, format!("the metric {text} is named here")));
            }
        }
    }
    wrong
}

fn errors_without_a_type_stay_in_the_commands(files: &[File]) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in files.iter().filter(|file| !file.is_in(&["src/cli/", "src/main.rs"])) {
        for (number, line) in file.product() {
            if words(&line.code).any(|word| word == "anyhow") {
                wrong.push(file.say(number, "`anyhow` outside of the commands"));
            }
        }
    }
    wrong
}

fn every_file_says_what_it_is_for(files: &[File]) -> Vec<String> {
    let says = |file: &&File| {
        let first = file.text.lines().next().unwrap_or_default();
        first.strip_prefix("//! ").is_some_and(|text| text.len() > 10)
    };
    let silent = files.iter().filter(|file| !says(file));
    silent.map(|file| file.say(1, "the first line does not say what the file is for")).collect()
}

fn files_are_short(files: &[File]) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in files {
        let product = file.lines.iter().filter(|line| !line.test).count();
        let all_tests = product == 0;
        let (lines, most) = if all_tests {
            (file.text.lines().count(), TEST_LINES_MAX)
        } else {
            (product, LINES_MAX)
        };
        if lines > most {
            wrong.push(file.say(most, format!("{lines} lines, at most {most}")));
        }
    }
    wrong
}

fn lines_are_short(files: &[File]) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in files {
        for (index, line) in file.lines.iter().enumerate() {
            // Texts are not broken, so that they can be searched for.
            let columns = line.code.chars().count() + line.comment.chars().count();
            if columns > COLUMNS_MAX {
                wrong.push(file.say(index + 1, format!("{columns} columns")));
            }
        }
    }
    wrong
}

fn names_say_something(files: &[File]) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in files {
        for (index, line) in file.lines.iter().enumerate() {
            let ours = words(&line.code).filter(|word| !FOREIGN_NAMES.contains(word));
            for word in ours {
                let empty = EMPTY_WORDS.iter().any(|empty| {
                    if empty.starts_with(char::is_uppercase) {
                        word.contains(empty)
                    } else {
                        word.split('_').any(|part| part == *empty)
                    }
                });
                if empty || (word.starts_with("get_") && line.code.contains("fn get_")) {
                    wrong.push(file.say(index + 1, format!("`{word}` is an empty word")));
                }
            }
        }
    }
    wrong
}

fn the_map_names_every_module(files: &[File]) -> Vec<String> {
    let Some(lib) = files.iter().find(|file| file.path == "src/lib.rs") else { return Vec::new() };
    let listed: Vec<&str> = lib
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("//! | [`")?.split_once('`').map(|(name, _)| name))
        .collect();
    let mut declared: Vec<&str> = lib
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    let known: Vec<&str> = LAYERS.into_iter().filter(|layer| declared.contains(layer)).collect();
    let mut wrong = Vec::new();
    if listed != known {
        wrong.push(lib.say(1, format!("the table is {listed:?}, the layers are {known:?}")));
    }
    declared.retain(|module| !LAYERS.contains(module));
    wrong.extend(declared.iter().map(|module| lib.say(1, format!("`{module}` has no layer"))));
    wrong
}

// Each rule is kept, and finds what is planted.

/// Fails with everything that breaks the rule; then with what is planted and not found.
fn check(rule: Rule, planted: &[(&str, &str)], found: &[&str]) {
    let broken = rule(&tree());
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
    let mut files: Vec<File> = planted.iter().map(|(path, text)| File::new(path, text)).collect();
    mark_test_files(&mut files);
    assert_eq!(rule(&files), found);
}

/// The folders and Rust files named between backticks that are nowhere one would look for them.
fn missing_files(text: &str) -> Vec<&str> {
    let is_path = |name: &&str| {
        let kind = Path::new(name).extension().is_some_and(|kind| kind == "rs");
        let ours = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'/');
        let path = name.contains('/') && !name.starts_with('/');
        path && (kind || name.ends_with('/')) && name.bytes().all(ours)
    };
    let places = ["", "src/", "tests/", "benches/"];
    let exists =
        |name: &str| places.iter().any(|place| Path::new(&format!("{place}{name}")).exists());
    let named = text.split('`').skip(1).step_by(2).filter(is_path);
    named.filter(|name| !exists(name)).collect()
}

#[test]
fn a_module_imports_only_modules_below_it() {
    check(
        modules_import_only_what_is_below_them,
        &[
            ("src/base/a.rs", "//! x\nuse crate::base::b;\nuse crate::config::Config;\n"),
            ("src/listener/mod.rs", "fn f() {\n    crate::proxy::deliver();\n}\n"),
            ("src/proxy/mod.rs", "/// [`crate::cli`]\nuse crate::upstream::pool; // crate::cli\n"),
            ("src/route/mod.rs", "#[cfg(test)]\nmod tests {\n    use crate::proxy::x;\n}\n"),
            ("src/app.rs", "use crate::admin::x;\nuse crate::cli::x;\nuse crate::extra::x;\n"),
            ("src/main.rs", "fn main() {\n    serin::cli::main();\n    serin::app::run();\n}\n"),
        ],
        &[
            "src/base/a.rs:3: base imports config",
            "src/listener/mod.rs:2: listener imports proxy",
            "src/app.rs:2: app imports cli",
            "src/app.rs:3: app imports extra",
            "src/main.rs:3: main imports app",
        ],
    );
}

#[test]
fn a_layer_names_another_by_crate() {
    check(
        nothing_climbs_out_of_its_module,
        &[
            ("src/a/mod.rs", "use super::b;\n"),
            ("src/a/b.rs", "use super::c;\nuse super::super::d;\nuse crate::{x, y};\n"),
        ],
        &[
            "src/a/mod.rs:1: names another layer by `super` instead of `crate`",
            "src/a/b.rs:2: names another layer by `super` instead of `crate`",
            "src/a/b.rs:3: one `use crate::...` for each module",
        ],
    );
}

#[test]
fn a_decision_asks_for_nothing_but_its_arguments() {
    check(
        deciding_is_pure,
        &[
            ("src/split/a.rs", "use std::net::IpAddr;\nuse std::time::Instant;\n"),
            ("src/upstream/balance/b.rs", "fn f(random: u64) {\n    rand::rng();\n}\n"),
            ("src/proxy/decide.rs", "//! no tokio\nconst X: &str = \"tokio\";\nasync fn f() {}\n"),
            ("src/proxy/deliver.rs", "use tokio::net::TcpStream;\n"),
        ],
        &[
            "src/split/a.rs:2: `Instant` where nothing may be asked for",
            "src/upstream/balance/b.rs:2: `rand` where nothing may be asked for",
            "src/proxy/decide.rs:3: `async` where nothing may be asked for",
        ],
    );
}

#[test]
fn the_whole_document_is_seen_only_where_it_is_made_and_put_to_use() {
    check(
        few_see_the_whole_document,
        &[
            ("src/config/a.rs", "fn f(config: &Config) {}\n"),
            ("src/admin/a.rs", "use crate::config::{Config, read};\n"),
            ("src/proxy/a.rs", "fn f(config: &crate::config::root::Config) {}\n"),
            ("src/cli/run.rs", "use crate::config::render_text;\nfn f(e: StartError::Config) {}\n"),
        ],
        &[
            "src/admin/a.rs:1: names the whole `Config`",
            "src/proxy/a.rs:1: names the whole `Config`",
        ],
    );
}

#[test]
fn one_file_stores_the_snapshot_in_use() {
    check(
        only_reload_stores_a_snapshot,
        &[
            ("src/config/reload.rs", "self.cell.swap(new);\n"),
            ("src/app.rs", "let cell = empty();\ncell.store(new);\n"),
            ("src/admin/a.rs", "use a::SnapshotCell;\nx.store(1, Ordering::Relaxed);\nx.rcu(f);\n"),
            ("src/upstream/pool.rs", "self.endpoints.store(Arc::new(new));\n"),
        ],
        &[
            "src/app.rs:2: stores into the place of the snapshot in use",
            "src/admin/a.rs:3: stores into the place of the snapshot in use",
        ],
    );
}

#[test]
fn every_metric_stands_in_one_table() {
    check(
        metrics_stand_in_one_table,
        &[
            ("src/telemetry/metrics.rs", "const A: &str = \"serin_a_total\";\n"),
            ("src/proxy/a.rs", "/// `serin_a_total`\nconst B: &str = \"serin_b_total\";\n"),
            ("src/proxy/b.rs", "#[cfg(test)]\nmod tests {\n    const C: &str = \"serin_c\";\n}\n"),
        ],
        &["src/proxy/a.rs:2: the metric serin_b_total is named here"],
    );
}

#[test]
fn only_commands_have_errors_without_a_type() {
    check(
        errors_without_a_type_stay_in_the_commands,
        &[("src/cli/a.rs", "use anyhow::Context;\n"), ("src/app.rs", "use anyhow::Context;\n")],
        &["src/app.rs:1: `anyhow` outside of the commands"],
    );
}

#[test]
fn the_first_line_of_a_file_says_what_it_is_for() {
    check(
        every_file_says_what_it_is_for,
        &[("src/a.rs", "//! The first thing.\n"), ("src/b.rs", "\n//! The second thing.\n")],
        &["src/b.rs:1: the first line does not say what the file is for"],
    );
}

#[test]
fn no_file_is_too_long() {
    let long = "fn f() {}\n".repeat(LINES_MAX);
    let tested = format!("{long}#[cfg(test)]\nmod tests {{\n    fn f() {{}}\n}}\n");
    let product = format!("{long}fn g() {{}}\n");
    let tests = "fn f() {}\n".repeat(TEST_LINES_MAX + 1);
    let planted =
        [("src/a/tests.rs", &*tests), ("src/a.rs", &*product), ("src/b.rs", tested.trim_end())];
    check(
        files_are_short,
        &[("src/a/mod.rs", "#[cfg(test)]\nmod tests;"), planted[0], planted[1], planted[2]],
        &["src/a/tests.rs:800: 801 lines, at most 800", "src/a.rs:500: 501 lines, at most 500"],
    );
}

#[test]
fn no_line_is_too_long() {
    let (code, text) = ("x".repeat(101), format!("f(\"{}\");", "x".repeat(101)));
    check(
        lines_are_short,
        &[("src/a.rs", &code), ("src/b.rs", &text), ("src/c.rs", &format!("f(); // {code}"))],
        &["src/a.rs:1: 101 columns", "src/c.rs:1: 109 columns"],
    );
}

#[test]
fn no_name_is_empty_of_meaning() {
    check(
        names_say_something,
        &[
            ("src/a.rs", "use hyper_util::rt;\nmod util;\nstruct PoolManager;\nfn get_pool() {}\n"),
            ("src/b.rs", "fn utility(s: SigHandlers) {}\nlet x = map.get_mut(1);\n// a Helper\n"),
        ],
        &[
            "src/a.rs:2: `util` is an empty word",
            "src/a.rs:3: `PoolManager` is an empty word",
            "src/a.rs:4: `get_pool` is an empty word",
            "src/b.rs:1: `SigHandlers` is an empty word",
        ],
    );
}

#[test]
fn the_map_of_the_code_has_every_module_in_its_order() {
    check(
        the_map_names_every_module,
        &[(
            "src/lib.rs",
            "//! | [`route`] | x |\n//! | [`base`] | x |\npub mod base;\npub mod route;\npub mod x;\n",
        )],
        &[
            "src/lib.rs:1: the table is [\"route\", \"base\"], the layers are [\"base\", \"route\"]",
            "src/lib.rs:1: `x` has no layer",
        ],
    );
}

#[test]
fn documents_name_source_files_and_folders_that_exist() {
    let text = "`src/lib.rs`, `base/none.rs`, `none/`, `route/NAME.rs`, `/api/none/`\n`tests/`";
    assert_eq!(missing_files(text), ["base/none.rs", "none/"]);
    for document in ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md", "benches/README.md"] {
        let text = fs::read_to_string(document).unwrap();
        let missing = missing_files(&text);
        assert!(missing.is_empty(), "{document}: {missing:?}");
    }
}

#[test]
fn source_is_taken_apart_into_code_comments_and_texts() {
    let text = "a(\"x\\\"//\", '\"', r#\"y\"z\"#); // c\nlet b: &'static str = \"1\n2\"; b'\\'';\n";
    let lines = split(text);
    let code: Vec<&str> = lines.iter().map(|line| &*line.code).collect();
    assert_eq!(code, ["a(\"\", ' ', \"\"); ", "let b: &'static str = \"\"", "; b' ';"]);
    assert_eq!(lines[0].quoted, ["x\\\"//", "y\"z"]);
    assert_eq!(lines[0].comment, "// c");
}

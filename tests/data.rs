//! Decisions and diagnostics as data, and what is said about the files under `config/`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serin::base::problem::{Problems, Spanned};
use serin::config::compile::{Compiled, ROUTES_MAX, apply_endpoints, compile};
use serin::config::{Config, Diagnostic, Document, RawFile, read, render_text};
use serin::proxy::explain::{Explanation, Question, explain};
use serin::telemetry::metrics::Metrics;
use serin::upstream::registry::Registry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The YAML files of a folder and of those inside, sorted.
fn documents(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{folder} has no data");
    found
}

/// Test data, read with the reader of the configuration.
fn data<T: DeserializeOwned>(path: &Path) -> T {
    let name = path.strip_prefix(root()).unwrap().display().to_string();
    let files = [RawFile { name, bytes: fs::read(path).unwrap() }];
    let mut problems = Problems::default();
    let document = Document::parse(&files, &mut problems)
        .unwrap_or_else(|diagnostics| panic!("{}", render_text(&diagnostics)));
    let value = read(&document, document.root(), &mut problems);
    let diagnostics = document.diagnose(problems);
    assert!(diagnostics.is_empty(), "{}", render_text(&diagnostics));
    value.unwrap().value
}

/// Compiles a text, with its pools as they are once it is in use.
fn compiled(name: &str, text: impl Into<Vec<u8>>) -> Result<Compiled, Vec<Diagnostic>> {
    let metrics = Arc::new(Metrics::new(1));
    let registry = Registry::new(Arc::clone(&metrics));
    let files = [RawFile { name: name.to_owned(), bytes: text.into() }];
    let compiled = compile(&files, 1, &registry, &metrics)?;
    apply_endpoints(&compiled.config, &compiled.snapshot);
    Ok(compiled)
}

fn compiled_file(path: &Path) -> Compiled {
    compiled(&path.display().to_string(), fs::read(path).unwrap())
        .unwrap_or_else(|diagnostics| panic!("{}", render_text(&diagnostics)))
}

// Decisions.

/// A configuration, and what is to be decided by it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Decisions {
    config: String,
    /// How many warnings there are about it.
    #[serde(default)]
    warnings: usize,
    requests: Vec<Spanned<Request>>,
}

/// A request, and the answer; what is left out may be anything, but the status is 200.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Request {
    /// What it shows.
    #[serde(default)]
    why: String,
    #[serde(default)]
    method: Option<String>,
    url: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    client_ip: Option<String>,
    #[serde(default)]
    status: Option<u16>,
    /// `none` stands for no route, and so below.
    #[serde(default)]
    route: Option<String>,
    #[serde(default)]
    arm: Option<String>,
    #[serde(default)]
    pool: Option<String>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    weights: Option<BTreeMap<String, u32>>,
    #[serde(default)]
    refused: Option<bool>,
    /// The routes whose host and path fit, in the order tried.
    #[serde(default)]
    considered: Option<Vec<String>>,
    /// What is said of a route that was not taken: a part of the text.
    #[serde(default)]
    failed: BTreeMap<String, String>,
}

impl Request {
    fn question(&self) -> Question {
        Question {
            method: self.method.clone().unwrap_or_else(|| "GET".to_owned()),
            url: self.url.clone(),
            headers: self.headers.clone(),
            client_ip: self.client_ip.as_ref().map(|address| address.parse().unwrap()),
        }
    }

    /// How the answer differs from the one that is expected, a line for each difference.
    fn differences(&self, answer: &Explanation) -> String {
        let mut text = String::new();
        let mut differ = |what: &str, is: String, expected: String| {
            if is != expected {
                let _ = writeln!(text, "    {what}: {is} instead of {expected}");
            }
        };
        let named = |name: Option<&str>| name.unwrap_or("none").to_owned();
        differ("status", answer.status.to_string(), self.status.unwrap_or(200).to_string());
        for (what, expected, is) in [
            ("route", &self.route, named(answer.route.as_deref())),
            ("arm", &self.arm, named(answer.arm.as_deref())),
            ("pool", &self.pool, named(answer.pool.as_deref())),
            ("reason", &self.reason, named(answer.reason)),
        ] {
            differ(what, is.clone(), expected.clone().unwrap_or(is));
        }
        if let Some(expected) = &self.weights {
            let weight = |weight: &serde_json::Value| u32::try_from(weight.as_u64().unwrap());
            let weights = answer.weights.iter();
            let is: BTreeMap<_, _> =
                weights.map(|(pool, number)| (pool.clone(), weight(number).unwrap())).collect();
            differ("weights", format!("{is:?}"), format!("{expected:?}"));
        }
        if let Some(expected) = self.refused {
            differ("refused", answer.override_refused.to_string(), expected.to_string());
        }
        if let Some(expected) = &self.considered {
            let tried = answer.considered.iter().filter(|route| route.item.is_some());
            let is: Vec<_> = tried.map(|route| route.route.to_string()).collect();
            differ("considered", format!("{is:?}"), format!("{expected:?}"));
        }
        for (route, expected) in &self.failed {
            let failures = answer.considered.iter().filter(|known| *known.route == **route);
            let is: Vec<_> = failures.filter_map(|known| known.failed.clone()).collect();
            if !is.iter().any(|failed| failed.contains(expected)) {
                differ(route, format!("{is:?}"), expected.clone());
            }
        }
        text
    }
}

#[test]
fn requests_are_decided_as_written() {
    let mut wrong = String::new();
    let mut requests = 0;
    for path in documents("tests/explain") {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let decisions: Decisions = data(&path);
        let compiled = match compiled(&name, decisions.config) {
            Ok(compiled) => compiled,
            Err(diagnostics) => {
                wrong.push_str(&render_text(&diagnostics));
                continue;
            }
        };
        if compiled.warnings.len() != decisions.warnings {
            let _ = writeln!(wrong, "{name}: warnings\n{}", render_text(&compiled.warnings));
        }
        for request in &decisions.requests {
            let answer = explain(&compiled.snapshot, &request.question()).unwrap();
            let differences = request.differences(&answer);
            requests += 1;
            if !differences.is_empty() {
                let Request { why, url, headers, .. } = &request.value;
                let _ = writeln!(wrong, "{name}: {url} {headers:?} {why}\n{differences}");
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(requests > 200, "{requests} requests");
}

// Diagnostics.

/// A document, and the mistakes that can be made in it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Mistakes {
    config: String,
    cases: Vec<Mistake>,
}

/// One change of the document, and everything that is said about it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Mistake {
    /// A part of the document that is there once; left out, the document is taken as it is.
    #[serde(default)]
    replace: Option<String>,
    #[serde(default)]
    by: String,
    /// `LINE:COLUMN: error: PATH: MESSAGE (HELP)`, each or its beginning, in order.
    says: Vec<String>,
}

impl Mistake {
    fn text(&self, config: &str) -> String {
        let Some(part) = &self.replace else { return config.to_owned() };
        let count = config.matches(part.as_str()).count();
        assert_eq!(count, 1, "`{part}` is there {count} times");
        config.replace(part.as_str(), &self.by)
    }
}

/// What is said about a text, without the name of the file.
fn said(text: String) -> Vec<String> {
    let diagnostics = match compiled("x", text) {
        Ok(compiled) => compiled.warnings,
        Err(diagnostics) => diagnostics,
    };
    diagnostics.iter().map(|known| known.to_string().replacen("x:", "", 1)).collect()
}

#[test]
fn mistakes_are_told_at_their_place_and_all_at_once() {
    let mut wrong = String::new();
    let mut cases = 0;
    for path in documents("tests/diagnostics") {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let mistakes: Mistakes = data(&path);
        for case in &mistakes.cases {
            cases += 1;
            let said = said(case.text(&mistakes.config));
            let right = said.len() == case.says.len()
                && said.iter().zip(&case.says).all(|(is, expected)| is.starts_with(expected));
            if !right {
                let _ = writeln!(
                    wrong,
                    "{name}: {:?}\n  says\n    {}\n  instead of\n    {}\n",
                    case.by,
                    said.join("\n    "),
                    case.says.join("\n    ")
                );
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(cases > 80, "{cases} cases");
}

// Documents that are too large, too deep or too slow.

/// Runs something that must be over within a time that no machine needs.
/// Runs something that may take so much of the processor; what other threads take does not count.
fn within<T>(limit: Duration, run: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let before = processor_time();
    let result = run();
    let took = before.zip(processor_time()).map(|(before, after)| after.saturating_sub(before));
    let took = took.unwrap_or_else(|| started.elapsed());
    assert!(took < limit, "it took {took:?}");
    result
}

/// What this thread has had of the processor, in nanoseconds before the first blank; not every
/// kernel tells.
fn processor_time() -> Option<Duration> {
    let told = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    told.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

const HEAD: &str = "listeners: [{ name: web, address: 127.0.0.1:8080 }]\n\
                    pools: [{ name: a, endpoints: [127.0.0.1:1] }]\n";

fn many_routes(count: usize) -> String {
    let mut text = format!("{HEAD}routes:\n");
    for number in 0..count {
        let _ = writeln!(
            text,
            "- {{ name: r{number}, hostnames: [h{number}.example.com], split: [{{ to: a }}] }}"
        );
    }
    text
}

#[test]
fn the_most_routes_are_taken_and_one_more_is_refused_by_its_limit() {
    let limit = Duration::from_mins(2);
    let compiled = within(limit, || compiled("x", many_routes(ROUTES_MAX))).unwrap();
    assert_eq!(compiled.snapshot.routes.len(), ROUTES_MAX);
    let question = Question {
        method: "GET".to_owned(),
        url: "http://h99999.example.com/".to_owned(),
        headers: Vec::new(),
        client_ip: None,
    };
    let answer = explain(&compiled.snapshot, &question).unwrap();
    assert_eq!(answer.route.as_deref(), Some("r99999"));
    let said = within(limit, || said(many_routes(ROUTES_MAX + 1)));
    assert_eq!(
        said,
        ["100004:11: error: routes[100000].name: a document has at most 100000 routes"]
    );
}

#[test]
fn a_document_without_bounds_is_refused_at_once() {
    let second = Duration::from_secs(5);
    let large = format!("{HEAD}# {}\n", "x".repeat(17 << 20));
    let said_of = |text: String| within(second, || said(text)).remove(0);
    assert_eq!(said_of(large), "1:1: error: the configuration is larger than the limit of 16 MiB");
    for open in ["[", "{ a: ", "- "] {
        let deep = said_of(format!("segments:\n  {}", open.repeat(100_000)));
        assert!(deep.contains("deeper than 32 levels"), "{deep}");
    }
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let below = format!("*a{}", level - 1);
        let _ = writeln!(bomb, "a{level}: &a{level} [{}]", vec![below; 9].join(", "));
    }
    assert!(said_of(bomb).contains("more than 2000000 keys and values"));
    let uses = format!("a: &a [x]\nb: [{}]\n", ["*a"; 65].join(", "));
    assert!(said_of(uses).contains("anchors are used more often than 64 times"));
    let keys: String = (0..300_000).fold(String::new(), |mut text, number| {
        let _ = writeln!(text, "k{number}: 1");
        text
    });
    let problems = within(Duration::from_secs(30), || said(keys));
    assert!(problems.len() <= 101, "{}", problems.len());
}

#[test]
fn a_regular_expression_takes_linear_time() {
    let text = format!(
        "{HEAD}routes: [{{ name: r, matches: [{{ header: {{ name: v, regex: '^(a+)+$' }} }}, \
         {{ header: {{ name: v, regex: '(a|a)*b|(.*)*c$' }} }}], split: [{{ to: a }}] }}]"
    );
    let compiled = compiled("x", text).unwrap();
    let question = Question {
        method: "GET".to_owned(),
        url: "/".to_owned(),
        headers: vec![("v".to_owned(), format!("{}!", "a".repeat(100_000)))],
        client_ip: None,
    };
    let answer = within(Duration::from_secs(10), || explain(&compiled.snapshot, &question));
    assert_eq!(answer.unwrap().status, 404);
}

// The documents of the project.

#[test]
fn every_document_of_the_project_is_right() {
    // What is for other programs; tests/analysis.rs looks at it.
    let others = root().join("config/analysis");
    for path in documents("config").iter().filter(|path| !path.starts_with(&others)) {
        let compiled = compiled_file(path);
        assert!(compiled.warnings.is_empty(), "{}", render_text(&compiled.warnings));
        let text = fs::read_to_string(path).unwrap();
        assert!(text.starts_with("# "), "{} does not say what it is for", path.display());
    }
}

#[test]
fn the_document_of_the_contract_is_taken() {
    let compiled = compiled_file(&root().join("tests/contract.yaml"));
    assert!(compiled.warnings.is_empty(), "{}", render_text(&compiled.warnings));
}

/// The reference, with the settings that are commented out (`#key:`) switched on.
fn reference() -> Document {
    let text = fs::read_to_string(root().join("config/reference.yaml")).unwrap();
    let mut active = String::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let (spaces, rest) = line.split_at(indent);
        let setting = rest.strip_prefix('#').filter(|rest| !rest.starts_with([' ', '#']));
        let _ = writeln!(active, "{spaces}{}", setting.unwrap_or(rest));
    }
    let files = [RawFile { name: "reference.yaml".to_owned(), bytes: active.into() }];
    let mut problems = Problems::default();
    let document = Document::parse(&files, &mut problems)
        .unwrap_or_else(|diagnostics| panic!("{}", render_text(&diagnostics)));
    let diagnostics = document.diagnose(problems);
    assert!(diagnostics.is_empty(), "{}", render_text(&diagnostics));
    document
}

/// A setting: its name, and what the schema says of it, by which those of several types are one.
type Setting = (String, String);

fn setting(name: &str, schema: &serde_json::Value) -> Setting {
    (name.to_owned(), schema["description"].as_str().unwrap_or_default().to_owned())
}

/// Every setting that the schema knows.
fn settings(schema: &serde_json::Value) -> BTreeSet<Setting> {
    let mut settings = BTreeSet::new();
    let mut open = vec![schema];
    while let Some(node) = open.pop() {
        for (name, schema) in node["properties"].as_object().into_iter().flatten() {
            settings.insert(setting(name, schema));
        }
        match node {
            serde_json::Value::Object(parts) => open.extend(parts.values()),
            serde_json::Value::Array(parts) => open.extend(parts),
            _ => {}
        }
    }
    settings
}

/// The settings in a document that a comment explains, on their line or on the line above.
fn explained(document: &Document, schema: &serde_json::Value) -> BTreeSet<Setting> {
    let lines: Vec<&str> = document.files()[0].text.lines().collect();
    let has_comment = |at| {
        let line = usize::try_from(document.place(at).line).unwrap() - 1;
        let above = line.checked_sub(1).map_or("", |above| lines[above].trim_start());
        lines[line].contains(" # ") || above.starts_with("# ")
    };
    let mut settings = BTreeSet::new();
    let mut open = vec![(document.root(), schema)];
    while let Some((node, form)) = open.pop() {
        if let Some(reference) = form["$ref"].as_str() {
            open.push((node, &schema["$defs"][reference.rsplit('/').next().unwrap()]));
        }
        for choice in ["anyOf", "oneOf", "allOf"] {
            let choices = form[choice].as_array().into_iter().flatten();
            open.extend(choices.map(|form| (node, form)));
        }
        for item in document.items(node).into_iter().flatten() {
            open.push((*item, &form["items"]));
        }
        for entry in document.entries(node) {
            let form = &form["properties"][entry.name];
            if has_comment(entry.key) {
                settings.insert(setting(entry.name, form));
            }
            open.push((entry.value, form));
        }
    }
    settings
}

#[test]
fn the_reference_explains_every_setting() {
    let schema = serde_json::to_value(schemars::schema_for!(Config)).unwrap();
    let settings = settings(&schema);
    assert!(settings.len() > 60, "{settings:#?}");
    assert_eq!(settings.iter().find(|(_, description)| description.is_empty()), None);
    let explained = explained(&reference(), &schema);
    let missing: Vec<_> = settings.difference(&explained).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

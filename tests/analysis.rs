//! The checks under `config/analysis`: what they query is what Serin shows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use regex::Regex;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serin::base::problem::Problems;
use serin::config::{Document, RawFile, read, render_text};
use serin::telemetry::metrics::TABLE;
use serin::telemetry::series::Outcome;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What Flagger's `pkg/metrics/observers/http.go` asks for, as it stands there.
const BUILT_IN: [&str; 2] = [
    r#"sum(rate(http_request_duration_seconds_count{
        kubernetes_namespace="{{ namespace }}",
        kubernetes_pod_name=~"{{ target }}-[0-9a-zA-Z]+(-[0-9a-zA-Z]+)",
        status!~"5.*"
    }[{{ interval }}]))"#,
    r#"histogram_quantile(0.99, sum(rate(http_request_duration_seconds_bucket{
        kubernetes_namespace="{{ namespace }}",
        kubernetes_pod_name=~"{{ target }}-[0-9a-zA-Z]+(-[0-9a-zA-Z]+)"
    }[{{ interval }}])) by (le))"#,
];
/// Labels that Prometheus puts onto what it scrapes.
const FOREIGN: [&str; 3] = ["namespace", "kubernetes_namespace", "kubernetes_pod_name"];

/// An object of Kubernetes with the keys that are used here; any other key is an error.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object<Spec> {
    api_version: String,
    kind: String,
    metadata: Named,
    spec: Spec,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
}

#[derive(Debug, Deserialize)]
struct MetricTemplate {
    provider: Provider,
    query: String,
}

#[derive(Debug, Deserialize)]
struct Provider {
    r#type: String,
    address: String,
}

#[derive(Debug, Deserialize)]
struct AnalysisTemplate {
    args: Vec<Argument>,
    metrics: Vec<Metric>,
}

#[derive(Debug, Deserialize)]
struct Argument {
    name: String,
    #[serde(default)]
    value: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metric {
    name: String,
    initial_delay: String,
    interval: String,
    success_condition: String,
    failure_condition: String,
    failure_limit: u32,
    inconclusive_limit: u32,
    provider: Asked,
}

#[derive(Debug, Deserialize)]
struct Asked {
    prometheus: Prometheus,
}

#[derive(Debug, Deserialize)]
struct Prometheus {
    address: String,
    query: String,
}

fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/analysis").join(name);
    fs::read_to_string(path).unwrap()
}

/// The objects of a file of several documents.
fn objects<Spec: DeserializeOwned>(name: &str) -> Vec<Object<Spec>> {
    let text = text(name);
    let object = |part: &str| {
        let files = [RawFile { name: name.to_owned(), bytes: part.into() }];
        let mut problems = Problems::default();
        let document = Document::parse(&files, &mut problems)
            .unwrap_or_else(|diagnostics| panic!("{}", render_text(&diagnostics)));
        let object = read(&document, document.root(), &mut problems);
        let diagnostics = document.diagnose(problems);
        assert!(diagnostics.is_empty(), "{}", render_text(&diagnostics));
        object.unwrap().value
    };
    let parts = text.split("\n---\n");
    // A part of nothing but comments is none.
    let parts = parts.filter(|part| part.lines().any(|line| !line.starts_with('#')));
    parts.map(object).collect()
}

/// What is wrong with a query: metrics and labels that nobody shows, outcomes that there are not.
fn wrong(query: &str) -> Vec<String> {
    let selector = Regex::new(r#"([a-z_]+)\{((?:[^{}"]|"[^"]*")*)\}"#).unwrap();
    let matcher = Regex::new(r#"([a-z_]+)\s*(=~|!~|!=|=)\s*"([^"]*)""#).unwrap();
    let mut wrong = Vec::new();
    let mut selectors = 0;
    for found in selector.captures_iter(query) {
        selectors += 1;
        let name = &found[1];
        let plain = ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end));
        let known = |name: &str| TABLE.iter().find(|row| row.name == name);
        let Some(row) = known(name).or_else(|| known(plain?)) else {
            wrong.push(format!("no metric {name}"));
            continue;
        };
        for matched in matcher.captures_iter(&found[2]) {
            let (label, value) = (&matched[1], &matched[3]);
            if !row.labels.contains(&label) && !FOREIGN.contains(&label) {
                wrong.push(format!("no label {label} of {name}"));
            }
            let pattern = Regex::new(&format!("^(?:{value})$"));
            if label == "outcome" && !pattern.is_ok_and(|pattern| is_outcome(&pattern)) {
                wrong.push(format!("no outcome {value}"));
            }
        }
    }
    let names = Regex::new(r"\b(?:serin|http)_[a-z_]+").unwrap();
    if selectors == 0 || names.find_iter(query).count() != selectors {
        wrong.push(format!("{selectors} selectors in {query}"));
    }
    wrong
}

/// Whether each alternative of a pattern is some outcome.
fn is_outcome(pattern: &Regex) -> bool {
    let pattern = pattern.as_str().trim_start_matches("^(?:").trim_end_matches(")$");
    pattern.split('|').all(|part| {
        let part = Regex::new(&format!("^(?:{part})$")).unwrap();
        let mut labels = Outcome::ALL.iter().flat_map(|outcome| <[_; 2]>::from(outcome.labels()));
        labels.any(|label| part.is_match(label))
    })
}

/// The names in the templates of a text that stand behind this word.
fn named(text: &str, word: &str) -> BTreeSet<String> {
    let pattern = Regex::new(&format!(r"\{{\{{ ?{word}\.([a-z-]+) ?\}}\}}")).unwrap();
    pattern.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

#[test]
fn flaggers_built_in_checks_find_their_histogram() {
    for query in BUILT_IN {
        assert_eq!(wrong(query), Vec::<String>::new());
    }
    // What is looked for can be missing.
    assert_eq!(
        wrong(r#"rate(http_request_seconds{a="b"}[1m])"#),
        ["no metric http_request_seconds"]
    );
    assert_eq!(
        wrong(r#"serin_attempts_total{poll="a", outcome!~"retry_.*|gone"}"#),
        ["no label poll of serin_attempts_total", "no outcome retry_.*|gone"]
    );
    assert!(wrong("serin_attempts_total").len() == 1, "without a selector");
}

#[test]
fn the_templates_for_flagger_query_what_is_shown() {
    let objects = objects::<MetricTemplate>("flagger.yaml");
    let names: Vec<_> = objects.iter().map(|object| object.metadata.name.as_str()).collect();
    assert_eq!(names, ["serin-success-rate", "serin-duration-p99", "serin-share-missed"]);
    let readme = text("README.md");
    let key = Regex::new("([a-z]+):").unwrap();
    for Object { api_version, kind, metadata: Named { name }, spec } in &objects {
        assert_eq!([api_version, kind], ["flagger.app/v1beta1", "MetricTemplate"]);
        assert_eq!(spec.provider.r#type, "prometheus");
        assert!(spec.provider.address.starts_with("http://"), "{}", spec.provider.address);
        assert_eq!(wrong(&spec.query), Vec::<String>::new(), "{name}");
        // The example sets what the query asks for; Flagger would put "<no value>" there.
        let reference = format!("templateRef: {{ name: {name} }}\n");
        let (_, after) = readme.split_once(&reference).unwrap();
        let (_, set) = after.lines().next().unwrap().split_once("templateVariables:").unwrap();
        let set: BTreeSet<_> = key.captures_iter(set).map(|found| found[1].to_owned()).collect();
        assert_eq!(set, named(&spec.query, "variables"), "{name}");
    }
}

#[test]
fn the_template_for_argo_rollouts_queries_what_is_shown() {
    let objects = objects::<AnalysisTemplate>("argo-rollouts.yaml");
    let [Object { api_version, kind, metadata, spec }] = objects.as_slice() else {
        panic!("{objects:?}")
    };
    assert_eq!([api_version, kind], ["argoproj.io/v1alpha1", "ClusterAnalysisTemplate"]);
    let mut asked = BTreeSet::new();
    for metric in &spec.metrics {
        let Prometheus { address, query } = &metric.provider.prometheus;
        assert_eq!(wrong(query), Vec::<String>::new(), "{}", metric.name);
        // Nothing, which is what there is without requests, is neither a success nor a failure.
        for condition in [&metric.success_condition, &metric.failure_condition] {
            assert!(condition.starts_with("len(result) > 0 && result[0] "), "{condition}");
        }
        assert!(metric.failure_limit > 0 && metric.inconclusive_limit > 0, "{metric:?}");
        // The first window is full before it is looked at.
        let window = spec.args.iter().find(|argument| argument.name == "window").unwrap();
        assert_eq!(window.value.as_ref(), Some(&metric.initial_delay), "{}", metric.name);
        assert_eq!(metric.interval, "1m");
        for text in [address, query, &metric.success_condition, &metric.failure_condition] {
            asked.extend(named(text, "args"));
        }
    }
    let declared: BTreeSet<_> = spec.args.iter().map(|argument| argument.name.clone()).collect();
    assert_eq!(asked, declared);
    // What has no default is set in the example, and nothing else is asked for there.
    let readme = text("README.md");
    let (_, example) = readme.split_once(&format!("templateName: {}, ", metadata.name)).unwrap();
    let pattern = Regex::new("name: ([a-z]+), value:").unwrap();
    let set: BTreeSet<_> =
        pattern.captures_iter(example).map(|found| found[1].to_owned()).collect();
    let needed = spec.args.iter().filter(|argument| argument.value.is_none());
    assert_eq!(set, needed.map(|argument| argument.name.clone()).collect());
}

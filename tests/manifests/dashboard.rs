//! The Grafana dashboard asks for metrics and labels that there are.

use super::root;
use regex::Regex;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// Labels that Prometheus adds.
const ADDED: [&str; 3] = ["job", "instance", "le"];
/// Variables of Grafana itself.
const BUILT_IN: [&str; 1] = ["__rate_interval"];

/// Every metric with its kind and its labels, out of the table in the source.
fn table() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let text = fs::read_to_string(root().join("src/telemetry/metrics.rs")).unwrap();
    let row = Regex::new(r#"(?m)^    \w+ (COUNTER|GAUGE|HISTOGRAM) "(\w+)" \[([^\]]*)\]"#).unwrap();
    let labels = Regex::new(r"\w+").unwrap();
    let table: BTreeMap<_, _> = row
        .captures_iter(&text)
        .map(|row| {
            let labels = labels.find_iter(&row[3]).map(|label| label.as_str().to_owned());
            (row[2].to_owned(), (row[1].to_owned(), labels.collect()))
        })
        .collect();
    let rows = serin::telemetry::metrics::TABLE.len();
    assert_eq!(table.len(), rows, "the table is read as it is written");
    table
}

fn dashboard() -> Value {
    let text = fs::read_to_string(root().join("config/dashboards/serin.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Every expression of a value, with where it is.
fn expressions(value: &Value, place: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => {
            let title = ["title", "name"].iter().find_map(|key| map.get(*key)?.as_str());
            let place = title.unwrap_or(place);
            for (key, part) in map {
                match part.as_str() {
                    Some(text) if ["expr", "definition"].contains(&&**key) => {
                        found.push((place.to_owned(), text.to_owned()));
                    }
                    _ => expressions(part, place, found),
                }
            }
        }
        Value::Array(parts) => parts.iter().for_each(|part| expressions(part, place, found)),
        _ => {}
    }
}

/// What is wrong with an expression.
fn mistakes(expression: &str) -> Vec<String> {
    let table = table();
    let mut wrong = Vec::new();
    let mut allowed: BTreeSet<&str> = ADDED.into();
    let metric = Regex::new(r"\b(serin|process)_\w+").unwrap();
    let rated = Regex::new(r"\b(rate|increase)\(\s*(\w+)").unwrap();
    for found in metric.find_iter(expression).map(|found| found.as_str()) {
        let histogram = found.strip_suffix("_bucket").unwrap_or(found);
        match table.get(histogram) {
            Some((kind, labels)) if (kind == "HISTOGRAM") == (histogram != found) => {
                allowed.extend(labels.iter().map(String::as_str));
                let by_rate = rated.captures_iter(expression).any(|rated| rated[2] == *found);
                if (kind == "GAUGE") == by_rate {
                    wrong.push(format!("{found} is a {kind}"));
                }
            }
            _ => wrong.push(format!("there is no metric {found}")),
        }
    }
    if !metric.is_match(expression) {
        wrong.push("no metric is asked for".to_owned());
    }
    // In selectors and in groupings.
    let matcher = Regex::new(r#"(\w+)\s*(?:=~|!~|!=|=)\s*""#).unwrap();
    let grouping = Regex::new(r"\b(?:by|on)\s*\(([^)]*)\)").unwrap();
    let word = Regex::new(r"\w+").unwrap();
    let selected = matcher.captures_iter(expression).map(|found| found[1].to_owned());
    let grouped = grouping.captures_iter(expression).flat_map(|found| {
        word.find_iter(&found[1]).map(|word| word.as_str().to_owned()).collect::<Vec<_>>()
    });
    for label in selected.chain(grouped).filter(|label| !allowed.contains(&**label)) {
        wrong.push(format!("there is no label {label}"));
    }
    wrong
}

#[test]
fn the_dashboard_asks_for_metrics_and_labels_that_there_are() {
    let dashboard = dashboard();
    let mut found = Vec::new();
    expressions(&dashboard, "", &mut found);
    assert!(found.len() > 40, "{} expressions", found.len());
    let mut wrong = Vec::new();
    for (place, expression) in &found {
        // The annotation counts how often the number changed.
        let expression = expression.replace("changes(", "(").replace("label_values(", "(");
        let expression = match place.as_str() {
            "job" | "instance" | "route" | "pool" => {
                expression.replace("serin_attempts_total", "rate(serin_attempts_total")
            }
            _ => expression,
        };
        wrong.extend(mistakes(&expression).into_iter().map(|what| format!("{place}: {what}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_wrong_expression_is_found() {
    for (expression, says) in [
        ("sum(rate(serin_request_total[5m]))", "there is no metric serin_request_total"),
        ("sum(serin_requests_total)", "serin_requests_total is a COUNTER"),
        ("rate(serin_endpoints[5m])", "serin_endpoints is a GAUGE"),
        ("sum by (pol) (serin_endpoints)", "there is no label pol"),
        ("serin_endpoints{arm=\"a\"}", "there is no label arm"),
        (
            "rate(serin_request_duration_seconds[5m])",
            "there is no metric serin_request_duration_seconds",
        ),
    ] {
        assert_eq!(mistakes(expression), [says]);
    }
    let right = "histogram_quantile(0.9, sum by (pool, le) \
                 (rate(serin_request_duration_seconds_bucket{route=~\"$route\"}[5m])))";
    assert_eq!(mistakes(right), [""; 0]);
}

#[test]
fn the_dashboard_shows_what_matters_in_a_gray_release() {
    let text = dashboard().to_string();
    for metric in [
        "serin_split_weight",
        "serin_decisions_total",
        "serin_requests_total",
        "serin_request_duration_seconds_bucket",
        "serin_attempts_total",
        "serin_ejections_total",
        "serin_endpoints",
        "serin_config_generation",
        "serin_config_reloads_total",
        "serin_errors_total",
    ] {
        assert!(text.contains(metric), "{metric}");
    }
}

#[test]
fn panels_have_their_own_place_and_use_variables_that_are_declared() {
    let dashboard = dashboard();
    let list = dashboard["templating"]["list"].as_array().unwrap();
    let mut variables: BTreeSet<&str> =
        list.iter().map(|one| one["name"].as_str().unwrap()).collect();
    variables.extend(BUILT_IN);
    let used = Regex::new(r"\$\{?(\w+)").unwrap();
    let text = dashboard.to_string();
    for name in used.captures_iter(&text).map(|found| found.get(1).unwrap().as_str()) {
        assert!(variables.contains(name) || name == "__all", "${name} is not declared");
    }
    let panels = dashboard["panels"].as_array().unwrap();
    let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is taken");
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("w") > 0 && at("x") + at("w") <= 24, "{title}");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(places.insert((x, y)), "{title} lies over another");
            }
        }
        if panel["type"] != "row" {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title} has no unit");
        }
    }
}

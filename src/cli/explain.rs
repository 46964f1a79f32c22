//! `serin explain`: which pool a request would get, and why, by the code that serves.

use super::Format;
use super::output::{self, BAD_INPUT};
use crate::config::compile::{Compiled, apply_endpoints, compile};
use crate::config::{Diagnostic, FileSource, render_text};
use crate::proxy::explain::{Explanation, Question, explain};
use crate::telemetry::metrics::Metrics;
use crate::upstream::registry::Registry;
use serde_json::{Map, Value};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// The request, and the configuration that decides about it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing is sent, and nobody is asked whether an endpoint is up. A random draw is not made: the
weights then say the odds. The exit code is 0 for every answer, that no route takes the request
included.

Examples:
  serin explain -c serin.yaml http://shop.example.com/cart
  serin explain -c serin.yaml -H 'x-user-id: u-1' -H 'cookie: beta=1' http://shop.example.com/
  serin explain -c serin.yaml -X POST --from 10.0.0.9 -H 'x-serin-pool: canary' http://shop.example.com/
  serin explain -c serin.yaml --format json http://shop.example.com/ | jq .pool")]
pub struct Arguments {
    /// The configuration: a file, or a folder whose *.yaml and *.yml are read as one document
    #[arg(long, short, env = "SERIN_CONFIG", value_name = "PATH")]
    config: PathBuf,

    /// The request's method
    #[arg(long = "method", short = 'X', default_value = "GET", value_name = "METHOD")]
    method: String,

    /// A header field of the request; may be repeated
    #[arg(long = "header", short = 'H', value_parser = field, value_name = "NAME: VALUE")]
    headers: Vec<(String, String)>,

    /// The client's address, which is also the connection's peer; by default 127.0.0.1
    #[arg(long, value_name = "IP")]
    from: Option<IpAddr>,

    /// How the answer is written
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,

    /// The request's URL; without a scheme, http:// is meant
    #[arg(value_name = "URL")]
    url: String,
}

/// Explains the request; a wrong configuration and a wrong request are told instead.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let compiled = match read(&arguments.config) {
        Ok(compiled) => compiled,
        Err(diagnostics) => {
            output::complain(&render_text(&diagnostics));
            return Ok(ExitCode::from(BAD_INPUT));
        }
    };
    let question = Question {
        method: arguments.method.clone(),
        url: with_scheme(&arguments.url),
        headers: arguments.headers.clone(),
        client_ip: arguments.from,
    };
    let explanation = match explain(&compiled.snapshot, &question) {
        Ok(explanation) => explanation,
        Err(message) => return Ok(output::bad_input(&message)),
    };
    let text = match arguments.format {
        Format::Json => serde_json::to_string_pretty(&explanation)? + "\n",
        Format::Text => tell(&question, &explanation),
    };
    output::write(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<Compiled, Vec<Diagnostic>> {
    let metrics = Arc::new(Metrics::new(1));
    let registry = Registry::new(Arc::clone(&metrics));
    let files = FileSource::new(path).read()?;
    let compiled = compile(&files, 1, &registry, &metrics)?;
    apply_endpoints(&compiled.config, &compiled.snapshot);
    Ok(compiled)
}

/// A header field as curl takes it.
fn field(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write it as `name: value`")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// The URL as curl takes it: without a scheme, the host comes first.
fn with_scheme(url: &str) -> String {
    if url.starts_with('/') || url.contains("://") {
        url.to_owned()
    } else {
        format!("http://{url}")
    }
}

/// The explanation for a person.
fn tell(question: &Question, explanation: &Explanation) -> String {
    let from = question.client_ip.unwrap_or(Ipv4Addr::LOCALHOST.into());
    let mut text = format!("{} {} from {from}\n\n", question.method, question.url);
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<8}  {value}");
    };
    match explanation.status {
        404 => line("status", "404: no route takes this request"),
        503 => line("status", "503: no pool can take this request"),
        status => line("status", &status.to_string()),
    }
    if let Some(route) = &explanation.route {
        line("route", route);
    }
    if let Some(arm) = &explanation.arm {
        line("arm", arm);
    }
    match (&explanation.pool, explanation.status) {
        (Some(pool), _) => line("pool", pool),
        (None, 200) => line("pool", "drawn at random for each request"),
        (None, _) => {}
    }
    if let Some(reason) = explanation.reason {
        line("reason", &format!("{reason}: {}", meaning(reason)));
    }
    if !explanation.weights.is_empty() {
        line("weights", &weights(&explanation.weights));
    }
    if let Some(scores) = explanation.scores.as_ref().filter(|scores| !scores.is_empty()) {
        line("scores", &format!("{} (the least wins)", self::scores(scores)));
    }
    if explanation.health_ignored {
        line("health", "ignored: no pool has a usable endpoint");
    }
    if explanation.override_refused {
        line(
            "override",
            "refused: the peer is not trusted, or the header names no pool of the route",
        );
    }
    if !explanation.considered.is_empty() {
        text.push_str("\nRoutes considered, in order:\n");
    }
    for considered in &explanation.considered {
        let item = considered.item.map(|item| format!(", match {item}")).unwrap_or_default();
        let failed = considered.failed.as_deref().unwrap_or("matches");
        let _ = writeln!(text, "  {}{item}: {failed}", considered.route);
    }
    text
}

fn meaning(reason: &str) -> &'static str {
    match reason {
        "override" => "a trusted peer named the pool",
        "cohort" => "the user's key decides, the same for every request",
        "weight" => "a random draw by weight",
        "single" => "the arm has one pool only",
        "fallback" => "what was chosen first has no usable endpoint, or no arm holds",
        "missing_key" => "the request has no key, so `onMissing` decides",
        _ => "",
    }
}

/// `stable 90 (90%), canary 10 (10%)`.
fn weights(weights: &Map<String, Value>) -> String {
    let number = |value: &Value| value.as_f64().unwrap_or_default();
    let sum: f64 = weights.values().map(number).sum();
    let shares = weights.iter().map(|(pool, weight)| {
        let percent = if sum > 0.0 { number(weight) / sum * 100.0 } else { 0.0 };
        let percent = format!("{percent:.2}");
        let percent = percent.trim_end_matches('0').trim_end_matches('.');
        format!("{pool} {weight} ({percent}%)")
    });
    shares.collect::<Vec<_>>().join(", ")
}

fn scores(scores: &Map<String, Value>) -> String {
    let score = |(pool, score): (&String, &Value)| {
        format!("{pool} {:.6}", score.as_f64().unwrap_or_default())
    };
    scores.iter().map(score).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::{field, weights, with_scheme};
    use serde_json::json;

    #[test]
    fn requests_are_written_as_for_curl() {
        assert_eq!(field("Cookie: a=b:c").unwrap(), ("Cookie".into(), "a=b:c".into()));
        assert!(field("cookie").is_err());
        assert_eq!(with_scheme("shop.example.com/a?u=/b"), "http://shop.example.com/a?u=/b");
        assert_eq!(with_scheme("/a"), "/a");
        assert_eq!(with_scheme("https://shop.example.com"), "https://shop.example.com");
    }

    #[test]
    fn weights_are_told_with_their_shares() {
        let map = json!({ "stable": 2, "canary": 1 }).as_object().cloned().unwrap();
        assert_eq!(weights(&map), "stable 2 (66.67%), canary 1 (33.33%)");
    }
}

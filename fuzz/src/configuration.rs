//! Configuration documents: any text is either taken or told what is wrong with it.

use serin::config::compile::{apply_endpoints, compile};
use serin::config::diagnostic::PROBLEMS_MAX;
use serin::config::tree::FILES_MAX;
use serin::config::{RawFile, render_json, render_text};
use serin::proxy::explain::{Question, explain};
use serin::telemetry::metrics::Metrics;
use serin::upstream::registry::Registry;
use std::sync::Arc;

/// What stands between the files of a document.
const BETWEEN: u8 = 0;

/// A document of one file or, with NUL bytes between, of several.
pub fn run(bytes: &[u8]) {
    let texts = bytes.split(|byte| *byte == BETWEEN).enumerate();
    let file = |(number, bytes): (usize, &[u8])| RawFile {
        name: format!("{number}.yaml"),
        bytes: bytes.to_vec(),
    };
    let files: Vec<_> = texts.map(file).collect();
    let metrics = Arc::new(Metrics::new(1));
    let registry = Registry::new(Arc::clone(&metrics));
    let compiled = match compile(&files, 1, &registry, &metrics) {
        Ok(compiled) => compiled,
        Err(diagnostics) => {
            assert!(!diagnostics.is_empty(), "refused without a reason");
            // Each file that can not be read at all has one of its own.
            assert!(diagnostics.len() <= PROBLEMS_MAX.max(FILES_MAX) + 1, "too many reasons");
            for diagnostic in &diagnostics {
                assert!(diagnostic.line > 0 && diagnostic.column > 0, "{diagnostic:?}");
            }
            assert!(!render_text(&diagnostics).is_empty());
            let json = render_json(&diagnostics);
            assert!(serde_json::to_string(&json).is_ok(), "no JSON");
            return;
        }
    };
    render_text(&compiled.warnings);
    apply_endpoints(&compiled.config, &compiled.snapshot);
    let hosts = ["shop.example.com", "a.b.example.com", "[::1]", "10.0.0.1"];
    for (host, path) in hosts.into_iter().zip(["/", "/a/b?x=1&user=u", "/v1/", "/%2f//../a"]) {
        let question = serde_json::json!({
            "url": format!("http://{host}{path}"),
            "headers": [["x-user-id", "u-17"], ["cookie", "beta=1; uid=7"], ["v", "2.4"]],
            "clientIp": "10.0.0.9",
        });
        let question: Question = serde_json::from_value(question).expect("a question");
        let answer = explain(&compiled.snapshot, &question).expect("an answer");
        let again = explain(&compiled.snapshot, &question).expect("an answer");
        assert_eq!(answer.pool, again.pool, "the same question has two answers");
        assert!(answer.pool.is_none() || answer.status == 200);
    }
}

//! `serin check`: everything that is wrong with a configuration, without serving it.

use super::Format;
use super::output::{self, BAD_INPUT};
use crate::base::problem::{Problems, Severity};
use crate::config::certificates;
use crate::config::compile::compile;
use crate::config::{Diagnostic, FileSource, render_json, render_text};
use crate::telemetry::metrics::Metrics;
use crate::upstream::registry::Registry;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// What to check, and how to tell.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 all is fine, warnings aside; 2 something is wrong, or there is nothing to read.

Examples:
  serin check serin.yaml
  serin check /etc/serin/                      # a folder is one configuration
  serin check staging.yaml production.yaml     # each on its own
  serin check --deny-warnings --format json serin.yaml | jq '.diagnostics[].message'

Certificate files are read. Nothing is bound and nobody is asked: an address that is taken, or an
endpoint that is down, is no mistake of the configuration.")]
pub struct Arguments {
    /// The configurations, each on its own: a file, or a folder whose *.yaml and *.yml are read as
    /// one document
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// How the result is written
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,

    /// Warnings count as errors for the exit code
    #[arg(long)]
    deny_warnings: bool,
}

/// Checks each path; all diagnostics are told, the exit code says whether any counts.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let found: Vec<Diagnostic> = arguments.paths.iter().flat_map(|path| check(path)).collect();
    let errors = found.iter().filter(|one| one.severity == Severity::Error).count();
    let warnings = found.len() - errors;
    let text = match arguments.format {
        Format::Json => format!("{:#}\n", render_json(&found)),
        Format::Text => {
            let mut text = shown(&found, output::may_colour(&std::io::stdout()));
            let number = arguments.paths.len();
            let _ = writeln!(text, "{}", summary(number, errors, warnings));
            text
        }
    };
    output::write(text.as_bytes())?;
    let failed = errors > 0 || arguments.deny_warnings && warnings > 0;
    Ok(if failed { ExitCode::from(BAD_INPUT) } else { ExitCode::SUCCESS })
}

/// Everything that there is to say about the configuration at a path.
fn check(path: &Path) -> Vec<Diagnostic> {
    let metrics = Arc::new(Metrics::new(1));
    let registry = Registry::new(Arc::clone(&metrics));
    let compiled = FileSource::new(path)
        .read()
        .and_then(|files| compile(&files, 1, &registry, &metrics))
        .map(|compiled| {
            let mut problems = Problems::default();
            certificates::load(&compiled.document, &compiled.config, &mut problems);
            let mut diagnostics = compiled.document.diagnose(problems);
            diagnostics.extend(compiled.warnings);
            diagnostics
        });
    compiled.unwrap_or_else(|diagnostics| diagnostics)
}

/// The diagnostics with their source lines, the severity of each perhaps coloured.
fn shown(diagnostics: &[Diagnostic], colour: bool) -> String {
    if !colour {
        return render_text(diagnostics);
    }
    let coloured = diagnostics.iter().map(|diagnostic| {
        let (word, code) = match diagnostic.severity {
            Severity::Error => ("error", "1;31"),
            Severity::Warning => ("warning", "1;33"),
        };
        let text = render_text(std::slice::from_ref(diagnostic));
        text.replacen(&format!(": {word}: "), &format!(": \x1b[{code}m{word}\x1b[0m: "), 1)
    });
    coloured.collect()
}

fn summary(configurations: usize, errors: usize, warnings: usize) -> String {
    let count = |number: usize, what: &str| match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    };
    let checked = count(configurations, "configuration");
    match (errors, warnings) {
        (0, 0) => format!("{checked} checked: no problems"),
        (0, _) => format!("{checked} checked: {}", count(warnings, "warning")),
        (_, 0) => format!("{checked} checked: {}", count(errors, "error")),
        _ => {
            format!("{checked} checked: {}, {}", count(errors, "error"), count(warnings, "warning"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{shown, summary};
    use crate::config::Diagnostic;

    #[test]
    fn the_summary_counts_what_there_is() {
        assert_eq!(summary(1, 0, 0), "1 configuration checked: no problems");
        assert_eq!(summary(2, 0, 1), "2 configurations checked: 1 warning");
        assert_eq!(summary(1, 2, 0), "1 configuration checked: 2 errors");
        assert_eq!(summary(1, 1, 2), "1 configuration checked: 1 error, 2 warnings");
    }

    #[test]
    fn colour_marks_the_severity_alone() {
        let diagnostics = [Diagnostic::error("a.yaml".to_owned(), "no such: error: x")];
        assert_eq!(shown(&diagnostics, false), "a.yaml:1:1: error: no such: error: x\n");
        let expected = "a.yaml:1:1: \x1b[1;31merror\x1b[0m: no such: error: x\n";
        assert_eq!(shown(&diagnostics, true), expected);
    }
}

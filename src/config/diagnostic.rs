//! What is said about a configuration's mistakes, in one form for `check`, the log and the API.

use super::tree::Document;
use crate::base::problem::{Location, Problems, Severity};
use serde::{Serialize, Serializer};
use std::fmt::{self, Write};

/// The most diagnostics of a document; one more then says that there are others.
pub const PROBLEMS_MAX: usize = 100;
/// The most characters of a message or of a help that are shown.
const MESSAGE_CHARS_MAX: usize = 600;
/// The most characters of a source line that are shown.
const LINE_CHARS_MAX: usize = 160;

/// One mistake in a configuration, or one reason why there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// `error` or `warning`.
    #[serde(serialize_with = "severity")]
    pub severity: Severity,
    /// The file's name as the user knows it.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// The path inside the document, such as `routes[0].split[1].to`; empty for all of it.
    pub path: String,
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// What to do about it, where that is known.
    pub help: Option<String>,
    #[serde(skip)]
    excerpt: Option<Excerpt>,
}

/// The part of a source line around a mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Excerpt {
    before: String,
    after: String,
}

impl Diagnostic {
    /// An error about a whole file, or about reading it.
    pub fn error(file: String, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file,
            line: 1,
            column: 1,
            path: String::new(),
            message: message.into(),
            help: None,
            excerpt: None,
        }
    }

    /// The same at a line and a column of a file's text.
    pub(super) fn at(mut self, line: usize, column: usize, text: &str) -> Self {
        self.line = u32::try_from(line).unwrap_or(u32::MAX);
        self.column = u32::try_from(column).unwrap_or(u32::MAX);
        let starts = line_starts(text);
        self.excerpt = Some(Excerpt::new(line_of(text, &starts, line), column));
        self
    }
}

impl Document {
    /// Turns problems into diagnostics: sorted by place, without repetitions, at most
    /// [`PROBLEMS_MAX`] and one that says so.
    pub fn diagnose(&self, problems: Problems) -> Vec<Diagnostic> {
        let mut problems = problems.into_vec();
        let key = |at: Location| {
            let place = self.place(at);
            (self.file_index(at), place.line, place.column)
        };
        let many = problems.len() > PROBLEMS_MAX;
        if many {
            // Errors first, so that warnings do not push them out.
            problems.sort_by_key(|problem| (problem.severity, key(problem.at)));
        } else {
            problems.sort_by_key(|problem| key(problem.at));
        }
        let mut diagnostics: Vec<(Location, Diagnostic)> = Vec::new();
        let mut left_out = false;
        for problem in problems {
            if diagnostics.len() >= PROBLEMS_MAX {
                left_out = true;
                break;
            }
            let place = self.place(problem.at);
            let diagnostic = Diagnostic {
                severity: problem.severity,
                file: place.file.to_owned(),
                line: place.line,
                column: place.column,
                path: self.path(problem.at),
                message: shorten(&problem.message, MESSAGE_CHARS_MAX),
                help: problem.help.map(|help| shorten(&help, MESSAGE_CHARS_MAX)),
                excerpt: None,
            };
            if !diagnostics.iter().any(|(_, known)| *known == diagnostic) {
                diagnostics.push((problem.at, diagnostic));
            }
        }
        if many {
            diagnostics.sort_by_key(|(at, _)| key(*at));
        }
        let mut diagnostics = self.with_excerpts(diagnostics);
        if left_out && let Some(last) = diagnostics.last() {
            let message = format!("too many problems: only the first {PROBLEMS_MAX} are shown");
            let severity = diagnostics.iter().map(|known| known.severity).min();
            diagnostics.push(Diagnostic {
                severity: severity.unwrap_or(Severity::Error),
                line: last.line,
                column: last.column,
                ..Diagnostic::error(last.file.clone(), message)
            });
        }
        diagnostics
    }

    fn with_excerpts(&self, diagnostics: Vec<(Location, Diagnostic)>) -> Vec<Diagnostic> {
        let mut current = None;
        let mut starts = Vec::new();
        let mut finished = Vec::with_capacity(diagnostics.len());
        for (at, mut diagnostic) in diagnostics {
            let index = usize::try_from(self.file_index(at)).unwrap_or(usize::MAX);
            if let Some(file) = self.files().get(index) {
                if current != Some(index) {
                    current = Some(index);
                    starts = line_starts(&file.text);
                }
                let line = usize::try_from(diagnostic.line).unwrap_or(usize::MAX);
                let column = usize::try_from(diagnostic.column).unwrap_or(usize::MAX);
                let text = line_of(&file.text, &starts, line);
                diagnostic.excerpt = Some(Excerpt::new(text, column));
            }
            finished.push(diagnostic);
        }
        finished
    }
}

impl Excerpt {
    /// The part of a line that shows a column, both sides bounded.
    fn new(line: &str, column: usize) -> Self {
        let before = column.saturating_sub(1);
        let skipped = before.saturating_sub(LINE_CHARS_MAX / 2);
        let escaped = |text: &mut dyn Iterator<Item = char>| {
            text.map(|character| if character == '\t' { ' ' } else { character })
                .collect::<String>()
        };
        let mut characters = line.chars().skip(skipped);
        let mut start = escaped(&mut characters.by_ref().take(before - skipped));
        let room = LINE_CHARS_MAX.saturating_sub(before - skipped);
        let mut after = escaped(&mut characters.by_ref().take(room));
        if skipped > 0 {
            start.insert(0, '…');
        }
        if characters.next().is_some() {
            after.push('…');
        }
        Self { before: escape(&start), after: escape(&after) }
    }
}

impl fmt::Display for Diagnostic {
    /// `FILE:LINE:COLUMN: error: PATH: MESSAGE (HELP)`, on one line.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let file = escape(&self.file);
        write!(f, "{file}:{}:{}: {}: ", self.line, self.column, word(self.severity))?;
        if !self.path.is_empty() {
            write!(f, "{}: ", escape(&self.path))?;
        }
        f.write_str(&escape(&self.message))?;
        match &self.help {
            Some(help) => write!(f, " ({})", escape(help)),
            None => Ok(()),
        }
    }
}

/// The diagnostics for a terminal: each on a line, with its source line and a caret under it.
pub fn render_text(diagnostics: &[Diagnostic]) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics {
        text.push_str(&diagnostic.to_string());
        text.push('\n');
        if let Some(Excerpt { before, after }) = &diagnostic.excerpt
            && !(before.is_empty() && after.is_empty())
        {
            let number = diagnostic.line.to_string();
            let margin = " ".repeat(number.len());
            let indent = " ".repeat(before.chars().count());
            let _ = write!(text, " {number} | {before}{after}\n {margin} | {indent}^\n");
        }
    }
    text
}

/// The diagnostics as `{"diagnostics":[...]}`.
pub fn render_json(diagnostics: &[Diagnostic]) -> serde_json::Value {
    serde_json::json!({ "diagnostics": diagnostics })
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn severity<S: Serializer>(severity: &Severity, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(word(*severity))
}

/// The text with control characters and invisible direction marks written out.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        let unsafe_to_show = character.is_control()
            || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        if unsafe_to_show {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// The text cut to a number of characters.
pub(super) fn shorten(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Where each line begins; a line ends with a line feed, a carriage return, or both.
fn line_starts(text: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let ends = bytes.iter().enumerate().filter(|(index, byte)| match byte {
        b'\n' => true,
        b'\r' => bytes.get(index + 1) != Some(&b'\n'),
        _ => false,
    });
    std::iter::once(0).chain(ends.map(|(index, _)| index + 1)).collect()
}

fn line_of<'t>(text: &'t str, starts: &[usize], line: usize) -> &'t str {
    let Some(&start) = starts.get(line.saturating_sub(1)) else { return "" };
    let end = starts.get(line).copied().unwrap_or(text.len());
    text.get(start..end).unwrap_or_default().trim_end_matches(['\n', '\r'])
}

#[cfg(test)]
mod tests {
    use super::{Diagnostic, Excerpt, PROBLEMS_MAX, render_json, render_text};
    use crate::base::problem::Problems;
    use crate::config::{Document, RawFile};

    fn document(text: &str) -> Document {
        let files = [RawFile { name: "a.yaml".to_owned(), bytes: text.into() }];
        Document::parse(&files, &mut Problems::default()).unwrap()
    }

    #[test]
    fn diagnostics_are_shown_with_their_source_line() {
        let document = document("routes:\r\n  - name: \"a\\e\"\r\n    to: x\r\n");
        let mut problems = Problems::default();
        let route = document.items(document.field(document.root(), "routes").unwrap()).unwrap()[0];
        let to = document.field(route, "to").unwrap();
        problems.warning(to, "odd \u{1b}[31m");
        problems.unknown(document.field(route, "name").unwrap(), "pool", "ab", ["abc"]);
        problems.warning(to, "odd \u{1b}[31m");
        let diagnostics = document.diagnose(problems);
        assert_eq!(
            render_text(&diagnostics),
            "a.yaml:2:11: error: routes[0].name: no pool is named `ab` (did you mean `abc`?)\n \
             2 |   - name: \"a\\e\"\n   |           ^\n\
             a.yaml:3:9: warning: routes[0].to: odd \\u{1b}[31m\n \
             3 |     to: x\n   |         ^\n"
        );
        let json = render_json(&diagnostics);
        assert_eq!(json["diagnostics"][1]["severity"], "warning");
        assert_eq!(json["diagnostics"][0]["path"], "routes[0].name");
        assert_eq!(json["diagnostics"][0]["column"], 11);
    }

    #[test]
    fn a_diagnostic_without_a_place_in_the_file_is_one_line() {
        let diagnostic = Diagnostic::error("no.yaml".to_owned(), "no such file");
        assert_eq!(render_text(&[diagnostic]), "no.yaml:1:1: error: no such file\n");
    }

    #[test]
    fn too_many_problems_end_with_one_that_says_so_and_keep_the_errors() {
        let document = document("a: 1\nb: 2\n");
        let mut problems = Problems::default();
        for number in 0..PROBLEMS_MAX * 2 {
            problems.warning(document.field(document.root(), "a").unwrap(), format!("w{number}"));
        }
        problems.error(document.field(document.root(), "b").unwrap(), "the error");
        let diagnostics = document.diagnose(problems);
        assert_eq!(diagnostics.len(), PROBLEMS_MAX + 1);
        assert!(diagnostics.iter().any(|known| known.message == "the error"));
        assert!(diagnostics[PROBLEMS_MAX].message.starts_with("too many problems"));
    }

    #[test]
    fn a_long_line_is_cut_on_both_sides() {
        let line = "x".repeat(100_000);
        let excerpt = Excerpt::new(&line, 50_000);
        assert!(excerpt.before.chars().count() < 100 && excerpt.after.chars().count() < 100);
        assert!(excerpt.before.starts_with('…') && excerpt.after.ends_with('…'));
        assert_eq!(Excerpt::new("", 9).before, "");
    }
}

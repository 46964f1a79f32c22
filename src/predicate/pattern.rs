//! Regular expressions that run in linear time and can not grow without bound.

use super::text::Text;
use regex::bytes::{Regex, RegexBuilder};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use std::borrow::Cow;
use std::fmt;

/// The longest expression, in bytes.
const SOURCE_BYTES_MAX: usize = 4 << 10;
/// The largest compiled expression, in bytes.
const COMPILED_BYTES_MAX: usize = 4 << 20;
/// The memory that one expression may use per thread to run fast, in bytes.
const CACHE_BYTES_MAX: usize = 1 << 20;
/// How deep groups and repetitions may be nested.
const NESTING_MAX: u32 = 64;

/// A regular expression in the syntax of the `regex` crate; it matches anywhere unless anchored.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Text")]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles the expression, or says in one line what is wrong with it.
    pub fn new(source: &str) -> Result<Self, String> {
        Self::build(source, false)
    }

    /// The same expression with Unicode's simple case folding; fails when that makes it too large.
    pub fn ignoring_case(&self) -> Result<Self, String> {
        Self::build(self.as_str(), true)
    }

    /// The expression as written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether the expression matches somewhere in the value.
    pub fn is_match(&self, value: &[u8]) -> bool {
        self.0.is_match(value)
    }

    /// How many capture groups the expression has.
    pub fn groups(&self) -> usize {
        self.0.captures_len().saturating_sub(1)
    }

    /// The first group that takes part in the first match.
    pub fn capture<'a>(&self, value: &'a [u8]) -> Option<&'a [u8]> {
        let captures = self.0.captures(value)?;
        captures.iter().skip(1).flatten().next().map(|group| group.as_bytes())
    }

    fn build(source: &str, ignore_case: bool) -> Result<Self, String> {
        if source.len() > SOURCE_BYTES_MAX {
            return Err(format!("the expression is longer than {SOURCE_BYTES_MAX} bytes"));
        }
        RegexBuilder::new(source)
            .unicode(true)
            .case_insensitive(ignore_case)
            .size_limit(COMPILED_BYTES_MAX)
            .dfa_size_limit(CACHE_BYTES_MAX)
            .nest_limit(NESTING_MAX)
            .build()
            .map(Self)
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => format!(
                    "the expression needs more than {COMPILED_BYTES_MAX} bytes: repeat less, or \
                     write `[0-9A-Za-z_]` instead of `\\w`"
                ),
                // The message draws the expression over several lines; the last one says why.
                error => {
                    let text = error.to_string();
                    let reason = text.lines().last().unwrap_or_default();
                    let reason = reason.strip_prefix("error: ").unwrap_or(reason);
                    format!("`{source}` is no regular expression: {reason}")
                }
            })
    }
}

impl TryFrom<Text> for Pattern {
    type Error = String;

    fn try_from(text: Text) -> Result<Self, String> {
        Self::new(&text.0)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl JsonSchema for Pattern {
    fn schema_name() -> Cow<'static, str> {
        "Pattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A regular expression; it matches anywhere unless it is anchored.",
            "type": ["string", "number", "boolean"],
            "maxLength": SOURCE_BYTES_MAX
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    fn wrong(source: &str) -> String {
        Pattern::new(source).unwrap_err()
    }

    #[test]
    fn an_expression_matches_anywhere_unless_anchored() {
        assert!(Pattern::new("b+").unwrap().is_match(b"abbc"));
        assert!(!Pattern::new("^b+$").unwrap().is_match(b"abbc"));
        assert!(Pattern::new("^é.$").unwrap().is_match("éß".as_bytes()));
        assert!(Pattern::new("^a").unwrap().is_match(b"a\xff"));
    }

    #[test]
    fn the_first_group_that_takes_part_is_captured() {
        let pattern = Pattern::new("a([0-9]+)|b([0-9]+)").unwrap();
        assert_eq!(pattern.capture(b"x a12"), Some(&b"12"[..]));
        assert_eq!(pattern.capture(b"x b34"), Some(&b"34"[..]));
        assert_eq!(pattern.capture(b"x c56"), None);
        assert_eq!(Pattern::new("a(b)?").unwrap().capture(b"a"), None);
    }

    #[test]
    fn ordinary_expressions_are_small_enough() {
        for source in [r"^\w{1,64}$", r"ShopApp/([0-9.]+)", r"^/users/\d{1,20}/(cart|orders)"] {
            let pattern = Pattern::new(source).unwrap();
            assert!(pattern.ignoring_case().is_ok(), "{source}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        assert_eq!(wrong("a("), "`a(` is no regular expression: unclosed group");
        assert!(wrong("(?=a)").contains("look-around"));
        assert!(wrong(r"(\w{500}){500}").contains("needs more than"));
        assert!(wrong(&"a".repeat(5_000)).contains("longer than 4096 bytes"));
        assert!(wrong(&format!("{}a{}", "(".repeat(100), ")".repeat(100))).contains("nest"));
    }

    #[test]
    fn time_is_linear_in_the_value() {
        let value = "a".repeat(100_000);
        assert!(!Pattern::new("(a+)+$x|(a|a)*b").unwrap().is_match(value.as_bytes()));
    }
}

//! One failed attempt to read a node, in words for the person who wrote it.

use crate::base::problem::{Location, nearest};
use crate::config::diagnostic::shorten;
use serde::de::{self, Expected, Unexpected};
use std::fmt;

/// The most known names that a help lists.
const NAMES_MAX: usize = 12;
/// The most characters of a written value that a message repeats.
const VALUE_CHARS_MAX: usize = 60;
/// What the standard library says of a text that is no socket address.
const NO_ADDRESS: &str = "invalid socket address syntax";

/// Why a node could not be read, and which.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) at: Option<Location>,
    pub(super) cause: Cause,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// What is written is wrong.
    Wrong,
    /// A required field is not written.
    Missing(&'static str),
    /// Another failure, already noted, is the reason.
    Consequence,
}

impl Fault {
    fn new(message: String) -> Self {
        Self { at: None, cause: Cause::Wrong, message, help: None }
    }

    /// A failure that only follows from one already noted.
    pub(super) fn consequence(at: Location) -> Self {
        Self { at: Some(at), cause: Cause::Consequence, message: String::new(), help: None }
    }

    /// The same at a node, unless it is already at one.
    pub(super) fn at(mut self, node: Location) -> Self {
        self.at = self.at.or(Some(node));
        self
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let message = message.to_string();
        if message != NO_ADDRESS {
            return Self::new(message);
        }
        let example = "such as `10.0.0.1:8080` or `[::1]:8080`";
        let mut fault = Self::new(format!("expected an IP address with a port, {example}"));
        fault.help = Some("host names are not looked up".to_owned());
        fault
    }

    fn invalid_type(found: Unexpected, expected: &dyn Expected) -> Self {
        let (expected, found) = (in_words(&expected.to_string()), Found(found));
        Self::new(format!("expected {expected}, found {found}"))
    }

    fn invalid_value(found: Unexpected, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        let expected = in_words(&expected.to_string());
        Self::new(format!("expected {expected}, found {length}"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let variant = shorten(variant, VALUE_CHARS_MAX);
        let mut fault = Self::new(format!("{variant:?} is not one of {}", list(expected)));
        fault.help = did_you_mean(&variant, expected);
        fault
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let mut fault = Self::new(format!("unknown key `{}`", shorten(field, VALUE_CHARS_MAX)));
        fault.help = did_you_mean(field, expected).or_else(|| all_known(expected));
        fault
    }

    fn missing_field(field: &'static str) -> Self {
        let cause = Cause::Missing(field);
        Self { cause, ..Self::new(format!("`{field}` is missing")) }
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(format!("`{field}` is given twice"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

/// The names, each in backquotes.
pub(super) fn list(names: &[&str]) -> String {
    let mut quoted: Vec<String> =
        names.iter().take(NAMES_MAX).map(|name| format!("`{name}`")).collect();
    if names.len() > NAMES_MAX {
        quoted.push("…".to_owned());
    }
    quoted.join(", ")
}

/// The help for a misspelt name.
pub(super) fn did_you_mean(name: &str, known: &[&str]) -> Option<String> {
    nearest(name, known.iter().copied()).map(|near| format!("did you mean `{near}`?"))
}

/// The help for a name that is near to none.
pub(super) fn all_known(known: &[&str]) -> Option<String> {
    (1..=NAMES_MAX).contains(&known.len()).then(|| format!("known keys: {}", list(known)))
}

/// What serde expects, as a person would say it.
fn in_words(expected: &str) -> String {
    let whole = |from: &str, to: &str| format!("a whole number from {from} to {to}");
    let words = match expected {
        "a sequence" => "a list",
        "a map" => "a mapping",
        "a boolean" => "`true` or `false`",
        "f32" | "f64" => "a number",
        "unit" => "nothing",
        "a string" | "a borrowed string" => "a string",
        "char" | "a character" => "one character",
        "u8" => return whole("0", "255"),
        "u16" => return whole("0", "65535"),
        "u32" => return whole("0", "4294967295"),
        "u64" | "u128" | "usize" => "a whole number from 0",
        "i8" => return whole("-128", "127"),
        "i16" => return whole("-32768", "32767"),
        "i32" => return whole("-2147483648", "2147483647"),
        "i64" | "i128" | "isize" => "a whole number",
        "a nonzero u16" => return whole("1", "65535"),
        "a nonzero u32" => return whole("1", "4294967295"),
        "a nonzero u8" => return whole("1", "255"),
        "a nonzero u64" | "a nonzero usize" => "a whole number from 1",
        _ if expected.starts_with("struct ") => "a mapping",
        _ if expected.starts_with("a tuple of size ") => {
            let size = expected.trim_start_matches("a tuple of size ");
            return format!("a list of {size}");
        }
        _ if expected.starts_with("an array of length ") => {
            let size = expected.trim_start_matches("an array of length ");
            return format!("a list of {size}");
        }
        other => other,
    };
    words.to_owned()
}

/// What is written, as a person would say it.
struct Found<'a>(Unexpected<'a>);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.0 {
            Unexpected::Bool(value) => write!(f, "`{value}`"),
            Unexpected::Unsigned(number) => write!(f, "{number}"),
            Unexpected::Signed(number) => write!(f, "{number}"),
            Unexpected::Float(number) => write!(f, "{number}"),
            Unexpected::Str(text) => {
                write!(f, "the string {:?}", shorten(text, VALUE_CHARS_MAX))
            }
            Unexpected::Unit | Unexpected::Option => f.write_str("nothing"),
            Unexpected::Seq => f.write_str("a list"),
            Unexpected::Map => f.write_str("a mapping"),
            ref other => other.fmt(f),
        }
    }
}

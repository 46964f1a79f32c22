//! The form of label selectors, checked before the API is asked: `app=shop,version in (v2, v3)`.
//!
//! The grammar is that of `k8s.io/apimachinery/pkg/labels`: requirements joined by commas, each
//! `key`, `!key`, `key = value`, `key == value`, `key != value`, `key in (values)` or
//! `key notin (values)`. Values may be empty.

use crate::cluster::names::is_subdomain;

/// What is wrong with a selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// It chooses everything there is.
    #[error("it is empty, and would choose every pod of the namespace")]
    Empty,
    /// A requirement is none.
    #[error(
        "`{0}` is no requirement: write `key=value`, `key!=value`, `key in (a, b)`, \
             `key notin (a, b)`, `key` or `!key`"
    )]
    Requirement(String),
    /// A key is none.
    #[error("`{0}` is no key of a label")]
    Key(String),
    /// A value is none.
    #[error("`{0}` is no value of a label")]
    Value(String),
    /// A parenthesis is not closed, or was not opened.
    #[error("a parenthesis is not closed, or was not opened")]
    Parenthesis,
}

/// The longest name of a label and the longest value.
const NAME_BYTES_MAX: usize = 63;

/// Whether this is a selector; an error says what is wrong with it.
pub fn check(selector: &str) -> Result<(), SelectorError> {
    if selector.trim().is_empty() {
        return Err(SelectorError::Empty);
    }
    requirements(selector)?.into_iter().try_for_each(|text| requirement(text.trim()))
}

/// The requirements: parts between commas outside of parentheses.
fn requirements(selector: &str) -> Result<Vec<&str>, SelectorError> {
    let (mut parts, mut start, mut inside) = (Vec::new(), 0, false);
    for (at, character) in selector.char_indices() {
        match (character, inside) {
            ('(', false) => inside = true,
            (')', true) => inside = false,
            ('(', true) | (')', false) => return Err(SelectorError::Parenthesis),
            (',', false) => {
                parts.extend(selector.get(start..at));
                start = at + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err(SelectorError::Parenthesis);
    }
    parts.extend(selector.get(start..));
    Ok(parts)
}

fn requirement(text: &str) -> Result<(), SelectorError> {
    if let Some((head, values)) = text.split_once('(') {
        let wrong = || SelectorError::Requirement(text.to_owned());
        let values = values.strip_suffix(')').ok_or_else(wrong)?;
        let (key, operator) = head.trim_end().rsplit_once(char::is_whitespace).ok_or_else(wrong)?;
        if !matches!(operator, "in" | "notin") {
            return Err(wrong());
        }
        self::key(key.trim_end())?;
        return values.split(',').try_for_each(|value| self::value(value.trim()));
    }
    for operator in ["!=", "==", "="] {
        if let Some((key, value)) = text.split_once(operator) {
            self::key(key.trim_end())?;
            return self::value(value.trim_start());
        }
    }
    let key = text.strip_prefix('!').map_or(text, str::trim_start);
    if key.contains(char::is_whitespace) || key.is_empty() {
        return Err(SelectorError::Requirement(text.to_owned()));
    }
    self::key(key)
}

fn key(key: &str) -> Result<(), SelectorError> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if name.is_empty() || !is_name(name) || !prefix.is_none_or(is_subdomain) {
        return Err(SelectorError::Key(key.to_owned()));
    }
    Ok(())
}

fn value(value: &str) -> Result<(), SelectorError> {
    if value.is_empty() || is_name(value) {
        return Ok(());
    }
    Err(SelectorError::Value(value.to_owned()))
}

/// Letters, digits, `-`, `_` and `.`, the first and the last a letter or digit.
fn is_name(name: &str) -> bool {
    let outer = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    name.len() <= NAME_BYTES_MAX
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && outer(name.bytes().next())
        && outer(name.bytes().last())
}

#[cfg(test)]
mod tests {
    use super::{SelectorError, check};
    use proptest::prelude::*;

    #[test]
    fn every_form_of_a_selector_is_known() {
        for right in [
            "app=shop",
            "app = shop",
            "app==shop,version!=v1",
            "version in (v2, v3)",
            "version in (v2,v3),app=shop",
            "version notin (v1),!legacy , canary",
            "app.kubernetes.io/name=shop",
            "x in ()",
            "app=",
            "! legacy",
        ] {
            assert_eq!(check(right), Ok(()), "{right}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let key = |text: &str| SelectorError::Key(text.to_owned());
        let value = |text: &str| SelectorError::Value(text.to_owned());
        let requirement = |text: &str| SelectorError::Requirement(text.to_owned());
        for (wrong, why) in [
            ("", SelectorError::Empty),
            (" ", SelectorError::Empty),
            ("a=b,", requirement("")),
            ("a in b", requirement("a in b")),
            ("a of (b)", requirement("a of (b)")),
            ("a in (b", SelectorError::Parenthesis),
            ("a in b)", SelectorError::Parenthesis),
            ("a in ((b))", SelectorError::Parenthesis),
            ("-a=b", key("-a")),
            ("Shop/a=b", key("Shop/a")),
            ("a/b/c=d", key("a/b/c")),
            ("=b", key("")),
            ("a=b c", value("b c")),
            ("a=-b", value("-b")),
            ("a in (b, ü)", value("ü")),
        ] {
            assert_eq!(check(wrong), Err(why), "{wrong}");
        }
        assert!(check(&format!("a={}", "b".repeat(63))).is_ok());
        assert!(check(&format!("a={}", "b".repeat(64))).is_err());
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "[a-z0-9=!,() ./ü-]{0,40}") {
            let _ = check(&text);
        }
    }
}

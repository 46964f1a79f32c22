//! The leaf `path`: the path as sent, whole, by a prefix of its elements or by a pattern.

use super::Head;
use super::compile::{Compiler, Part, leaf};
use super::condition::{Condition, Predicate};
use super::pattern::Pattern;
use super::shown::shown;
use schemars::JsonSchema;
use serde::Deserialize;
use std::fmt;

/// Which paths are asked for; compared as sent, percent-encoding untouched, case-sensitive.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(try_from = "PathConfig")]
#[schemars(with = "PathConfig")]
pub enum PathRule {
    /// This one.
    Exact(String),
    /// Those that start with these elements; without a slash at the end, except for `/`.
    Prefix(String),
    /// Those in which the expression matches somewhere.
    Regex(Pattern),
}

/// Which paths are asked for, as written: one of the three.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Path", extend("minProperties" = 1, "maxProperties" = 1))]
struct PathConfig {
    /// The path is this one, compared as sent.
    exact: Option<Written>,
    /// The path starts with these elements: `/a` is a prefix of `/a` and `/a/b`, not of `/ab`.
    prefix: Option<Written>,
    /// This regular expression matches somewhere in the path.
    regex: Option<Pattern>,
}

/// A path, as it is sent.
#[derive(Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String", inline)]
struct Written(String);

impl TryFrom<PathConfig> for PathRule {
    type Error = String;

    fn try_from(config: PathConfig) -> Result<Self, String> {
        match (config.exact, config.prefix, config.regex) {
            (Some(Written(path)), None, None) => Ok(Self::Exact(path)),
            (None, Some(Written(path)), None) => {
                let elements = path.trim_end_matches('/');
                Ok(Self::Prefix(if elements.is_empty() { "/" } else { elements }.to_owned()))
            }
            (None, None, Some(pattern)) => Ok(Self::Regex(pattern)),
            _ => Err("write exactly one of `exact`, `prefix`, `regex`".to_owned()),
        }
    }
}

impl TryFrom<String> for Written {
    type Error = String;

    fn try_from(path: String) -> Result<Self, String> {
        if !path.starts_with('/') {
            return Err(format!("the path `{path}` does not start with `/`"));
        }
        if path.contains(['?', '#']) {
            return Err(format!("`{path}` is more than a path: ask for parameters with `query`"));
        }
        if path.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(format!("write the path {} percent-encoded, as it is sent", shown(&path)));
        }
        Ok(Self(path))
    }
}

/// Whether the path starts with the elements of the prefix: `/a` is a prefix of `/a` and `/a/b`,
/// not of `/ab`; slashes at the end of the prefix mean nothing, and `/` is a prefix of all paths.
pub fn prefix_matches(prefix: &str, path: &str) -> bool {
    let elements = prefix.trim_end_matches('/');
    elements.is_empty()
        || path.strip_prefix(elements).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl PathRule {
    /// Whether the path is one of those asked for.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) => prefix_matches(prefix, path),
            Self::Regex(pattern) => pattern.is_match(path.as_bytes()),
        }
    }
}

impl fmt::Display for PathRule {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "exact {path}"),
            Self::Prefix(path) => write!(f, "prefix {path}"),
            Self::Regex(pattern) => write!(f, "regex {pattern}"),
        }
    }
}

impl Predicate for PathRule {
    fn holds(&self, head: &Head<'_>) -> bool {
        self.matches(head.path)
    }

    fn describe(&self, head: &Head<'_>) -> String {
        let (denial, asked) = match self {
            Self::Exact(path) => ("is not", path.as_str()),
            Self::Prefix(prefix) if head.path.starts_with(prefix.as_str()) => {
                ("does not start with the whole elements", prefix.as_str())
            }
            Self::Prefix(prefix) => ("does not start with", prefix.as_str()),
            Self::Regex(pattern) => ("does not match", pattern.as_str()),
        };
        format!("path: {} {denial} {}", shown(head.path), shown(asked))
    }
}

impl Part for PathRule {
    fn compile(&self, compiler: &mut Compiler<'_>) -> Condition {
        match &mut compiler.facts {
            Some(facts) if facts.path.is_none() => {
                facts.path = Some(self.clone());
                Condition::always()
            }
            _ => leaf(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PathRule, prefix_matches};
    use crate::predicate::Predicate;
    use crate::predicate::condition::tests::head;
    use http::HeaderMap;
    use proptest::prelude::*;

    fn read(json: &str) -> Result<PathRule, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn paths_are_compared_as_asked() {
        let matches = |json: &str, path: &str| read(json).unwrap().matches(path);
        assert!(matches(r#"{"exact": "/a/"}"#, "/a/"));
        assert!(!matches(r#"{"exact": "/a/"}"#, "/a"));
        assert!(matches(r#"{"regex": "^/[0-9]+$"}"#, "/12"));
        assert!(matches(r#"{"regex": "b"}"#, "/abc"));
        for prefix in ["/a", "/a/"] {
            let json = format!(r#"{{"prefix": "{prefix}"}}"#);
            assert_eq!(read(&json).unwrap(), PathRule::Prefix("/a".to_owned()));
            for (path, expected) in
                [("/a", true), ("/a/", true), ("/a/b", true), ("/ab", false), ("/A", false)]
            {
                assert_eq!(matches(&json, path), expected, "{prefix} {path}");
            }
        }
        assert!(matches(r#"{"prefix": "/"}"#, "/x"));
        assert!(matches(r#"{"prefix": "/"}"#, "*"));
    }

    #[test]
    fn what_can_not_be_a_path_is_refused() {
        let error = |json: &str| read(json).unwrap_err();
        assert!(error("{}").contains("exactly one of"));
        assert!(error(r#"{"exact": "/", "prefix": "/"}"#).contains("exactly one of"));
        assert!(error(r#"{"exact": "a"}"#).contains("does not start with `/`"));
        assert!(error(r#"{"prefix": ""}"#).contains("does not start with `/`"));
        assert!(error(r#"{"exact": "/a?b=1"}"#).contains("with `query`"));
        assert!(error(r#"{"exact": "/a b"}"#).contains("percent-encoded"));
    }

    #[test]
    fn failures_are_described() {
        let headers = HeaderMap::new();
        let say = |json: &str| read(json).unwrap().describe(&head(&headers));
        let path = r#"path: "/cart/items""#;
        assert_eq!(say(r#"{"prefix": "/a"}"#), format!(r#"{path} does not start with "/a""#));
        assert_eq!(
            say(r#"{"prefix": "/ca"}"#),
            format!(r#"{path} does not start with the whole elements "/ca""#)
        );
        assert_eq!(say(r#"{"exact": "/a"}"#), format!(r#"{path} is not "/a""#));
        assert_eq!(say(r#"{"regex": "^b"}"#), format!(r#"{path} does not match "^b""#));
    }

    proptest! {
        #[test]
        fn a_prefix_matches_whole_elements(prefix in "(/[ab]{1,2}){0,3}/?", path in "(/[ab]{0,2}){1,4}") {
            let elements = |text: &str| {
                text.trim_end_matches('/').split('/').map(str::to_owned).collect::<Vec<_>>()
            };
            let whole: Vec<_> = path.split('/').map(str::to_owned).collect();
            prop_assert_eq!(prefix_matches(&prefix, &path), whole.starts_with(&elements(&prefix)));
        }
    }
}

//! The leaf `hostname`, and the patterns of host names that routes have too.

use super::Head;
use super::compile::{Compiler, Part, leaf};
use super::condition::{Condition, Predicate};
use super::one_or_many::OneOrMany;
use super::shown::{listed, shown};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// The longest name, in bytes (RFC 1035 section 2.3.4, as text).
const NAME_BYTES_MAX: usize = 253;
/// The longest label, in bytes.
const LABEL_BYTES_MAX: usize = 63;

/// Which hosts are meant; in lower case, without a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub enum HostnamePattern {
    /// This one: a name or an address, an IPv6 address in brackets as in a URL.
    Exact(String),
    /// Those that end with this suffix, which starts with a dot, and have a label or more before.
    Wildcard(String),
}

impl HostnamePattern {
    /// Whether the host, in lower case and without a port, is meant.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(exact) => host == exact,
            Self::Wildcard(suffix) => {
                host.strip_suffix(suffix.as_str()).is_some_and(|labels| !labels.is_empty())
            }
        }
    }
}

impl FromStr for HostnamePattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Err("`*` is every host: leave `hostnames` out instead".to_owned());
        }
        let lower = text.to_ascii_lowercase();
        if let Some(name) = lower.strip_prefix("*.") {
            check_name(text, name)?;
            return Ok(Self::Wildcard(format!(".{name}")));
        }
        let bare = lower.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Ok(address) = bare.unwrap_or(&lower).parse::<Ipv6Addr>() {
            return Ok(Self::Exact(format!("[{address}]")));
        }
        check_name(text, &lower)?;
        Ok(Self::Exact(lower))
    }
}

/// Whether it is a name by RFC 1123 section 2.1; an IPv4 address is written like one.
fn check_name(text: &str, name: &str) -> Result<(), String> {
    let wrong = |reason: &str| Err(format!("`{}` is no hostname: {reason}", text.escape_debug()));
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return wrong(&format!("it has to have 1 to {NAME_BYTES_MAX} bytes"));
    }
    if name.contains('/') {
        return wrong("leave the scheme and the path out");
    }
    if name.contains(':') {
        return wrong("leave the port out");
    }
    if name.contains('*') {
        return wrong("`*` can only stand for the labels at the start, as in `*.example.com`");
    }
    if !name.is_ascii() {
        return wrong("write it in ASCII, as `xn--...`");
    }
    for label in name.split('.') {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if label.is_empty() || label.len() > LABEL_BYTES_MAX {
            return wrong(&format!("a label has 1 to {LABEL_BYTES_MAX} bytes"));
        }
        if label.starts_with('-') || label.ends_with('-') || !label.bytes().all(is_allowed) {
            return wrong("a label has letters, digits and, inside, hyphens");
        }
    }
    Ok(())
}

impl TryFrom<String> for HostnamePattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for HostnamePattern {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(suffix) => write!(f, "*{suffix}"),
        }
    }
}

impl JsonSchema for HostnamePattern {
    fn schema_name() -> Cow<'static, str> {
        "Hostname".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A host without port; `*.example.com` stands for every name below.",
            "type": "string",
            "minLength": 1,
            "maxLength": NAME_BYTES_MAX + 2,
            "examples": ["shop.example.com", "*.shop.example.com"]
        })
    }
}

/// The hosts that are asked for.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct HostnamePredicate(OneOrMany<HostnamePattern>);

impl Predicate for HostnamePredicate {
    fn holds(&self, head: &Head<'_>) -> bool {
        self.0.as_slice().iter().any(|pattern| pattern.matches(head.host))
    }

    fn describe(&self, head: &Head<'_>) -> String {
        if head.host.is_empty() {
            return "hostname: absent".to_owned();
        }
        let patterns = self.0.as_slice();
        let denial = if patterns.len() == 1 { "is not" } else { "is not one of" };
        format!("hostname: {} {denial} {}", shown(head.host), listed(patterns, ", "))
    }
}

impl Part for HostnamePredicate {
    fn compile(&self, _: &mut Compiler<'_>) -> Condition {
        leaf(self)
    }
}

#[cfg(test)]
mod tests {
    use super::{HostnamePattern, HostnamePredicate};
    use crate::predicate::Predicate;
    use crate::predicate::condition::tests::head;
    use http::HeaderMap;
    use proptest::prelude::*;

    fn read(text: &str) -> HostnamePattern {
        text.parse().unwrap()
    }

    #[test]
    fn a_wildcard_stands_for_one_label_or_more() {
        let wildcard = read("*.Example.com");
        assert_eq!(wildcard.to_string(), "*.example.com");
        assert!(wildcard.matches("a.example.com"));
        assert!(wildcard.matches("a.b.example.com"));
        assert!(!wildcard.matches("example.com"));
        assert!(!wildcard.matches(".example.com"));
        assert!(!wildcard.matches("aexample.com"));
        assert!(!wildcard.matches(""));
    }

    #[test]
    fn names_and_addresses_are_exact() {
        assert!(read("Shop.example.com").matches("shop.example.com"));
        assert!(!read("shop.example.com").matches("a.shop.example.com"));
        assert!(read("10.0.0.1").matches("10.0.0.1"));
        assert_eq!(read("::1"), read("[0:0::1]"));
        assert!(read("::1").matches("[::1]"));
    }

    #[test]
    fn what_is_no_hostname_is_refused_with_a_reason() {
        let label = "a".repeat(64);
        let long = ["a"; 200].join(".");
        for (text, reason) in [
            ("*", "leave `hostnames` out"),
            ("", "1 to 253"),
            ("*.", "1 to 253"),
            (long.as_str(), "1 to 253"),
            (label.as_str(), "1 to 63"),
            ("a..b", "1 to 63"),
            ("a.", "1 to 63"),
            ("a.*.com", "at the start"),
            ("**.com", "at the start"),
            ("example.com:80", "the port"),
            ("[::1]:80", "the port"),
            ("http://example.com", "the scheme"),
            ("-a.com", "letters, digits"),
            ("a b", "letters, digits"),
            ("é.com", "xn--"),
        ] {
            let error = text.parse::<HostnamePattern>().unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn a_host_is_one_of_those_asked_for() {
        let headers = HeaderMap::new();
        let read = |json: &str| serde_json::from_str::<HostnamePredicate>(json).unwrap();
        assert!(read(r#"["a.com", "*.example.com"]"#).holds(&head(&headers)));
        assert_eq!(
            read(r#"["a.com", "*.b.com"]"#).describe(&head(&headers)),
            r#"hostname: "shop.example.com" is not one of a.com, *.b.com"#
        );
        let nowhere = crate::predicate::Head { host: "", ..head(&headers) };
        assert_eq!(read(r#""a.com""#).describe(&nowhere), "hostname: absent");
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(text in "(\\*\\.)?[a-c]{1,3}(\\.[a-c-]{1,3}){0,3}|.*") {
            if let Ok(pattern) = text.parse::<HostnamePattern>() {
                prop_assert_eq!(pattern.to_string().parse(), Ok(pattern));
            }
        }
    }
}

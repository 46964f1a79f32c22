//! The leaf `cookie`: a cookie and an operator; and how cookies are read.

use super::Head;
use super::compile::{Compiler, Part, leaf};
use super::condition::{Condition, Predicate};
use super::operator::{NamedFields, Test};
use http::HeaderMap;
use http::header::COOKIE;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use std::borrow::Cow;

/// The cookies of all `Cookie` fields as (name, value), in the order sent (RFC 6265 section 4.2):
/// space around both is left out, and so is one pair of double quotes around the value.
pub fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|field| field.as_bytes().split(|byte| *byte == b';'))
        .filter_map(|pair| {
            let mut parts = pair.splitn(2, |byte| *byte == b'=');
            let name = parts.next()?.trim_ascii();
            let value = parts.next()?.trim_ascii();
            (!name.is_empty()).then(|| (name, unquoted(value)))
        })
}

/// The first cookie of this name.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    cookies(headers).find(|(other, _)| *other == name.as_bytes()).map(|(_, value)| value)
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value)
}

/// The name of a cookie; case-sensitive.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct CookieName(String);

impl CookieName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CookieName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let is_wrong = |byte: u8| matches!(byte, b'=' | b';') || byte.is_ascii_control();
        if name.is_empty() || name.bytes().any(is_wrong) || name.trim_ascii() != name {
            return Err(format!("`{}` is no name of a cookie", name.escape_debug()));
        }
        Ok(Self(name))
    }
}

impl JsonSchema for CookieName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "CookieName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[^=;]+$" })
    }
}

/// What is asked of the values of a cookie; a repeated cookie is tried value by value.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "NamedFields<CookieName>")]
#[schemars(with = "NamedFields<CookieName>")]
pub struct CookiePredicate {
    name: CookieName,
    test: Test,
}

impl CookiePredicate {
    fn values<'a>(&self, head: &Head<'a>) -> impl Iterator<Item = &'a [u8]> {
        let name = self.name.0.as_bytes();
        cookies(head.headers).filter(move |(other, _)| *other == name).map(|(_, value)| value)
    }
}

impl TryFrom<NamedFields<CookieName>> for CookiePredicate {
    type Error = String;

    fn try_from(fields: NamedFields<CookieName>) -> Result<Self, String> {
        fields.into_parts().map(|(name, test)| Self { name, test })
    }
}

impl Predicate for CookiePredicate {
    fn holds(&self, head: &Head<'_>) -> bool {
        self.test.holds(self.values(head))
    }

    fn describe(&self, head: &Head<'_>) -> String {
        self.test.describe(format_args!("cookie {}", self.name.0), self.values(head))
    }
}

impl Part for CookiePredicate {
    fn compile(&self, compiler: &mut Compiler<'_>) -> Condition {
        if let Some(facts) = &mut compiler.facts {
            facts.headers += 1;
        }
        leaf(self)
    }
}

#[cfg(test)]
mod tests {
    use super::{CookiePredicate, cookie, cookies};
    use crate::predicate::Predicate;
    use crate::predicate::condition::tests::head;
    use http::header::COOKIE;
    use http::{HeaderMap, HeaderValue};
    use proptest::prelude::*;

    fn headers(fields: &[&str]) -> HeaderMap {
        fields.iter().map(|field| (COOKIE, HeaderValue::from_str(field).unwrap())).collect()
    }

    #[test]
    fn cookies_are_read_from_every_field() {
        let headers = headers(&["a=1; b = \"2\" ;c;=x; d=", "b=3=4;; e=\""]);
        let read: Vec<_> = cookies(&headers)
            .map(|(name, value)| (str::from_utf8(name).unwrap(), str::from_utf8(value).unwrap()))
            .collect();
        assert_eq!(read, [("a", "1"), ("b", "2"), ("d", ""), ("b", "3=4"), ("e", "\"")]);
        assert_eq!(cookie(&headers, "b"), Some(&b"2"[..]));
        assert_eq!(cookie(&headers, "c"), None);
    }

    #[test]
    fn a_repeated_cookie_is_tried_value_by_value() {
        let read = |json: &str| serde_json::from_str::<CookiePredicate>(json);
        let predicate = read(r#"{"name": "beta", "exact": "1"}"#).unwrap();
        assert!(predicate.holds(&head(&headers(&["a=1; beta=0", "beta=1"]))));
        assert!(!predicate.holds(&head(&headers(&["a=1; beta=0; Beta=1"]))));
        assert_eq!(
            predicate.describe(&head(&headers(&["beta=0"]))),
            r#"cookie beta: "0" is not "1""#
        );
        assert!(read(r#"{"name": "", "exact": "1"}"#).is_err());
        assert!(read(r#"{"name": "a=b", "exact": "1"}"#).is_err());
    }

    proptest! {
        #[test]
        fn cookies_are_those_of_a_naive_reader(fields in prop::collection::vec("[ab=;\" \t]{0,24}", 0..3)) {
            let mut naive = Vec::new();
            for pair in fields.iter().flat_map(|field| field.split(';')) {
                if let Some((name, value)) = pair.split_once('=') {
                    let (name, mut value) = (name.trim(), value.trim());
                    if value.len() > 1 && value.starts_with('"') && value.ends_with('"') {
                        value = &value[1..value.len() - 1];
                    }
                    if !name.is_empty() {
                        naive.push((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
                    }
                }
            }
            let fields: Vec<_> = fields.iter().map(String::as_str).collect();
            let headers = headers(&fields);
            let read: Vec<_> =
                cookies(&headers).map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
            prop_assert_eq!(read, naive);
        }

        #[test]
        fn any_bytes_can_be_read(value in any::<Vec<u8>>()) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let headers: HeaderMap = [(COOKIE, value)].into_iter().collect();
                cookies(&headers).for_each(drop);
            }
        }
    }
}

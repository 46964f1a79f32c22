//! The leaf `query`: a parameter of the query and an operator; and how the query is read.

use super::Head;
use super::compile::{Compiler, Part, leaf};
use super::condition::{Condition, Predicate};
use super::operator::{NamedFields, Test};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use std::borrow::Cow;

/// The values of a parameter in the order sent, read as `application/x-www-form-urlencoded`; a
/// parameter without `=` has the empty value, and a `%` without two digits stays as it is.
pub fn query_values<'a>(query: Option<&'a str>, name: &str) -> impl Iterator<Item = Cow<'a, [u8]>> {
    query
        .unwrap_or_default()
        .as_bytes()
        .split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty())
        .filter_map(|pair| {
            let mut parts = pair.splitn(2, |byte| *byte == b'=');
            let is_named = Decoded(parts.next()?).eq(name.bytes());
            is_named.then(|| decode(parts.next().unwrap_or_default()))
        })
}

/// The first value of a parameter.
pub fn query_value<'a>(query: Option<&'a str>, name: &str) -> Option<Cow<'a, [u8]>> {
    query_values(query, name).next()
}

fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if text.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        Cow::Owned(Decoded(text).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// The bytes that an encoded text stands for.
struct Decoded<'a>(&'a [u8]);

impl Iterator for Decoded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let (byte, rest) = match self.0 {
            [b'+', rest @ ..] => (b' ', rest),
            [b'%', high, low, rest @ ..]
                if let (Some(high), Some(low)) = (digit(*high), digit(*low)) =>
            {
                (high << 4 | low, rest)
            }
            [byte, rest @ ..] => (*byte, rest),
            [] => return None,
        };
        self.0 = rest;
        Some(byte)
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| digit.try_into().ok())
}

/// The name of a parameter, decoded; case-sensitive.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct QueryName(String);

impl QueryName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for QueryName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        if name.is_empty() {
            return Err("the name of a query parameter is empty".to_owned());
        }
        Ok(Self(name))
    }
}

impl JsonSchema for QueryName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "QueryName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

/// What is asked of the values of a query parameter; a repeated one is tried value by value.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "NamedFields<QueryName>")]
#[schemars(with = "NamedFields<QueryName>")]
pub struct QueryPredicate {
    name: QueryName,
    test: Test,
}

impl TryFrom<NamedFields<QueryName>> for QueryPredicate {
    type Error = String;

    fn try_from(fields: NamedFields<QueryName>) -> Result<Self, String> {
        fields.into_parts().map(|(name, test)| Self { name, test })
    }
}

impl Predicate for QueryPredicate {
    fn holds(&self, head: &Head<'_>) -> bool {
        self.test.holds(query_values(head.query, &self.name.0))
    }

    fn describe(&self, head: &Head<'_>) -> String {
        let values = query_values(head.query, &self.name.0);
        self.test.describe(format_args!("query {}", self.name.0), values)
    }
}

impl Part for QueryPredicate {
    fn compile(&self, compiler: &mut Compiler<'_>) -> Condition {
        if let Some(facts) = &mut compiler.facts {
            facts.queries += 1;
        }
        leaf(self)
    }
}

#[cfg(test)]
mod tests {
    use super::{QueryPredicate, query_value, query_values};
    use crate::predicate::Predicate;
    use crate::predicate::condition::tests::head;
    use http::HeaderMap;
    use proptest::prelude::*;

    fn values(query: &str, name: &str) -> Vec<String> {
        query_values(Some(query), name)
            .map(|value| String::from_utf8_lossy(&value).into_owned())
            .collect()
    }

    #[test]
    fn parameters_are_read_as_forms_are() {
        assert_eq!(values("a=1&b=2&a=3", "a"), ["1", "3"]);
        assert_eq!(values("a&&a=&a=b=c", "a"), ["", "", "b=c"]);
        assert_eq!(values("%61%20b=x+y%2Bz&a+b=%e2%82%AC", "a b"), ["x y+z", "€"]);
        assert_eq!(values("a=%&a=%4&a=%zz&a=%%41", "a"), ["%", "%4", "%zz", "%A"]);
        assert_eq!(values("A=1", "a"), [""; 0]);
        assert_eq!(query_value(None, "a"), None);
        assert_eq!(query_value(Some(""), ""), None);
    }

    #[test]
    fn a_repeated_parameter_is_tried_value_by_value() {
        let read = |json: &str| serde_json::from_str::<QueryPredicate>(json);
        let headers = HeaderMap::new();
        assert!(read(r#"{"name": "y", "exact": "c"}"#).unwrap().holds(&head(&headers)));
        assert!(read(r#"{"name": "y", "exact": "a b"}"#).unwrap().holds(&head(&headers)));
        let other = read(r#"{"name": "x", "range": {"from": 2}}"#).unwrap();
        assert_eq!(other.describe(&head(&headers)), r#"query x: "1" is below 2"#);
        assert!(read(r#"{"name": "", "exact": "c"}"#).is_err());
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_back(name in ".{1,8}", value in ".{0,8}", plus: bool) {
            let encode = |text: &str| {
                text.bytes().fold(String::new(), |text, byte| match byte {
                    b' ' if plus => text + "+",
                    b'a'..=b'z' => text + char::from(byte).encode_utf8(&mut [0; 4]),
                    _ => format!("{text}%{byte:02X}"),
                })
            };
            let query = format!("x&{}={}&y=1", encode(&name), encode(&value));
            prop_assert!(values(&query, &name).contains(&value));
        }

        #[test]
        fn any_text_can_be_read(query in "[a%+&=0-9A-F]{0,32}|.*", name in ".*") {
            query_values(Some(&query), &name).for_each(drop);
        }
    }
}

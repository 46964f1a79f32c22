//! The leaf `header`: a header field and an operator.

use super::Head;
use super::compile::{Compiler, Part, leaf};
use super::condition::{Condition, Predicate};
use super::operator::{NamedFields, Test};
use http::{HeaderName, HeaderValue};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use std::borrow::Cow;

/// The name of a header field; in any case, compared in lower case (RFC 9110 section 5.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct FieldName(pub HeaderName);

impl TryFrom<String> for FieldName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        HeaderName::from_bytes(name.as_bytes())
            .map(Self)
            .map_err(|_| format!("`{name}` is no name of a header field"))
    }
}

impl JsonSchema for FieldName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "FieldName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$" })
    }
}

/// What is asked of the values of a header field; a repeated field is tried value by value.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "NamedFields<FieldName>")]
#[schemars(with = "NamedFields<FieldName>")]
pub struct HeaderPredicate {
    name: HeaderName,
    test: Test,
}

impl TryFrom<NamedFields<FieldName>> for HeaderPredicate {
    type Error = String;

    fn try_from(fields: NamedFields<FieldName>) -> Result<Self, String> {
        fields.into_parts().map(|(FieldName(name), test)| Self { name, test })
    }
}

impl Predicate for HeaderPredicate {
    fn holds(&self, head: &Head<'_>) -> bool {
        self.test.holds(head.headers.get_all(&self.name).iter().map(HeaderValue::as_bytes))
    }

    fn describe(&self, head: &Head<'_>) -> String {
        let values = head.headers.get_all(&self.name).iter().map(HeaderValue::as_bytes);
        self.test.describe(format_args!("header {}", self.name), values)
    }
}

impl Part for HeaderPredicate {
    fn compile(&self, compiler: &mut Compiler<'_>) -> Condition {
        if let Some(facts) = &mut compiler.facts {
            facts.headers += 1;
        }
        leaf(self)
    }
}

#[cfg(test)]
mod tests {
    use super::HeaderPredicate;
    use crate::predicate::Predicate;
    use crate::predicate::condition::tests::head;
    use http::{HeaderMap, HeaderValue};

    fn read(json: &str) -> Result<HeaderPredicate, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn a_repeated_header_is_tried_value_by_value_and_names_ignore_case() {
        let predicate = read(r#"{"name": "X-User-Id", "in": ["u-17", "u-42"]}"#).unwrap();
        let mut headers = HeaderMap::new();
        assert!(!predicate.holds(&head(&headers)));
        assert_eq!(predicate.describe(&head(&headers)), "header x-user-id: absent");
        headers.append("x-user-id", HeaderValue::from_static("u-1"));
        assert!(!predicate.holds(&head(&headers)));
        headers.append("x-user-id", HeaderValue::from_static("u-42"));
        assert!(predicate.holds(&head(&headers)));
    }

    #[test]
    fn absence_can_be_asked() {
        let predicate = read(r#"{"name": "x-a", "present": false}"#).unwrap();
        let mut headers = HeaderMap::new();
        assert!(predicate.holds(&head(&headers)));
        headers.append("x-a", HeaderValue::from_static(""));
        assert!(!predicate.holds(&head(&headers)));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        assert!(read(r#"{"name": "x y", "exact": "1"}"#).unwrap_err().contains("`x y` is no name"));
        assert!(read(r#"{"name": ":path", "exact": "1"}"#).unwrap_err().contains("is no name"));
        assert!(read(r#"{"exact": "1"}"#).unwrap_err().contains("missing field `name`"));
        assert!(read(r#"{"name": "x"}"#).unwrap_err().contains("an operator is missing"));
    }
}

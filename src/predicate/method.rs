//! The leaf `method`: the method is one of a list.

use super::Head;
use super::compile::{Compiler, Part, leaf};
use super::condition::{Condition, Predicate};
use super::one_or_many::OneOrMany;
use super::shown::listed;
use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use std::borrow::Cow;

/// The methods that are nearly always meant when they are written in lower case.
const KNOWN: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::CONNECT,
    Method::OPTIONS,
    Method::TRACE,
    Method::PATCH,
];

/// A method as written; case-sensitive (RFC 9110 section 9.1).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct MethodName(Method);

impl TryFrom<String> for MethodName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let method = Method::from_bytes(name.as_bytes())
            .map_err(|_| format!("`{}` is no method", name.escape_debug()))?;
        let meant = |known: &&Method| name.eq_ignore_ascii_case(known.as_str());
        match KNOWN.iter().find(meant) {
            Some(known) if *known != method => {
                Err(format!("methods are case-sensitive: write `{known}` instead of `{name}`"))
            }
            _ => Ok(Self(method)),
        }
    }
}

impl JsonSchema for MethodName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Method".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$" })
    }
}

/// The methods that are asked for.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct MethodPredicate(OneOrMany<MethodName>);

impl Predicate for MethodPredicate {
    fn holds(&self, head: &Head<'_>) -> bool {
        self.0.as_slice().iter().any(|MethodName(method)| method == head.method)
    }

    fn describe(&self, head: &Head<'_>) -> String {
        let methods = self.0.as_slice();
        let asked = listed(methods.iter().map(|MethodName(method)| method), ", ");
        let denial = if methods.len() == 1 { "is not" } else { "is not one of" };
        format!("method: {} {denial} {asked}", head.method)
    }
}

impl Part for MethodPredicate {
    fn compile(&self, compiler: &mut Compiler<'_>) -> Condition {
        if let Some(facts) = &mut compiler.facts {
            facts.method = true;
        }
        leaf(self)
    }
}

#[cfg(test)]
mod tests {
    use super::MethodPredicate;
    use crate::predicate::Predicate;
    use crate::predicate::condition::tests::head;
    use http::HeaderMap;

    fn read(json: &str) -> Result<MethodPredicate, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn a_method_is_one_of_those_asked_for() {
        let headers = HeaderMap::new();
        assert!(read(r#""GET""#).unwrap().holds(&head(&headers)));
        assert!(read(r#"["PUT", "GET"]"#).unwrap().holds(&head(&headers)));
        let other = read(r#"["POST", "PUT"]"#).unwrap();
        assert!(!other.holds(&head(&headers)));
        assert_eq!(other.describe(&head(&headers)), "method: GET is not one of POST, PUT");
        let one = read(r#""PURGE""#).unwrap();
        assert_eq!(one.describe(&head(&headers)), "method: GET is not PURGE");
    }

    #[test]
    fn what_is_no_method_is_refused() {
        assert!(read(r#""get""#).unwrap_err().contains("write `GET` instead of `get`"));
        assert!(read(r#""""#).unwrap_err().contains("is no method"));
        assert!(read(r#"["GET", "A B"]"#).unwrap_err().contains("`A B` is no method"));
        assert!(read("[]").unwrap_err().contains("never holds"));
    }
}

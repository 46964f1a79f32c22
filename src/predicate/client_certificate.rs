//! The leaf `clientCertificate`: the names in the client's verified certificate and an operator.

use super::Head;
use super::compile::{Compiler, Part, leaf};
use super::condition::{Condition, Predicate};
use super::operator::Test;
use schemars::JsonSchema;
use serde::Deserialize;

/// What is asked of the client's verified certificate; without one, there are no names.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "ClientCertificate")]
pub struct ClientCertificatePredicate {
    /// What is asked of its subject alternative names, which are tried one by one.
    san: Test,
}

impl Predicate for ClientCertificatePredicate {
    fn holds(&self, head: &Head<'_>) -> bool {
        self.san.holds(head.certificate_names.iter())
    }

    fn describe(&self, head: &Head<'_>) -> String {
        self.san.describe("clientCertificate san", head.certificate_names.iter())
    }
}

impl Part for ClientCertificatePredicate {
    fn compile(&self, _: &mut Compiler<'_>) -> Condition {
        leaf(self)
    }
}

#[cfg(test)]
mod tests {
    use super::ClientCertificatePredicate;
    use crate::predicate::condition::tests::head;
    use crate::predicate::{Head, Predicate};
    use http::HeaderMap;

    #[test]
    fn any_name_of_the_certificate_will_do() {
        let headers = HeaderMap::new();
        let names = ["a.example.com".to_owned(), "spiffe://shop/ns/beta".to_owned()];
        let read = |json: &str| serde_json::from_str::<ClientCertificatePredicate>(json);
        let predicate = read(r#"{"san": {"prefix": "spiffe://shop/"}}"#).unwrap();
        assert!(predicate.holds(&Head { certificate_names: &names, ..head(&headers) }));
        assert!(!predicate.holds(&head(&headers)));
        assert_eq!(predicate.describe(&head(&headers)), "clientCertificate san: absent");
        let none = read(r#"{"san": {"present": false}}"#).unwrap();
        assert!(none.holds(&head(&headers)));
        assert!(read("{}").is_err());
    }
}

//! Combinations of predicates: `all`, `any` and `not`.

use super::WhenConfig;
use super::compile::{Compiler, Part};
use super::condition::Condition;
use crate::base::problem::Spanned;
use schemars::JsonSchema;
use serde::Deserialize;

/// How many combinations may stand one inside the other.
const NESTING_MAX: usize = 16;

/// Conditions that all have to hold.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<WhenConfig>")]
#[schemars(with = "Vec<WhenConfig>", inline)]
pub struct All(Vec<WhenConfig>);

/// Conditions at least one of which has to hold.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<WhenConfig>")]
#[schemars(with = "Vec<WhenConfig>", inline, extend("minItems" = 1))]
pub struct Any(Vec<WhenConfig>);

/// A condition that must not hold.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "Box<WhenConfig>")]
#[schemars(!try_from, transparent, inline)]
pub struct Not(Box<WhenConfig>);

impl TryFrom<Vec<WhenConfig>> for All {
    type Error = String;

    fn try_from(parts: Vec<WhenConfig>) -> Result<Self, String> {
        check_nesting(nesting(&parts))?;
        Ok(Self(parts))
    }
}

impl TryFrom<Vec<WhenConfig>> for Any {
    type Error = String;

    fn try_from(parts: Vec<WhenConfig>) -> Result<Self, String> {
        if parts.is_empty() {
            return Err("an empty `any` never holds".to_owned());
        }
        check_nesting(nesting(&parts))?;
        Ok(Self(parts))
    }
}

impl TryFrom<Box<WhenConfig>> for Not {
    type Error = String;

    fn try_from(part: Box<WhenConfig>) -> Result<Self, String> {
        check_nesting(part.nesting())?;
        Ok(Self(part))
    }
}

impl Part for All {
    fn compile(&self, compiler: &mut Compiler<'_>) -> Condition {
        Condition::all(self.0.iter().map(|part| part.compile_in(compiler)))
    }

    fn add_references<'a>(&'a self, references: &mut Vec<&'a Spanned<String>>) {
        self.0.iter().for_each(|part| part.add_references(references));
    }

    fn nesting(&self) -> usize {
        nesting(&self.0) + 1
    }
}

impl Part for Any {
    fn compile(&self, compiler: &mut Compiler<'_>) -> Condition {
        compiler.aside(|compiler| {
            Condition::Any(self.0.iter().map(|part| part.compile_in(compiler)).collect())
        })
    }

    fn add_references<'a>(&'a self, references: &mut Vec<&'a Spanned<String>>) {
        self.0.iter().for_each(|part| part.add_references(references));
    }

    fn nesting(&self) -> usize {
        nesting(&self.0) + 1
    }
}

impl Part for Not {
    fn compile(&self, compiler: &mut Compiler<'_>) -> Condition {
        compiler.aside(|compiler| Condition::Not(Box::new(self.0.compile_in(compiler))))
    }

    fn add_references<'a>(&'a self, references: &mut Vec<&'a Spanned<String>>) {
        self.0.add_references(references);
    }

    fn nesting(&self) -> usize {
        self.0.nesting() + 1
    }
}

fn nesting(parts: &[WhenConfig]) -> usize {
    parts.iter().map(WhenConfig::nesting).max().unwrap_or_default()
}

fn check_nesting(inner: usize) -> Result<(), String> {
    if inner >= NESTING_MAX {
        return Err(format!(
            "`all`, `any` and `not` are nested deeper than {NESTING_MAX}: name a part of it as a \
             segment"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::condition::tests::head;
    use super::super::{Segments, WhenConfig};
    use crate::base::problem::Problems;
    use http::HeaderMap;

    fn holds(json: &str) -> bool {
        let when: WhenConfig = serde_json::from_str(json).unwrap();
        when.compile(&Segments::default(), &mut Problems::default()).holds(&head(&HeaderMap::new()))
    }

    #[test]
    fn combinations_hold_as_named() {
        let (yes, no) = (r#"{"method": "GET"}"#, r#"{"method": "PUT"}"#);
        assert!(holds("{}"));
        assert!(holds(r#"{"all": []}"#));
        assert!(holds(&format!(r#"{{"all": [{yes}, {yes}]}}"#)));
        assert!(!holds(&format!(r#"{{"all": [{yes}, {no}]}}"#)));
        assert!(holds(&format!(r#"{{"any": [{no}, {yes}]}}"#)));
        assert!(!holds(&format!(r#"{{"any": [{no}, {no}]}}"#)));
        assert!(holds(r#"{"any": [{"method": "PUT"}, {}]}"#));
        assert!(holds(&format!(r#"{{"not": {no}}}"#)));
        assert!(!holds(r#"{"not": {}}"#));
        assert!(!holds(r#"{"method": "GET", "path": {"exact": "/other"}}"#));
    }

    #[test]
    fn the_schema_names_every_part_and_refers_to_itself() {
        let schema = serde_json::to_value(schemars::schema_for!(WhenConfig)).unwrap();
        let properties = &schema["properties"];
        for part in ["method", "clientIp", "clientCertificate", "segment", "all", "any", "not"] {
            assert!(properties[part]["description"].is_string(), "{part}");
        }
        assert_eq!(properties["all"]["items"]["$ref"], "#");
        assert_eq!(properties["not"]["anyOf"][0]["$ref"], "#");
        let operators = &schema["$defs"]["HeaderPredicate"]["properties"];
        for operator in ["name", "exact", "in", "version", "ignoreCase", "extract"] {
            assert!(operators[operator].is_object(), "{operator}");
        }
    }

    #[test]
    fn what_never_holds_or_is_too_deep_is_refused() {
        let error = |json: &str| serde_json::from_str::<WhenConfig>(json).unwrap_err().to_string();
        assert!(error(r#"{"any": []}"#).contains("an empty `any` never holds"));
        assert!(error(r#"{"when": {}}"#).contains("unknown field `when`, expected one of"));
        let deep = |depth| format!("{}{{}}{}", r#"{"not": "#.repeat(depth), "}".repeat(depth));
        assert!(holds(&deep(16)));
        assert!(error(&deep(17)).contains("nested deeper than 16"));
        let deep = format!("{}{{}}{}", r#"{"all": ["#.repeat(17), "]}".repeat(17));
        assert!(error(&deep).contains("nested deeper than 16"));
    }
}

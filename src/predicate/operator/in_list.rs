//! The operator `in`: the value is one of a list of texts.

use super::Operator;
use crate::predicate::shown::{listed, shown};
use crate::predicate::text::Text;
use schemars::JsonSchema;
use serde::Deserialize;
use std::cmp::Ordering;

/// A list that has the value; searched by bisection, so that it may be long.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<Text>")]
#[schemars(with = "Vec<Text>", inline, extend("minItems" = 1))]
pub(super) struct In {
    /// In the order of `compare`.
    texts: Vec<Text>,
    ignore_case: bool,
}

impl In {
    fn new(mut texts: Vec<Text>, ignore_case: bool) -> Self {
        texts.sort_by(|one, two| compare(one.0.as_bytes(), two.0.as_bytes(), ignore_case));
        Self { texts, ignore_case }
    }
}

impl TryFrom<Vec<Text>> for In {
    type Error = String;

    fn try_from(texts: Vec<Text>) -> Result<Self, String> {
        if texts.is_empty() {
            return Err("an empty list never holds".to_owned());
        }
        Ok(Self::new(texts, false))
    }
}

impl Operator for In {
    fn holds(&self, value: &[u8]) -> bool {
        let compare = |text: &Text| compare(text.0.as_bytes(), value, self.ignore_case);
        self.texts.binary_search_by(compare).is_ok()
    }

    fn denial(&self, _: &[u8]) -> String {
        format!("is not one of {}", listed(self.texts.iter().map(|text| shown(&text.0)), ", "))
    }

    fn ignoring_case(self) -> Result<Self, String> {
        Ok(Self::new(self.texts, true))
    }
}

fn compare(one: &[u8], two: &[u8], ignore_case: bool) -> Ordering {
    if ignore_case {
        one.iter().map(u8::to_ascii_lowercase).cmp(two.iter().map(u8::to_ascii_lowercase))
    } else {
        one.cmp(two)
    }
}

//! The operator `prefix`: the value starts with a text.

use super::Operator;
use crate::predicate::shown::shown;
use crate::predicate::text::Text;
use schemars::JsonSchema;
use serde::Deserialize;

/// A text that the value starts with.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(from = "Text")]
#[schemars(with = "Text", inline)]
pub(super) struct Prefix {
    text: String,
    ignore_case: bool,
}

impl From<Text> for Prefix {
    fn from(Text(text): Text) -> Self {
        Self { text, ignore_case: false }
    }
}

impl Operator for Prefix {
    fn holds(&self, value: &[u8]) -> bool {
        let text = self.text.as_bytes();
        let start = value.get(..text.len());
        start.is_some_and(|start| {
            start == text || self.ignore_case && start.eq_ignore_ascii_case(text)
        })
    }

    fn denial(&self, _: &[u8]) -> String {
        format!("does not start with {}", shown(&self.text))
    }

    fn ignoring_case(self) -> Result<Self, String> {
        Ok(Self { ignore_case: true, ..self })
    }
}

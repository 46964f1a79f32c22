//! The operator `exact`: the value is a text.

use super::Operator;
use crate::predicate::shown::shown;
use crate::predicate::text::Text;
use schemars::JsonSchema;
use serde::Deserialize;

/// A text that the value is.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(from = "Text")]
#[schemars(with = "Text", inline)]
pub(super) struct Exact {
    text: String,
    ignore_case: bool,
}

impl From<Text> for Exact {
    fn from(Text(text): Text) -> Self {
        Self { text, ignore_case: false }
    }
}

impl Operator for Exact {
    fn holds(&self, value: &[u8]) -> bool {
        let text = self.text.as_bytes();
        value == text || self.ignore_case && value.eq_ignore_ascii_case(text)
    }

    fn denial(&self, _: &[u8]) -> String {
        format!("is not {}", shown(&self.text))
    }

    fn ignoring_case(self) -> Result<Self, String> {
        Ok(Self { ignore_case: true, ..self })
    }
}

//! The operator `suffix`: the value ends with a text.

use super::Operator;
use crate::predicate::shown::shown;
use crate::predicate::text::Text;
use schemars::JsonSchema;
use serde::Deserialize;

/// A text that the value ends with.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(from = "Text")]
#[schemars(with = "Text", inline)]
pub(super) struct Suffix {
    text: String,
    ignore_case: bool,
}

impl From<Text> for Suffix {
    fn from(Text(text): Text) -> Self {
        Self { text, ignore_case: false }
    }
}

impl Operator for Suffix {
    fn holds(&self, value: &[u8]) -> bool {
        let text = self.text.as_bytes();
        let start = value.len().checked_sub(text.len());
        start
            .and_then(|start| value.get(start..))
            .is_some_and(|end| end == text || self.ignore_case && end.eq_ignore_ascii_case(text))
    }

    fn denial(&self, _: &[u8]) -> String {
        format!("does not end with {}", shown(&self.text))
    }

    fn ignoring_case(self) -> Result<Self, String> {
        Ok(Self { ignore_case: true, ..self })
    }
}

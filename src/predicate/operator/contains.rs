//! The operator `contains`: a text is somewhere in the value.

use super::Operator;
use crate::predicate::shown::shown;
use crate::predicate::text::Text;
use regex::bytes::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::Deserialize;

/// A text that is somewhere in the value.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "Text")]
#[schemars(with = "Text", inline)]
pub(super) struct Contains {
    text: String,
    // A search for a literal: its time is linear, whatever the value.
    search: Regex,
}

impl Contains {
    fn new(text: String, ignore_case: bool) -> Result<Self, String> {
        let search = RegexBuilder::new(&regex::escape(&text))
            .unicode(false)
            .case_insensitive(ignore_case)
            .build()
            .map_err(|_| "the text is too long".to_owned())?;
        Ok(Self { text, search })
    }
}

impl TryFrom<Text> for Contains {
    type Error = String;

    fn try_from(Text(text): Text) -> Result<Self, String> {
        Self::new(text, false)
    }
}

impl Operator for Contains {
    fn holds(&self, value: &[u8]) -> bool {
        self.search.is_match(value)
    }

    fn denial(&self, _: &[u8]) -> String {
        format!("does not contain {}", shown(&self.text))
    }

    fn ignoring_case(self) -> Result<Self, String> {
        Self::new(self.text, true)
    }
}

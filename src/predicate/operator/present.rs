//! The operator `present`: whether there is a value at all.

use super::Operator;
use schemars::JsonSchema;
use serde::Deserialize;

/// Whether there has to be a value.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub(super) struct Present(bool);

impl Operator for Present {
    fn holds(&self, _: &[u8]) -> bool {
        self.0
    }

    fn denial(&self, _: &[u8]) -> String {
        "is there".to_owned()
    }

    fn holds_absent(&self) -> bool {
        !self.0
    }
}

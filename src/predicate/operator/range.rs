//! The operator `range`: the value is an integer between two ends.

use super::Operator;
use schemars::JsonSchema;
use serde::Deserialize;

/// The ends of a range, at least one of them.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(try_from = "RangeConfig")]
#[schemars(with = "RangeConfig")]
pub(super) struct Range {
    from: Option<i64>,
    to: Option<i64>,
}

/// The ends as written.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Range", extend("minProperties" = 1))]
struct RangeConfig {
    /// The least integer that is within the range; left out, there is no least one.
    from: Option<i64>,
    /// The least integer above the range; left out, there is no largest one.
    to: Option<i64>,
}

impl TryFrom<RangeConfig> for Range {
    type Error = String;

    fn try_from(RangeConfig { from, to }: RangeConfig) -> Result<Self, String> {
        match (from, to) {
            (None, None) => Err("a range needs `from`, `to` or both".to_owned()),
            (Some(from), Some(to)) if from >= to => {
                Err(format!("no integer is from {from} to below {to}"))
            }
            _ => Ok(Self { from, to }),
        }
    }
}

impl Operator for Range {
    fn holds(&self, value: &[u8]) -> bool {
        integer(value).is_some_and(|value| {
            self.from.is_none_or(|from| value >= i128::from(from))
                && self.to.is_none_or(|to| value < i128::from(to))
        })
    }

    fn denial(&self, value: &[u8]) -> String {
        match (integer(value), self.from, self.to) {
            (None, ..) => "is no integer".to_owned(),
            (Some(value), Some(from), _) if value < i128::from(from) => {
                format!("is below {from}")
            }
            (Some(_), _, Some(to)) => format!("is not below {to}"),
            _ => "is out of range".to_owned(),
        }
    }
}

/// Wider than the ends, so that a large number is above them instead of no integer.
fn integer(value: &[u8]) -> Option<i128> {
    str::from_utf8(value).ok()?.parse().ok()
}

//! Which statuses of HTTP are meant: one, or a class of them.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// A status such as `503`, or a class such as `5xx` (RFC 9110 section 15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StatusPattern {
    from: u16,
    to: u16,
}

impl StatusPattern {
    /// The class of this first digit.
    pub const fn class(digit: u16) -> Self {
        Self { from: digit * 100, to: digit * 100 + 99 }
    }

    /// This status alone; nothing for what is none.
    pub fn one(status: u64) -> Option<Self> {
        let status = u16::try_from(status).ok().filter(|status| (100..=599).contains(status))?;
        Some(Self { from: status, to: status })
    }

    /// Whether this status is meant.
    pub const fn holds(self, status: u16) -> bool {
        self.from <= status && status <= self.to
    }

    /// The least status that is meant.
    pub const fn least(self) -> u16 {
        self.from
    }
}

impl std::str::FromStr for StatusPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no status: write it as `503` or `5xx`");
        match text.as_bytes() {
            [digit @ b'1'..=b'5', b'x', b'x'] => Ok(Self::class(u16::from(digit - b'0'))),
            _ => text.parse().ok().and_then(Self::one).ok_or_else(wrong),
        }
    }
}

impl fmt::Display for StatusPattern {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.from == self.to { self.from.fmt(f) } else { write!(f, "{}xx", self.from / 100) }
    }
}

impl<'de> Deserialize<'de> for StatusPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pattern;

        impl Visitor<'_> for Pattern {
            type Value = StatusPattern;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a status such as `503` or `5xx`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<StatusPattern, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<StatusPattern, E> {
                number.to_string().parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Pattern)
    }
}

impl Serialize for StatusPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for StatusPattern {
    fn schema_name() -> Cow<'static, str> {
        "StatusPattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A status such as 503, or a class such as 5xx.",
            "anyOf": [
                { "type": "integer", "minimum": 100, "maximum": 599 },
                { "type": "string", "pattern": "^[1-5]([0-9][0-9]|xx)$" }
            ],
            "examples": [503, "5xx"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::StatusPattern;

    #[test]
    fn a_status_is_one_or_a_class() {
        let pattern = |text: &str| text.parse::<StatusPattern>();
        let class = pattern("5xx").unwrap();
        assert!(class.holds(500) && class.holds(599) && !class.holds(499));
        let one = pattern("404").unwrap();
        assert!(one.holds(404) && !one.holds(405));
        assert_eq!([class.to_string(), one.to_string()], ["5xx", "404"]);
        for wrong in ["", "6xx", "0xx", "xxx", "5x", "99", "600", "-1", "200-299", "2XX"] {
            assert!(pattern(wrong).is_err(), "{wrong}");
        }
    }
}

//! Quantities as a person writes them: weights, durations and sizes.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// The relative part of an arm's traffic that a pool gets: a whole number from 0 to 1,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Weight(u32);

impl Weight {
    /// The largest weight.
    pub const MAX: u32 = 1_000_000;

    /// A weight, or nothing above [`Weight::MAX`].
    pub fn new(weight: u32) -> Option<Self> {
        (weight <= Self::MAX).then_some(Self(weight))
    }

    /// The number.
    pub fn number(self) -> u32 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = Weight;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a weight: a whole number from 0 to 1000000")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Weight, E> {
                u32::try_from(number)
                    .ok()
                    .and_then(Weight::new)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Weight, E> {
                match u64::try_from(number) {
                    Ok(number) => self.visit_u64(number),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
                }
            }
        }

        deserializer.deserialize_u64(Number)
    }
}

impl JsonSchema for Weight {
    fn schema_name() -> Cow<'static, str> {
        "Weight".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The relative part of an arm's traffic that a pool gets; 0 takes nothing.",
            "type": "integer",
            "minimum": 0,
            "maximum": Self::MAX
        })
    }
}

/// A span of time as typed: `500ms`, `15s`, `5m`, `1h`, `1d`, or several together (`1m30s`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration(pub std::time::Duration);

impl Duration {
    /// The longest span that can be written: 10 years.
    pub const MAX: std::time::Duration = std::time::Duration::from_hours(10 * 365 * 24);

    /// A span of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no duration: write it as `500ms`, `15s` or `1m30s`");
        let mut rest = text;
        let mut total = std::time::Duration::ZERO;
        if rest == "0" {
            return Ok(Self(total));
        }
        if rest.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, tail) = tail.split_at(letters);
            let number: u64 = number.parse().map_err(|_| wrong())?;
            let milliseconds: u64 = match unit {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return Err(wrong()),
            };
            total = number
                .checked_mul(milliseconds)
                .map(std::time::Duration::from_millis)
                .and_then(|part| total.checked_add(part))
                .filter(|total| *total <= Self::MAX)
                .ok_or_else(|| format!("`{text}` is longer than 10 years"))?;
            rest = tail;
        }
        Ok(Self(total))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut rest = self.0.as_millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, milliseconds) in
            [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)]
        {
            let number = rest / milliseconds;
            if number > 0 {
                write!(f, "{number}{unit}")?;
                rest %= milliseconds;
            }
        }
        Ok(())
    }
}

/// A number of bytes as typed: `512`, `64KiB`, `10MiB`, `1GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no size: write it in bytes or as `64KiB` or `10MiB`");
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let bytes: u64 = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(wrong()),
        };
        number.checked_mul(bytes).map(Self).ok_or_else(|| format!("`{text}` is too large"))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for (unit, bytes) in [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if self.0 >= bytes && self.0.is_multiple_of(bytes) {
                return write!(f, "{}{unit}", self.0 / bytes);
            }
        }
        write!(f, "{}", self.0)
    }
}

/// Reads a unit from a string, or from a bare number where the unit allows one.
struct Typed<T>(&'static str, std::marker::PhantomData<T>);

impl<T: FromStr<Err = String>> Visitor<'_> for Typed<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        number.to_string().parse().map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Typed(
            "a duration such as `500ms`, `15s` or `1m30s`",
            std::marker::PhantomData,
        ))
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Typed(
            "a size in bytes or as `64KiB` or `10MiB`",
            std::marker::PhantomData,
        ))
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A span of time: numbers with the units d, h, m, s and ms, or 0.",
            "type": ["string", "integer"],
            "pattern": "^(0|([0-9]+(ms|s|m|h|d))+)$",
            "minimum": 0,
            "maximum": 0,
            "examples": ["500ms", "15s", "1m30s"]
        })
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of bytes, perhaps with the unit KiB, MiB or GiB.",
            "type": ["string", "integer"],
            "pattern": "^[0-9]+(B|KiB|MiB|GiB)?$",
            "minimum": 0,
            "examples": ["64KiB", "10MiB", 4096]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{ByteSize, Duration};
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_as_typed() {
        let milliseconds = |text: &str| text.parse::<Duration>().map(|d| d.0.as_millis()).ok();
        assert_eq!(milliseconds("500ms"), Some(500));
        assert_eq!(milliseconds("15s"), Some(15_000));
        assert_eq!(milliseconds("1m30s"), Some(90_000));
        assert_eq!(milliseconds("0"), Some(0));
        assert_eq!(milliseconds("0s"), Some(0));
        for wrong in ["", "s", "5", "1.5s", "-1s", "1m 30s", "5 s", "1w", "99999999999d"] {
            assert_eq!(milliseconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_are_read_as_typed() {
        let bytes = |text: &str| text.parse::<ByteSize>().map(|size| size.0).ok();
        assert_eq!(bytes("512"), Some(512));
        assert_eq!(bytes("64KiB"), Some(65_536));
        assert_eq!(bytes("10MiB"), Some(10_485_760));
        for wrong in ["", "KiB", "1KB", "1.5MiB", "-1", "99999999999999GiB"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            milliseconds in 0_u64..315_360_000_000,
            size in 0_u64..1 << 50,
        ) {
            let duration = Duration(std::time::Duration::from_millis(milliseconds));
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
            prop_assert_eq!(ByteSize(size).to_string().parse(), Ok(ByteSize(size)));
        }
    }
}

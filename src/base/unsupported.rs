//! A setting that the contract names and this version can not do yet: it is refused, not ignored.

use serde::de::{self, Deserialize, Deserializer, IgnoredAny};

/// A value that is never accepted.
#[derive(Debug, Clone)]
pub enum Unsupported {}

impl<'de> Deserialize<'de> for Unsupported {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer)?;
        Err(de::Error::custom("this setting is not supported by this version of Serin yet"))
    }
}

//! How a pool says by which policy its endpoints are chosen.

use super::Balance;
use crate::base::problem::{Problems, Spanned};
use crate::split::{Key, KeyConfig};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// How a request's endpoint is chosen among the usable ones.
#[derive(Debug, Clone, Default)]
pub enum BalanceConfig {
    /// The less busy of two drawn at random (power of two choices).
    #[default]
    LeastRequest,
    /// One after the other.
    RoundRobin,
    /// Drawn at random.
    Random,
    /// The one that is likely to answer first, of two drawn at random.
    PeakEwma,
    /// The same for the same key, for as long as it is not overloaded.
    ConsistentHash(Spanned<Vec<Spanned<KeyConfig>>>),
}

/// The policies that are a word.
const WORDS: [&str; 4] = ["leastRequest", "roundRobin", "random", "peakEwma"];
/// The policy that has a key.
const CONSISTENT_HASH: &str = "consistentHash";

impl BalanceConfig {
    /// Compiles it; what is wrong is noted.
    pub fn compile(&self, problems: &mut Problems) -> Balance {
        match self {
            Self::LeastRequest => Balance::LeastRequest,
            Self::RoundRobin => Balance::RoundRobin,
            Self::Random => Balance::Random,
            Self::PeakEwma => Balance::PeakEwma,
            Self::ConsistentHash(key) => Balance::ConsistentHash(Key::compile(key, problems)),
        }
    }
}

impl<'de> Deserialize<'de> for BalanceConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordOrMap;

        impl<'de> Visitor<'de> for WordOrMap {
            type Value = BalanceConfig;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "one of {}, or a map of `{CONSISTENT_HASH}` to a key", WORDS.join(", "))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<BalanceConfig, E> {
                match text {
                    "leastRequest" => Ok(BalanceConfig::LeastRequest),
                    "roundRobin" => Ok(BalanceConfig::RoundRobin),
                    "random" => Ok(BalanceConfig::Random),
                    "peakEwma" => Ok(BalanceConfig::PeakEwma),
                    CONSISTENT_HASH => Err(E::custom(
                        "`consistentHash` needs a key, such as \
                         `{ consistentHash: [{ header: x-user-id }] }`",
                    )),
                    other => Err(E::unknown_variant(other, &WORDS)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BalanceConfig, A::Error> {
                let mut key = None;
                while let Some(name) = map.next_key::<String>()? {
                    if name != CONSISTENT_HASH {
                        return Err(de::Error::unknown_field(&name, &[CONSISTENT_HASH]));
                    }
                    key = Some(map.next_value()?);
                }
                key.map(BalanceConfig::ConsistentHash)
                    .ok_or_else(|| de::Error::missing_field(CONSISTENT_HASH))
            }
        }

        deserializer.deserialize_any(WordOrMap)
    }
}

impl JsonSchema for BalanceConfig {
    fn schema_name() -> Cow<'static, str> {
        "Balance".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let key = generator.subschema_for::<KeyConfig>();
        json_schema!({
            "description": "How a request's endpoint is chosen among the usable ones.",
            "anyOf": [
                { "type": "string", "enum": WORDS },
                {
                    "type": "object",
                    "additionalProperties": false,
                    "required": [CONSISTENT_HASH],
                    "properties": {
                        CONSISTENT_HASH: {
                            "type": "array",
                            "minItems": 1,
                            "items": key,
                            "description": "Where to find the key; the first one present counts."
                        }
                    }
                }
            ],
            "default": "leastRequest",
            "examples": ["peakEwma", { CONSISTENT_HASH: [{ "header": "x-user-id" }] }]
        })
    }
}

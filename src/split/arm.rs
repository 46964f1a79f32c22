//! Arms: who is meant, and which pools share these requests by which weights.

use super::PoolIndex;
use crate::base::problem::Spanned;
use crate::base::units::Weight;
use crate::predicate::{Condition, WhenConfig};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// One entry of a split: the first whose `when` holds decides.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArmConfig {
    /// The arm's name in metrics and `explain`. Default: its number in the split, from 0.
    pub name: Option<Spanned<String>>,
    /// Which requests are meant. Default: all.
    pub when: Option<WhenConfig>,
    /// The pool, or the pools with their weights.
    pub to: Spanned<To>,
}

/// Where an arm's requests go: one pool's name, or a map of pool to weight.
#[derive(Debug, Clone)]
pub enum To {
    /// All to one pool.
    Pool(String),
    /// Shared out by weight; as written, so possibly empty or with a name twice.
    Pools(Vec<(Spanned<String>, Weight)>),
}

impl<'de> Deserialize<'de> for To {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PoolOrPools;

        impl<'de> Visitor<'de> for PoolOrPools {
            type Value = To;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a pool's name or a map of pool to weight")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<To, E> {
                Ok(To::Pool(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<To, A::Error> {
                let mut pools = Vec::new();
                while let Some(pool) = map.next_entry()? {
                    pools.push(pool);
                }
                Ok(To::Pools(pools))
            }
        }

        deserializer.deserialize_any(PoolOrPools)
    }
}

impl JsonSchema for To {
    fn schema_name() -> Cow<'static, str> {
        "To".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let weight = generator.subschema_for::<Weight>();
        json_schema!({
            "description": "One pool's name, or a map of pool to weight.",
            "oneOf": [
                { "type": "string" },
                { "type": "object", "minProperties": 1, "additionalProperties": weight },
            ],
            "examples": ["stable", { "stable": 95, "canary": 5 }]
        })
    }
}

/// A compiled arm.
#[derive(Debug)]
pub struct Arm {
    pub(super) when: Condition,
    pub(super) shares: Box<[Share]>,
    pub(super) name: Box<str>,
}

/// One pool's share of an arm.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) pool: PoolIndex,
    pub(super) weight: Weight,
    /// What is hashed before a key: the salt, a zero, the pool's name, a zero.
    pub(super) prefix: Box<[u8]>,
    pub(super) name: Box<str>,
}

impl Arm {
    /// The arm's name, or its number.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The condition by which the arm decides.
    pub fn when(&self) -> &Condition {
        &self.when
    }

    /// The pools with their weights, in the order of the configuration.
    pub fn pools(&self) -> impl Iterator<Item = (PoolIndex, Weight)> {
        self.shares.iter().map(|share| (share.pool, share.weight))
    }
}

impl Share {
    pub(super) fn new(pool: PoolIndex, name: &str, weight: Weight, salt: &str) -> Self {
        let prefix = [salt, "\0", name, "\0"].concat().into_bytes().into();
        Self { pool, weight, prefix, name: name.into() }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::Share;
    use crate::base::units::Weight;
    use crate::split::PoolIndex;

    /// Shares written as `stable=90 canary=10`, numbered in this order.
    pub(in crate::split) fn shares(salt: &str, weights: &str) -> Vec<Share> {
        let share = |(index, part): (usize, &str)| {
            let (name, weight) = part.split_once('=').unwrap();
            let weight = Weight::new(weight.parse().unwrap()).unwrap();
            Share::new(PoolIndex(index), name, weight, salt)
        };
        weights.split(' ').enumerate().map(share).collect()
    }
}

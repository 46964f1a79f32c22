//! Endpoints that the document lists itself.

use super::Found;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;

/// An endpoint as it is written: `IP:PORT`, or that and its weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointConfig {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its part of the pool's requests, relative to the weights of the others.
    pub weight: u32,
}

impl EndpointConfig {
    /// The largest weight of an endpoint.
    pub const WEIGHT_MAX: u32 = 1_000;
}

impl From<&EndpointConfig> for Found {
    fn from(config: &EndpointConfig) -> Self {
        Self { weight: config.weight, ..config.address.into() }
    }
}

/// The form of an endpoint that has a weight.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Weighted {
    address: SocketAddr,
    #[serde(default = "one")]
    weight: u32,
}

const fn one() -> u32 {
    1
}

impl<'de> Deserialize<'de> for EndpointConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AddressOrMap;

        impl<'de> Visitor<'de> for AddressOrMap {
            type Value = EndpointConfig;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("`IP:PORT`, or a map of `address` and `weight`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<EndpointConfig, E> {
                let address = text.parse().map_err(|_| {
                    E::custom(format!(
                        "`{text}` is no IP address with a port, such as `10.0.0.1:8080` or \
                         `[::1]:8080` (a host name is looked up by `dns: {{ host, port }}`)"
                    ))
                })?;
                Ok(EndpointConfig { address, weight: 1 })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EndpointConfig, A::Error> {
                let Weighted { address, weight } =
                    Weighted::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(EndpointConfig { address, weight })
            }
        }

        deserializer.deserialize_any(AddressOrMap)
    }
}

impl JsonSchema for EndpointConfig {
    fn schema_name() -> Cow<'static, str> {
        "Endpoint".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An endpoint: its address, or that and its weight.",
            "anyOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["address"],
                    "properties": {
                        "address": { "type": "string", "description": "Where it listens, `IP:PORT`." },
                        "weight": {
                            "type": "integer",
                            "minimum": 1,
                            "maximum": Self::WEIGHT_MAX,
                            "default": 1,
                            "description": "Its part of the pool's requests, relative to the others'."
                        }
                    }
                }
            ],
            "examples": ["10.0.0.1:8080", { "address": "10.0.0.2:8080", "weight": 2 }]
        })
    }
}

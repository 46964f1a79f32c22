//! A port as Kubernetes names it: a number or a name.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;

/// A port's number from 1, or its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Port {
    /// Its number.
    Number(u16),
    /// Its name.
    Name(String),
}

/// The longest name of a port (RFC 6335 section 5.1).
const NAME_BYTES_MAX: usize = 15;

impl Port {
    /// A name, if it is one: lower-case letters, digits and single hyphens between them, a letter
    /// among them (RFC 6335 section 5.1, as Kubernetes reads it).
    fn named(name: &str) -> Option<Self> {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let right = (1..=NAME_BYTES_MAX).contains(&name.len())
            && name.bytes().all(known)
            && name.bytes().any(|byte| byte.is_ascii_lowercase())
            && !name.starts_with('-')
            && !name.ends_with('-')
            && !name.contains("--");
        right.then(|| Self::Name(name.to_owned()))
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrName;

        impl Visitor<'_> for NumberOrName {
            type Value = Port;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a port: a number from 1 to 65535, or a name such as `http`")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Port, E> {
                let right = u16::try_from(number).ok().filter(|number| *number > 0);
                let wrong = || E::invalid_value(de::Unexpected::Unsigned(number), &self);
                right.map(Port::Number).ok_or_else(wrong)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Port, E> {
                match u64::try_from(number) {
                    Ok(number) => self.visit_u64(number),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
                }
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Port, E> {
                let wrong = || E::invalid_value(de::Unexpected::Str(name), &self);
                Port::named(name).ok_or_else(wrong)
            }
        }

        deserializer.deserialize_any(NumberOrName)
    }
}

impl JsonSchema for Port {
    fn schema_name() -> Cow<'static, str> {
        "KubernetesPort".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A port: its number or its name.",
            "anyOf": [
                { "type": "integer", "minimum": 1, "maximum": 65535 },
                { "type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?$" }
            ],
            "examples": [8080, "http"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Port;

    #[test]
    fn a_port_is_a_number_or_a_name() {
        let read = |text: &str| serde_json::from_str::<Port>(text).ok();
        assert_eq!(read("8080"), Some(Port::Number(8080)));
        assert_eq!(read("\"http-2\""), Some(Port::Name("http-2".to_owned())));
        for wrong in [
            "0", "65536", "-1", "\"80\"", "\"\"", "\"HTTP\"", "\"a--b\"", "\"-a\"", "\"a_b\"",
            "null",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(read("\"a-name-of-15-by\""), Some(Port::Name("a-name-of-15-by".to_owned())));
        assert_eq!(read("\"a-name-of-16-byt\""), None);
    }
}

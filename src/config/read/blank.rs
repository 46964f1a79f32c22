//! An invented value for a required field that is missing, so that reading goes on to the next.
//!
//! serde says of a struct only its first missing field. The next attempt is offered a blank for
//! it, and so says the second. What was read with a blank is never used.

use super::entries::Placed;
use super::fault::Fault;
use crate::base::problem::{Location, SPANNED};
use serde::de::value::{MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, Visitor};

/// The most structs inside each other that are invented.
const DEPTH_MAX: usize = 8;

/// A value that fits as often as possible.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blank {
    at: Location,
    depth: usize,
}

impl Blank {
    /// A blank in the mapping that lacks the field.
    pub(super) fn new(at: Location) -> Self {
        Self { at, depth: 0 }
    }

    /// Offers the blank; that it does not fit is only a consequence.
    pub(super) fn offer<'de, S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Fault> {
        seed.deserialize(self).map_err(|_| Fault::consequence(self.at))
    }

    fn deeper(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }
}

impl IntoDeserializer<'_, Fault> for Blank {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Offers 1 for every number that is asked for.
macro_rules! numbers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            visitor.visit_u64(1)
        })*
    };
}

impl<'de> Deserializer<'de> for Blank {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_str("")
    }

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_bool(false)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_none()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_seq(SeqDeserializer::new(std::iter::empty::<Self>()))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_map(MapDeserializer::new(std::iter::empty::<(Self, Self)>()))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if name == SPANNED.0 {
            return visitor.visit_map(Placed::new(self.at, self));
        }
        if self.depth >= DEPTH_MAX {
            return Err(Fault::consequence(self.at));
        }
        let deeper = self.deeper();
        visitor.visit_map(MapDeserializer::new(fields.iter().map(|field| (*field, deeper))))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let Some(first) = variants.first() else { return Err(Fault::consequence(self.at)) };
        let name: StrDeserializer<'_, Fault> = (*first).into_deserializer();
        visitor.visit_enum(name)
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple tuple_struct identifier
        ignored_any
    }
}

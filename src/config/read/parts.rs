//! The elements of a list and the variant of an enum, for serde.

use super::deserializer::Reader;
use super::fault::Fault;
use crate::base::problem::Location;
use crate::config::tree::{Shape, Value};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, SeqAccess, VariantAccess, Visitor,
};

/// The elements of a list, without those that are known to be wrong.
pub(super) struct Elements<'d> {
    reader: Reader<'d>,
    items: std::slice::Iter<'d, Location>,
}

impl<'d> Elements<'d> {
    /// The elements of the reader's node.
    pub(super) fn new(reader: Reader<'d>, items: &'d [Location]) -> Self {
        Self { reader, items: items.iter() }
    }

    /// How many were not asked for.
    pub(super) fn rest(&self) -> usize {
        self.items.len()
    }
}

impl<'de> SeqAccess<'de> for &mut Elements<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let reader = self.reader;
        match self.items.by_ref().find(|item| !reader.leaves_out(**item)) {
            Some(&item) => {
                seed.deserialize(reader.of(item)).map(Some).map_err(|fault| fault.at(item))
            }
            None => Ok(None),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// A variant: a name alone, or a mapping of the name to what belongs to it.
pub(super) struct Variant<'d> {
    pub(super) name: Reader<'d>,
    pub(super) value: Option<Reader<'d>>,
}

impl Variant<'_> {
    fn needs(&self, what: &str) -> Fault {
        let name = self.name.document.text(self.name.node);
        Fault::custom(format!("`{name}` needs {what}")).at(self.name.node)
    }
}

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let name = seed.deserialize(self.name).map_err(|fault| fault.at(self.name.node))?;
        Ok((name, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match self.value {
            None => Ok(()),
            Some(value) => match value.document.shape(value.node) {
                Shape::Scalar(Value::Null) => Ok(()),
                _ => Err(value.expected(&"nothing")),
            },
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        match self.value {
            Some(value) => seed.deserialize(value).map_err(|fault| fault.at(value.node)),
            None => Err(self.needs("a value")),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Fault> {
        match self.value {
            Some(value) => value.deserialize_tuple(length, visitor),
            None => Err(self.needs("a list")),
        }
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.value {
            Some(value) => value.deserialize_struct("", fields, visitor),
            None => Err(self.needs("a mapping")),
        }
    }
}

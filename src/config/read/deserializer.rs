//! A node as a serde deserializer: what is written is offered as what is asked for.

use super::Report;
use super::entries::{Entries, Placed};
use super::fault::{Fault, list};
use super::parts::{Elements, Variant};
use crate::base::problem::{Location, SPANNED};
use crate::config::tree::{Document, Shape, Value};
use serde::de::{Deserializer, Error as _, Expected, Unexpected, Visitor};
use std::cell::RefCell;

/// Offers one node to serde.
#[derive(Clone, Copy)]
pub(super) struct Reader<'d> {
    pub(super) document: &'d Document,
    pub(super) report: &'d RefCell<Report>,
    pub(super) node: Location,
}

impl<'d> Reader<'d> {
    /// The same for another node.
    pub(super) fn of(self, node: Location) -> Self {
        Self { node, ..self }
    }

    /// Whether a node is to be left out.
    pub(super) fn leaves_out(self, node: Location) -> bool {
        self.report.borrow().is_poisoned(node)
    }

    fn shape(self) -> Shape<'d> {
        self.document.shape(self.node)
    }

    fn found(self) -> Unexpected<'d> {
        match self.shape() {
            Shape::Scalar(Value::Null) => Unexpected::Unit,
            Shape::Scalar(Value::Bool(value)) => Unexpected::Bool(value),
            Shape::Scalar(Value::Unsigned(number)) => Unexpected::Unsigned(number),
            Shape::Scalar(Value::Signed(number)) => Unexpected::Signed(number),
            Shape::Scalar(Value::Float(number)) => Unexpected::Float(number),
            Shape::Scalar(Value::String(text)) => Unexpected::Str(text),
            Shape::Sequence(_) => Unexpected::Seq,
            Shape::Mapping(_) => Unexpected::Map,
        }
    }

    /// The failure that something else was expected here.
    pub(super) fn expected(self, expected: &dyn Expected) -> Fault {
        Fault::invalid_type(self.found(), expected).at(self.node)
    }

    fn sequence<'de, V: Visitor<'de>>(
        self,
        items: &'d [Location],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let mut elements = Elements::new(self, items);
        let value = visitor.visit_seq(&mut elements).map_err(|fault| fault.at(self.node))?;
        let rest = elements.rest();
        if rest == 0 {
            return Ok(value);
        }
        let fitting = format!("a list of {}", items.len().saturating_sub(rest));
        Err(Fault::invalid_length(items.len(), &fitting.as_str()).at(self.node))
    }

    fn mapping<'de, V: Visitor<'de>>(
        self,
        written: &'d [(Location, Location)],
        fields: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let entries = Entries::new(self, written, fields);
        let has_blanks = entries.has_blanks();
        let value = visitor.visit_map(entries).map_err(|fault| fault.at(self.node))?;
        // A value with invented parts must never leave.
        if has_blanks { Err(Fault::consequence(self.node)) } else { Ok(value) }
    }

    fn text<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.shape() {
            Shape::Scalar(Value::Null) | Shape::Sequence(_) | Shape::Mapping(_) => {
                Err(self.expected(&visitor))
            }
            Shape::Scalar(_) => visitor.visit_str(self.document.text(self.node)),
        }
        .map_err(|fault: Fault| fault.at(self.node))
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.shape() {
            Shape::Scalar(Value::Null) => visitor.visit_unit(),
            Shape::Scalar(Value::Bool(value)) => visitor.visit_bool(value),
            Shape::Scalar(Value::Unsigned(number)) => visitor.visit_u64(number),
            Shape::Scalar(Value::Signed(number)) => visitor.visit_i64(number),
            Shape::Scalar(Value::Float(number)) => visitor.visit_f64(number),
            Shape::Scalar(Value::String(text)) => visitor.visit_str(text),
            Shape::Sequence(items) => return self.sequence(items, visitor),
            Shape::Mapping(written) => return self.mapping(written, None, visitor),
        }
        .map_err(|fault: Fault| fault.at(self.node))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.text(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.text(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.text(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.text(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.shape() {
            Shape::Scalar(Value::Null) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
        .map_err(|fault: Fault| fault.at(self.node))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self).map_err(|fault: Fault| fault.at(self.node))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.shape() {
            Shape::Sequence(items) => self.sequence(items, visitor),
            _ => Err(self.expected(&visitor)),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.shape() {
            Shape::Mapping(written) => self.mapping(written, None, visitor),
            _ => Err(self.expected(&visitor)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if name == SPANNED.0 {
            let placed = Placed::new(self.node, self);
            return visitor.visit_map(placed).map_err(|fault: Fault| fault.at(self.node));
        }
        match self.shape() {
            Shape::Mapping(written) => self.mapping(written, Some(fields), visitor),
            _ => Err(self.expected(&"a mapping")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let one_of = || self.expected(&format!("one of {}", list(variants)).as_str());
        let variant = match self.shape() {
            Shape::Scalar(Value::Null) | Shape::Sequence(_) => return Err(one_of()),
            Shape::Scalar(_) => Variant { name: self, value: None },
            Shape::Mapping(entries) => {
                let &[(key, value)] = entries else { return Err(one_of()) };
                if self.leaves_out(key) || self.leaves_out(value) {
                    return Err(Fault::consequence(self.node));
                }
                Variant { name: self.of(key), value: Some(self.of(value)) }
            }
        };
        visitor.visit_enum(variant).map_err(|fault: Fault| fault.at(self.node))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 bytes byte_buf unit unit_struct
    }
}

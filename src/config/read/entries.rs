//! The entries of a mapping for serde: wrong ones left out, unknown ones noted, missing ones blank.

use super::blank::Blank;
use super::deserializer::Reader;
use super::fault::Fault;
use crate::base::problem::{Location, SPANNED};
use crate::config::diagnostic::PROBLEMS_MAX;
use serde::de::value::{StrDeserializer, U32Deserializer};
use serde::de::{DeserializeSeed, IntoDeserializer, MapAccess};

/// The entries of a mapping.
pub(super) struct Entries<'d> {
    reader: Reader<'d>,
    rest: std::slice::Iter<'d, (Location, Location)>,
    fields: Option<&'static [&'static str]>,
    value: Option<Location>,
    blanks: Vec<&'static str>,
}

impl<'d> Entries<'d> {
    /// The entries of the reader's node; `fields` are all that a struct knows.
    pub(super) fn new(
        reader: Reader<'d>,
        entries: &'d [(Location, Location)],
        fields: Option<&'static [&'static str]>,
    ) -> Self {
        Self {
            reader,
            rest: entries.iter(),
            fields,
            value: None,
            blanks: reader.report.borrow().missing_of(reader.node),
        }
    }

    /// Whether something is invented.
    pub(super) fn has_blanks(&self) -> bool {
        !self.blanks.is_empty()
    }

    /// The next entry to offer.
    fn next(&mut self) -> Option<(Location, Location)> {
        for &(key, value) in self.rest.by_ref() {
            if self.reader.leaves_out(value) || self.reader.leaves_out(key) {
                continue;
            }
            match self.fields {
                Some(fields) if !fields.contains(&self.reader.document.text(key)) => {
                    let unknown = &mut self.reader.report.borrow_mut().unknown;
                    if unknown.len() <= PROBLEMS_MAX {
                        unknown.insert(key, fields);
                    }
                }
                _ => return Some((key, value)),
            }
        }
        None
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        if let Some((key, value)) = self.next() {
            self.value = Some(value);
            let name = seed.deserialize(self.reader.of(key));
            return name.map(Some).map_err(|fault| fault.at(key));
        }
        self.value = None;
        let Some(field) = self.blanks.pop() else { return Ok(None) };
        let name: StrDeserializer<'_, Fault> = field.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        match self.value.take() {
            Some(value) => seed.deserialize(self.reader.of(value)).map_err(|fault| fault.at(value)),
            None => Blank::new(self.reader.node).offer(seed),
        }
    }
}

/// A value with its place, for [`Spanned`](crate::base::problem::Spanned).
pub(super) struct Placed<D> {
    at: Location,
    value: Option<D>,
    step: usize,
}

impl<D> Placed<D> {
    /// What `value` reads, written at a node.
    pub(super) fn new(at: Location, value: D) -> Self {
        Self { at, value: Some(value), step: 0 }
    }
}

impl<'de, D> MapAccess<'de> for Placed<D>
where
    D: serde::de::Deserializer<'de, Error = Fault>,
{
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let Some(name) = SPANNED.1.get(self.step) else { return Ok(None) };
        let name: StrDeserializer<'_, Fault> = (*name).into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        self.step += 1;
        if self.step == 1 {
            let at: U32Deserializer<Fault> = self.at.0.into_deserializer();
            return seed.deserialize(at);
        }
        match self.value.take() {
            Some(value) => seed.deserialize(value),
            None => Err(Fault::consequence(self.at)),
        }
    }
}

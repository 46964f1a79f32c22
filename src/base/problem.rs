//! Positions in a configuration document and the problems found there.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

/// One place in the configuration document: the number of a node that `config` can turn into a
/// file, a line, a column and a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Location(pub u32);

/// A value together with the place where it was written.
#[derive(Debug, Clone, Default)]
pub struct Spanned<T> {
    /// Where it was written; [`Location::default`] for a value that nobody wrote.
    pub at: Location,
    /// What was written.
    pub value: T,
}

/// The struct name and fields by which [`Spanned`] asks a deserializer for the place of a value.
pub const SPANNED: (&str, &[&str]) = ("$serin::Spanned", &["at", "value"]);

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Parts<T> {
            type Value = Spanned<T>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a value with its place")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let missing = || de::Error::custom("a value without its place");
                let (_, at) = map.next_entry::<de::IgnoredAny, u32>()?.ok_or_else(missing)?;
                let (_, value) = map.next_entry::<de::IgnoredAny, T>()?.ok_or_else(missing)?;
                Ok(Spanned { at: Location(at), value })
            }
        }

        let (name, fields) = SPANNED;
        deserializer.deserialize_struct(name, fields, Parts(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Spanned<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// How bad a [`Problem`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The document can not be used.
    Error,
    /// The document can be used, but probably does not say what was meant.
    Warning,
}

/// One thing that is wrong with a document, at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub at: Location,
    /// How bad.
    pub severity: Severity,
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// What to do about it, where that is known.
    pub help: Option<String>,
}

/// The problems found so far; checks go on after the first.
#[derive(Debug, Default)]
pub struct Problems {
    list: Vec<Problem>,
    partial: HashSet<Location>,
}

impl Problems {
    /// Notes an error.
    pub fn error(&mut self, at: Location, message: impl Into<String>) -> &mut Problem {
        self.push(at, Severity::Error, message.into())
    }

    /// Notes a warning.
    pub fn warning(&mut self, at: Location, message: impl Into<String>) -> &mut Problem {
        self.push(at, Severity::Warning, message.into())
    }

    /// Notes a name that nothing bears, with the nearest known one as help.
    pub fn unknown<'a>(
        &mut self,
        at: Location,
        kind: &str,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) {
        let help = nearest(name, known).map(|near| format!("did you mean `{near}`?"));
        self.error(at, format!("no {kind} is named `{name}`")).help = help;
    }

    /// Whether any problem is an error.
    pub fn any_error(&self) -> bool {
        self.list.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Takes in what was found elsewhere.
    pub fn append(&mut self, mut found: Self) {
        self.list.append(&mut found.list);
    }

    /// All problems, in the order found.
    pub fn into_vec(self) -> Vec<Problem> {
        self.list
    }

    /// How many problems were found.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Notes values of which a part was left out for being wrong.
    pub fn left_out(&mut self, of: impl IntoIterator<Item = Location>) {
        self.partial.extend(of);
    }

    /// Whether a part of this value was left out, so that what it lacks is no news.
    pub fn is_partial(&self, at: Location) -> bool {
        self.partial.contains(&at)
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn push(&mut self, at: Location, severity: Severity, message: String) -> &mut Problem {
        self.list.push(Problem { at, severity, message, help: None });
        // The element was pushed just now, so the fallback index is never used.
        let last = self.list.len() - 1;
        #[expect(clippy::indexing_slicing, reason = "the vector is not empty")]
        &mut self.list[last]
    }
}

/// The known name nearest to a misspelt one, if any is near enough to be meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Longer names are not compared: the cost grows with the product of the lengths.
    const LENGTH_MAX: usize = 64;
    if name.len() > LENGTH_MAX {
        return None;
    }
    known
        .into_iter()
        .filter(|candidate| candidate.len() <= LENGTH_MAX)
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(
                &name.to_ascii_lowercase(),
                &candidate.to_ascii_lowercase(),
            );
            (distance, candidate)
        })
        .filter(|(distance, candidate)| *distance <= candidate.len().max(name.len()).div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn the_nearest_name_is_offered_only_when_it_is_near() {
        let known = ["stable", "canary", "canary-two"];
        assert_eq!(nearest("canry", known), Some("canary"));
        assert_eq!(nearest("Stabel", known), Some("stable"));
        assert_eq!(nearest("blue", known), None);
        assert_eq!(nearest(&"x".repeat(10_000), known), None);
    }
}

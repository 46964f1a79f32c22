//! Several files as one document: lists are joined, anything else may be given once.

use super::{Document, Kind, Step};
use crate::base::problem::{Location, Problems};
use std::collections::HashMap;
use std::collections::hash_map;

impl Document {
    /// Makes the root of the top nodes of the files, in their order.
    pub(super) fn merge(&mut self, tops: &[Location], problems: &mut Problems) {
        let mut entries: Vec<(Location, Location)> = Vec::new();
        let mut known: HashMap<Box<str>, usize> = HashMap::new();
        for &top in tops {
            let Some(Kind::Mapping(written)) = self.node(top).map(|node| node.kind.clone()) else {
                problems.error(top, "expected a mapping at the top of the file");
                continue;
            };
            for (key, value) in written {
                match known.entry(self.text(key).into()) {
                    hash_map::Entry::Vacant(vacant) => {
                        vacant.insert(entries.len());
                        entries.push((key, value));
                    }
                    hash_map::Entry::Occupied(first) => {
                        if let Some(entry) = entries.get_mut(*first.get()) {
                            self.join(entry, (key, value), problems);
                        }
                    }
                }
            }
        }
        let root = self.root();
        for &entry in &entries {
            self.adopt_entry(entry, root);
        }
        let first =
            tops.first().and_then(|top| self.node(*top)).map(|n| (n.file, n.line, n.column));
        if let Some(node) = self.node_mut(root) {
            node.kind = Kind::Mapping(entries.into());
            if let Some((file, line, column)) = first {
                (node.file, node.line, node.column) = (file, line, column);
            }
        }
    }

    /// Appends a later file's list to an earlier one of the same name.
    fn join(
        &mut self,
        first: &mut (Location, Location),
        (key, value): (Location, Location),
        problems: &mut Problems,
    ) {
        let (Some(items), Some(more)) = (self.items(first.1), self.items(value)) else {
            let message = self.twice(first.0, key);
            problems.error(key, message);
            return;
        };
        let from = items.len();
        let joined: Box<[Location]> = [items, more].concat().into();
        for (index, &item) in joined.iter().enumerate().skip(from) {
            self.adopt(item, first.1, Step::Index(u32::try_from(index).unwrap_or(u32::MAX)));
        }
        if let Some(node) = self.node_mut(first.1) {
            node.kind = Kind::Sequence(joined);
        }
    }

    /// The message for a key that is given again.
    pub(super) fn twice(&self, first: Location, again: Location) -> String {
        let place = self.place(first);
        format!(
            "`{}` is given twice: first written at {}:{}:{}",
            self.text(again),
            place.file,
            place.line,
            place.column
        )
    }
}

//! Settings out of the document, with every mistake reported and not only the first.
//!
//! serde stops at the first error, so a value is read again and again: each time without the
//! nodes that are known to be wrong, until what is left can be read or nothing is left.

mod blank;
mod deserializer;
mod entries;
mod fault;
mod parts;

use crate::base::problem::{Location, Problems, nearest};
use crate::config::diagnostic::PROBLEMS_MAX;
use crate::config::tree::Document;
use deserializer::Reader;
use fault::{Cause, Fault};
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// What was read of a node.
#[derive(Debug, Clone, Default)]
pub struct Read<T> {
    /// The settings.
    pub value: T,
    /// Whether no part was left out for being wrong; an unknown key leaves nothing out.
    pub complete: bool,
}

/// Reads a node as settings and notes every mistake inside; nothing if the node itself is wrong
/// or if there are too many problems already.
pub fn read<T: DeserializeOwned>(
    document: &Document,
    node: Location,
    problems: &mut Problems,
) -> Option<Read<T>> {
    let report = RefCell::new(Report { top: node, ..Report::default() });
    let result = loop {
        if problems.len() + report.borrow().unknown.len() > PROBLEMS_MAX {
            break None;
        }
        match T::deserialize(Reader { document, report: &report, node }) {
            Ok(value) => {
                break Some(Read { value, complete: report.borrow().poisoned.is_empty() });
            }
            Err(fault) => report.borrow_mut().take(document, fault, problems),
        }
        if report.borrow().is_poisoned(node) {
            break None;
        }
    };
    let mut report = report.into_inner();
    problems.left_out(report.tainted.drain());
    report.note_unknown(document, problems);
    result
}

/// What is known to be wrong, kept from one attempt to the next.
#[derive(Debug, Default)]
struct Report {
    top: Location,
    /// Nodes that are left out.
    poisoned: HashSet<Location>,
    /// Nodes with something poisoned inside: their own errors may only follow from that.
    tainted: HashSet<Location>,
    /// Required fields that a mapping lacks; see [`blank`].
    missing: BTreeMap<Location, BTreeSet<&'static str>>,
    /// Keys that nobody knows, with those that are known in their place.
    unknown: BTreeMap<Location, &'static [&'static str]>,
}

impl Report {
    fn is_poisoned(&self, at: Location) -> bool {
        self.poisoned.contains(&at)
    }

    /// The required fields that a mapping is known to lack.
    fn missing_of(&self, at: Location) -> Vec<&'static str> {
        self.missing.get(&at).map_or_else(Vec::new, |fields| fields.iter().copied().collect())
    }

    /// Notes an error unless it only follows from one already noted, and sees to it that the next
    /// attempt does not meet it again.
    fn take(&mut self, document: &Document, fault: Fault, problems: &mut Problems) {
        let at = fault.at.unwrap_or(self.top);
        if let Cause::Missing(field) = fault.cause {
            let first = self.missing.entry(at).or_default().insert(field);
            if first {
                if !self.explains_missing(document, at, field) {
                    problems.error(at, fault.message).help = fault.help;
                }
                return;
            }
        } else if fault.cause == Cause::Wrong
            && !self.tainted.contains(&at)
            && !self.missing.contains_key(&at)
        {
            problems.error(at, fault.message).help = fault.help;
        }
        if !self.poison(document, at) {
            // The same error once more: give up rather than go round in circles.
            self.poison(document, self.top);
        }
    }

    /// Leaves a node out from now on; whether it was not left out before.
    fn poison(&mut self, document: &Document, at: Location) -> bool {
        let first = self.poisoned.insert(at);
        let mut above = Some(at).filter(|at| *at != self.top).and_then(|at| document.parent(at));
        while let Some(node) = above {
            if !self.tainted.insert(node) || node == self.top {
                break;
            }
            above = document.parent(node);
        }
        first
    }

    /// Whether a missing field was written, but wrongly: its value has an error, or its name has.
    fn explains_missing(&self, document: &Document, at: Location, field: &str) -> bool {
        document.entries(at).any(|entry| {
            if self.is_poisoned(entry.value) || self.is_poisoned(entry.key) {
                return entry.name == field;
            }
            let known = self.unknown.get(&entry.key);
            known.is_some_and(|known| nearest(entry.name, known.iter().copied()) == Some(field))
        })
    }

    fn note_unknown(self, document: &Document, problems: &mut Problems) {
        for (key, known) in self.unknown {
            if problems.len() > PROBLEMS_MAX {
                return;
            }
            let name = document.text(key);
            let help = fault::did_you_mean(name, known).or_else(|| fault::all_known(known));
            problems.error(key, format!("unknown key `{name}`")).help = help;
        }
    }
}

#[cfg(test)]
mod tests;

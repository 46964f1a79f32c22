//! The path of a node, as a person would write it: `routes[0].split[1].to`.

use super::{Document, Step};
use crate::base::problem::Location;
use std::fmt::Write;

/// The most characters of one key that a path shows.
const KEY_CHARS_MAX: usize = 64;

impl Document {
    /// The path from the root to a node; a key has its value's path, the root an empty one.
    pub fn path(&self, at: Location) -> String {
        let mut steps = Vec::new();
        let mut next = self.node(at);
        while let Some(node) = next {
            steps.push(node.step);
            next = node.parent.and_then(|parent| self.node(parent));
        }
        let mut path = String::new();
        for step in steps.into_iter().rev() {
            match step {
                Step::Top => {}
                Step::Index(index) => {
                    let _ = write!(path, "[{index}]");
                }
                Step::Key(key) => push_key(&mut path, self.text(key)),
            }
        }
        path
    }
}

fn push_key(path: &mut String, key: &str) {
    let mut characters = key.chars();
    let plain = characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|rest| rest.is_ascii_alphanumeric() || matches!(rest, '_' | '-'))
        && key.len() <= KEY_CHARS_MAX;
    if plain {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(key);
        return;
    }
    let mut shown: String = key.chars().take(KEY_CHARS_MAX).collect();
    if shown.len() < key.len() {
        shown.push('…');
    }
    let _ = write!(path, "[{shown:?}]");
}

//! Compiled conditions: predicates combined by all, any, not and by the name of a segment.

use super::Head;
use std::fmt;
use std::sync::Arc;

/// One thing that can be asked of a request head; pure.
pub trait Predicate: fmt::Debug + Send + Sync {
    /// Whether the head is as asked.
    fn holds(&self, head: &Head<'_>) -> bool;

    /// What is asked and what the head says instead, for `explain`; never called while serving.
    fn describe(&self, head: &Head<'_>) -> String;
}

/// A compiled `when` or item of `matches`.
#[derive(Debug)]
pub enum Condition {
    /// One predicate.
    Leaf(Box<dyn Predicate>),
    /// All of them hold; always true when there is none.
    All(Vec<Condition>),
    /// At least one of them holds.
    Any(Vec<Condition>),
    /// It does not hold.
    Not(Box<Condition>),
    /// The named segment's condition holds.
    Segment {
        /// The segment's name.
        name: String,
        /// What the segment asks, shared by all who name it.
        condition: Arc<Condition>,
    },
}

impl Condition {
    /// The condition that holds for every request.
    pub fn always() -> Self {
        Self::All(Vec::new())
    }

    /// Whether it asks nothing.
    pub fn is_always(&self) -> bool {
        matches!(self, Self::All(parts) if parts.iter().all(Self::is_always))
    }

    /// Whether the request head is as asked.
    pub fn holds(&self, head: &Head<'_>) -> bool {
        match self {
            Self::Leaf(predicate) => predicate.holds(head),
            Self::All(parts) => parts.iter().all(|part| part.holds(head)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(head)),
            Self::Not(part) => !part.holds(head),
            Self::Segment { condition, .. } => condition.holds(head),
        }
    }

    /// The first predicate that fails, in words, or nothing if the condition holds.
    pub fn failure(&self, head: &Head<'_>) -> Option<String> {
        if self.holds(head) {
            return None;
        }
        Some(match self {
            Self::Leaf(predicate) => predicate.describe(head),
            Self::All(parts) => parts.iter().find_map(|part| part.failure(head))?,
            Self::Any(parts) => {
                let all: Vec<_> = parts.iter().filter_map(|part| part.failure(head)).collect();
                format!("any: {}", all.join("; "))
            }
            Self::Not(_) => "not: what it excludes holds".to_owned(),
            Self::Segment { name, condition } => {
                format!("segment {name}: {}", condition.failure(head)?)
            }
        })
    }
}

//! The leaf `segment`: the request belongs to a named group of users.

use super::compile::{Compiler, Part};
use super::condition::Condition;
use super::segments::Named;
use crate::base::problem::Spanned;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

/// The name of a segment, and where it was written.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct SegmentReference(pub Spanned<String>);

impl Part for SegmentReference {
    fn compile(&self, compiler: &mut Compiler<'_>) -> Condition {
        let Self(name) = self;
        match compiler.segments.named(name) {
            Named::Condition(condition) => {
                Condition::Segment { name: name.value.clone(), condition: Arc::clone(condition) }
            }
            Named::Broken => Condition::always(),
            Named::Unknown => {
                compiler.problems.unknown(name.at, "segment", name, compiler.segments.names());
                Condition::always()
            }
        }
    }

    fn add_references<'a>(&'a self, references: &mut Vec<&'a Spanned<String>>) {
        references.push(&self.0);
    }
}

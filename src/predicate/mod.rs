//! What can be asked of a request head: one file per leaf, the operators, and their combination.

mod condition;
mod head;

pub use condition::{Condition, Predicate};
pub use head::Head;

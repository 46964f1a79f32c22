//! The operator `regex`: a regular expression matches somewhere in the value.

use super::Operator;
use crate::predicate::pattern::Pattern;
use crate::predicate::shown::shown;

impl Operator for Pattern {
    fn holds(&self, value: &[u8]) -> bool {
        self.is_match(value)
    }

    fn denial(&self, _: &[u8]) -> String {
        format!("does not match {}", shown(self.as_str()))
    }

    fn ignoring_case(self) -> Result<Self, String> {
        Pattern::ignoring_case(&self)
    }
}

//! The operator `version`: the value is a version within all comparators.

use super::Operator;
use crate::predicate::shown::shown;
use crate::predicate::version::{Requirement, Version};

impl Operator for Requirement {
    fn holds(&self, value: &[u8]) -> bool {
        Version::read(value).is_some_and(|version| Requirement::holds(self, version))
    }

    fn denial(&self, value: &[u8]) -> String {
        match Version::read(value) {
            Some(_) => format!("is not within {}", shown(self.to_string())),
            None => "is no version".to_owned(),
        }
    }
}

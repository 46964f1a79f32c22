//! Pools as a split knows them: numbers, found by name when the configuration is compiled.

use std::collections::HashMap;

/// The number of a pool, in the order of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolIndex(pub usize);

/// The names of all pools.
#[derive(Debug, Clone, Default)]
pub struct PoolNames {
    names: Vec<String>,
    indexes: HashMap<String, PoolIndex>,
}

impl<N: Into<String>> FromIterator<N> for PoolNames {
    /// Numbers the names in their order; of two pools with one name, the first is found.
    fn from_iter<I: IntoIterator<Item = N>>(names: I) -> Self {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let mut indexes = HashMap::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            indexes.entry(name.clone()).or_insert(PoolIndex(index));
        }
        Self { names, indexes }
    }
}

impl PoolNames {
    /// The pool of that name.
    pub fn index(&self, name: &str) -> Option<PoolIndex> {
        self.indexes.get(name).copied()
    }

    /// The name of a pool.
    pub fn name(&self, pool: PoolIndex) -> Option<&str> {
        self.names.get(pool.0).map(String::as_str)
    }

    /// All names, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::{PoolIndex, PoolNames};

    #[test]
    fn names_and_numbers_belong_together() {
        let names: PoolNames = ["stable", "canary", "stable"].into_iter().collect();
        assert_eq!(names.index("stable"), Some(PoolIndex(0)));
        assert_eq!(names.name(PoolIndex(1)), Some("canary"));
        assert_eq!((names.index("blue"), names.name(PoolIndex(3))), (None, None));
    }
}

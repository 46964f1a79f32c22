//! Which route: a table with a host index, a path index and one order of precedence.

mod hash;
mod path;
mod table;
mod trie;

pub use table::{Entry, Found, Table};

#[cfg(test)]
mod tests;

//! The table's hash function: XXH3, for strings only.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A hash map from strings of the configuration.
///
/// The seed is fixed: the keys in the map come from the operator, never from a request, so nobody
/// can flood it with collisions, and a request's string is only looked up.
pub(super) type StringMap<V> = HashMap<Box<str>, V, Xxh3>;

/// Builds [`Xxh3Hasher`]s.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Xxh3;

/// Hashes one string.
#[derive(Debug)]
pub(super) struct Xxh3Hasher(u64);

impl BuildHasher for Xxh3 {
    type Hasher = Xxh3Hasher;

    fn build_hasher(&self) -> Xxh3Hasher {
        Xxh3Hasher(0)
    }
}

impl Hasher for Xxh3Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    /// Takes the byte that ends a string, which needs no second round.
    fn write_u8(&mut self, byte: u8) {
        self.0 ^= u64::from(byte);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::{StringMap, Xxh3};
    use std::hash::BuildHasher;
    use xxhash_rust::xxh3::xxh3_64;

    #[test]
    fn a_string_is_hashed_in_one_round_of_xxh3() {
        assert_eq!(Xxh3.hash_one("shop.example.com"), xxh3_64(b"shop.example.com") ^ 0xff);
    }

    #[test]
    fn a_map_finds_borrowed_strings() {
        let map: StringMap<_> = (0..1_000).map(|i| (i.to_string().into(), i)).collect();
        assert!((0..1_000).all(|i| map.get(i.to_string().as_str()) == Some(&i)));
        assert_eq!(map.get("1000"), None);
    }
}

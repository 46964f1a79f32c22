//! Where the configuration comes from.

mod file;
mod watch;

pub use file::FileSource;

use xxhash_rust::xxh3::Xxh3Default;

/// One file as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFile {
    /// The path as the user knows it, for messages.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// A number that tells one content from another: names, order and bytes all count.
pub fn fingerprint(files: &[RawFile]) -> u64 {
    let mut hash = Xxh3Default::new();
    for file in files {
        for part in [file.name.as_bytes(), &file.bytes] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::{RawFile, fingerprint};

    #[test]
    fn the_fingerprint_tells_names_and_contents_apart() {
        let file = |name: &str, text: &str| RawFile { name: name.into(), bytes: text.into() };
        let all = [
            fingerprint(&[]),
            fingerprint(&[file("a", "bc")]),
            fingerprint(&[file("ab", "c")]),
            fingerprint(&[file("a", "b"), file("", "c")]),
            fingerprint(&[file("a", "b"), file("c", "")]),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[index + 1..].contains(one));
        }
        assert_eq!(fingerprint(&[file("a", "bc")]), all[1]);
    }
}

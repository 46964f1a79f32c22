//! How values of a request are shown to a person: short, and without control characters.

use std::fmt::{Display, Write};

/// At most this many bytes of a value are shown.
const SHOWN_BYTES_MAX: usize = 128;
/// At most this many items of a list are shown.
const SHOWN_ITEMS_MAX: usize = 8;

/// The value in quotes, escaped, and cut off where it is long.
pub(super) fn shown(value: impl AsRef<[u8]>) -> String {
    let value = value.as_ref();
    match value.split_at_checked(SHOWN_BYTES_MAX) {
        Some((start, rest)) if !rest.is_empty() => {
            format!("{:?}…", String::from_utf8_lossy(start))
        }
        _ => format!("{:?}", String::from_utf8_lossy(value)),
    }
}

/// The first items, separated, and how many more there are.
pub(super) fn listed<T: Display>(items: impl IntoIterator<Item = T>, separator: &str) -> String {
    let mut items = items.into_iter();
    let mut text = String::new();
    for item in items.by_ref().take(SHOWN_ITEMS_MAX) {
        if !text.is_empty() {
            text.push_str(separator);
        }
        // Writing to a string can not fail.
        let _ = write!(text, "{item}");
    }
    match items.count() {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::{listed, shown};

    #[test]
    fn values_are_shown_escaped_and_cut_off() {
        assert_eq!(shown("a\"b\n"), r#""a\"b\n""#);
        assert_eq!(shown(b"\xff"), "\"\u{fffd}\"");
        assert_eq!(shown("x".repeat(128)), format!("\"{}\"", "x".repeat(128)));
        assert_eq!(shown("x".repeat(129)), format!("\"{}\"…", "x".repeat(128)));
    }

    #[test]
    fn long_lists_are_cut_off() {
        assert_eq!(listed([1, 2, 3], ", "), "1, 2, 3");
        assert_eq!(listed(0..10, ", "), "0, 1, 2, 3, 4, 5, 6, 7 and 2 more");
        assert_eq!(listed::<u8>([], ", "), "");
    }
}

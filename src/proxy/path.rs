//! The path of a request, made unambiguous before anything is decided by it. Pure.
//!
//! What comes out is what routes are matched by and what the service gets, byte for byte.

use schemars::JsonSchema;
use serde::Deserialize;
use std::borrow::Cow;

/// What is done with the segments `.` and `..`, percent-encoded or not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DotSegments {
    /// They are resolved (RFC 3986 section 5.2.4); 400 if services would not all do so alike.
    #[default]
    Resolve,
    /// 400.
    Refuse,
    /// They are matched and forwarded as sent.
    Keep,
}

/// What is done with empty segments, as in `//`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RepeatedSlashes {
    /// They are matched and forwarded as sent.
    #[default]
    Keep,
    /// They are left out.
    Merge,
    /// 400.
    Refuse,
}

/// What is done with `%2f`, `%5c` and `\`, which some services read as `/`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum EncodedSeparators {
    /// They are matched and forwarded as sent.
    #[default]
    Keep,
    /// 400.
    Refuse,
}

/// How paths are made unambiguous.
#[derive(Debug, Clone, Copy, Default)]
pub struct PathRules {
    /// `.` and `..`.
    pub dot_segments: DotSegments,
    /// `//`.
    pub repeated_slashes: RepeatedSlashes,
    /// `%2f`, `%5c` and `\`.
    pub encoded_separators: EncodedSeparators,
}

/// The path can be read in two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ambiguous;

impl PathRules {
    /// The path as it is matched and forwarded; borrowed if that is as it was sent.
    pub fn apply<'a>(&self, path: &'a str) -> Result<Cow<'a, str>, Ambiguous> {
        // Most paths have nothing of the kind.
        if !is_suspicious(path.as_bytes()) || !path.starts_with('/') {
            return Ok(Cow::Borrowed(path));
        }
        let path_bytes = path.as_bytes();
        if separators(path_bytes, is_nul).count() > 1 {
            return Err(Ambiguous);
        }
        if self.encoded_separators == EncodedSeparators::Refuse
            && separators(path_bytes, is_encoded_separator).count() > 1
        {
            return Err(Ambiguous);
        }
        let mut changed = false;
        let mut kept: Vec<&str> = Vec::new();
        let mut segments = path.split('/').skip(1).peekable();
        while let Some(segment) = segments.next() {
            let last = segments.peek().is_none();
            match Segment::of(segment.as_bytes()) {
                Segment::Plain => {}
                Segment::Empty if last => {}
                Segment::Empty => match self.repeated_slashes {
                    RepeatedSlashes::Keep => {}
                    RepeatedSlashes::Merge => {
                        changed = true;
                        continue;
                    }
                    RepeatedSlashes::Refuse => return Err(Ambiguous),
                },
                dots => match self.dot_segments {
                    DotSegments::Keep => {}
                    DotSegments::Resolve if dots != Segment::HiddenDots => {
                        changed = true;
                        if dots == Segment::Up {
                            kept.pop();
                        }
                        // `/a/..` is the folder `/`, `/a/.` is the folder `/a/`.
                        if !last {
                            continue;
                        }
                        kept.push("");
                        continue;
                    }
                    _ => return Err(Ambiguous),
                },
            }
            kept.push(segment);
        }
        if !changed {
            return Ok(Cow::Borrowed(path));
        }
        let mut path = String::with_capacity(path.len());
        for segment in kept {
            path.push('/');
            path.push_str(segment);
        }
        Ok(Cow::Owned(path))
    }
}

/// Whether there may be anything to look at closer: one pass over the bytes.
fn is_suspicious(path: &[u8]) -> bool {
    let mut slash = false;
    path.iter().any(|byte| {
        let after_slash = std::mem::replace(&mut slash, *byte == b'/');
        matches!(byte, b'%' | b'\\' | b';') || (after_slash && matches!(byte, b'.' | b'/'))
    })
}

/// What a segment is to those who resolve paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Segment {
    Plain,
    Empty,
    /// `.`
    Here,
    /// `..`
    Up,
    /// `.` or `..` only for those who read `%2f`, `%5c` or `\` as separators or cut off what
    /// follows a `;`.
    HiddenDots,
}

impl Segment {
    fn of(segment: &[u8]) -> Self {
        if segment.is_empty() {
            return Self::Empty;
        }
        match dots(segment) {
            Some(1) => return Self::Here,
            Some(2) => return Self::Up,
            _ => {}
        }
        let hidden = separators(segment, is_encoded_separator).any(|part| {
            let name = part.split(|byte| *byte == b';').next().unwrap_or_default();
            matches!(dots(name), Some(1 | 2))
        });
        if hidden { Self::HiddenDots } else { Self::Plain }
    }
}

/// How many dots a text consists of, `%2e` being one; nothing if there is anything else.
fn dots(text: &[u8]) -> Option<usize> {
    let mut rest = text;
    let mut count = 0;
    while !rest.is_empty() {
        rest = match rest {
            [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] => rest,
            _ => return None,
        };
        count += 1;
    }
    Some(count)
}

/// The parts of a text between what `length` finds at a place: the length of a separator, or 0.
fn separators(text: &[u8], length: fn(&[u8]) -> usize) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let found = (0..text.len()).find_map(|at| {
            let (before, after) = text.split_at_checked(at)?;
            let length = length(after);
            (length > 0).then(|| (before, after.get(length..).unwrap_or_default()))
        });
        let (part, after) = found.map_or((text, None), |(part, after)| (part, Some(after)));
        rest = after;
        Some(part)
    })
}

fn is_encoded_separator(text: &[u8]) -> usize {
    match text {
        [b'\\', ..] => 1,
        [b'%', b'2', b'f' | b'F', ..] | [b'%', b'5', b'c' | b'C', ..] => 3,
        _ => 0,
    }
}

fn is_nul(text: &[u8]) -> usize {
    if text.starts_with(b"%00") { 3 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::{Ambiguous, DotSegments, EncodedSeparators, PathRules, RepeatedSlashes};
    use proptest::prelude::*;

    fn resolved(path: &str) -> Result<String, Ambiguous> {
        PathRules::default().apply(path).map(std::borrow::Cow::into_owned)
    }

    #[test]
    fn dot_segments_are_resolved() {
        for (sent, meant) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/./b", "/a/b"),
            ("/a/..", "/"),
            ("/a/.", "/a/"),
            ("/..", "/"),
            ("/../../a", "/a"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/a/b/../../c/", "/c/"),
            ("/a//../b", "/a/b"),
            ("/.well-known/x", "/.well-known/x"),
            ("/...", "/..."),
            ("/a..", "/a.."),
            ("/a%20b;c=d", "/a%20b;c=d"),
            ("/a%2fb", "/a%2fb"),
            ("*", "*"),
        ] {
            assert_eq!(resolved(sent).as_deref(), Ok(meant), "{sent}");
        }
    }

    #[test]
    fn dot_segments_that_only_some_see_are_refused() {
        for path in
            ["/a/..;/b", "/a/..%2fb", "/a/%2e%2e%5Cb", "/a/..\\b", "/a%2f..", "/.;x/b", "/a%00"]
        {
            assert_eq!(resolved(path), Err(Ambiguous), "{path}");
        }
    }

    #[test]
    fn what_is_kept_is_kept_as_sent() {
        let rules = PathRules { dot_segments: DotSegments::Keep, ..PathRules::default() };
        for path in ["/a/../b", "/a/..;/b", "/a//b", "/a%2F..%2Fb"] {
            assert_eq!(rules.apply(path).as_deref(), Ok(path));
        }
        assert!(rules.apply("/a%00").is_err());
    }

    #[test]
    fn what_is_refused_is_refused() {
        let rules = PathRules {
            dot_segments: DotSegments::Refuse,
            repeated_slashes: RepeatedSlashes::Refuse,
            encoded_separators: EncodedSeparators::Refuse,
        };
        for path in ["/a/../b", "/.", "/a//b", "//", "/a%2fb", "/a%5Cb", "/a\\b"] {
            assert_eq!(rules.apply(path), Err(Ambiguous), "{path}");
        }
        for path in ["/", "/a/", "/a/b;c", "/a%20b", "/.a"] {
            assert_eq!(rules.apply(path).as_deref(), Ok(path));
        }
    }

    #[test]
    fn repeated_slashes_are_merged() {
        let repeated_slashes = RepeatedSlashes::Merge;
        let rules = PathRules { repeated_slashes, ..PathRules::default() };
        for (sent, meant) in [("//a///b//", "/a/b/"), ("//", "/"), ("/a//../b", "/b")] {
            assert_eq!(rules.apply(sent).as_deref(), Ok(meant), "{sent}");
        }
    }

    proptest! {
        #[test]
        fn what_comes_out_has_no_dot_segment_and_stays_as_it_is(
            path in "/([a-c./;\\\\]|%2e|%2E|%2f|%5c|%41){0,24}",
            merge in any::<bool>(),
        ) {
            let repeated_slashes =
                if merge { RepeatedSlashes::Merge } else { RepeatedSlashes::Keep };
            let rules = PathRules { repeated_slashes, ..PathRules::default() };
            if let Ok(once) = rules.apply(&path) {
                prop_assert!(once.starts_with('/'));
                let again = rules.apply(&once);
                prop_assert_eq!(again.as_deref(), Ok(&*once));
                let read = once.to_lowercase().replace("%2e", ".");
                let read = read.replace("%2f", "/").replace("%5c", "/").replace('\\', "/");
                for segment in read.split('/') {
                    let name = segment.split(';').next().unwrap();
                    prop_assert!(name != "." && name != "..", "{:?} gave {:?}", path, once);
                }
                prop_assert!(!merge || !once.contains("//"));
            }
        }

        #[test]
        fn without_dots_nothing_changes(path in "/[a-z%0-9/;]{0,24}") {
            if let Ok(out) = PathRules::default().apply(&path) {
                prop_assert!(out == path || path.to_lowercase().contains("%2e"));
            }
        }
    }
}

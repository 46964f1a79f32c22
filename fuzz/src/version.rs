//! Versions and what is required of them, beside the crate `semver`.

use serin::predicate::{Requirement, Version};
use std::cmp::Ordering;

/// Three lines: two versions and a requirement.
pub fn run(bytes: &[u8]) {
    let mut lines = bytes.splitn(3, |byte| *byte == b'\n');
    let (one, two) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let required = lines.next().unwrap_or_default();
    let read = (Version::read(one), Version::read(two));
    let known = (semver(one), semver(two));
    for (ours, theirs) in [(read.0, &known.0), (read.1, &known.1)] {
        assert!(ours.is_some() || theirs.is_none(), "a version was not read");
    }
    if let (Some(one), Some(two)) = read {
        assert_eq!(one.cmp(&two), two.cmp(&one).reverse(), "the order has two directions");
        if let (Some(left), Some(right)) = &known {
            assert_eq!(one.cmp(&two), left.cmp_precedence(right), "the order differs");
        }
    }
    let Ok(required) = std::str::from_utf8(required) else { return };
    let Ok(requirement) = required.parse::<Requirement>() else { return };
    let Some(version) = read.0 else { return };
    let holds = requirement.holds(version);
    let parts = required.split(',').map(|part| plain(part.trim(), version));
    if let Some(parts) = parts.collect::<Option<Vec<_>>>() {
        assert_eq!(holds, parts.into_iter().all(|part| part), "`{required}` holds differently");
    }
}

fn semver(text: &[u8]) -> Option<semver::Version> {
    // Longer ones are none to us.
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= 256)?;
    semver::Version::parse(text).ok()
}

/// What the plain relations say; nothing for `~` and `^`, whose ends are tested elsewhere.
fn plain(part: &str, version: Version<'_>) -> Option<bool> {
    let sign = part.trim_start_matches(['=', '!', '<', '>']).len();
    let (sign, text) = part.split_at(part.len() - sign);
    let order = version.cmp(&Version::read(text.trim_start().as_bytes())?);
    Some(match sign {
        "" | "=" => order == Ordering::Equal,
        "!=" => order != Ordering::Equal,
        ">" => order == Ordering::Greater,
        "<" => order == Ordering::Less,
        ">=" => order != Ordering::Less,
        "<=" => order != Ordering::Greater,
        _ => return None,
    })
}

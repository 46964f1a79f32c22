//! Versions as clients send them, and what can be required of them.

use super::text::Text;
use schemars::JsonSchema;
use serde::Deserialize;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A longer text is no version, in bytes.
const VERSION_BYTES_MAX: usize = 256;

/// A version by Semantic Versioning 2.0, or a shortened one; a leading `v` and build metadata are
/// left out, the order is that of precedence (section 11), pre-releases included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version<'a> {
    numbers: [u64; 3],
    prerelease: &'a str,
}

impl<'a> Version<'a> {
    /// Reads a version, or nothing where the value is none.
    pub fn read(value: &'a [u8]) -> Option<Self> {
        read(value).map(|(version, _)| version)
    }
}

impl Ord for Version<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| {
            match (self.prerelease.is_empty(), other.prerelease.is_empty()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => self
                    .prerelease
                    .split('.')
                    .map(Identifier::of)
                    .cmp(other.prerelease.split('.').map(Identifier::of)),
            }
        })
    }
}

impl PartialOrd for Version<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// One dot-separated part of a pre-release; the derived order is that of section 11.4.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Identifier<'a> {
    /// Without leading zeros, so that the longer number is the larger one, however long.
    Number {
        digits: usize,
        text: &'a str,
    },
    Word(&'a str),
}

impl<'a> Identifier<'a> {
    fn of(text: &'a str) -> Self {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            Self::Number { digits: text.len(), text }
        } else {
            Self::Word(text)
        }
    }
}

/// The version and how many of its three numbers were written.
fn read(value: &[u8]) -> Option<(Version<'_>, usize)> {
    if value.len() > VERSION_BYTES_MAX {
        return None;
    }
    let text = str::from_utf8(value).ok()?;
    let text = text.strip_prefix('v').unwrap_or(text);
    let (text, build) = split(text, '+');
    let (core, prerelease) = split(text, '-');
    if !build.is_none_or(|build| build.split('.').all(is_identifier)) {
        return None;
    }
    if !prerelease.is_none_or(|parts| parts.split('.').all(|p| is_identifier(p) && !is_padded(p))) {
        return None;
    }
    let mut numbers = [0; 3];
    let mut written = 0;
    for part in core.split('.') {
        *numbers.get_mut(written)? = number(part)?;
        written += 1;
    }
    Some((Version { numbers, prerelease: prerelease.unwrap_or_default() }, written))
}

fn split(text: &str, separator: char) -> (&str, Option<&str>) {
    text.split_once(separator).map_or((text, None), |(start, rest)| (start, Some(rest)))
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Whether it is a number with a leading zero, which section 2 forbids.
fn is_padded(text: &str) -> bool {
    text.len() > 1 && text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn number(text: &str) -> Option<u64> {
    // `parse` alone would take a leading `+`.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    (digits && !is_padded(text)).then(|| text.parse().ok()).flatten()
}

/// What a version must be: comparators, all of which hold.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "Text")]
#[schemars(with = "Text", rename = "VersionRequirement")]
pub struct Requirement {
    source: String,
    comparators: Vec<Comparator>,
}

impl Requirement {
    /// Whether the version is within all comparators.
    pub fn holds(&self, version: Version<'_>) -> bool {
        self.comparators.iter().all(|comparator| comparator.holds(version))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl TryFrom<Text> for Requirement {
    type Error = String;

    fn try_from(text: Text) -> Result<Self, String> {
        text.0.parse()
    }
}

impl FromStr for Requirement {
    type Err = String;

    fn from_str(source: &str) -> Result<Self, String> {
        let mut comparators = Vec::new();
        for part in source.split(',') {
            read_comparator(part.trim(), &mut comparators)?;
        }
        Ok(Self { source: source.to_owned(), comparators })
    }
}

#[derive(Debug, Clone, Copy)]
enum Relation {
    Equal,
    NotEqual,
    Above,
    AtLeast,
    Below,
    AtMost,
}

#[derive(Debug, Clone)]
struct Comparator {
    relation: Relation,
    numbers: [u64; 3],
    prerelease: Box<str>,
}

impl Comparator {
    fn new(relation: Relation, version: Version<'_>) -> Self {
        Self { relation, numbers: version.numbers, prerelease: version.prerelease.into() }
    }

    fn holds(&self, version: Version<'_>) -> bool {
        let limit = Version { numbers: self.numbers, prerelease: &self.prerelease };
        let order = version.cmp(&limit);
        match self.relation {
            Relation::Equal => order.is_eq(),
            Relation::NotEqual => order.is_ne(),
            Relation::Above => order.is_gt(),
            Relation::AtLeast => order.is_ge(),
            Relation::Below => order.is_lt(),
            Relation::AtMost => order.is_le(),
        }
    }
}

/// Every sign, the longer ones first; a comparator without one is `=`.
const SIGNS: [(&str, Sign); 8] = [
    (">=", Sign::Relation(Relation::AtLeast)),
    ("<=", Sign::Relation(Relation::AtMost)),
    ("!=", Sign::Relation(Relation::NotEqual)),
    ("=", Sign::Relation(Relation::Equal)),
    (">", Sign::Relation(Relation::Above)),
    ("<", Sign::Relation(Relation::Below)),
    ("~", Sign::Tilde),
    ("^", Sign::Caret),
];

#[derive(Clone, Copy)]
enum Sign {
    Relation(Relation),
    Tilde,
    Caret,
}

fn read_comparator(part: &str, comparators: &mut Vec<Comparator>) -> Result<(), String> {
    let (sign, text) = SIGNS
        .iter()
        .find_map(|(sign, meaning)| part.strip_prefix(sign).map(|text| (*meaning, text)))
        .unwrap_or((Sign::Relation(Relation::Equal), part));
    let (version, written) = read(text.trim_start().as_bytes()).ok_or_else(|| {
        format!(
            "`{part}` is no comparator: write one of `= != > >= < <= ~ ^` before a version such \
             as `2.4.1`, and a comma between comparators"
        )
    })?;
    let [major, minor, patch] = version.numbers;
    let end = match (sign, written, version.numbers) {
        (Sign::Relation(relation), ..) => {
            comparators.push(Comparator::new(relation, version));
            return Ok(());
        }
        (Sign::Tilde | Sign::Caret, 1, _) | (Sign::Caret, _, [1..=u64::MAX, ..]) => {
            major.checked_add(1).map(|major| [major, 0, 0])
        }
        (Sign::Tilde, ..) | (Sign::Caret, 2, _) | (Sign::Caret, _, [_, 1..=u64::MAX, _]) => {
            minor.checked_add(1).map(|minor| [major, minor, 0])
        }
        (Sign::Caret, ..) => patch.checked_add(1).map(|patch| [major, minor, patch]),
    };
    let numbers =
        end.ok_or_else(|| format!("`{part}` has no upper end: the number is too large"))?;
    comparators.push(Comparator::new(Relation::AtLeast, version));
    comparators.push(Comparator::new(Relation::Below, Version { numbers, prerelease: "" }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Requirement, Version};
    use proptest::prelude::*;

    fn holds(requirement: &str, version: &str) -> bool {
        let version = Version::read(version.as_bytes()).unwrap_or_else(|| panic!("{version}"));
        requirement.parse::<Requirement>().unwrap().holds(version)
    }

    #[test]
    fn comparators_hold_as_documented() {
        let table = [
            (
                ">=2.4, <3",
                &["2.4", "2.4.0", "v2.9.9", "3.0.0-rc.1"][..],
                &["2.3.9", "3", "2.4.0-rc.1"][..],
            ),
            ("2.4", &["2.4", "2.4.0", "2.4.0+b7"], &["2.4.1", "2.4.0-rc"]),
            ("=2", &["2", "2.0", "v2.0.0"], &["2.0.1", "2.1"]),
            ("!=2.4", &["2.4.1", "2.4.0-rc"], &["2.4", "2.4.0"]),
            (">2.4", &["2.4.1", "3"], &["2.4", "2.4.0+x"]),
            ("<=2.4", &["2.4", "2.4.0-rc.1", "0"], &["2.4.1"]),
            ("<2.4.0", &["2.4.0-rc.1", "2.3"], &["2.4.0"]),
            ("~1.2.3", &["1.2.3", "1.2.9", "1.3.0-rc"], &["1.2.2", "1.3.0"]),
            ("~1.2", &["1.2.0", "1.2.9"], &["1.1.9", "1.3"]),
            ("~1", &["1", "1.9.9"], &["0.9", "2"]),
            ("~2.4-rc.1", &["2.4.0-rc.1", "2.4.9"], &["2.4.0-rc.0", "2.5"]),
            ("^1.2.3", &["1.2.3", "1.9.9", "2.0.0-rc.1"], &["1.2.2", "2.0.0"]),
            ("^0.2.3", &["0.2.3", "0.2.9"], &["0.2.2", "0.3.0"]),
            ("^0.0.3", &["0.0.3"], &["0.0.2", "0.0.4"]),
            ("^0.0", &["0.0.0", "0.0.9"], &["0.1.0"]),
            ("^0.3", &["0.3", "0.3.9"], &["0.2.9", "0.4"]),
            ("^0", &["0.0.0", "0.9.9"], &["1.0.0"]),
            ("^1.2", &["1.2.0", "1.9"], &["1.1.9", "2"]),
            (" >= v2.4 ,< 3 ", &["2.5"], &["3"]),
        ];
        for (requirement, inside, outside) in table {
            for version in inside {
                assert!(holds(requirement, version), "{version} is within {requirement}");
            }
            for version in outside {
                assert!(!holds(requirement, version), "{version} is not within {requirement}");
            }
        }
    }

    #[test]
    fn what_is_no_version_is_not_read_as_one() {
        let long = format!("1.0.0-{}", "a".repeat(300));
        for wrong in [
            "",
            "v",
            "vv1",
            "V1",
            "abc",
            "1.",
            ".1",
            "1..2",
            "1.2.3.4",
            "1.2.x",
            "*",
            "01",
            "1.02",
            "-1",
            "+1",
            "1.+2",
            " 1",
            "1 ",
            "1-",
            "1+",
            "1-a..b",
            "1-01",
            "1-a_b",
            "1+a+b",
            "1.2-é",
            "18446744073709551616",
            &long,
        ] {
            assert_eq!(Version::read(wrong.as_bytes()), None, "{wrong:?}");
        }
        assert_eq!(Version::read(b"1.\xff"), None);
        for right in ["18446744073709551615", "1-0a", "1+01", "1--", "1.2-rc.1+b.7"] {
            assert!(Version::read(right.as_bytes()).is_some(), "{right}");
        }
    }

    #[test]
    fn what_is_no_requirement_is_refused() {
        for wrong in
            ["", ",", ">=2,", ">=1 <2", "==1", "=>1", "> =1", "1.x", "*", "~>1", ">=", "^^1"]
        {
            let error = wrong.parse::<Requirement>().unwrap_err();
            assert!(error.contains("is no comparator"), "{wrong:?}: {error}");
        }
        for wrong in
            ["^18446744073709551615", "~1.18446744073709551615", "^0.0.18446744073709551615"]
        {
            let error = wrong.parse::<Requirement>().unwrap_err();
            assert!(error.contains("too large"), "{wrong:?}: {error}");
        }
    }

    fn semver_text() -> impl Strategy<Value = String> {
        let number = prop_oneof![0_u64..4, Just(u64::MAX)];
        (
            number.clone(),
            0_u64..4,
            number,
            "(-(0|[1-9][0-9]?|[0-9]{0,2}[a-c-]{1,3})){0,1}",
            "(\\.(0|[1-9][0-9]{0,2}|[a-c]{1,3})){0,2}",
            "(\\+[a-c0-9.]{0}[a-c0-9]{1,3})?",
        )
            .prop_map(|(major, minor, patch, prerelease, more, build)| {
                let more = if prerelease.is_empty() { "" } else { more.as_str() };
                format!("{major}.{minor}.{patch}{prerelease}{more}{build}")
            })
    }

    proptest! {
        #[test]
        fn versions_are_ordered_as_semver_orders_them(one in semver_text(), two in semver_text()) {
            let ours = Version::read(one.as_bytes()).cmp(&Version::read(two.as_bytes()));
            let theirs = one
                .parse::<semver::Version>()
                .unwrap()
                .cmp_precedence(&two.parse::<semver::Version>().unwrap());
            prop_assert_eq!(ours, theirs);
        }

        #[test]
        fn whatever_semver_reads_is_read(text in "v?[0-3a-]{0,4}[.+-]?[0-2a.+-]{0,12}") {
            let bare = text.strip_prefix('v').unwrap_or(&text);
            let full = bare.split(['-', '+']).next().unwrap_or_default().matches('.').count() == 2;
            let ours = Version::read(text.as_bytes()).is_some();
            prop_assert!(ours || bare.parse::<semver::Version>().is_err());
            prop_assert!(!full || ours == bare.parse::<semver::Version>().is_ok());
        }

        #[test]
        fn any_bytes_can_be_read(value in any::<Vec<u8>>(), text in ".*") {
            let _ = Version::read(&value);
            let _ = text.parse::<Requirement>();
        }

        #[test]
        fn shortened_versions_are_padded_with_zeros(major in 0_u64..9, minor in 0_u64..9) {
            let read = |text: String| Version::read(text.as_bytes()).map(|version| version.numbers);
            prop_assert_eq!(read(format!("v{major}")), Some([major, 0, 0]));
            prop_assert_eq!(read(format!("{major}.{minor}")), Some([major, minor, 0]));
        }

        #[test]
        fn caret_and_tilde_equal_their_expansions(
            (major, minor, patch) in (0_u64..3, 0_u64..3, 0_u64..3),
            version in "[0-3]\\.[0-3]\\.[0-3](-rc\\.[0-3])?",
        ) {
            let same = |short: String, long: String| {
                prop_assert_eq!(holds(&short, &version), holds(&long, &version), "{} {}", short, long);
                Ok(())
            };
            let (next_major, next_minor, next_patch) = (major + 1, minor + 1, patch + 1);
            let full = format!("{major}.{minor}.{patch}");
            same(format!("~{full}"), format!(">={full}, <{major}.{next_minor}.0"))?;
            same(format!("~{major}.{minor}"), format!(">={major}.{minor}.0, <{major}.{next_minor}.0"))?;
            same(format!("~{major}"), format!(">={major}.0.0, <{next_major}.0.0"))?;
            let end = match (major, minor) {
                (0, 0) => format!("0.0.{next_patch}"),
                (0, _) => format!("0.{next_minor}.0"),
                _ => format!("{next_major}.0.0"),
            };
            same(format!("^{full}"), format!(">={full}, <{end}"))?;
            same(format!("^{major}"), format!(">={major}.0.0, <{next_major}.0.0"))?;
        }
    }
}

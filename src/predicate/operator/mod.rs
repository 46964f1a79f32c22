//! Operators: what can be asked of one value. One file each, and one entry in the list below.

mod contains;
mod exact;
mod in_list;
mod prefix;
mod present;
mod range;
mod regex;
mod suffix;
mod version;

use super::pattern::Pattern;
use super::shown::{listed, shown};
use schemars::JsonSchema;
use serde::Deserialize;
use std::fmt;
use std::sync::Arc;

/// What can be asked of one value; pure.
pub trait Operator: fmt::Debug + Send + Sync {
    /// Whether the value is as asked.
    fn holds(&self, value: &[u8]) -> bool;

    /// What is wrong with a value that is not as asked, in words that follow the value.
    fn denial(&self, value: &[u8]) -> String;

    /// Whether it is as asked that there is no value.
    fn holds_absent(&self) -> bool {
        false
    }

    /// The same question without regard to case; an error where case means nothing.
    fn ignoring_case(self) -> Result<Self, String>
    where
        Self: Sized,
    {
        Err("it compares no letters".to_owned())
    }
}

/// Generates what is written for an operator, alone and beside a `name`, and the choice of the one
/// that was written.
macro_rules! operators {
    ($($(#[$doc:meta])+ $name:ident: $operator:ty,)+) => {
        /// An operator as written.
        #[derive(Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        #[schemars(extend("oneOf" = exactly_one(&[$(stringify!($name)),+])))]
        struct Fields {
            $($(#[$doc])+ $name: Option<$operator>,)+
            /// Whether the case of letters is ignored; beside an operator that compares text.
            ignore_case: Option<bool>,
            /// First takes the first capture of this out of the value; no match counts as no value.
            extract: Option<Extract>,
        }

        /// An operator as written beside the name of what it looks at.
        #[derive(Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        #[schemars(extend("oneOf" = exactly_one(&[$(stringify!($name)),+])))]
        pub(super) struct NamedFields<N> {
            /// The name of what is looked at.
            name: N,
            $($(#[$doc])+ $name: Option<$operator>,)+
            /// Whether the case of letters is ignored; beside an operator that compares text.
            ignore_case: Option<bool>,
            /// First takes the first capture of this out of the value; no match counts as no value.
            extract: Option<Extract>,
        }

        impl<N> NamedFields<N> {
            /// The name, and what is asked of the values that bear it.
            pub(super) fn into_parts(self) -> Result<(N, Test), String> {
                let Self { name, $($name,)+ ignore_case, extract } = self;
                Ok((name, Fields { $($name,)+ ignore_case, extract }.try_into()?))
            }
        }

        impl TryFrom<Fields> for Test {
            type Error = String;

            fn try_from(fields: Fields) -> Result<Self, String> {
                let ignore_case = fields.ignore_case == Some(true);
                let mut written = Vec::new();
                $(if let Some(operator) = fields.$name {
                    written.push((stringify!($name), build(operator, ignore_case)));
                })+
                let operator = only(written, &[$(stringify!($name)),+])?;
                Ok(Self { extract: fields.extract, operator })
            }
        }
    };
}

operators! {
    /// The value is this text.
    exact: exact::Exact,
    /// The value starts with this text.
    prefix: prefix::Prefix,
    /// The value ends with this text.
    suffix: suffix::Suffix,
    /// This text is somewhere in the value.
    contains: contains::Contains,
    /// This regular expression matches somewhere in the value.
    regex: Pattern,
    /// The value is one of these texts.
    r#in: in_list::In,
    /// Whether there is a value at all.
    present: present::Present,
    /// The value is an integer within these ends.
    range: range::Range,
    /// The value is a version within all of these comparators, such as `>=2.4, <3`.
    version: super::version::Requirement,
}

/// The regular expression of `extract`: it has a capture group.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "Pattern")]
#[schemars(with = "Pattern", inline)]
struct Extract(Pattern);

impl TryFrom<Pattern> for Extract {
    type Error = String;

    fn try_from(pattern: Pattern) -> Result<Self, String> {
        if pattern.groups() == 0 {
            return Err(format!(
                "`{pattern}` captures nothing: put what is to be taken out in parentheses"
            ));
        }
        Ok(Self(pattern))
    }
}

/// What is asked of the values that bear a name: an operator, after what `extract` takes out.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "Fields")]
#[schemars(with = "Fields", rename = "Operator")]
pub struct Test {
    extract: Option<Extract>,
    operator: Arc<dyn Operator>,
}

impl Test {
    /// Whether any of the values is as asked; without a value, whether that is as asked.
    pub fn holds<V: AsRef<[u8]>>(&self, values: impl Iterator<Item = V>) -> bool {
        let mut absent = true;
        for value in values {
            if let Some(value) = self.extracted(value.as_ref()) {
                if self.operator.holds(value) {
                    return true;
                }
                absent = false;
            }
        }
        absent && self.operator.holds_absent()
    }

    /// Why none of the values is as asked.
    pub fn describe<V: AsRef<[u8]>>(
        &self,
        what: impl fmt::Display,
        values: impl Iterator<Item = V>,
    ) -> String {
        let mut denials = values.map(|value| self.denial(value.as_ref())).peekable();
        if denials.peek().is_none() {
            return format!("{what}: absent");
        }
        format!("{what}: {}", listed(denials, "; "))
    }

    fn denial(&self, value: &[u8]) -> String {
        match (self.extracted(value), &self.extract) {
            (Some(part), _) => format!("{} {}", shown(part), self.operator.denial(part)),
            (None, Some(Extract(pattern))) => {
                format!("{} has nothing that `{pattern}` takes out", shown(value))
            }
            (None, None) => shown(value),
        }
    }

    fn extracted<'a>(&self, value: &'a [u8]) -> Option<&'a [u8]> {
        match &self.extract {
            Some(Extract(pattern)) => pattern.capture(value),
            None => Some(value),
        }
    }
}

type Built = Result<Arc<dyn Operator>, String>;

fn build<O: Operator + 'static>(operator: O, ignore_case: bool) -> Built {
    Ok(Arc::new(if ignore_case { operator.ignoring_case()? } else { operator }))
}

/// For the schema: exactly one of these is written.
fn exactly_one(names: &[&str]) -> Vec<serde_json::Value> {
    names.iter().map(|name| serde_json::json!({ "required": [plain(name)] })).collect()
}

/// The only operator that was written.
fn only(written: Vec<(&str, Built)>, known: &[&str]) -> Built {
    let names = |names: &mut dyn Iterator<Item = &str>| {
        let quoted: Vec<_> = names.map(|name| format!("`{}`", plain(name))).collect();
        quoted.join(", ")
    };
    let all = names(&mut written.iter().map(|(name, _)| *name));
    let mut written = written.into_iter();
    match (written.next(), written.next()) {
        (Some((name, operator)), None) => operator.map_err(|error| {
            format!("`ignoreCase` can not stand beside `{}`: {error}", plain(name))
        }),
        (None, _) => {
            let known = names(&mut known.iter().copied());
            Err(format!("an operator is missing: write one of {known}"))
        }
        (Some(_), Some(_)) => Err(format!("only one operator can be asked at once, not {all}")),
    }
}

/// The name as written in a document.
fn plain(name: &str) -> &str {
    name.trim_start_matches("r#")
}

#[cfg(test)]
mod tests {
    use super::Test;

    fn read(json: &str) -> Result<Test, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    fn holds(json: &str, value: impl AsRef<[u8]>) -> bool {
        read(json).unwrap().holds([value].iter())
    }

    #[track_caller]
    fn check(json: &str, right: &[&str], wrong: &[&str]) {
        for value in right {
            assert!(holds(json, value), "{json} holds for {value:?}");
        }
        for value in wrong {
            assert!(!holds(json, value), "{json} does not hold for {value:?}");
        }
    }

    #[test]
    fn text_is_compared_as_named() {
        check(r#"{"exact": "ab"}"#, &["ab"], &["AB", "abc", "", "a"]);
        check(r#"{"prefix": "ab"}"#, &["ab", "abc"], &["a", "xab", "Ab", ""]);
        check(r#"{"suffix": "ab"}"#, &["ab", "xab"], &["b", "abx", "aB", ""]);
        check(r#"{"contains": "a.b"}"#, &["a.b", "xa.by"], &["axb", "A.B", ""]);
        check(r#"{"regex": "^a.b"}"#, &["a.b", "axby"], &["xaxb", "AxB"]);
        check(r#"{"in": ["b", "a", "é"]}"#, &["a", "b", "é"], &["A", "", "ab"]);
    }

    #[test]
    fn case_is_ignored_when_asked() {
        check(r#"{"exact": "aB", "ignoreCase": true}"#, &["Ab", "AB"], &["abc"]);
        check(r#"{"prefix": "aB", "ignoreCase": true}"#, &["AbC"], &["a", "xab"]);
        check(r#"{"suffix": "aB", "ignoreCase": true}"#, &["xAb"], &["b"]);
        check(r#"{"contains": "aBé", "ignoreCase": true}"#, &["xAbéy"], &["AbÉ", "ab"]);
        check(r#"{"regex": "^é", "ignoreCase": true}"#, &["É", "é"], &["e"]);
        check(r#"{"in": ["Zed", "aB", "[x"], "ignoreCase": true}"#, &["AB", "zED", "[X"], &["abc"]);
        check(r#"{"exact": "aB", "ignoreCase": false}"#, &["aB"], &["ab"]);
    }

    #[test]
    fn values_that_are_no_utf_8_are_compared_as_bytes() {
        assert!(holds(r#"{"prefix": "a"}"#, b"a\xff"));
        assert!(holds(r#"{"contains": "a"}"#, b"\xffa"));
        assert!(holds(r#"{"regex": "^a"}"#, b"a\xff"));
        assert!(!holds(r#"{"range": {"from": 0}}"#, b"\xff"));
        assert!(!holds(r#"{"version": ">=0"}"#, b"\xff"));
    }

    #[test]
    fn presence_is_asked_of_all_values_together() {
        let none = || std::iter::empty::<&str>();
        assert!(read(r#"{"present": false}"#).unwrap().holds(none()));
        assert!(!read(r#"{"present": true}"#).unwrap().holds(none()));
        assert!(!read(r#"{"exact": ""}"#).unwrap().holds(none()));
        check(r#"{"present": true}"#, &["", "x"], &[]);
        check(r#"{"present": false}"#, &[], &["", "x"]);
    }

    #[test]
    fn a_range_ends_before_its_end() {
        check(r#"{"range": {"from": -1, "to": 3}}"#, &["-1", "0", "2", "+2", "02"], &["3", "-2"]);
        check(r#"{"range": {"from": 5}}"#, &["5", "99999999999999999999"], &["4"]);
        check(r#"{"range": {"to": 5}}"#, &["4", "-9"], &["5", "", "a", "1.5", " 1", "1e1"]);
    }

    #[test]
    fn a_version_is_taken_out_of_a_value_first() {
        let json = r#"{"extract": "ShopApp/([0-9.]+)", "version": ">=2.4"}"#;
        check(
            json,
            &["ShopApp/2.4.1 (iOS)", "x ShopApp/3"],
            &["ShopApp/2.3", "Mozilla/5.0", "2.4"],
        );
        let absent = r#"{"extract": "ShopApp/([0-9.]+)", "present": false}"#;
        check(absent, &["Mozilla/5.0"], &["ShopApp/2"]);
    }

    #[test]
    fn any_of_the_values_will_do() {
        let test = read(r#"{"exact": "b"}"#).unwrap();
        assert!(test.holds(["a", "b"].iter()));
        assert!(!test.holds(["a", "c"].iter()));
    }

    #[test]
    fn failures_are_described() {
        let say =
            |json: &str, values: &[&str]| read(json).unwrap().describe("header x", values.iter());
        assert_eq!(
            say(r#"{"version": ">=2.4, <3"}"#, &["2.3.9"]),
            r#"header x: "2.3.9" is not within ">=2.4, <3""#
        );
        assert_eq!(say(r#"{"version": ">=2.4"}"#, &["abc"]), r#"header x: "abc" is no version"#);
        assert_eq!(say(r#"{"exact": "a"}"#, &[]), "header x: absent");
        assert_eq!(
            say(r#"{"in": ["a", "b"]}"#, &["c", "d"]),
            r#"header x: "c" is not one of "a", "b"; "d" is not one of "a", "b""#
        );
        assert_eq!(
            say(r#"{"range": {"from": 1, "to": 3}}"#, &["3"]),
            r#"header x: "3" is not below 3"#
        );
        assert_eq!(say(r#"{"range": {"from": 1}}"#, &["x"]), r#"header x: "x" is no integer"#);
        assert_eq!(say(r#"{"present": false}"#, &["x"]), r#"header x: "x" is there"#);
        assert_eq!(
            say(r#"{"extract": "v(.)", "exact": "1"}"#, &["x"]),
            r#"header x: "x" has nothing that `v(.)` takes out"#
        );
    }

    #[test]
    fn what_can_not_be_asked_is_refused_with_a_reason() {
        let table = [
            (
                "{}",
                "write one of `exact`, `prefix`, `suffix`, `contains`, `regex`, `in`, `present`",
            ),
            (r#"{"extract": "(a)"}"#, "an operator is missing"),
            (
                r#"{"exact": "a", "in": ["b"]}"#,
                "only one operator can be asked at once, not `exact`, `in`",
            ),
            (
                r#"{"present": true, "ignoreCase": true}"#,
                "`ignoreCase` can not stand beside `present`",
            ),
            (r#"{"range": {"to": 1}, "ignoreCase": true}"#, "can not stand beside `range`"),
            (r#"{"version": "1", "ignoreCase": true}"#, "can not stand beside `version`"),
            (r#"{"exact": "a", "extract": "a"}"#, "captures nothing"),
            (r#"{"in": []}"#, "an empty list never holds"),
            (r#"{"range": {}}"#, "`from`, `to` or both"),
            (r#"{"range": {"from": 3, "to": 3}}"#, "no integer is from 3 to below 3"),
            (r#"{"regex": "("}"#, "unclosed group"),
            (r#"{"version": "x"}"#, "is no comparator"),
            (r#"{"exakt": "a"}"#, "unknown field `exakt`, expected one of `exact`"),
        ];
        for (json, reason) in table {
            let error = read(json).unwrap_err();
            assert!(error.contains(reason), "{json}: {error}");
        }
    }
}

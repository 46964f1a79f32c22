//! Reading: everything wrong is said once, at its place, and everything right is read.

use super::{Read, read};
use crate::base::problem::{Location, Problems, Spanned};
use crate::base::units::{Duration, Weight};
use crate::config::diagnostic::PROBLEMS_MAX;
use crate::config::source::RawFile;
use crate::config::tree::Document;
use proptest::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Route {
    name: Spanned<String>,
    #[serde(default)]
    hostnames: Vec<Spanned<String>>,
    split: Vec<Arm>,
    fallback: Option<Spanned<String>>,
    #[serde(default)]
    timeouts: Timeouts,
    #[serde(default)]
    balance: Balance,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Arm {
    to: BTreeMap<String, Spanned<Weight>>,
    when: Option<When>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
struct Timeouts {
    connect: Option<Duration>,
    idle: Option<Duration>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct When {
    exact: Option<String>,
    present: Option<bool>,
    not: Option<Box<When>>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
enum Balance {
    #[default]
    LeastRequest,
    RoundRobin,
    ConsistentHash(String),
    Ring {
        size: u16,
    },
}

fn document(text: &str) -> Document {
    let files = [RawFile { name: "a".to_owned(), bytes: text.into() }];
    Document::parse(&files, &mut Problems::default()).unwrap()
}

fn root<T: DeserializeOwned>(text: &str) -> (Option<Read<T>>, Vec<String>) {
    let document = document(text);
    let mut problems = Problems::default();
    let value = read(&document, document.root(), &mut problems);
    (value, document.diagnose(problems).iter().map(ToString::to_string).collect())
}

fn field<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let document = document(text);
    let mut problems = Problems::default();
    let value = read(&document, document.field(document.root(), "x").unwrap(), &mut problems);
    let said: Vec<_> = document.diagnose(problems).iter().map(|d| d.message.clone()).collect();
    match value {
        Some(Read { value, complete: true }) => Ok(value),
        _ => Err(said.join("; ")),
    }
}

#[test]
fn what_is_right_is_read() {
    let text = "name: shop\nhostnames: [a, 1]\nsplit:\n  - to: {stable: 95, canary: 5}\n    \
        when: {not: {exact: 2.10, present: true}}\nfallback: ~\n\
        timeouts: {connect: 1m30s}\nbalance: {consistentHash: ip}\n";
    let (value, said) = root::<Route>(text);
    assert!(said.is_empty(), "{said:?}");
    let Read { value, complete } = value.unwrap();
    assert!(complete);
    assert_eq!(value.hostnames[1].value, "1");
    assert_eq!(value.split[0].to["canary"].number(), 5);
    let when = value.split[0].when.as_ref().unwrap().not.as_ref().unwrap();
    assert_eq!((when.exact.as_deref(), when.present), (Some("2.10"), Some(true)));
    assert!(value.fallback.is_none() && value.timeouts.connect.is_some());
    assert_eq!(value.balance, Balance::ConsistentHash("ip".to_owned()));
}

/// A mapping as pairs, each key with its place.
#[derive(Default)]
struct Pairs(Vec<(Spanned<String>, Spanned<serde::de::IgnoredAny>)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> serde::de::Visitor<'de> for Visit {
            type Value = Pairs;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("pairs")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Pairs, A::Error> {
                let mut pairs = Pairs::default();
                while let Some(pair) = map.next_entry()? {
                    pairs.0.push(pair);
                }
                Ok(pairs)
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

#[test]
fn places_are_known_of_values_and_of_keys() {
    let document = document("x: {b: 1, a: [2]}\n");
    let mut problems = Problems::default();
    let x = document.field(document.root(), "x").unwrap();
    let pairs: Read<Pairs> = read(&document, x, &mut problems).unwrap();
    let column = |at: Location| document.place(at).column;
    let found: Vec<_> =
        pairs.value.0.iter().map(|(k, v)| (k.value.as_str(), column(k.at), column(v.at))).collect();
    assert_eq!(found, [("b", 5, 8), ("a", 11, 14)]);
    assert_eq!(document.path(pairs.value.0[1].1.at), "x.a");
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let text = "nmae: shop\n\
        hostnames: [a, [b], c, {}]\n\
        split:\n  \
          - to: {stable: 95, canary: -5, blue: lots}\n    \
            when: {exact: [x], presnt: true, not: {present: yes}}\n  \
          - when: {}\n  \
          - just text\n\
        timeouts: {connect: 5, idel: 1s}\n\
        balance: roundRobbin\n\
        zzz: 1\n";
    let (value, said) = root::<Route>(text);
    assert!(value.is_none());
    assert_eq!(
        said,
        [
            "a:1:1: error: nmae: unknown key `nmae` (did you mean `name`?)",
            "a:2:16: error: hostnames[1]: expected a string, found a list",
            "a:2:24: error: hostnames[3]: expected a string, found a mapping",
            "a:4:30: error: split[0].to.canary: expected a weight: a whole number from 0 to \
             1000000, found -5",
            "a:4:40: error: split[0].to.blue: expected a weight: a whole number from 0 to \
             1000000, found the string \"lots\"",
            "a:5:19: error: split[0].when.exact: expected a string, found a list",
            "a:5:24: error: split[0].when.presnt: unknown key `presnt` (did you mean `present`?)",
            "a:5:53: error: split[0].when.not.present: expected `true` or `false`, found the \
             string \"yes\"",
            "a:6:5: error: split[1]: `to` is missing",
            "a:7:5: error: split[2]: expected a mapping, found the string \"just text\"",
            "a:8:21: error: timeouts.connect: `5` is no duration: write it as `500ms`, `15s` or \
             `1m30s`",
            "a:8:24: error: timeouts.idel: unknown key `idel` (did you mean `idle`?)",
            "a:9:10: error: balance: \"roundRobbin\" is not one of `leastRequest`, `roundRobin`, \
             `consistentHash`, `ring` (did you mean `roundRobin`?)",
            "a:10:1: error: zzz: unknown key `zzz` (known keys: `name`, `hostnames`, `split`, \
             `fallback`, `timeouts`, `balance`)",
        ]
    );
}

#[test]
fn every_missing_field_is_reported() {
    let (value, said) = root::<Route>("fallback: x\n");
    assert!(value.is_none());
    assert_eq!(said, ["a:1:1: error: `name` is missing", "a:1:1: error: `split` is missing"]);
    let (_, said) = root::<Route>("name: [1]\n");
    assert_eq!(
        said,
        ["a:1:1: error: `split` is missing", "a:1:7: error: name: expected a string, found a list"]
    );
}

#[test]
fn what_is_left_is_read_and_said_to_be_incomplete() {
    let (value, said) = root::<Route>("name: a\nsplit: [{to: {a: 1, b: x}}, 5]\nidle: 1\n");
    let Read { value, complete } = value.unwrap();
    assert!(!complete);
    assert_eq!((value.split.len(), value.split[0].to.len(), said.len()), (1, 1, 3));
    let (value, said) = root::<Route>("name: a\nsplit: []\nidle: 1\n");
    assert!(value.unwrap().complete);
    assert_eq!(said.len(), 1);
}

#[test]
fn types_are_as_strict_as_promised() {
    assert_eq!(field::<String>("x: 007"), Ok("007".to_owned()));
    assert_eq!(field::<String>("x: true"), Ok("true".to_owned()));
    assert_eq!(field::<String>("x:"), Err("expected a string, found nothing".to_owned()));
    assert_eq!(
        field::<u8>("x: 256"),
        Err("expected a whole number from 0 to 255, found 256".into())
    );
    let quoted = "expected a whole number from 0 to 255, found the string \"1\"";
    assert_eq!(field::<u8>("x: \"1\""), Err(quoted.into()));
    assert_eq!(field::<f64>("x: 1"), Ok(1.0));
    assert_eq!(field::<(u8, String)>("x: [1, a]"), Ok((1, "a".to_owned())));
    assert_eq!(field::<(u8, u8)>("x: [1]"), Err("expected a list of 2, found 1".into()));
    assert_eq!(field::<(u8, u8)>("x: [1, 2, 3]"), Err("expected a list of 2, found 3".into()));
    assert_eq!(field::<Option<u8>>("x: ~"), Ok(None));
    assert_eq!(field::<Vec<u8>>("x: a"), Err("expected a list, found the string \"a\"".into()));
    assert_eq!(
        field::<BTreeMap<String, u8>>("x: [a]"),
        Err("expected a mapping, found a list".into())
    );
    assert_eq!(
        field::<BTreeMap<u16, u8>>("x: {1: 1, b: 2}"),
        Err("expected a whole number from 0 to 65535, found the string \"b\"".into())
    );
    assert_eq!(field::<Balance>("x: {ring: {size: 3}}"), Ok(Balance::Ring { size: 3 }));
    assert_eq!(field::<Balance>("x: {roundRobin: }"), Ok(Balance::RoundRobin));
    assert_eq!(field::<Balance>("x: ring"), Err("`ring` needs a mapping".into()));
    assert_eq!(
        field::<Balance>("x: {ring: {size: a}}").unwrap_err().matches("expected").count(),
        1
    );
    assert!(field::<Balance>("x: []").unwrap_err().starts_with("expected one of `leastRequest`"));
    let (value, _) = root::<BTreeMap<String, serde_json::Value>>("x: {a: [1, -2, 1.5, b, ~]}");
    assert_eq!(value.unwrap().value["x"], serde_json::json!({"a": [1, -2, 1.5, "b", null]}));
}

#[test]
fn too_many_mistakes_end_the_reading() {
    let text = format!("x:\n{}", "  - {}\n".repeat(50_000));
    let document = document(&text);
    let mut problems = Problems::default();
    let x = document.field(document.root(), "x").unwrap();
    assert!(read::<Vec<Route>>(&document, x, &mut problems).is_none());
    assert_eq!(problems.len(), PROBLEMS_MAX + 1);
    assert!(read::<Vec<String>>(&document, x, &mut problems).is_none());
    let said = document.diagnose(problems);
    assert_eq!(said.len(), PROBLEMS_MAX + 1);
    assert!(said[PROBLEMS_MAX].message.starts_with("too many problems"));
}

proptest! {
    #[test]
    fn reading_ends_and_says_why(parts in prop::collection::vec(prop_oneof![
        Just("name: a\n"), Just("name: []\n"), Just("split: [{to: 1}, {to: {a: b}}]\n"),
        Just("split: {}\n"), Just("hostnames: [~, [], a]\n"), Just("balance: {ring: {size: x}}\n"),
        Just("balance: [a]\n"), Just("timeouts: {connect: {}}\n"), Just("other: 1\n"),
        Just("balance: {ring: {}, a: b}\n"), Just("1: {}\n"), Just("fallback: {}\n"),
    ], 1..8)) {
        let (value, said) = root::<Route>(&parts.concat());
        prop_assert!(value.is_some_and(|value| value.complete) || !said.is_empty());
    }
}

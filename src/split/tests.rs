//! Every rule of the choice, every check of the settings, and how they are read.

use super::*;
use crate::base::problem::{Location, Problem, Problems, SPANNED, Severity, Spanned};
use crate::predicate::Segments;
use http::{HeaderMap, HeaderValue, Method};
use serde::Deserialize;
use serde::de::value::{Error, MapDeserializer, SeqDeserializer};
use serde::de::{Deserializer, IntoDeserializer, Visitor};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::net::IpAddr;

/// A request that can be made a head of.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) query: Option<&'static str>,
    pub(super) headers: HeaderMap,
    pub(super) peer: IpAddr,
}

impl Default for Request {
    fn default() -> Self {
        let peer = IpAddr::from([10, 0, 0, 1]);
        Self { method: Method::GET, query: None, headers: HeaderMap::new(), peer }
    }
}

impl Request {
    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(name, HeaderValue::from_str(value).unwrap());
        self
    }

    fn from(mut self, peer: [u8; 4]) -> Self {
        self.peer = peer.into();
        self
    }

    pub(super) fn head(&self) -> Head<'_> {
        Head {
            method: &self.method,
            host: "shop.example.com",
            path: "/",
            query: self.query,
            headers: &self.headers,
            client: self.peer,
            peer: self.peer,
            certificate_names: &[],
        }
    }
}

/// A node of a document that notes the text of every place asked for, as `config` does.
#[derive(Clone)]
struct Node<'a>(Value, &'a RefCell<Vec<String>>);

impl<'de> Deserializer<'de> for Node<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Self(value, places) = self;
        match value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(number) => visitor.visit_u64(number.as_u64().unwrap()),
            Value::String(text) => visitor.visit_string(text),
            Value::Array(items) => {
                let items = items.into_iter().map(|item| Node(item, places));
                visitor.visit_seq(SeqDeserializer::new(items))
            }
            Value::Object(entries) => {
                let node = |(key, value)| (Node(Value::String(key), places), Node(value, places));
                visitor.visit_map(MapDeserializer::new(entries.into_iter().map(node)))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if (name, fields) != SPANNED {
            return self.deserialize_any(visitor);
        }
        let at = Node(Value::from(self.1.borrow().len()), self.1);
        self.1.borrow_mut().push(self.0.to_string());
        visitor.visit_map(MapDeserializer::new([("at", at), ("value", self)].into_iter()))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl IntoDeserializer<'_, Error> for Node<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteConfig {
    name: Spanned<String>,
    split: Spanned<Vec<ArmConfig>>,
    cohort: Option<CohortConfig>,
    #[serde(rename = "override")]
    override_: Option<OverrideConfig>,
    fallback: Option<Spanned<String>>,
}

const STABLE: PoolIndex = PoolIndex(0);
const CANARY: PoolIndex = PoolIndex(1);
const BLUE: PoolIndex = PoolIndex(2);

/// The split of a route, and its problems as `where: what (help)`.
pub(super) fn compiled(document: Value) -> Result<(Split, Vec<String>), Error> {
    let places = RefCell::default();
    let route = RouteConfig::deserialize(Node(document, &places))?;
    let config = SplitConfig {
        route: &route.name,
        arms: &route.split,
        cohort: route.cohort.as_ref(),
        override_: route.override_.as_ref(),
        fallback: route.fallback.as_ref(),
    };
    let pools = ["stable", "canary", "blue", "green"].into_iter().collect();
    let mut problems = Problems::default();
    let split = Split::compile(config, &Segments::default(), &pools, &mut problems);
    let line = |problem: Problem| {
        let place = places.borrow()[problem.at.0 as usize].clone();
        let warning = if problem.severity == Severity::Warning { "warning: " } else { "" };
        let help = problem.help.map_or(String::new(), |help| format!(" ({help})"));
        format!("{place}: {warning}{}{help}", problem.message)
    };
    Ok((split, problems.into_vec().into_iter().map(line).collect()))
}

/// The split of a route without problems.
pub(super) fn split(document: Value) -> Split {
    let (split, problems) = compiled(document).unwrap();
    assert_eq!(problems, [""; 0]);
    split
}

fn problems(document: Value) -> Vec<String> {
    compiled(document).unwrap().1
}

fn all(_: PoolIndex) -> bool {
    true
}

fn but(out: PoolIndex) -> impl Fn(PoolIndex) -> bool {
    move |pool| pool != out
}

fn choice(arm: Option<usize>, pool: PoolIndex, reason: Reason) -> Choice {
    Choice { arm, pool: Some(pool), reason: Some(reason), ..Choice::default() }
}

/// Its random number draws the last pool of an arm.
const LAST: Option<u64> = Some(u64::MAX);

#[test]
fn the_first_arm_that_holds_decides() {
    let split = split(json!({"name": "shop", "fallback": "green", "split": [
        {"name": "putters", "when": {"method": "PUT"}, "to": "canary"},
        {"to": {"stable": 99, "blue": 1}},
    ]}));
    let mut request = Request::default();
    assert_eq!(split.choose(&request.head(), &all, LAST), choice(Some(1), BLUE, Reason::Weight));
    assert_eq!(
        split.choose(&request.head(), &all, Some(0)),
        choice(Some(1), STABLE, Reason::Weight)
    );
    request.method = Method::PUT;
    assert_eq!(split.choose(&request.head(), &all, None), choice(Some(0), CANARY, Reason::Single));
    let names: Vec<_> = split.arms().iter().map(Arm::name).collect();
    assert_eq!(names, ["putters", "1"]);
    let pools: Vec<_> = split.pools().collect();
    assert_eq!(pools, [CANARY, STABLE, BLUE, PoolIndex(3)]);
}

#[test]
fn an_unusable_pool_is_left_out_then_the_fallback_takes_over_then_nothing_does() {
    let document = |fallback| {
        json!({"name": "shop", "fallback": fallback, "split": [
            {"to": {"stable": 50, "canary": 50, "blue": 0}},
        ]})
    };
    let (split, request) = (split(document("blue")), Request::default());
    let head = request.head();
    assert_eq!(split.choose(&head, &but(CANARY), LAST), choice(Some(0), STABLE, Reason::Fallback));
    assert_eq!(split.choose(&head, &but(CANARY), Some(0)), choice(Some(0), STABLE, Reason::Weight));
    let only_blue = |pool| pool == BLUE;
    for random in [LAST, None] {
        let fallen = split.choose(&head, &only_blue, random);
        assert_eq!(fallen, choice(Some(0), BLUE, Reason::Fallback));
        let nothing = Choice { arm: Some(0), ..Choice::default() };
        assert_eq!(split.choose(&head, &|_| false, random), nothing);
    }
}

#[test]
fn a_request_that_no_arm_takes_goes_to_the_fallback_or_nowhere() {
    let arms = json!([{"when": {"method": "PUT"}, "to": "canary"}]);
    let fallback = json!({"name": "shop", "split": arms, "fallback": "stable"});
    let (split, _) = compiled(fallback).unwrap();
    let request = Request::default();
    assert_eq!(split.choose(&request.head(), &all, LAST), choice(None, STABLE, Reason::Fallback));
    assert_eq!(split.choose(&request.head(), &but(STABLE), LAST), Choice::default());
    let (split, _) = compiled(json!({"name": "shop", "split": arms})).unwrap();
    assert_eq!(split.choose(&request.head(), &all, LAST), Choice::default());
}

#[test]
fn a_trusted_override_beats_everything() {
    let split = split(json!({"name": "shop", "fallback": "blue",
        "override": {"header": "X-Pool", "trusted": ["10.0.0.0/8"]},
        "split": [{"to": {"stable": 100, "canary": 0}}]}));
    assert_eq!(split.override_header().unwrap(), "x-pool");
    let choose = |request: &Request, out| split.choose(&request.head(), &but(out), Some(0));
    let named = |pool| Request::default().with("x-pool", pool);
    assert_eq!(choose(&named("canary"), STABLE), choice(None, CANARY, Reason::Override));
    assert_eq!(choose(&named("blue"), STABLE), choice(None, BLUE, Reason::Override));
    assert_eq!(choose(&named("canary"), CANARY), choice(Some(0), STABLE, Reason::Fallback));
    let refused = Choice { override_refused: true, ..choice(Some(0), STABLE, Reason::Weight) };
    assert_eq!(choose(&named("canary").from([11, 0, 0, 1]), BLUE), refused);
    assert_eq!(choose(&named("green"), BLUE), refused);
    assert_eq!(choose(&named(""), BLUE), refused);
    assert_eq!(choose(&named("canary").with("x-pool", "stable"), BLUE), refused);
}

#[test]
fn a_cohort_decides_where_there_is_a_key_and_its_next_best_when_a_pool_is_unusable() {
    let split = split(json!({"name": "shop", "cohort": {"key": [{"header": "x-user"}]},
        "split": [{"to": {"stable": 50, "canary": 50}}]}));
    let mut chosen = [0, 0];
    for user in 0..100 {
        let request = Request::default().with("x-user", &user.to_string());
        let head = request.head();
        let first = split.choose(&head, &all, None);
        let pool = first.pool.unwrap();
        chosen[pool.0] += 1;
        assert_eq!(first, choice(Some(0), pool, Reason::Cohort));
        assert_eq!(split.choose(&head, &but(PoolIndex(1 - pool.0)), None), first);
        let fallen = choice(Some(0), PoolIndex(1 - pool.0), Reason::Fallback);
        assert_eq!(split.choose(&head, &but(pool), None), fallen);
        let scores = split.scores(&head, 0).unwrap();
        assert_eq!(scores.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap().0, pool);
    }
    assert!(chosen.iter().all(|count| *count > 30), "{chosen:?}");
    assert_eq!(split.scores(&Request::default().head(), 0), None);
}

#[test]
fn a_missing_key_draws_or_takes_the_pool_for_it() {
    let document = |on_missing| {
        json!({"name": "shop",
        "cohort": {"key": [{"cookie": "uid"}], "onMissing": on_missing},
        "split": [{"to": {"stable": 50, "canary": 50}}]})
    };
    let request = Request::default();
    let head = request.head();
    let random = split(document("random"));
    assert_eq!(random.choose(&head, &all, LAST), choice(Some(0), CANARY, Reason::MissingKey));
    let fallen = choice(Some(0), STABLE, Reason::Fallback);
    assert_eq!(random.choose(&head, &but(CANARY), LAST), fallen);
    let blue = split(document("blue"));
    assert_eq!(blue.choose(&head, &all, LAST), choice(Some(0), BLUE, Reason::MissingKey));
    assert_eq!(blue.choose(&head, &but(BLUE), Some(0)), fallen);
    let empty = request.clone().with("cookie", "uid=");
    assert_eq!(random.choose(&empty.head(), &all, None).reason, Some(Reason::Cohort));
}

#[test]
fn without_a_random_number_nothing_is_drawn_and_the_odds_say_what_could_be() {
    let split = split(json!({"name": "shop", "split": [
        {"to": {"stable": 95, "canary": 5, "blue": 0}},
    ]}));
    let undrawn =
        Choice { arm: Some(0), reason: Some(Reason::Weight), undrawn: true, ..Choice::default() };
    assert_eq!(split.choose(&Request::default().head(), &but(CANARY), None), undrawn);
    let odds: Vec<_> = split
        .odds(0, &but(CANARY))
        .into_iter()
        .map(|(pool, weight)| (pool, weight.number()))
        .collect();
    assert_eq!(odds, [(STABLE, 95), (BLUE, 0)]);
    assert_eq!(split.odds(1, &all), []);
}

#[test]
fn every_unknown_pool_is_named_at_its_place() {
    let problems = problems(json!({"name": "shop", "fallback": "grean",
        "cohort": {"key": [{"cookie": "uid"}], "onMissing": "randm"},
        "split": [{"to": {"stabel": 1, "canary": 1}}, {"name": "rest", "to": "blu"}]}));
    assert_eq!(
        problems,
        [
            "\"stabel\": no pool is named `stabel` (did you mean `stable`?)",
            "\"blu\": no pool is named `blu` (did you mean `blue`?)",
            "\"randm\": no pool is named `randm`",
            "\"grean\": no pool is named `grean` (did you mean `green`?)",
        ]
    );
}

#[test]
fn a_split_that_shares_nothing_out_is_an_error() {
    let nothing = problems(json!({"name": "shop", "split": []}));
    assert_eq!(nothing.len(), 1);
    assert!(nothing[0].starts_with("[]: the split of route `shop` has no arm"));
    let put = json!({"method": "PUT"});
    let problems = problems(json!({"name": "shop", "split": [
        {"when": put, "to": {"stable": 0, "canary": 0}},
        {"name": "two", "when": put, "to": {}},
        {"name": "two", "to": "stable"},
    ]}));
    let starts = [
        "\"two\": two arms of the split are called `two`",
        r#"{"stable":0,"canary":0}: the weights add up to 0"#,
        "{}: `to` names no pool",
    ];
    assert_eq!(problems.len(), starts.len(), "{problems:?}");
    assert!(problems.iter().zip(starts).all(|(p, start)| p.starts_with(start)), "{problems:?}");
}

#[test]
fn an_arm_that_no_request_reaches_is_warned_of() {
    let arms = json!([{"to": "canary"}, {"name": "rest", "to": "stable"}]);
    let warning = "no request reaches this arm: arm `0` takes every request";
    let help = "move it above arm `0`, or give that one a `when`";
    assert_eq!(
        problems(json!({"name": "shop", "split": arms})),
        [format!("\"rest\": warning: {warning} ({help})")]
    );
}

#[test]
fn a_last_arm_with_a_condition_is_warned_of() {
    let arms = json!([{"when": {"method": "PUT"}, "to": "canary"}]);
    let warning =
        "\"canary\": warning: the last arm has a `when`, so a request may be taken by no arm";
    let advice = "add a last arm without `when` to decide about it";
    assert_eq!(
        problems(json!({"name": "shop", "split": arms})),
        [format!("{warning} (it is answered with 503, as there is no `fallback`; {advice})")]
    );
    assert_eq!(
        problems(json!({"name": "shop", "split": arms, "fallback": "stable"})),
        [format!("{warning} (it goes to the fallback `stable`; {advice})")]
    );
}

#[test]
fn odd_keys_and_shapes_are_errors() {
    let key = json!({"name": "shop", "cohort": {"key": [{}]}, "split": [{"to": "stable"}]});
    assert_eq!(problems(key), ["{}: a key is exactly one of `header`, `cookie` and `query`"]);
    let shape = |to: Value| match compiled(json!({"name": "shop", "split": [{"to": to}]})) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    let expected = "expected a pool's name or a map of pool to weight";
    assert_eq!(shape(json!(5)), format!("invalid type: integer `5`, {expected}"));
    assert!(shape(json!({"stable": 1_000_001})).contains("a whole number from 0 to 1000000"));
}

#[test]
fn a_pool_named_twice_in_one_map_is_an_error() {
    let spanned = |at, name: &str| Spanned { at: Location(at), value: name.to_owned() };
    let one = Weight::new(1).unwrap();
    let pools = vec![(spanned(1, "stable"), one), (spanned(2, "stable"), one)];
    let to = Spanned { at: Location(0), value: To::Pools(pools) };
    let route = spanned(3, "shop");
    let arms = vec![ArmConfig { name: None, when: None, to }];
    let arms = Spanned { at: Location(4), value: arms };
    let config =
        SplitConfig { route: &route, arms: &arms, cohort: None, override_: None, fallback: None };
    let mut problems = Problems::default();
    Split::compile(config, &Segments::default(), &["stable"].into_iter().collect(), &mut problems);
    let problem = problems.into_vec().remove(0);
    assert_eq!(
        (problem.at, problem.message.as_str()),
        (Location(2), "pool `stable` is named twice")
    );
}

#[test]
fn the_schema_knows_both_shapes_of_to() {
    let schema = serde_json::to_value(schemars::schema_for!(ArmConfig)).unwrap();
    assert_eq!(schema["$defs"]["To"]["oneOf"].as_array().map(Vec::len), Some(2));
    assert_eq!(schema["required"], json!(["to"]));
}

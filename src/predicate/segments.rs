//! Segments: named conditions, which may name each other as long as no name leads back to itself.

use super::WhenConfig;
use super::condition::Condition;
use crate::base::problem::{Location, Problems, Spanned};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many segments may name each other in a row.
const DEPTH_MAX: usize = 64;
/// How many segments may have to be asked to answer one, each as often as it is named.
const ASKED_MAX: usize = 10_000;

/// A named group of users.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Segment")]
pub struct SegmentConfig {
    /// The name by which conditions mean it.
    pub name: Spanned<String>,
    /// Who belongs to it.
    pub when: WhenConfig,
}

/// The compiled segments by name.
#[derive(Debug, Default)]
pub struct Segments {
    /// Nothing stands for a segment that can not be asked, which was noted as a problem.
    conditions: BTreeMap<String, Option<Arc<Condition>>>,
}

/// What a segment's name stands for.
pub(super) enum Named<'a> {
    /// Its condition.
    Condition(&'a Arc<Condition>),
    /// A segment with a problem that was noted already.
    Broken,
    /// No segment.
    Unknown,
}

impl Segments {
    /// Compiles segments; notes names that no segment bears and segments that depend on
    /// themselves or on too many others. Of several with the same name, the first counts.
    pub fn compile(configs: &[SegmentConfig], problems: &mut Problems) -> Self {
        let mut nodes = BTreeMap::new();
        for config in configs {
            let mut references = Vec::new();
            config.when.add_references(&mut references);
            let node = Node { when: &config.when, references, state: State::New };
            nodes.entry(config.name.as_str()).or_insert(node);
        }
        let conditions = nodes.keys().map(|name| ((*name).to_owned(), None)).collect();
        let mut graph = Graph { nodes, segments: Self { conditions }, problems };
        // In the document's order, so that problems are noted in that order too.
        for config in configs {
            graph.visit(config.name.as_str());
        }
        graph.segments
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.conditions.keys().map(String::as_str)
    }

    /// What a name stands for.
    pub(super) fn named(&self, name: &str) -> Named<'_> {
        match self.conditions.get(name) {
            Some(Some(condition)) => Named::Condition(condition),
            Some(None) => Named::Broken,
            None => Named::Unknown,
        }
    }
}

/// Segments and who names whom, on the way to be compiled.
struct Graph<'a> {
    nodes: BTreeMap<&'a str, Node<'a>>,
    segments: Segments,
    problems: &'a mut Problems,
}

struct Node<'a> {
    when: &'a WhenConfig,
    references: Vec<&'a Spanned<String>>,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    New,
    /// What it names is being visited.
    Open,
    /// Compiled; what it costs to ask it, or nothing if it can not be asked.
    Done(Option<Cost>),
}

#[derive(Clone, Copy)]
struct Cost {
    /// How many segments name each other in a row from here on, this one included.
    depth: usize,
    /// How many segments are asked, this one included.
    asked: usize,
}

impl<'a> Graph<'a> {
    /// Compiles a segment after all that it names; without recursion, because a row of names may
    /// be as long as the document.
    fn visit(&mut self, name: &'a str) {
        let mut stack: Vec<(&'a str, usize)> = Vec::new();
        self.open(name, &mut stack);
        while let Some((name, position)) = stack.last_mut() {
            let next = self.nodes.get(name).and_then(|node| node.references.get(*position));
            let (name, next) = (*name, next.copied());
            *position += 1;
            let Some(next) = next else {
                stack.pop();
                self.close(name);
                continue;
            };
            match self.nodes.get(next.as_str()).map(|node| node.state) {
                Some(State::New) => self.open(next.as_str(), &mut stack),
                Some(State::Open) => self.note_cycle(next, &stack),
                Some(State::Done(_)) | None => {}
            }
        }
    }

    fn open(&mut self, name: &'a str, stack: &mut Vec<(&'a str, usize)>) {
        if let Some(node) = self.nodes.get_mut(name)
            && matches!(node.state, State::New)
        {
            node.state = State::Open;
            stack.push((name, 0));
        }
    }

    fn note_cycle(&mut self, back: &Spanned<String>, stack: &[(&str, usize)]) {
        let names = stack.iter().map(|(name, _)| *name);
        let mut cycle: Vec<_> = names.skip_while(|name| *name != back.as_str()).collect();
        cycle.push(back.as_str());
        let message = format!("segment `{}` depends on itself: {}", back.value, path(&cycle));
        self.problems.error(back.at, message);
    }

    /// Compiles a segment; all that it names has been visited.
    fn close(&mut self, name: &'a str) {
        let Some(node) = self.nodes.get(name) else { return };
        let condition = node.when.compile(&self.segments, self.problems);
        let cost = self.cost(name, &node.references.clone());
        if cost.is_some() {
            self.segments.conditions.insert(name.to_owned(), Some(Arc::new(condition)));
        }
        if let Some(node) = self.nodes.get_mut(name) {
            node.state = State::Done(cost);
        }
    }

    /// What a segment costs, from what those cost that it names; notes when that is too much.
    fn cost(&mut self, name: &str, references: &[&Spanned<String>]) -> Option<Cost> {
        let mut total = Cost { depth: 1, asked: 1 };
        for reference in references {
            match self.nodes.get(reference.as_str()).map(|node| node.state) {
                // A name that no segment bears was noted when it was compiled.
                None => {}
                Some(State::Done(Some(cost))) => {
                    total.depth = total.depth.max(cost.depth + 1);
                    total.asked = total.asked.saturating_add(cost.asked);
                    if !self.is_affordable(total, name, reference.at) {
                        return None;
                    }
                }
                // A cycle, or a segment that has a problem itself.
                Some(_) => return None,
            }
        }
        Some(total)
    }

    fn is_affordable(&mut self, cost: Cost, name: &str, at: Location) -> bool {
        if cost.depth > DEPTH_MAX {
            let message =
                format!("segment `{name}` leads to more than {DEPTH_MAX} segments in a row");
            self.problems.error(at, message);
            return false;
        }
        if cost.asked > ASKED_MAX {
            let message =
                format!("to ask segment `{name}`, more than {ASKED_MAX} others have to be asked");
            self.problems.error(at, message);
            return false;
        }
        true
    }
}

/// The names with arrows between them; the middle of a long path is left out.
fn path(names: &[&str]) -> String {
    /// At most this many names are written.
    const NAMES_MAX: usize = 16;
    match (names.get(..NAMES_MAX), names.last()) {
        (Some(first), Some(last)) if names.len() > NAMES_MAX => {
            format!("{} -> ... -> {last}", first.join(" -> "))
        }
        _ => names.join(" -> "),
    }
}

#[cfg(test)]
mod tests {
    use super::{SegmentConfig, Segments};
    use crate::base::problem::{Location, Problem, Problems, Spanned};
    use crate::predicate::condition::tests::head;
    use crate::predicate::{SegmentReference, WhenConfig};
    use http::{HeaderMap, HeaderValue};

    fn spanned(at: u32, name: &str) -> Spanned<String> {
        Spanned { at: Location(at), value: name.to_owned() }
    }

    /// A condition that names a segment, at that place.
    fn naming(at: u32, name: &str) -> WhenConfig {
        WhenConfig { segment: Some(SegmentReference(spanned(at, name))), ..WhenConfig::default() }
    }

    fn segment(name: &str, when: WhenConfig) -> SegmentConfig {
        SegmentConfig { name: spanned(0, name), when }
    }

    /// A segment of all those that it names.
    fn all(name: &str, names: &[&str]) -> SegmentConfig {
        let parts: Vec<_> = names.iter().map(|name| naming(1, name)).collect();
        let all = Some(parts.try_into().unwrap());
        segment(name, WhenConfig { all, ..WhenConfig::default() })
    }

    fn compile(configs: &[SegmentConfig]) -> (Segments, Vec<Problem>) {
        let mut problems = Problems::default();
        let segments = Segments::compile(configs, &mut problems);
        (segments, problems.into_vec())
    }

    #[test]
    fn segments_may_name_each_other_in_any_order() {
        let json = r#"{"header": {"name": "x-beta", "exact": "1"}}"#;
        let (segments, problems) = compile(&[
            segment("a", naming(1, "b")),
            segment(
                "b",
                WhenConfig {
                    not: Some(Box::new(naming(2, "c")).try_into().unwrap()),
                    ..WhenConfig::default()
                },
            ),
            segment("c", serde_json::from_str(json).unwrap()),
        ]);
        assert_eq!(problems, []);
        assert_eq!(segments.names().collect::<Vec<_>>(), ["a", "b", "c"]);
        let (a, c) = (naming(3, "a"), naming(3, "c"));
        let compile = |when: WhenConfig| when.compile(&segments, &mut Problems::default());
        let (a, c) = (compile(a), compile(c));
        let mut headers = HeaderMap::new();
        assert!(a.holds(&head(&headers)));
        assert_eq!(c.failure(&head(&headers)).as_deref(), Some("segment c: header x-beta: absent"));
        headers.insert("x-beta", HeaderValue::from_static("1"));
        assert!(!a.holds(&head(&headers)));
        assert!(c.holds(&head(&headers)));
    }

    #[test]
    fn a_name_that_no_segment_bears_is_noted_where_it_stands() {
        let (segments, problems) = compile(&[
            segment("testers", naming(7, "tester")),
            segment("users", naming(8, "testers")),
        ]);
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].at, Location(7));
        assert_eq!(problems[0].message, "no segment is named `tester`");
        assert_eq!(problems[0].help.as_deref(), Some("did you mean `testers`?"));
        let mut problems = Problems::default();
        naming(9, "usres").compile(&segments, &mut problems);
        assert_eq!(problems.into_vec()[0].help.as_deref(), Some("did you mean `users`?"));
    }

    #[test]
    fn a_cycle_is_shown_once() {
        let (segments, problems) = compile(&[
            segment("start", naming(1, "a")),
            segment("a", naming(2, "b")),
            segment("b", naming(3, "a")),
            segment("self", naming(4, "self")),
        ]);
        let told: Vec<_> = problems.iter().map(|p| (p.at.0, p.message.as_str())).collect();
        assert_eq!(
            told,
            [
                (3, "segment `a` depends on itself: a -> b -> a"),
                (4, "segment `self` depends on itself: self -> self"),
            ]
        );
        let mut problems = Problems::default();
        naming(5, "start").compile(&segments, &mut problems);
        assert!(problems.is_empty(), "what is broken is told once");
    }

    #[test]
    fn a_long_row_of_segments_is_noted_once_in_either_order() {
        let row = |length: usize| {
            (0..length)
                .map(|i| all(&format!("s{i}"), &[&format!("s{}", i + 1)]))
                .collect::<Vec<_>>()
        };
        for reversed in [false, true] {
            for (length, expected) in [(63, 0), (64, 1), (10_000, 1)] {
                let mut configs = row(length);
                configs.push(segment(&format!("s{length}"), WhenConfig::default()));
                if reversed {
                    configs.reverse();
                }
                let (_, problems) = compile(&configs);
                assert_eq!(problems.len(), expected, "{length}");
            }
        }
        let mut circle = row(10_000);
        circle.push(all("s10000", &["s0"]));
        let (_, problems) = compile(&circle);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].message.len() < 500, "{}", problems[0].message);
    }

    #[test]
    fn the_deepest_conditions_can_be_asked_on_a_small_stack() {
        let mut configs = vec![segment("s0", WhenConfig::default())];
        for i in 1..64 {
            let mut when = naming(1, &format!("s{}", i - 1));
            for _ in 0..16 {
                let not = Some(Box::new(when).try_into().unwrap());
                when = WhenConfig { not, ..WhenConfig::default() };
            }
            configs.push(segment(&format!("s{i}"), when));
        }
        let (segments, problems) = compile(&configs);
        assert_eq!(problems, []);
        let ask = move || {
            let when = naming(2, "s63");
            let condition = when.compile(&segments, &mut Problems::default());
            let headers = HeaderMap::new();
            condition.holds(&head(&headers)) && condition.failure(&head(&headers)).is_none()
        };
        let small = std::thread::Builder::new().stack_size(1 << 20).spawn(ask).unwrap();
        assert!(small.join().unwrap());
    }

    #[test]
    fn what_would_take_forever_to_ask_is_noted() {
        let mut configs = vec![segment("s0", WhenConfig::default())];
        for i in 1..40 {
            let below = format!("s{}", i - 1);
            configs.push(all(&format!("s{i}"), &[&below, &below]));
        }
        let (_, problems) = compile(&configs);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].message.contains("more than 10000"), "{}", problems[0].message);
    }

    #[test]
    fn the_first_of_several_with_the_same_name_counts() {
        let (segments, problems) = compile(&[
            segment("a", naming(1, "b")),
            segment("b", WhenConfig::default()),
            segment("a", naming(2, "x")),
        ]);
        assert_eq!(problems, []);
        assert_eq!(segments.names().count(), 2);
    }
}

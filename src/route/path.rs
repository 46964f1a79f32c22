//! The path index of one host: exact paths, then prefixes, then regexes.

use super::hash::StringMap;
use super::table::Found;
use super::trie::Trie;
use crate::predicate::{Condition, Head, Match, PathRule};
use std::cmp::Reverse;
use std::sync::Arc;

/// One item of a route's `matches` with its place, shared by all hosts of the route.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) found: Found,
    pub(super) path: PathRule,
    pub(super) rest: Condition,
    method: bool,
    headers: usize,
    queries: usize,
}

impl Rule {
    pub(super) fn new(found: Found, item: Match) -> Self {
        let Match { path, method, headers, queries, rest } = item;
        Self { found, path, rest, method, headers, queries }
    }

    /// The order among rules with the same host and path: a method match, then most header
    /// matches, then most query matches, then the earlier (Gateway API, `HTTPRouteRule.matches`).
    pub(super) fn rank(&self) -> impl Ord + use<> {
        let Found { route, item } = self.found;
        (Reverse((self.method, self.headers, self.queries)), route, item)
    }

    /// What is asked for, in a few words: `prefix /cart, method, 2 headers`.
    pub(super) fn summary(&self) -> String {
        let counted = usize::from(self.method) + self.headers + self.queries;
        let others = conditions(&self.rest).saturating_sub(counted);
        let counts = [(self.headers, "header"), (self.queries, "query"), (others, "other")];
        let mut words = vec![self.path.to_string()];
        words.extend(self.method.then(|| "method".to_owned()));
        words.extend(counts.into_iter().filter(|(count, _)| *count > 0).map(
            |(count, what)| match (count, what) {
                (1, _) => format!("1 {what}"),
                (_, "query") => format!("{count} queries"),
                _ => format!("{count} {what}s"),
            },
        ));
        words.join(", ")
    }

    /// Whether the path is as asked; says for one rule what the index finds for all.
    pub(super) fn takes_path(&self, path: &str) -> bool {
        self.path.matches(path) && (path != ASTERISK || matches!(self.path, PathRule::Prefix(_)))
    }
}

/// How many conditions have to hold, those of nested `all`s one by one.
fn conditions(condition: &Condition) -> usize {
    match condition {
        Condition::All(parts) => parts.iter().map(conditions).sum(),
        _ => 1,
    }
}

/// The target of `OPTIONS *`, which has no path (RFC 9112 section 3.2.4): only prefix `/` takes it.
const ASTERISK: &str = "*";

/// The rules of one host by path; rules of one path are kept in the order they were added in.
#[derive(Debug, Default)]
pub(super) struct PathIndex {
    exact: StringMap<Vec<Candidate>>,
    prefixes: Trie<Vec<Candidate>>,
    regexes: Vec<Candidate>,
}

/// A rule in a list of the index.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) rule: Arc<Rule>,
    /// That of the rule, which then need not be looked at.
    pub(super) found: Found,
    /// Whether the rule asks for nothing but the path.
    pub(super) always: bool,
}

impl Candidate {
    /// Whether all but the path is as asked.
    pub(super) fn holds(&self, head: &Head<'_>) -> bool {
        self.always || self.rule.rest.holds(head)
    }
}

impl PathIndex {
    /// Adds a rule, once.
    pub(super) fn add(&mut self, rule: &Arc<Rule>) {
        let rules = match &rule.path {
            PathRule::Exact(path) => self.exact.entry(path.as_str().into()).or_default(),
            PathRule::Prefix(prefix) => {
                self.prefixes.value_mut(elements(prefix.trim_end_matches('/')))
            }
            PathRule::Regex(_) => &mut self.regexes,
        };
        // A route that names a host twice adds its rules twice in a row.
        if !rules.last().is_some_and(|last| Arc::ptr_eq(&last.rule, rule)) {
            let (found, always) = (rule.found, rule.rest.is_always());
            rules.push(Candidate { rule: Arc::clone(rule), found, always });
        }
    }

    /// The first rule, most specific path first, that takes the path and passes the test.
    pub(super) fn first(
        &self,
        path: &str,
        test: &mut impl FnMut(&Candidate) -> bool,
    ) -> Option<Found> {
        let mut passing = |rules: &Vec<Candidate>| {
            rules.iter().find(|candidate| test(candidate)).map(|candidate| candidate.found)
        };
        if let Some(found) = self.exact.get(path).and_then(&mut passing) {
            return Some(found);
        }
        if let Some(found) = self.prefixes.beginnings(elements(path)).find_map(passing) {
            return Some(found);
        }
        let mut regexes = self.regexes.iter();
        let takes = |candidate: &&Candidate| candidate.rule.takes_path(path) && test(candidate);
        regexes.find(takes).map(|candidate| candidate.found)
    }
}

/// The elements of a path, none in `/` as a prefix (which is empty by now) and in `*`.
fn elements(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').into_iter().flat_map(|elements| elements.split('/'))
}

//! The path index of one host: exact paths, then prefixes, then regexes.

use super::hash::StringMap;
use super::table::Found;
use super::trie::Trie;
use crate::predicate::{Condition, Match, PathRule};
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
    exact: StringMap<Vec<Arc<Rule>>>,
    prefixes: Trie<Vec<Arc<Rule>>>,
    regexes: Vec<Arc<Rule>>,
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
        if !rules.last().is_some_and(|last| Arc::ptr_eq(last, rule)) {
            rules.push(Arc::clone(rule));
        }
    }

    /// The first rule, most specific path first, that takes the path and passes the test.
    pub(super) fn first(&self, path: &str, test: &mut impl FnMut(&Rule) -> bool) -> Option<Found> {
        let mut passing =
            |rules: &Vec<Arc<Rule>>| rules.iter().find(|rule| test(rule)).map(|rule| rule.found);
        if let Some(found) = self.exact.get(path).and_then(&mut passing) {
            return Some(found);
        }
        if let Some(found) = self.prefixes.beginnings(elements(path)).find_map(passing) {
            return Some(found);
        }
        let mut regexes = self.regexes.iter();
        regexes.find(|rule| rule.takes_path(path) && test(rule)).map(|rule| rule.found)
    }
}

/// The elements of a path, none in `/` as a prefix (which is empty by now) and in `*`.
fn elements(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').into_iter().flat_map(|elements| elements.split('/'))
}

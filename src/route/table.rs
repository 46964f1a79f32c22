//! Which route: all routes by host and path, and the one walk that serving and explaining share.

use super::hash::StringMap;
use super::path::{Candidate, PathIndex, Rule};
use super::trie::Trie;
use crate::predicate::{Head, HostnamePattern, Match};
use std::collections::HashSet;
use std::sync::Arc;

/// What one route is chosen by.
#[derive(Debug)]
pub struct Entry {
    /// The hosts, in lower case; empty for any host.
    pub hostnames: Vec<HostnamePattern>,
    /// The items of `matches`; a route without any is given the prefix `/` by the caller.
    pub matches: Vec<Match>,
}

/// The route that takes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Found {
    /// The number of the route, in the order given.
    pub route: usize,
    /// The number of the item of its `matches`.
    pub item: usize,
}

/// All routes, indexed by host and path.
///
/// The order is the Gateway API's (`HTTPRouteRule.matches`): the longest exact host, the longest
/// wildcard, any host; then an exact path, the longest prefix, a regex; then a method match, most
/// header matches, most query matches; then the earlier. The first whose conditions all hold
/// wins, so a host whose candidates all fail leaves the request to a less specific one.
#[derive(Debug, Default)]
pub struct Table {
    exact: StringMap<PathIndex>,
    /// By labels from the right, without the one or more that the `*` stands for.
    wildcard: Trie<PathIndex>,
    any: PathIndex,
    routes: Vec<Reach>,
}

/// What a route can be reached by; only for saying why it was not.
#[derive(Debug)]
struct Reach {
    hostnames: Vec<HostnamePattern>,
    rules: Vec<Arc<Rule>>,
}

impl Table {
    /// Indexes the routes. `pause` is called between them, because thousands take a while.
    pub fn build(entries: Vec<Entry>, pause: impl Fn()) -> Self {
        let reach = |(route, entry): (usize, Entry)| {
            let rule = |(item, asked)| Arc::new(Rule::new(Found { route, item }, asked));
            let rules = entry.matches.into_iter().enumerate().map(rule).collect();
            Reach { hostnames: entry.hostnames, rules }
        };
        let routes: Vec<Reach> = entries.into_iter().enumerate().map(reach).collect();
        let mut order: Vec<_> = routes
            .iter()
            .flat_map(|reach| reach.rules.iter().map(move |rule| (reach, rule)))
            .collect();
        // Adding them in this order leaves every list of the index in this order.
        order.sort_by_cached_key(|(_, rule)| rule.rank());
        let mut table = Self::default();
        for (reach, rule) in order {
            pause();
            table.add(&reach.hostnames, rule);
        }
        Self { routes, ..table }
    }

    fn add(&mut self, hostnames: &[HostnamePattern], rule: &Arc<Rule>) {
        if hostnames.is_empty() {
            self.any.add(rule);
        }
        for hostname in hostnames {
            let paths = match hostname {
                HostnamePattern::Exact(host) => self.exact.entry(host.as_str().into()).or_default(),
                HostnamePattern::Wildcard(suffix) => {
                    let labels = suffix.strip_prefix('.').unwrap_or(suffix).rsplit('.');
                    self.wildcard.value_mut(labels)
                }
            };
            paths.add(rule);
        }
    }

    /// The route that takes the request; allocates nothing.
    pub fn find(&self, head: &Head<'_>) -> Option<Found> {
        self.first(head, |candidate| candidate.holds(head))
    }

    /// The same as [`Table::find`], telling every candidate in the order tried, with the first
    /// predicate that failed.
    pub fn trace(
        &self,
        head: &Head<'_>,
        observe: &mut dyn FnMut(Found, Option<String>),
    ) -> Option<Found> {
        let mut told = HashSet::new();
        self.first(head, |candidate| {
            let holds = candidate.holds(head);
            // A route with several hostnames may be a candidate under each of them.
            if told.insert(candidate.found) {
                let failure = || candidate.rule.rest.failure(head).unwrap_or_default();
                observe(candidate.found, (!holds).then(failure));
            }
            holds
        })
    }

    /// Why a route is no candidate for the request, in words; nothing if it is one.
    pub fn mismatch(&self, route: usize, head: &Head<'_>) -> Option<String> {
        let Reach { hostnames, rules } = self.routes.get(route)?;
        if !hostnames.is_empty() && !hostnames.iter().any(|pattern| pattern.matches(head.host)) {
            let known = listed(hostnames);
            return Some(format!("hostname: {:?} is not among {known}", head.host));
        }
        if !rules.iter().any(|rule| rule.takes_path(head.path)) {
            let known = listed(rules.iter().map(|rule| &rule.path));
            return Some(format!("path: {:?} is not taken by {known}", head.path));
        }
        None
    }

    /// The hosts of a route; empty for any host.
    pub fn hostnames(&self, route: usize) -> &[HostnamePattern] {
        self.routes.get(route).map_or(&[], |reach| reach.hostnames.as_slice())
    }

    /// The items of a route's `matches`, each in a few words.
    pub fn matches(&self, route: usize) -> impl Iterator<Item = String> {
        let reach = self.routes.get(route);
        reach.into_iter().flat_map(|reach| reach.rules.iter().map(|rule| rule.summary()))
    }

    fn first(&self, head: &Head<'_>, mut test: impl FnMut(&Candidate) -> bool) -> Option<Found> {
        let mut in_host = |paths: &PathIndex| paths.first(head.path, &mut test);
        if let Some(found) = self.exact.get(head.host).and_then(&mut in_host) {
            return Some(found);
        }
        let labels = behind_first_label(head.host).into_iter().flat_map(|rest| rest.rsplit('.'));
        self.wildcard.beginnings(labels).find_map(&mut in_host).or_else(|| in_host(&self.any))
    }
}

/// The part of a host that a wildcard's suffix may be found in: at least one byte is for the `*`.
fn behind_first_label(host: &str) -> Option<&str> {
    let dot = host.bytes().skip(1).position(|byte| byte == b'.')? + 1;
    host.get(dot + 1..)
}

/// The first few of a list, as a sentence goes on.
fn listed<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    const LISTED_MAX: usize = 8;
    let mut items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    let rest = items.len().saturating_sub(LISTED_MAX);
    items.truncate(LISTED_MAX);
    let listed = items.join(", ");
    if rest == 0 { listed } else { format!("{listed} and {rest} more") }
}

//! The order of precedence step by step, and against a model that tries everything.

use super::{Entry, Found, Table};
use crate::predicate::{Condition, Head, HostnamePattern, Match, PathRule, Pattern, Predicate};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};

#[derive(Debug)]
struct MethodIs(Method);

impl Predicate for MethodIs {
    fn holds(&self, head: &Head<'_>) -> bool {
        *head.method == self.0
    }

    fn describe(&self, head: &Head<'_>) -> String {
        format!("method {}, not {}", head.method, self.0)
    }
}

#[derive(Debug)]
struct HeaderIs(&'static str, &'static str);

impl Predicate for HeaderIs {
    fn holds(&self, head: &Head<'_>) -> bool {
        head.headers.get(self.0).is_some_and(|value| value == self.1)
    }

    fn describe(&self, _: &Head<'_>) -> String {
        format!("header {} is not {}", self.0, self.1)
    }
}

#[derive(Debug)]
struct QueryIs(&'static str);

impl Predicate for QueryIs {
    fn holds(&self, head: &Head<'_>) -> bool {
        head.query == Some(self.0)
    }

    fn describe(&self, _: &Head<'_>) -> String {
        format!("query is not {}", self.0)
    }
}

/// An item of `matches`, before it is compiled.
#[derive(Debug, Clone)]
struct Item {
    path: (u8, String),
    method: Option<Method>,
    headers: Vec<(&'static str, &'static str)>,
    query: bool,
}

fn item(kind: &str, path: &str) -> Item {
    let kind = match kind {
        "exact" => 0,
        "prefix" => 1,
        _ => 2,
    };
    Item { path: (kind, path.to_owned()), method: None, headers: Vec::new(), query: false }
}

impl Item {
    fn compile(&self) -> Match {
        let path = match &self.path {
            (0, path) => PathRule::Exact(path.clone()),
            (1, path) => PathRule::Prefix(path.clone()),
            (_, path) => PathRule::Regex(Pattern::new(path).unwrap()),
        };
        let leaf = |predicate| Condition::Leaf(predicate);
        let method =
            self.method.iter().map(|m| Box::new(MethodIs(m.clone())) as Box<dyn Predicate>);
        let headers = self.headers.iter().map(|(n, v)| Box::new(HeaderIs(n, v)) as Box<_>);
        let query = self.query.then(|| Box::new(QueryIs("q=1")) as Box<_>);
        Match {
            path,
            method: self.method.is_some(),
            headers: self.headers.len(),
            queries: usize::from(self.query),
            rest: Condition::All(method.chain(headers).chain(query).map(leaf).collect()),
        }
    }
}

#[derive(Debug, Clone)]
struct Route {
    hostnames: Vec<String>,
    items: Vec<Item>,
}

fn route<const N: usize>(hostnames: &[&str], items: [Item; N]) -> Route {
    let hostnames = hostnames.iter().map(ToString::to_string).collect();
    Route { hostnames, items: items.into() }
}

fn pattern(hostname: &str) -> HostnamePattern {
    match hostname.strip_prefix('*') {
        Some(suffix) => HostnamePattern::Wildcard(suffix.to_owned()),
        None => HostnamePattern::Exact(hostname.to_owned()),
    }
}

fn table(routes: &[Route]) -> Table {
    let entry = |route: &Route| Entry {
        hostnames: route.hostnames.iter().map(|name| pattern(name)).collect(),
        matches: route.items.iter().map(Item::compile).collect(),
    };
    Table::build(routes.iter().map(entry).collect(), || ())
}

#[derive(Debug, Clone)]
struct Request {
    method: Method,
    host: String,
    path: String,
    query: Option<&'static str>,
    headers: HeaderMap,
}

fn get(host: &str, path: &str) -> Request {
    let (host, path) = (host.to_owned(), path.to_owned());
    Request { method: Method::GET, host, path, query: None, headers: HeaderMap::new() }
}

impl Request {
    fn head(&self) -> Head<'_> {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Head {
            method: &self.method,
            host: &self.host,
            path: &self.path,
            query: self.query,
            headers: &self.headers,
            client: address,
            peer: address,
            certificate_names: &[],
        }
    }
}

fn chosen(routes: &[Route], request: &Request) -> Option<usize> {
    table(routes).find(&request.head()).map(|found| found.route)
}

#[test]
fn an_exact_host_beats_a_longer_path_under_a_wildcard() {
    let routes = [
        route(&[], [item("exact", "/a/b")]),
        route(&["*.com"], [item("exact", "/a/b")]),
        route(&["*.example.com"], [item("exact", "/a/b")]),
        route(&["shop.example.com"], [item("prefix", "/")]),
    ];
    assert_eq!(chosen(&routes, &get("shop.example.com", "/a/b")), Some(3));
    assert_eq!(chosen(&routes, &get("blog.example.com", "/a/b")), Some(2));
    assert_eq!(chosen(&routes, &get("a.b.example.com", "/a/b")), Some(2));
    assert_eq!(chosen(&routes, &get("example.com", "/a/b")), Some(1));
    assert_eq!(chosen(&routes, &get("", "/a/b")), Some(0));
    assert_eq!(chosen(&routes, &get("shop.example.org", "/a")), None);
}

#[test]
fn a_host_whose_candidates_fail_leaves_the_request_to_a_less_specific_one() {
    let routes = [
        route(&[], [item("prefix", "/")]),
        route(&["*.example.com"], [item("exact", "/b")]),
        route(&["shop.example.com"], [Item { method: Some(Method::PUT), ..item("prefix", "/") }]),
    ];
    assert_eq!(chosen(&routes, &get("shop.example.com", "/b")), Some(1));
    assert_eq!(chosen(&routes, &get("shop.example.com", "/c")), Some(0));
}

#[test]
fn an_exact_path_beats_the_longest_prefix_beats_a_regex() {
    let routes = [
        route(&[], [item("regex", "^/a/b")]),
        route(&[], [item("prefix", "/")]),
        route(&[], [item("prefix", "/a/")]),
        route(&[], [item("exact", "/a/b")]),
        route(&["h"], [item("regex", "c")]),
    ];
    assert_eq!(chosen(&routes, &get("", "/a/b")), Some(3));
    assert_eq!(chosen(&routes, &get("", "/a/b/c")), Some(2));
    assert_eq!(chosen(&routes, &get("", "/a")), Some(2));
    assert_eq!(chosen(&routes, &get("", "/ab")), Some(1));
    assert_eq!(chosen(&routes, &get("", "/A/b")), Some(1));
    assert_eq!(chosen(&routes[..1], &get("", "/a/b/c")), Some(0));
    assert_eq!(chosen(&routes, &get("h", "/c")), Some(4));
}

#[test]
fn a_longer_prefix_whose_conditions_fail_leaves_the_request_to_a_shorter_one() {
    let put = |path| Item { method: Some(Method::PUT), ..item("prefix", path) };
    let routes = [
        route(&[], [put("/a/b/c")]),
        route(&[], [item("prefix", "/a")]),
        route(&[], [put("/a/b")]),
        route(&[], [Item { method: Some(Method::PUT), ..item("exact", "/a/b/c") }]),
    ];
    assert_eq!(chosen(&routes, &get("", "/a/b/c")), Some(1));
}

#[test]
fn on_one_path_a_method_beats_headers_beat_queries_beat_the_earlier() {
    let path = || item("prefix", "/");
    let routes = [
        route(&[], [path()]),
        route(&[], [Item { query: true, ..path() }]),
        route(&[], [Item { headers: vec![("x-a", "1")], ..path() }]),
        route(&[], [Item { headers: vec![("x-a", "1"), ("x-b", "1")], ..path() }]),
        route(&[], [Item { method: Some(Method::GET), ..path() }]),
        route(&[], [Item { method: Some(Method::GET), ..path() }]),
    ];
    let mut request = get("", "/");
    request.query = Some("q=1");
    for name in ["x-a", "x-b"] {
        request.headers.insert(name, HeaderValue::from_static("1"));
    }
    let winners: Vec<_> = (0..=5).map(|last| chosen(&routes[..=last], &request)).collect();
    assert_eq!(winners, [0, 1, 2, 3, 4, 4].map(Some));
}

#[test]
fn the_asterisk_of_options_is_taken_by_prefix_slash_only() {
    let routes = [
        route(&[], [item("regex", ".*")]),
        route(&[], [item("prefix", "/a")]),
        route(&[], [item("prefix", "/")]),
    ];
    assert_eq!(chosen(&routes, &get("", "*")), Some(2));
    assert_eq!(chosen(&routes[..2], &get("", "*")), None);
}

#[test]
fn a_trace_tells_every_candidate_once_in_the_order_tried() {
    let put = Item { method: Some(Method::PUT), ..item("prefix", "/a") };
    let routes = [
        route(&[], [item("prefix", "/")]),
        route(&["*.com", "a.com"], [item("prefix", "/b"), put]),
        route(&["a.com"], [item("prefix", "/b")]),
    ];
    let mut told = Vec::new();
    let request = get("a.com", "/a");
    let table = table(&routes);
    let found = table.trace(&request.head(), &mut |found, failure| told.push((found, failure)));
    assert_eq!(found, Some(Found { route: 0, item: 0 }));
    let failure = Some("method GET, not PUT".to_owned());
    assert_eq!(told, [(Found { route: 1, item: 1 }, failure), (Found { route: 0, item: 0 }, None)]);
    assert_eq!(table.mismatch(1, &request.head()), None);
    let not_taken = "path: \"/a\" is not taken by prefix /b".to_owned();
    assert_eq!(table.mismatch(2, &request.head()), Some(not_taken));
    let not_among = "hostname: \"b.org\" is not among *.com, a.com".to_owned();
    assert_eq!(table.mismatch(1, &get("b.org", "/a").head()), Some(not_among));
}

/// The contract, taken literally: all that match, the best of them by the order of precedence.
fn model(routes: &[Route], request: &Request) -> Option<Found> {
    let mut matching = Vec::new();
    for (number, route) in routes.iter().enumerate() {
        let of_host = |name: &String| match name.strip_prefix('*') {
            Some(suffix) if request.host.len() > suffix.len() => {
                request.host.ends_with(suffix).then_some((1, suffix.len()))
            }
            Some(_) => None,
            None => (request.host == *name).then_some((2, name.len())),
        };
        let any = route.hostnames.is_empty().then_some((0, 0));
        let Some(host) = route.hostnames.iter().filter_map(of_host).max().or(any) else { continue };
        for (index, item) in route.items.iter().enumerate() {
            let asked = item.path.1.as_str();
            let path = match item.path.0 {
                0 if request.path == asked => (2, 0),
                1 if asked == "/" => (1, 0),
                1 => {
                    let asked = asked.trim_end_matches('/');
                    let below = format!("{asked}/");
                    if request.path != asked && !request.path.starts_with(&below) {
                        continue;
                    }
                    (1, asked.len())
                }
                2 if request.path != "*"
                    && regex::Regex::new(asked).unwrap().is_match(&request.path) =>
                {
                    (0, 0)
                }
                _ => continue,
            };
            let method = item.method.as_ref().is_none_or(|method| request.method == *method);
            let mut headers = item.headers.iter();
            let headers = headers.all(|(n, v)| request.headers.get(*n).is_some_and(|h| h == v));
            if method && headers && (!item.query || request.query == Some("q=1")) {
                let conditions = (item.method.is_some(), item.headers.len(), item.query);
                let rank = (host, path, conditions, usize::MAX - number, usize::MAX - index);
                matching.push((rank, Found { route: number, item: index }));
            }
        }
    }
    matching.into_iter().max().map(|(_, found)| found)
}

fn hosts() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("com"),
        Just("a.com"),
        Just("b.a.com"),
        Just("c.b.a.com"),
        Just(".com"),
        Just("")
    ]
    .prop_map(ToOwned::to_owned)
}

fn hostnames() -> impl Strategy<Value = Vec<String>> {
    let name = prop_oneof![
        prop_oneof![Just("com"), Just("a.com"), Just("b.a.com"), Just("c.b.a.com")],
        prop_oneof![Just("*.com"), Just("*.a.com"), Just("*.b.a.com")],
    ];
    prop::collection::vec(name.prop_map(ToOwned::to_owned), 0..3)
}

fn methods() -> impl Strategy<Value = Method> {
    prop_oneof![Just(Method::GET), Just(Method::PUT)]
}

fn headers() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    prop::sample::subsequence(vec![("x-a", "1"), ("x-b", "1"), ("x-a", "2")], 0..=2)
}

fn items() -> impl Strategy<Value = Item> {
    let path = prop_oneof![
        (Just(0), "(/[ab]){1,3}/?"),
        (Just(1), "(/[ab]){0,2}/"),
        (Just(1), "(/[ab]){1,3}"),
        (Just(2), "\\^?/?[ab]\\$?"),
    ];
    (path, prop::option::of(methods()), headers(), any::<bool>())
        .prop_map(|(path, method, headers, query)| Item { path, method, headers, query })
}

fn routes() -> impl Strategy<Value = Vec<Route>> {
    let route = (hostnames(), prop::collection::vec(items(), 1..3))
        .prop_map(|(hostnames, items)| Route { hostnames, items });
    prop::collection::vec(route, 0..12)
}

fn requests() -> impl Strategy<Value = Request> {
    let path = prop_oneof![9 => "(/[abc]){0,4}/|(/[abc]){1,4}", 1 => Just("*".to_owned())];
    (methods(), hosts(), path, prop::option::of(Just("q=1")), headers()).prop_map(
        |(method, host, path, query, headers)| {
            let field =
                |(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
            let headers = headers.into_iter().map(field).collect();
            Request { method, host, path, query, headers }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_table_finds_what_trying_everything_finds(
        routes in routes(),
        requests in prop::collection::vec(requests(), 1..8),
    ) {
        let table = table(&routes);
        for request in requests {
            let found = table.find(&request.head());
            prop_assert_eq!(found, model(&routes, &request));
            let mut last = None;
            let traced = table.trace(&request.head(), &mut |found, failure| {
                last = failure.is_none().then_some(found);
            });
            prop_assert_eq!(traced, found);
            prop_assert_eq!(last, found);
        }
    }
}

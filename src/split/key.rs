//! The key: what tells one user from another.

use crate::base::problem::{Location, Problems, Spanned};
use crate::predicate::{FieldName, Head, cookie, query_value};
use http::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;
use std::borrow::Cow;

/// One place in a request where a key may be: exactly one of these.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct KeyConfig {
    /// The value of this header; the first, if it is repeated.
    pub header: Option<FieldName>,
    /// The value of this cookie.
    pub cookie: Option<String>,
    /// The value of this query parameter.
    pub query: Option<String>,
}

/// Where to look for a request's key, in this order.
#[derive(Debug, Clone, Default)]
pub struct Key(Vec<Source>);

#[derive(Debug, Clone)]
enum Source {
    Header(HeaderName),
    Cookie(String),
    Query(String),
}

impl Key {
    /// Checks and compiles a list of places, of which there must be one.
    pub fn compile(configs: &Spanned<Vec<Spanned<KeyConfig>>>, problems: &mut Problems) -> Self {
        if configs.is_empty() {
            let problem = problems.error(configs.at, "`key` names no place to find a key in");
            problem.help = Some("name one, such as `key: [{ cookie: uid }]`".to_owned());
        }
        Self(configs.iter().filter_map(|config| source(config, config.at, problems)).collect())
    }

    /// The places in their order, each in words such as `header x-user-id`.
    pub fn places(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|source| match source {
            Source::Header(name) => format!("header {name}"),
            Source::Cookie(name) => format!("cookie {name}"),
            Source::Query(name) => format!("query {name}"),
        })
    }

    /// The value at the first place that the request has, which may be empty.
    pub fn value<'a>(&self, head: &Head<'a>) -> Option<Cow<'a, [u8]>> {
        self.0.iter().find_map(|source| match source {
            Source::Header(name) => head.headers.get(name).map(|value| value.as_bytes().into()),
            Source::Cookie(name) => cookie(head.headers, name).map(Cow::Borrowed),
            Source::Query(name) => query_value(head.query, name),
        })
    }
}

fn source(config: &KeyConfig, at: Location, problems: &mut Problems) -> Option<Source> {
    let (source, name) = match (&config.header, &config.cookie, &config.query) {
        (Some(FieldName(name)), None, None) => (Source::Header(name.clone()), name.as_str()),
        (None, Some(name), None) => (Source::Cookie(name.clone()), name.as_str()),
        (None, None, Some(name)) => (Source::Query(name.clone()), name.as_str()),
        _ => {
            problems.error(at, "a key is exactly one of `header`, `cookie` and `query`");
            return None;
        }
    };
    if name.is_empty() {
        problems.error(at, "the name of the key is empty");
    }
    Some(source)
}

#[cfg(test)]
mod tests {
    use super::{Key, KeyConfig};
    use crate::base::problem::{Problems, Spanned};
    use crate::predicate::FieldName;
    use crate::split::tests::Request;
    use std::borrow::Cow;

    fn key(configs: Vec<KeyConfig>) -> (Key, Vec<String>) {
        let spanned = |value| Spanned { value, ..Spanned::default() };
        let configs = configs.into_iter().map(spanned).collect();
        let mut problems = Problems::default();
        let key = Key::compile(&Spanned { value: configs, ..Spanned::default() }, &mut problems);
        (key, problems.into_vec().into_iter().map(|problem| problem.message).collect())
    }

    fn field(name: &str) -> Option<FieldName> {
        name.parse().ok().map(FieldName)
    }

    #[test]
    fn the_first_source_present_gives_the_key_even_if_empty() {
        let (key, problems) = key(vec![
            KeyConfig { header: field("X-User-Id"), ..KeyConfig::default() },
            KeyConfig { cookie: Some("uid".into()), ..KeyConfig::default() },
            KeyConfig { query: Some("user".into()), ..KeyConfig::default() },
        ]);
        assert!(problems.is_empty());
        let value = |request: &Request| key.value(&request.head()).map(Cow::into_owned);
        let mut request = Request::default();
        assert_eq!(value(&request), None);
        request.query = Some("a=1&user=q");
        assert_eq!(value(&request), Some(b"q".to_vec()));
        let request = request.with("cookie", "a=b; uid=c");
        assert_eq!(value(&request), Some(b"c".to_vec()));
        let request = request.with("x-user-id", "").with("x-user-id", "h");
        assert_eq!(value(&request), Some(Vec::new()));
    }

    #[test]
    fn a_key_without_exactly_one_place_is_an_error() {
        assert_eq!(key(vec![]).1, ["`key` names no place to find a key in"]);
        let two = KeyConfig { header: field("a"), cookie: Some("b".into()), query: None };
        let exactly_one = "a key is exactly one of `header`, `cookie` and `query`";
        assert_eq!(key(vec![two, KeyConfig::default()]).1, [exactly_one, exactly_one]);
        let empty = KeyConfig { cookie: Some(String::new()), ..KeyConfig::default() };
        assert_eq!(key(vec![empty]).1, ["the name of the key is empty"]);
    }
}

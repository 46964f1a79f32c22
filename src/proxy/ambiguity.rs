//! Requests that a service could read differently than the proxy: made unambiguous, or refused,
//! before anything is decided by them.

use super::error::Error;
use super::path::{DotSegments, EncodedSeparators, PathRules, RepeatedSlashes};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, Uri};
use schemars::JsonSchema;
use serde::Deserialize;
use std::borrow::Cow;

/// What is done with requests that services read differently. Whatever is matched is forwarded.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AmbiguityConfig {
    /// `.` and `..` in the path.
    pub dot_segments: DotSegments,
    /// `//` in the path.
    pub repeated_slashes: RepeatedSlashes,
    /// `%2f`, `%5c` and `\` in the path.
    pub encoded_separators: EncodedSeparators,
    /// `_` in the names of header fields.
    pub underscores: Underscores,
}

/// What is done with header fields whose names have an underscore, which CGI and its heirs can not
/// tell from a hyphen (RFC 3875 section 4.1.18).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Underscores {
    /// They are matched and forwarded, except those that could be taken for a field that frames
    /// the message or tells who the client is.
    #[default]
    Keep,
    /// They are left out.
    Drop,
    /// 400.
    Refuse,
}

/// The compiled form of [`AmbiguityConfig`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Ambiguity {
    paths: PathRules,
    underscores: Underscores,
}

impl From<&AmbiguityConfig> for Ambiguity {
    fn from(config: &AmbiguityConfig) -> Self {
        let paths = PathRules {
            dot_segments: config.dot_segments,
            repeated_slashes: config.repeated_slashes,
            encoded_separators: config.encoded_separators,
        };
        Self { paths, underscores: config.underscores }
    }
}

/// The fields that nobody may seem to have sent, beside `X-Forwarded-*`: what frames the message,
/// and what Serin says.
const OURS: [&str; 9] = [
    "connection",
    "content-length",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
    "x-real-ip",
];

impl Ambiguity {
    /// Makes a request unambiguous, or says why it is refused.
    pub fn resolve(&self, uri: &mut Uri, headers: &mut HeaderMap) -> Result<(), Error> {
        if headers.keys().any(|name| name.as_str().contains('_')) {
            self.resolve_names(headers)?;
        }
        let path = match self.paths.apply(uri.path()) {
            Ok(Cow::Borrowed(_)) => return Ok(()),
            Ok(Cow::Owned(path)) => path,
            Err(_) => return Err(Error::AmbiguousPath),
        };
        let target = match uri.query() {
            Some(query) => format!("{path}?{query}"),
            None => path,
        };
        let mut parts = std::mem::take(uri).into_parts();
        parts.path_and_query =
            Some(PathAndQuery::try_from(target).map_err(|_| Error::AmbiguousPath)?);
        *uri = Uri::from_parts(parts).map_err(|_| Error::AmbiguousPath)?;
        Ok(())
    }

    fn resolve_names(self, headers: &mut HeaderMap) -> Result<(), Error> {
        let seems_ours = |name: &str| {
            let read = name.replace('_', "-");
            read.starts_with("x-forwarded-") || OURS.contains(&read.as_str())
        };
        let dropped: Vec<HeaderName> = match self.underscores {
            Underscores::Refuse => return Err(Error::Underscore),
            Underscores::Drop => names(headers, |_| true),
            Underscores::Keep => names(headers, seems_ours),
        };
        for name in dropped {
            headers.remove(name);
        }
        Ok(())
    }
}

/// The names with an underscore of which this holds.
fn names(headers: &HeaderMap, test: impl Fn(&str) -> bool) -> Vec<HeaderName> {
    let names = headers.keys().filter(|name| name.as_str().contains('_') && test(name.as_str()));
    names.cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::{Ambiguity, Underscores};
    use crate::proxy::error::Error;
    use http::{HeaderMap, HeaderName, HeaderValue, Uri};

    fn left(underscores: Underscores, names: &[&'static str]) -> Result<Vec<String>, Error> {
        let value = || HeaderValue::from_static("1");
        let mut headers: HeaderMap =
            names.iter().map(|name| (HeaderName::from_static(name), value())).collect();
        let ambiguity = Ambiguity { underscores, ..Ambiguity::default() };
        ambiguity.resolve(&mut Uri::from_static("/"), &mut headers)?;
        let mut names: Vec<_> = headers.keys().map(ToString::to_string).collect();
        names.sort_unstable();
        Ok(names)
    }

    #[test]
    fn underscores_are_kept_dropped_or_refused() {
        let names = ["api_key", "x_forwarded_for", "content_length", "x-forwarded_for", "x-user"];
        assert_eq!(left(Underscores::Keep, &names), Ok(vec!["api_key".into(), "x-user".into()]));
        assert_eq!(left(Underscores::Drop, &names), Ok(vec!["x-user".into()]));
        assert_eq!(left(Underscores::Refuse, &names), Err(Error::Underscore));
        assert_eq!(left(Underscores::Refuse, &["x-user"]), Ok(vec!["x-user".into()]));
    }

    #[test]
    fn the_rest_of_the_target_stays() {
        let mut uri: Uri = "http://a.example:81/b/../c?d=/../e".parse().unwrap();
        Ambiguity::default().resolve(&mut uri, &mut HeaderMap::new()).unwrap();
        assert_eq!(uri, "http://a.example:81/c?d=/../e");
    }
}

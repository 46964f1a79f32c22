//! What can be asked of a request head: one file per leaf, the operators, and their combination.
//!
//! A new leaf is one new file, its module and its entry in the list of [`WhenConfig`].

mod client_certificate;
mod client_ip;
mod combine;
mod compile;
mod condition;
mod cookie;
mod head;
mod header;
mod hostname;
mod method;
mod one_or_many;
mod operator;
mod path;
mod pattern;
mod query;
mod segment;
mod segments;
mod shown;
mod text;
mod version;

pub use client_certificate::ClientCertificatePredicate;
pub use client_ip::{Cidrs, ClientIpPredicate};
pub use combine::{All, Any, Not};
pub use compile::Match;
pub use condition::{Condition, Predicate};
pub use cookie::{CookieName, CookiePredicate, cookie, cookies};
pub use head::Head;
pub use header::{FieldName, HeaderPredicate};
pub use hostname::{HostnamePattern, HostnamePredicate};
pub use method::MethodPredicate;
pub use one_or_many::OneOrMany;
pub use operator::{Operator, Test};
pub use path::{PathRule, prefix_matches};
pub use pattern::Pattern;
pub use query::{QueryName, QueryPredicate, query_value, query_values};
pub use segment::SegmentReference;
pub use segments::{SegmentConfig, Segments};
pub use text::Text;
pub use version::{Requirement, Version};

use compile::Part;
use schemars::JsonSchema;
use serde::Deserialize;

/// Generates the mapping of predicates; its parts are compiled, and asked, in the order listed.
macro_rules! leaves {
    ($($(#[$doc:meta])+ $name:ident: $part:ty,)+) => {
        /// Predicates, all of which must hold; without one, every request is meant.
        #[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        #[schemars(rename = "When")]
        pub struct WhenConfig {
            $($(#[$doc])+ pub $name: Option<$part>,)+
        }

        impl WhenConfig {
            /// The parts that were written.
            fn parts(&self) -> impl Iterator<Item = &dyn Part> {
                [$(self.$name.as_ref().map(|part| part as &dyn Part)),+].into_iter().flatten()
            }
        }
    };
}

// The cheap ones first.
leaves! {
    /// The method is this one or one of these; methods are case-sensitive.
    method: method::MethodPredicate,
    /// The host is this one or one of these; `*.example.com` stands for every name below.
    hostname: hostname::HostnamePredicate,
    /// The path, as sent.
    path: path::PathRule,
    /// The client's address.
    client_ip: client_ip::ClientIpPredicate,
    /// A header field; a repeated one is tried value by value.
    header: header::HeaderPredicate,
    /// A cookie; a repeated one is tried value by value.
    cookie: cookie::CookiePredicate,
    /// A parameter of the query; a repeated one is tried value by value.
    query: query::QueryPredicate,
    /// The client's verified certificate, on a listener with `clientCa`.
    client_certificate: client_certificate::ClientCertificatePredicate,
    /// The request belongs to the segment of this name.
    segment: segment::SegmentReference,
    /// All of these hold.
    all: combine::All,
    /// At least one of these holds.
    any: combine::Any,
    /// This does not hold.
    not: combine::Not,
}

//! The root document: the sections assembled, each read with all of its mistakes.

use super::read::read;
use super::tree::{Document, Shape};
use crate::base::courtesy;
use crate::base::problem::{Location, Problems, Spanned, nearest};
use crate::base::units;
use crate::listener::ListenerConfig;
use crate::predicate::{HostnamePattern, SegmentConfig, WhenConfig};
use crate::proxy::ambiguity::AmbiguityConfig;
use crate::proxy::limits::RouteLimitsConfig;
use crate::proxy::retry::RetryConfig;
use crate::proxy::timeouts::TimeoutsConfig;
use crate::proxy::upgrade::ProtocolName;
use crate::split::{ArmConfig, CohortConfig, OverrideConfig};
use crate::telemetry::statuses::MetricsConfig;
use crate::upstream::settings::PoolConfig;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::net::SocketAddr;

/// Which requests go where: the configuration of Serin.
#[derive(Debug, Clone, Default, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields, title = "Serin configuration")]
pub struct Config {
    /// Where requests come in; at least one.
    #[schemars(extend("minItems" = 1))]
    pub listeners: Vec<ListenerConfig>,
    /// The address of health, metrics, the API and the dashboard.
    #[schemars(default)]
    pub admin: AdminConfig,
    /// What `/metrics` shows beside Serin's own names.
    #[schemars(default)]
    pub metrics: MetricsConfig,
    /// What is done with requests that services read differently.
    #[schemars(default)]
    pub ambiguity: AmbiguityConfig,
    /// How the process ends.
    #[schemars(default)]
    pub drain: DrainConfig,
    /// Named groups of users, usable in any `when`.
    #[schemars(default)]
    pub segments: Vec<SegmentConfig>,
    /// The services behind.
    #[schemars(default)]
    pub pools: Vec<PoolConfig>,
    /// Which requests are taken, and how their traffic divides.
    #[schemars(default)]
    pub routes: Vec<RouteConfig>,
    /// What was left out for being wrong.
    #[schemars(skip)]
    pub(super) left_out: Sections,
}

/// What was left out of each section, so that what is missing there is no news.
#[derive(Debug, Clone, Default)]
pub(super) struct Sections {
    pub(super) listeners: LeftOut,
    pub(super) segments: LeftOut,
    pub(super) pools: LeftOut,
    pub(super) routes: LeftOut,
}

/// What was left out of a section for being wrong.
#[derive(Debug, Clone, Default)]
pub(super) struct LeftOut {
    /// Whether anything was.
    pub(super) any: bool,
    /// The names of whole elements, which others may use all the same.
    pub(super) names: Vec<Spanned<String>>,
}

/// The address of health, metrics, the API and the dashboard.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AdminConfig {
    /// The address and port. Loopback unless told otherwise: whoever reaches it sees the
    /// configuration.
    #[schemars(with = "SocketAddr", extend("default" = "127.0.0.1:9901"))]
    pub address: Spanned<SocketAddr>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 9901));
        Self { address: Spanned { at: Location::default(), value: address } }
    }
}

/// How the process ends after SIGTERM.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DrainConfig {
    /// How long connections are still accepted after `/readyz` begins to fail.
    pub delay: units::Duration,
    /// How long requests in flight may take to finish after that, and those of a removed listener.
    pub timeout: units::Duration,
}

impl Default for DrainConfig {
    fn default() -> Self {
        Self { delay: units::Duration::from_secs(5), timeout: units::Duration::from_secs(20) }
    }
}

/// Which requests are taken, and how their traffic divides.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteConfig {
    /// The name, for metrics and `explain`; the default salt of the cohort.
    pub name: Spanned<String>,
    /// The hosts, exact or `*.example.com`; none: any host.
    #[serde(default)]
    pub hostnames: Vec<HostnamePattern>,
    /// What a request must be like; any of the items is enough. None: every request.
    #[serde(default)]
    pub matches: Vec<WhenConfig>,
    /// Who counts as the same user; without it each request is drawn at random.
    #[serde(default)]
    pub cohort: Option<CohortConfig>,
    /// The header by which trusted peers choose the pool themselves.
    #[serde(default)]
    pub r#override: Option<OverrideConfig>,
    /// The arms; the first whose `when` holds decides. At least one.
    #[schemars(extend("minItems" = 1))]
    pub split: Spanned<Vec<ArmConfig>>,
    /// The pool for when no pool of the arm can take the request, or no arm holds.
    #[serde(default)]
    pub fallback: Option<Spanned<String>>,
    /// How long things may take.
    #[serde(default)]
    pub timeouts: TimeoutsConfig,
    /// How much requests may send, and how slowly.
    #[serde(default)]
    pub limits: RouteLimitsConfig,
    /// When and how often a failed attempt is repeated.
    #[serde(default)]
    pub retry: Option<Spanned<RetryConfig>>,
    /// The protocols that clients may change to (`Upgrade`); an upgrade to another goes on as a
    /// request without it.
    #[serde(default = "ProtocolName::default_list")]
    pub upgrades: Vec<ProtocolName>,
}

/// The keys of the root document.
const SECTIONS: [&str; 8] =
    ["listeners", "admin", "metrics", "ambiguity", "drain", "segments", "pools", "routes"];

impl Config {
    /// Reads the document; what is wrong is left out and noted.
    pub fn read(document: &Document, problems: &mut Problems) -> Self {
        let mut config = Self::default();
        let left_out = &mut config.left_out;
        for entry in document.root_entries() {
            let value = entry.value;
            match entry.name {
                "listeners" => {
                    config.listeners = list(document, value, &mut left_out.listeners, problems);
                }
                "segments" => {
                    config.segments = list(document, value, &mut left_out.segments, problems);
                }
                "pools" => config.pools = list(document, value, &mut left_out.pools, problems),
                "routes" => {
                    config.routes = list(document, value, &mut left_out.routes, problems);
                }
                "admin" => config.admin = one(document, value, problems),
                "metrics" => config.metrics = one(document, value, problems),
                "ambiguity" => config.ambiguity = one(document, value, problems),
                "drain" => config.drain = one(document, value, problems),
                unknown => {
                    let near = nearest(unknown, SECTIONS);
                    // What is under a misspelt key is not missing for that.
                    match near {
                        Some("listeners") => left_out.listeners.any = true,
                        Some("routes") => left_out.routes.any = true,
                        _ => {}
                    }
                    let help = near.map_or_else(
                        || format!("known here: {}", SECTIONS.join(", ")),
                        |near| format!("did you mean `{near}`?"),
                    );
                    problems.error(entry.key, format!("unknown key `{unknown}`")).help = Some(help);
                }
            }
        }
        // Conditions that name it are not wrong for that.
        let stand_in = |name| SegmentConfig { name, when: WhenConfig::default() };
        config.segments.extend(config.left_out.segments.names.drain(..).map(stand_in));
        config
    }
}

/// A list's elements, without those that are wrong.
fn list<T: DeserializeOwned>(
    document: &Document,
    at: Location,
    left_out: &mut LeftOut,
    problems: &mut Problems,
) -> Vec<T> {
    let Some(items) = document.items(at) else {
        if !is_empty(document, at) {
            problems.error(at, "expected a list");
            left_out.any = true;
        }
        return Vec::new();
    };
    let mut list = Vec::with_capacity(items.len());
    for item in items {
        courtesy::give_way();
        if let Some(item) = read::<T>(document, *item, problems) {
            left_out.any |= !item.complete;
            list.push(item.value);
        } else {
            left_out.any = true;
            left_out.names.extend(name(document, *item));
        }
    }
    list
}

/// The name of an element that could not be read.
fn name(document: &Document, item: Location) -> Option<Spanned<String>> {
    let at = document.field(item, "name")?;
    let value = document.text(at).to_owned();
    (!value.is_empty()).then_some(Spanned { at, value })
}

/// A section's settings, or its defaults if it is empty or wrong.
fn one<T: DeserializeOwned + Default>(
    document: &Document,
    at: Location,
    problems: &mut Problems,
) -> T {
    if is_empty(document, at) {
        return T::default();
    }
    read(document, at, problems).map(|read| read.value).unwrap_or_default()
}

/// Whether a section is written without a value: `routes:` alone is an empty list.
fn is_empty(document: &Document, at: Location) -> bool {
    matches!(document.shape(at), Shape::Scalar(_)) && document.text(at).is_empty()
}

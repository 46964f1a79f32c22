//! The override: a request from a trusted peer names its pool.

use super::PoolIndex;
use crate::predicate::{Cidrs, FieldName, Head};
use http::HeaderName;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A header by which trusted peers choose the pool, so that a tester can always reach the canary.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OverrideConfig {
    /// The header's name; its value is the name of a pool of the route.
    #[serde(deserialize_with = "removable")]
    pub header: FieldName,
    /// The networks whose connections may use it; from all others it is removed. Default: none.
    #[serde(default)]
    pub trusted: Cidrs,
}

/// What a request can not do without, or is framed by: where the override is refused, its header is
/// removed.
const NEEDED: [HeaderName; 4] = [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION];

/// The name of a header that may be removed.
fn removable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<FieldName, D::Error> {
    let name = FieldName::deserialize(deserializer)?;
    if NEEDED.contains(&name.0) {
        let message = format!(
            "`{}` is what the request itself needs; name a header of your own, such as `x-serin-pool`",
            name.0
        );
        return Err(D::Error::custom(message));
    }
    Ok(name)
}

/// A compiled override.
#[derive(Debug)]
pub(super) struct Override {
    pub(super) header: HeaderName,
    pub(super) trusted: Cidrs,
}

/// What a request asks by the override header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nothing: the header is not there.
    Nothing,
    /// Something that it may not ask, or that is not one pool of the route.
    Refused,
    /// This pool of the route.
    Pool(PoolIndex),
}

impl Override {
    pub(super) fn compile(config: &OverrideConfig) -> Self {
        Self { header: config.header.0.clone(), trusted: config.trusted.clone() }
    }

    /// What the request asks of a route with these pools.
    pub(super) fn asked(&self, head: &Head<'_>, pools: &[(String, PoolIndex)]) -> Asked {
        let mut values = head.headers.get_all(&self.header).iter();
        let Some(value) = values.next() else { return Asked::Nothing };
        // Several values: a client may have put its own beside that of a trusted proxy.
        if values.next().is_some() || !self.trusted.contains(head.peer) {
            return Asked::Refused;
        }
        let named = pools.iter().find(|(name, _)| name.as_bytes() == value.as_bytes());
        named.map_or(Asked::Refused, |(_, pool)| Asked::Pool(*pool))
    }
}

//! What is kept of a ConfigMap.

use super::Facts;
use k8s_openapi::api::core::v1::ConfigMap;
use std::collections::BTreeMap;

/// What is kept of a ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigMapFacts {
    /// What tells it from one of the same name before or after it.
    pub uid: String,
    /// The version that was seen.
    pub version: String,
    /// When it was made, in milliseconds since 1970.
    pub made: i64,
    /// Its texts by key.
    pub data: BTreeMap<String, String>,
    /// The keys of what it has that is no text.
    pub binary: Vec<String>,
}

impl Facts for ConfigMapFacts {
    type Object = ConfigMap;
    const RESOURCE: &'static str = "configmaps";
    // Each may have a mebibyte.
    const PAGE: u32 = 20;

    fn of(object: ConfigMap) -> Self {
        let metadata = object.metadata;
        let made = metadata.creation_timestamp.map(|time| time.0.as_millisecond());
        Self {
            uid: metadata.uid.unwrap_or_default(),
            version: metadata.resource_version.unwrap_or_default(),
            made: made.unwrap_or_default(),
            data: object.data.unwrap_or_default(),
            binary: object.binary_data.unwrap_or_default().into_keys().collect(),
        }
    }
}

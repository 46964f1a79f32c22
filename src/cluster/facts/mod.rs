//! What is kept of each kind of object: as much as somebody looks at, and no more.

mod config_map;
mod pod;
mod service;
mod slice;

pub use config_map::ConfigMapFacts;
pub use pod::PodFacts;
pub use service::ServiceFacts;
pub use slice::{SliceEndpoint, SliceFacts, SlicePort};

use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// What is kept of a kind of object.
pub(super) trait Facts: Debug + Clone + Send + Sync + 'static {
    /// The kind of object.
    type Object: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static;
    /// Its name in the API and in metrics.
    const RESOURCE: &'static str;
    /// The most objects of one answer; the next ask for those after them.
    const PAGE: u32 = 500;

    /// What is kept of an object.
    fn of(object: Self::Object) -> Self;
}

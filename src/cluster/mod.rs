//! The Kubernetes API: how it is reached, and what is watched there, once per process.
//!
//! Who asks for a set of objects gets a [`Watching`]: what is there now, as it changes. Two who ask
//! for the same share one watch, which ends with the last of them. When the API can not be reached,
//! what was seen last stays, and the watch tries again with growing pauses.

#[cfg(not(feature = "kube"))]
mod absent;
#[cfg(feature = "kube")]
mod client;
#[cfg(feature = "kube")]
pub mod events;
#[cfg(feature = "kube")]
pub mod facts;
#[cfg(feature = "kube")]
mod failure;
pub mod names;
#[cfg(feature = "kube")]
mod present;
#[cfg(feature = "kube")]
mod shared;
#[cfg(feature = "kube")]
mod tally;
#[cfg(feature = "kube")]
mod watch;

#[cfg(not(feature = "kube"))]
pub use absent::Cluster;
#[cfg(feature = "kube")]
pub use failure::{Failure, Reason};
#[cfg(feature = "kube")]
pub use present::Cluster;
#[cfg(feature = "kube")]
pub use shared::{Objects, Scope, View, Watching};

/// The most objects of one watch: what is beyond is not looked at, and the log says so.
pub const OBJECTS_MAX: usize = 20_000;

/// Whether this build knows Kubernetes.
pub const IS_PRESENT: bool = cfg!(feature = "kube");

//! What happens to a pool and its endpoints, counted by how or why.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Declares what is told apart, and the labels.
macro_rules! labelled {
    (
        $(#[$doc:meta])*
        $name:ident { $($(#[$item_doc:meta])* $item:ident $label:literal),* $(,)? }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$item_doc])* $item),* }

        impl $name {
            /// The labels, in the order of the numbers.
            pub const LABELS: &[&str] = &[$($label),*];
        }
    };
}

labelled! {
    /// Why an endpoint was ejected.
    Ejection {
        /// So many attempts in a row failed.
        ConsecutiveFailures "consecutive_failures",
        /// It succeeded less often than the others.
        SuccessRate "success_rate",
        /// The one request on its return failed.
        TrialFailed "trial_failed",
    }
}

labelled! {
    /// How a health check ended.
    HealthCheck {
        /// The endpoint is well.
        Success "success",
        /// It is not, or can not be reached.
        Failure "failure",
        /// It did not answer in time.
        Timeout "timeout",
    }
}

labelled! {
    /// How a look-up of endpoints ended.
    Discovery {
        /// The set is another one.
        Changed "changed",
        /// The set is the same.
        Unchanged "unchanged",
        /// The name has no addresses.
        NoRecords "no_records",
        /// There is no such name.
        NoSuchName "no_such_name",
        /// No answer came in time.
        Timeout "timeout",
        /// It failed otherwise.
        Failure "failure",
    }
}

labelled! {
    /// The limit of a pool that a request was refused for.
    Overflow {
        /// The requests in flight, where none may wait.
        Requests "requests",
        /// The open connections, where none may wait.
        Connections "connections",
        /// The requests that wait.
        Pending "pending",
        /// The time that a request may wait.
        PendingTimeout "pending_timeout",
    }
}

/// What the control plane counts of a pool; it may be several threads.
#[derive(Debug, Default)]
pub struct PoolEvents {
    /// Endpoints that were ejected, by [`Ejection`].
    pub ejections: [AtomicU64; Ejection::LABELS.len()],
    /// Health checks, by [`HealthCheck`].
    pub health_checks: [AtomicU64; HealthCheck::LABELS.len()],
    /// Look-ups, by [`Discovery`].
    pub discoveries: [AtomicU64; Discovery::LABELS.len()],
}

impl PoolEvents {
    /// Counts an ejection.
    pub fn ejected(&self, why: Ejection) {
        count(&self.ejections, why as usize);
    }

    /// Counts a health check.
    pub fn checked(&self, how: HealthCheck) {
        count(&self.health_checks, how as usize);
    }

    /// Counts a look-up.
    pub fn discovered(&self, how: Discovery) {
        count(&self.discoveries, how as usize);
    }
}

fn count(counters: &[AtomicU64], index: usize) {
    if let Some(counter) = counters.get(index) {
        counter.fetch_add(1, Relaxed);
    }
}

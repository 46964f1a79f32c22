//! What is counted of the watches, for the metrics.

use super::failure::Reason;
use crate::telemetry::metrics::{Metric, Source};
use crate::telemetry::sink::Sink;
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// How a watch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Nothing was seen yet.
    Waiting,
    /// It shows what is there.
    Synced,
    /// It shows what was there when the API was last reached.
    Failing,
}

impl Standing {
    const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Synced => "synced",
            Self::Failing => "failing",
        }
    }
}

/// The watches by what is watched and how they stand, and their failures.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    standing: BTreeMap<(&'static str, Standing), i64>,
    failures: BTreeMap<(&'static str, &'static str), u64>,
}

impl Tally {
    /// A watch stands otherwise than before; nothing before its begin and after its end.
    pub(super) fn moves(
        &self,
        resource: &'static str,
        from: Option<Standing>,
        to: Option<Standing>,
    ) {
        let mut counts = self.0.lock();
        for (standing, change) in [(from, -1), (to, 1)] {
            if let Some(standing) = standing {
                *counts.standing.entry((resource, standing)).or_default() += change;
            }
        }
    }

    pub(super) fn failed(&self, resource: &'static str, reason: Reason) {
        *self.0.lock().failures.entry((resource, reason.name())).or_default() += 1;
    }
}

impl Source for Tally {
    fn collect(&self, sink: &mut Sink) {
        let counts = self.0.lock();
        for ((resource, standing), number) in &counts.standing {
            sink.integer(Metric::KubernetesWatches, &[resource, standing.name()], *number);
        }
        for ((resource, reason), count) in &counts.failures {
            sink.count(Metric::KubernetesFailures, &[resource, reason], *count);
        }
    }
}

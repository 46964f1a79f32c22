//! Passive ejection: endpoints are taken out for a while because of how they answer real requests.
//!
//! A request notes how its attempt ended (`record`); a task of the control plane (`task`)
//! judges (`judge`); one real request decides about the return (`trial`).

mod history;
mod judge;
mod record;
mod task;
mod trial;

pub use history::History;
pub(super) use record::note;
pub(super) use task::apply;
pub use trial::Trial;
pub(super) use trial::TrialCell;

use crate::base::units;
use schemars::JsonSchema;
use serde::Deserialize;

/// When an endpoint is taken out because of how it answers, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OutlierConfig {
    /// After so many failed attempts in a row; 0 for never.
    pub consecutive_failures: u32,
    /// Whether an answer with a status of 500 or above is a failure too.
    pub server_errors: bool,
    /// By how much less often an endpoint succeeds than the others do.
    pub success_rate: Option<SuccessRateConfig>,
    /// The time after which success rates are compared, and one is taken off a row of ejections.
    pub interval: units::Duration,
    /// How long the first ejection lasts; each further one lasts so much longer.
    pub base_ejection_time: units::Duration,
    /// How long an ejection lasts at most.
    pub max_ejection_time: units::Duration,
    /// The most endpoints of the pool that are ejected at one time, in percent.
    #[schemars(range(max = 100))]
    pub max_ejection_percent: u8,
}

/// When an endpoint succeeds too seldom, compared with the others of its pool.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SuccessRateConfig {
    /// How many standard deviations below the average of the pool, in thousandths.
    pub stdev_factor: u32,
    /// The least number of endpoints with enough requests for any to be compared.
    pub min_endpoints: u32,
    /// The least number of requests of an endpoint in an interval for it to be compared.
    pub min_requests: u32,
}

impl OutlierConfig {
    /// What is done where the document says nothing: only endpoints that do not answer are ejected,
    /// because a status is the service's own affair until somebody says otherwise.
    pub fn unsaid() -> Self {
        Self { server_errors: false, ..Self::default() }
    }

    /// Whether anything is ever ejected.
    pub fn is_on(&self) -> bool {
        self.consecutive_failures > 0 || self.success_rate.is_some()
    }
}

impl Default for OutlierConfig {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            server_errors: true,
            success_rate: None,
            interval: units::Duration::from_secs(10),
            base_ejection_time: units::Duration::from_secs(10),
            max_ejection_time: units::Duration::from_secs(300),
            max_ejection_percent: 50,
        }
    }
}

impl Default for SuccessRateConfig {
    fn default() -> Self {
        Self { stdev_factor: 1900, min_endpoints: 5, min_requests: 100 }
    }
}

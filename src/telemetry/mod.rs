//! What Serin tells of itself: metrics, counted per worker and summed when they are scraped.

pub mod events;
pub mod metrics;
mod process;
pub mod series;
pub mod shard;
pub mod sink;
pub mod statuses;

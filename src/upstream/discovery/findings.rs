//! What a source found: taken into use, counted, and told of in the log when it is news.

use super::{ENDPOINTS_MAX, Found};
use crate::telemetry::events::Discovery;
use crate::upstream::pool::Pool;
use crate::upstream::transport::Protocol;
use parking_lot::Mutex;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::{oneshot, watch};

/// The addresses that were found last, for whoever looks for the same by other settings.
pub type Last = Arc<Mutex<Vec<IpAddr>>>;

/// Where a source puts what it found.
#[derive(Debug)]
pub struct Findings {
    /// What was found last, as far as the source needs to know it.
    pub last: Last,
    pool: Arc<Pool>,
    /// By which the pool knows whose turn it is.
    turn: u64,
    source: String,
    /// Told once there is any answer, be it that there is nothing.
    first: Option<oneshot::Sender<()>>,
    /// How the look-up before ended, if it found nothing.
    missed: Option<Discovery>,
    /// Whether there are more endpoints than a pool has.
    overfull: bool,
}

/// Why a source found nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missed {
    /// There is no such name.
    #[error("there is no such name")]
    NoSuchName,
    /// The name has no addresses.
    #[error("the name has no addresses")]
    NoRecords,
    /// No answer came in time.
    #[error("no answer came in time")]
    Timeout,
    /// It failed otherwise.
    #[error("{0}")]
    Failed(String),
}

impl Missed {
    fn counted(&self) -> Discovery {
        match self {
            Self::NoSuchName => Discovery::NoSuchName,
            Self::NoRecords => Discovery::NoRecords,
            Self::Timeout => Discovery::Timeout,
            Self::Failed(_) => Discovery::Failure,
        }
    }
}

impl Findings {
    /// The findings of a source for a pool, and what is told after the first of them.
    pub fn new(pool: &Arc<Pool>, source: &impl fmt::Display) -> (Self, oneshot::Receiver<()>) {
        let (first, answered) = oneshot::channel();
        let (pool, turn, source) = (Arc::clone(pool), pool.look_anew(), source.to_string());
        let (first, last) = (Some(first), Last::default());
        (Self { last, pool, turn, source, first, missed: None, overfull: false }, answered)
    }

    /// The same for who goes on from what was found last.
    #[must_use]
    pub fn after(self, last: &Last) -> Self {
        Self { last: Arc::clone(last), ..self }
    }

    /// Takes endpoints into use in place of those before.
    pub fn found(&mut self, found: &[Found]) {
        self.found_speaking(None, found);
    }

    /// The same for who knows which version of HTTP they speak; it counts if the settings do not.
    pub fn found_speaking(&mut self, protocol: Option<Protocol>, found: &[Found]) {
        let overfull = found.len() > ENDPOINTS_MAX;
        if overfull && !self.overfull {
            self.warn(&format!("of {} endpoints {ENDPOINTS_MAX} are used", found.len()));
        }
        self.overfull = overfull;
        let found = found.get(..ENDPOINTS_MAX).unwrap_or(found);
        // Somebody else looks for them now.
        let Some(changed) = self.pool.found(self.turn, protocol, found) else { return };
        let counted = if changed { Discovery::Changed } else { Discovery::Unchanged };
        self.pool.series.events.discovered(counted);
        let (pool, source, endpoints) = (&self.pool.name, &self.source, found.len());
        if found.is_empty() && (self.first.is_some() || changed) {
            tracing::warn!(%pool, %source, "no endpoints found: nothing there is ready");
        } else if self.first.is_some() || self.missed.is_some() {
            tracing::info!(%pool, %source, endpoints, "endpoints found");
        } else if changed {
            tracing::debug!(%pool, %source, endpoints, "other endpoints found");
        }
        self.missed = None;
        self.answered();
    }

    /// Tells of something strange in the log.
    pub fn warn(&self, what: &str) {
        tracing::warn!(pool = %self.pool.name, source = %self.source, "{what}");
    }

    /// Notes that nothing was found; the endpoints stay as they are.
    pub fn missed(&mut self, missed: &Missed) {
        let counted = missed.counted();
        self.pool.series.events.discovered(counted);
        // Told once, not with each try.
        if self.missed.replace(counted) != Some(counted) {
            let (pool, source, kept) = (&self.pool.name, &self.source, self.pool.endpoints().len());
            tracing::warn!(%pool, %source, kept, "no endpoints found: {missed}");
        }
        self.answered();
    }

    /// What changes whenever none of the endpoints can be reached.
    pub fn distress(&self) -> watch::Receiver<()> {
        self.pool.distress()
    }

    fn answered(&mut self) {
        if let Some(first) = self.first.take() {
            // Whoever waited may have lost patience.
            let _ = first.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Discovery, ENDPOINTS_MAX, Findings, Missed};
    use crate::telemetry::series::PoolSeries;
    use crate::upstream::pool::Pool;
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn a_pool_has_at_most_so_many_endpoints_whoever_finds_them() {
        let pool = Arc::new(Pool::new(Arc::new(PoolSeries::new("assets", 1))));
        let (mut findings, _) = Findings::new(&pool, &"shop/app=shop:http");
        let ports = 1..=u16::try_from(ENDPOINTS_MAX + 1).unwrap();
        let found: Vec<_> =
            ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)).into()).collect();
        findings.found(&found);
        assert_eq!(pool.endpoints().len(), ENDPOINTS_MAX);
    }

    #[test]
    fn what_is_found_replaces_the_endpoints_and_a_miss_leaves_them() {
        let pool = Arc::new(Pool::new(Arc::new(PoolSeries::new("assets", 1))));
        let (mut findings, mut answered) = Findings::new(&pool, &"a.test");
        assert!(answered.try_recv().is_err());
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        findings.found(&[address.into()]);
        assert!(answered.try_recv().is_ok());
        findings.found(&[address.into()]);
        let misses =
            [Missed::NoRecords, Missed::NoSuchName, Missed::Timeout, Missed::Failed(String::new())];
        for missed in misses {
            findings.missed(&missed);
        }
        assert_eq!(pool.endpoints().len(), 1);
        let counts = pool.series.events.discoveries.each_ref().map(|count| count.load(Relaxed));
        assert_eq!(counts, [1; Discovery::LABELS.len()]);
    }
}

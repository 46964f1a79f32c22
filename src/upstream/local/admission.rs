//! The way of a request into a pool that takes only so many at one time.

use super::LocalPool;
use crate::base::clock;
use crate::telemetry::events::Overflow;
use crate::upstream::limits::Overloaded;
use crate::upstream::quota::Permit;

/// The right to send a request, and to repeat it, to the endpoints of a pool; given back when
/// dropped.
#[derive(Debug, Default)]
pub struct Admitted(#[expect(dead_code, reason = "only kept")] Option<Permit>);

impl LocalPool {
    /// Whether a request may have to wait until it is let in.
    pub fn limits_requests(&self) -> bool {
        self.terms.limits_requests()
    }

    /// Lets a request in, if it need not wait.
    pub fn admit(&self) -> Option<Admitted> {
        self.refresh();
        if !self.limits_requests() {
            return Some(Admitted(None));
        }
        self.pool.limiter.requests.take().map(|permit| Admitted(Some(permit)))
    }

    /// Waits until there is no endpoint that takes requests.
    pub async fn emptied(&self) {
        while self.has_untried(&[]) {
            self.emptied.notified().await;
        }
    }

    /// Lets a request in when it is its turn.
    pub async fn admit_later(&self) -> Result<Admitted, Overloaded> {
        let pending = self.terms.begin_waiting(Overflow::Requests)?;
        let ticket = self.pool.limiter.requests.queue(None, clock::now());
        let permit = pending.wait(ticket).await?;
        // If the limit has gone meanwhile, it is one of those that are not counted.
        self.refresh();
        Ok(Admitted(self.limits_requests().then_some(permit)))
    }
}

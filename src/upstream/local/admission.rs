//! The way of a request into a pool that takes only so many at one time.

use super::LocalPool;
use super::terms::Terms;
use crate::base::clock;
use crate::telemetry::events::Overflow;
use crate::upstream::limits::Overloaded;
use crate::upstream::quota::Permit;
use std::rc::Rc;

/// The right to send a request, and to repeat it, to the endpoints of a pool; given back when
/// dropped.
#[derive(Debug, Default)]
pub struct Admitted(#[expect(dead_code, reason = "only kept")] Right);

#[derive(Debug, Default)]
enum Right {
    /// It has none yet.
    #[default]
    None,
    /// One of so many.
    Counted(#[expect(dead_code, reason = "only kept")] Permit),
    /// There was no limit when it came.
    Free(Rc<Terms>),
}

impl Drop for Right {
    fn drop(&mut self) {
        if let Self::Free(terms) = self {
            terms.leave();
        }
    }
}

impl LocalPool {
    /// Whether a request that comes now has to wait until it is let in. To be asked right after
    /// [`LocalPool::offer`], which takes over what has changed.
    pub fn is_full(&self) -> bool {
        self.terms.limits_requests() && !self.pool.limiter.requests.has_room()
    }

    /// Lets a request in, if it need not wait.
    pub fn admit(&self) -> Option<Admitted> {
        self.refresh();
        if !self.terms.limits_requests() {
            self.terms.enter();
            return Some(Admitted(Right::Free(Rc::clone(&self.terms))));
        }
        self.pool.limiter.requests.take().map(|permit| Admitted(Right::Counted(permit)))
    }

    /// Waits until this worker takes over something that has changed in the pool.
    pub fn changed(&self) -> impl Future<Output = ()> + '_ {
        self.changed.notified()
    }

    /// Lets a request in when it is its turn.
    pub async fn admit_later(&self) -> Result<Admitted, Overloaded> {
        let pending = self.terms.begin_waiting(Overflow::Requests)?;
        let ticket = self.pool.limiter.requests.queue(None, clock::now());
        pending.wait(ticket).await.map(|permit| Admitted(Right::Counted(permit)))
    }
}

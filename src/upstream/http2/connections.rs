//! The HTTP/2 connections of one worker to one endpoint, and the requests that wait for a stream.

use super::connection::{Connection, Lease};
use crate::upstream::local::LocalEndpoint;
use crate::upstream::transport::ConnectError;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use tokio::sync::oneshot;

/// The most connections to an endpoint, per worker.
const CONNECTIONS_MAX: usize = 8;
/// The most requests that wait for a stream, per endpoint and worker.
const WAITING_MAX: usize = 1024;

/// What a waiting request gets: a stream, an error, or nothing but the hint to look again.
pub type Outcome = Result<Option<Lease>, ConnectError>;

/// The connections to one endpoint.
#[derive(Debug, Default)]
pub struct Connections {
    open: RefCell<Vec<Rc<Connection>>>,
    opening: Cell<bool>,
    waiting: RefCell<VecDeque<oneshot::Sender<Outcome>>>,
}

impl Connections {
    /// A stream of the first connection that has room.
    pub fn lease(&self, endpoint: &Rc<LocalEndpoint>) -> Option<Lease> {
        let open = self.open.borrow();
        let connection = open.iter().find(|connection| connection.has_room())?;
        Some(Lease::new(connection, endpoint))
    }

    /// Takes a place in the queue.
    pub fn wait(&self) -> Result<oneshot::Receiver<Outcome>, ConnectError> {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= WAITING_MAX {
            // Those who left do not count.
            waiting.retain(|sender| !sender.is_closed());
        }
        if waiting.len() >= WAITING_MAX {
            return Err(ConnectError::Full);
        }
        let (sender, receiver) = oneshot::channel();
        waiting.push_back(sender);
        Ok(receiver)
    }

    /// Whether somebody waits.
    pub fn is_awaited(&self) -> bool {
        self.waiting.borrow().iter().any(|sender| !sender.is_closed())
    }

    /// Whether a connection is being opened.
    pub fn is_opening(&self) -> bool {
        self.opening.get()
    }

    /// Says that a connection will be opened, if there may be one more and none is on its way.
    pub fn begin_opening(&self) -> bool {
        let allowed = !self.opening.get() && self.open.borrow().len() < CONNECTIONS_MAX;
        self.opening.set(self.opening.get() || allowed);
        allowed
    }

    /// Says that the opening is over.
    pub fn opened(&self, connection: Option<Rc<Connection>>) {
        self.opening.set(false);
        self.open.borrow_mut().extend(connection);
    }

    /// Serves waiting requests as far as there is room.
    pub fn changed(&self, endpoint: &Rc<LocalEndpoint>) {
        let closing = |connection: &Rc<Connection>| connection.is_closing();
        if self.open.borrow().iter().any(closing) {
            self.open.borrow_mut().retain(|connection| !connection.is_closing());
        }
        if self.waiting.borrow().is_empty() {
            return;
        }
        while let Some(mut lease) = self.lease(endpoint) {
            loop {
                let Some(sender) = self.waiting.borrow_mut().pop_front() else { return };
                match sender.send(Ok(Some(lease))) {
                    Ok(()) => break,
                    // It left, and gives the stream to the next.
                    Err(Ok(Some(back))) => lease = back,
                    Err(_) => return,
                }
            }
        }
        // Who waits for room on a connection that is gone opens another.
        if self.open.borrow().is_empty() && !self.opening.get() {
            self.wake(&|| Ok(None));
        }
    }

    /// Answers all that wait.
    pub fn wake(&self, outcome: &dyn Fn() -> Outcome) {
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        for sender in waiting {
            let _ = sender.send(outcome());
        }
    }

    /// Closes those that were idle or silent for too long.
    pub fn sweep(&self) {
        self.open.borrow_mut().retain(|connection| connection.outlives_sweep());
    }

    /// Closes all, each once its streams have ended.
    pub fn clear(&self) {
        let closed = std::mem::take(&mut *self.open.borrow_mut());
        drop(closed);
    }
}

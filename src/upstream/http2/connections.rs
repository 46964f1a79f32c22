//! The HTTP/2 connections of one worker to one endpoint, and the requests that wait for a stream.

use super::connection::{Connection, Lease};
use crate::base::clock;
use crate::upstream::keep_alive::KeepAliveConfig;
use crate::upstream::local::LocalEndpoint;
use crate::upstream::transport::ConnectError;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;
use tokio::sync::oneshot;

/// The most connections to an endpoint, per worker, beside those that end with their streams.
const CONNECTIONS_MAX: usize = 8;
/// The most requests that wait for a stream, per endpoint and worker.
const WAITING_MAX: usize = 1024;

/// What a waiting request gets: a stream, an error, or nothing but the hint to look again.
pub type Outcome = Result<Option<Lease>, ConnectError>;

/// Whether a connection is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Opening {
    /// None is.
    #[default]
    No,
    /// One will be when there is room for it.
    Waiting,
    /// One is being made.
    Connecting,
}

/// The connections to one endpoint.
#[derive(Debug, Default)]
pub struct Connections {
    open: RefCell<Vec<Rc<Connection>>>,
    /// Those that take no more requests, until their streams have ended. Each holds one request at
    /// least, which bounds them.
    ending: RefCell<Vec<Rc<Connection>>>,
    opening: Cell<Opening>,
    waiting: RefCell<VecDeque<oneshot::Sender<Outcome>>>,
}

impl Connections {
    /// A stream of the first connection that has room.
    pub fn lease(&self, endpoint: &Rc<LocalEndpoint>) -> Option<Lease> {
        let mut closed = false;
        let lease = {
            let (keep_alive, now) = (endpoint.keep_alive(), clock::recent());
            let open = self.open.borrow();
            let mut with_room = open.iter().filter(|connection| connection.has_room());
            with_room.find_map(|connection| {
                if connection.is_spent(&keep_alive, now) {
                    connection.close();
                    closed = true;
                    return None;
                }
                let lease = Lease::new(connection, endpoint);
                // The last one before its time is over, or before it goes to others.
                if connection.is_spent(&keep_alive, now) || endpoint.concedes() {
                    connection.close();
                    closed = true;
                }
                Some(lease)
            })
        };
        if closed {
            self.set_apart();
        }
        lease
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

    /// Whether a connection is on its way.
    pub fn opening(&self) -> Opening {
        self.opening.get()
    }

    /// Whether there is a connection that takes requests, now or when streams end.
    pub fn is_open(&self) -> bool {
        !self.open.borrow().is_empty()
    }

    /// Whether there may be one more, and none is on its way.
    pub fn may_open(&self) -> bool {
        self.opening.get() == Opening::No && self.open.borrow().len() < CONNECTIONS_MAX
    }

    /// Says that a connection is on its way, and how far.
    pub fn begin(&self, opening: Opening) {
        self.opening.set(opening);
    }

    /// Says that the opening is over.
    pub fn opened(&self, connection: Option<Rc<Connection>>) {
        self.opening.set(Opening::No);
        self.open.borrow_mut().extend(connection);
    }

    /// Serves waiting requests as far as there is room, and lets go of what nobody needs.
    pub fn changed(&self, endpoint: &Rc<LocalEndpoint>) {
        self.set_apart();
        self.serve(endpoint);
        if endpoint.is_retired() {
            self.clear();
        } else if !endpoint.keeps_connections() {
            self.open.borrow_mut().retain(|connection| !connection.is_idle());
        }
        endpoint.yield_idle();
    }

    fn serve(&self, endpoint: &Rc<LocalEndpoint>) {
        while self.has_next() {
            let Some(lease) = self.lease(endpoint) else {
                // In the place of a connection that is gone another is opened by those who wait.
                if self.may_open() && (!self.is_open() || endpoint.has_room()) {
                    self.wake(&|| Ok(None));
                }
                return;
            };
            let next = self.waiting.borrow_mut().pop_front();
            if let Some(next) = next {
                let _ = next.send(Ok(Some(lease)));
            }
        }
    }

    /// Whether somebody is the next to get a stream; those who left are not.
    fn has_next(&self) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        while waiting.front().is_some_and(oneshot::Sender::is_closed) {
            waiting.pop_front();
        }
        !waiting.is_empty()
    }

    /// Answers all that wait.
    pub fn wake(&self, outcome: &dyn Fn() -> Outcome) {
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        for sender in waiting {
            let _ = sender.send(outcome());
        }
    }

    /// Closes those that were idle or silent for too long, and ends those that are too old.
    pub fn sweep(&self, keep_alive: &KeepAliveConfig, now: Instant) {
        let alive = |connection: &Rc<Connection>| connection.outlives_sweep(keep_alive, now);
        self.open.borrow_mut().retain(alive);
        self.ending.borrow_mut().retain(alive);
        self.set_apart();
    }

    /// Whether one has no streams.
    pub fn has_idle(&self) -> bool {
        self.open.borrow().iter().any(|connection| connection.is_idle())
    }

    /// Closes one that has no streams.
    pub fn close_idle(&self) {
        let mut open = self.open.borrow_mut();
        if let Some(place) = open.iter().position(|connection| connection.is_idle()) {
            open.remove(place);
        }
    }

    /// Closes all, each once its streams have ended.
    pub fn clear(&self) {
        self.open.borrow().iter().for_each(|connection| connection.close());
        self.set_apart();
    }

    /// Keeps those that take no more requests for as long as they have streams, and no longer.
    fn set_apart(&self) {
        let mut ending = self.ending.borrow_mut();
        let mut open = self.open.borrow_mut();
        if open.iter().any(|connection| connection.is_closing()) {
            ending.extend(open.extract_if(.., |connection| connection.is_closing()));
        }
        ending.retain(|connection| !connection.is_idle());
    }
}

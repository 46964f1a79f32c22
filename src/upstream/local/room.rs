//! Room for another connection to an endpoint, where a pool may have only so many.

use super::LocalEndpoint;
use super::terms::Pending;
use crate::telemetry::events::Overflow;
use crate::upstream::http1::Connection;
use crate::upstream::limits::Overloaded;
use crate::upstream::quota::{Claim, Permit, Seeker, Ticket};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use tokio::sync::oneshot;

/// What a request gets that needs a connection.
#[derive(Debug)]
pub(in crate::upstream) enum Room {
    /// Room for a new one.
    New(Permit),
    /// One that had become idle while it waited.
    Kept(Box<Connection>),
}

/// The requests that wait at an endpoint for a connection of HTTP/1.1, in the order of their
/// tickets. All of them are pending.
#[derive(Debug, Default)]
pub(super) struct Seekers(RefCell<VecDeque<(u64, oneshot::Sender<Box<Connection>>)>>);

/// A request among the [`Seekers`]; when it leaves, a connection that it was given is kept.
struct Seeking<'e> {
    endpoint: &'e LocalEndpoint,
    number: u64,
    receiver: oneshot::Receiver<Box<Connection>>,
}

impl LocalEndpoint {
    /// As whom its requests wait for connections.
    fn seeker(&self) -> Seeker {
        Seeker { worker: self.worker, endpoint: self.endpoint.address }
    }

    /// Room for another connection, if there is some without waiting.
    pub(in crate::upstream) fn take_room(&self) -> Option<Permit> {
        self.terms.take_room()
    }

    /// Whether there is room for another connection.
    pub(in crate::upstream) fn has_room(&self) -> bool {
        self.terms.has_room()
    }

    /// Lets a request wait for room, unless too many wait.
    pub(in crate::upstream) fn begin_waiting(&self) -> Result<Pending<'_>, Overloaded> {
        let pending = self.terms.begin_waiting(Overflow::Connections);
        // So that the next one finds room.
        pending.inspect_err(|_| self.terms.wish_for_room())
    }

    /// Joins those who wait for room, and has idle connections closed everywhere.
    pub(in crate::upstream) fn queue_for_room(&self) -> Ticket {
        self.terms.queue_for_room(self.seeker())
    }

    /// Whether a connection in use has to be given up, because others have waited for too long.
    pub(in crate::upstream) fn concedes(&self) -> bool {
        self.terms.concedes(self.seeker())
    }

    /// Gives idle connections of the pool up as far as others need them.
    pub(in crate::upstream) fn yield_idle(&self) {
        self.terms.yield_idle();
    }

    /// Waits for room for another connection, or for one that becomes idle here.
    pub(in crate::upstream) async fn wait_for_room(&self) -> Result<Room, Overloaded> {
        let pending = self.begin_waiting()?;
        let mut ticket = self.queue_for_room();
        let mut seeking = self.seek(ticket.number());
        let found = poll_fn(|cx| {
            if let Poll::Ready(Ok(connection)) = Pin::new(&mut seeking.receiver).poll(cx) {
                return Poll::Ready(Room::Kept(connection));
            }
            Pin::new(&mut ticket).poll(cx).map(Room::New)
        });
        pending.wait(found).await
    }

    fn seek(&self, number: u64) -> Seeking<'_> {
        let (sender, receiver) = oneshot::channel();
        self.seekers.0.borrow_mut().push_back((number, sender));
        Seeking { endpoint: self, number, receiver }
    }

    /// Gives a connection that has nothing to do to who needs it: to a request that waits here,
    /// or, by closing it, to others. What is left nobody needs.
    pub(super) fn offer(&self, mut connection: Box<Connection>) -> Option<Box<Connection>> {
        match self.terms.claim(self.seeker()) {
            Claim::Nobody => return Some(connection),
            Claim::Urgent => return None,
            Claim::Own | Claim::Other => {}
        }
        loop {
            let (number, sender) = self.seekers.0.borrow_mut().pop_front()?;
            match sender.send(connection) {
                Ok(()) => {
                    // So that nobody closes another for it.
                    self.terms.leave_line(number);
                    return None;
                }
                Err(back) => connection = back,
            }
        }
    }
}

impl Drop for Seeking<'_> {
    fn drop(&mut self) {
        let seekers = &self.endpoint.seekers.0;
        let place = seekers.borrow().binary_search_by_key(&self.number, |(number, _)| *number);
        if let Ok(place) = place {
            seekers.borrow_mut().remove(place);
        }
        if let Ok(connection) = self.receiver.try_recv() {
            self.endpoint.keep_idle(connection);
        }
    }
}

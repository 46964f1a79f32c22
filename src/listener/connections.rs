//! The open connections of one listener on one worker, told together to finish or to close.

use super::limits::Limits;
use super::refusal::Refusal;
use super::timers::Timers;
use crate::base::drain::Draining;
use crate::base::io::Flow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The open connections. A timer and a drain signal for each would be paid on every request.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: RefCell<HashMap<u64, Rc<Connection>>>,
    next: Cell<u64>,
    draining: Cell<bool>,
    leaving: Cell<bool>,
    timers: RefCell<Option<Rc<Timers>>>,
}

/// What is known of a connection, and what it is told.
#[derive(Debug, Default)]
pub(super) struct Connection {
    /// Requests whose response is not complete.
    busy: Cell<u32>,
    /// Whether a request came since this was last asked.
    moved: Cell<bool>,
    /// How writing to the client goes.
    pub(super) flow: Rc<Flow>,
    order: Cell<Option<Order>>,
    /// Whether it ends with the response that is next.
    finishing: Cell<bool>,
    /// The requests that have begun.
    requests: Cell<u32>,
    /// Why it ends before its client wants it to.
    refused: Cell<Option<Refusal>>,
    waker: RefCell<Option<Waker>>,
    /// Whether anything came from an HTTP/2 client since this was last asked.
    heard: Cell<bool>,
    /// The streams that their client holds back; never more than it may open.
    held: RefCell<Vec<Rc<Wait>>>,
}

/// What a connection is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Answer what is being served, then close.
    Finish,
    /// Close at once.
    Close,
}

/// An entry of the list, removed when dropped.
#[derive(Debug)]
pub(super) struct Entry {
    connections: Rc<Connections>,
    number: u64,
    pub(super) connection: Rc<Connection>,
    /// What is drained waits for this.
    _draining: Draining,
}

/// A request that is being served, until it is dropped.
#[derive(Debug)]
pub(super) struct Busy {
    connection: Rc<Connection>,
}

/// An HTTP/2 stream on which there is something that the client does not let us send, although it
/// takes what others have for it (RFC 9113 section 5.2); until it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    connection: Rc<Connection>,
    wait: Rc<Wait>,
}

/// How long a stream was held.
#[derive(Debug, Default)]
struct Wait {
    /// Whether it was found held before.
    looked: Cell<bool>,
    /// Whether that was twice.
    given_up: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Connections {
    /// Adds a connection.
    pub(super) fn open(self: &Rc<Self>, draining: Draining) -> Entry {
        let number = self.next.get();
        self.next.set(number + 1);
        let connection = Rc::new(Connection::default());
        connection.moved.set(true);
        connection.finishing.set(self.leaving.get());
        if self.draining.get() {
            connection.tell(Order::Finish);
        }
        self.open.borrow_mut().insert(number, Rc::clone(&connection));
        Entry { connections: Rc::clone(self), number, connection, _draining: draining }
    }

    /// From now on each response asks the client to go elsewhere: a connection that closes by
    /// itself may cross the client's next request.
    pub(super) fn leave(&self) {
        self.leaving.set(true);
        for connection in self.open.borrow().values() {
            connection.finishing.set(true);
        }
    }

    /// Tells all to finish, those too that are still to come.
    pub(super) fn finish(&self) {
        self.draining.set(true);
        for connection in self.open.borrow().values() {
            connection.tell(Order::Finish);
        }
    }

    /// Closes all, whatever they are doing.
    pub(super) fn close(&self) {
        for connection in self.open.borrow().values() {
            connection.tell(Order::Close);
        }
    }

    /// The deadlines for connections with these limits.
    pub(super) fn timers(&self, limits: &Limits) -> Rc<Timers> {
        let mut known = self.timers.borrow_mut();
        match &*known {
            Some(timers) if timers.are_of(limits) => Rc::clone(timers),
            _ => Rc::clone(known.insert(Rc::new(Timers::new(limits)))),
        }
    }
}

impl Connection {
    /// A request begins.
    pub(super) fn begin(self: &Rc<Self>) -> Busy {
        self.busy.set(self.busy.get() + 1);
        self.requests.set(self.requests.get().saturating_add(1));
        Busy { connection: Rc::clone(self) }
    }

    /// Whether a request is being served, or its response not written to its end yet.
    pub(super) fn is_busy(&self) -> bool {
        self.busy.get() > 0 || self.flow.is_blocked()
    }

    /// Looks whether the client takes what there is to write: gives up the streams that were held
    /// at the last look, too, and says whether it has taken nothing at all.
    pub(super) fn look(&self) -> bool {
        self.held.borrow().iter().for_each(|wait| wait.look());
        self.flow.is_blocked() && !self.flow.take_moved()
    }

    /// Something came from the client.
    pub(super) fn hear(&self) {
        self.heard.set(true);
    }

    /// Whether anything came from the client since this was last asked.
    pub(super) fn take_heard(&self) -> bool {
        self.heard.take()
    }

    /// Whether a request was served since this was last asked.
    pub(super) fn take_moved(&self) -> bool {
        self.moved.take()
    }

    /// What it was told since it last asked.
    pub(super) fn order(&self) -> Option<Order> {
        self.order.take()
    }

    /// Whether it was told to close at once; anything else is left to be asked for.
    pub(super) fn is_cut(&self) -> bool {
        self.order.get() == Some(Order::Close)
    }

    /// The number of requests that have begun.
    pub(super) fn requests(&self) -> u32 {
        self.requests.get()
    }

    /// Notes why it ends; the first reason counts.
    pub(super) fn refuse(&self, refusal: Refusal) {
        if self.refused.get().is_none() {
            self.refused.set(Some(refusal));
        }
    }

    /// Why it ends, if it is not its client's wish.
    pub(super) fn refused(&self) -> Option<Refusal> {
        self.refused.get()
    }

    /// Whom to wake when there is something to tell.
    pub(super) fn wake(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        match &mut *known {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// Whether no request is served after the one that is.
    pub(super) fn is_finishing(&self) -> bool {
        self.finishing.get()
    }

    pub(super) fn tell(&self, order: Order) {
        if order == Order::Finish {
            self.finishing.set(true);
        }
        self.order.set(Some(order));
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.connections.open.borrow_mut().remove(&self.number);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.connection.busy.set(self.connection.busy.get() - 1);
        self.connection.moved.set(true);
    }
}

impl Busy {
    /// There is something to send, which waits for the client.
    pub(super) fn hold(&self) -> Held {
        let wait = Rc::new(Wait::default());
        self.connection.held.borrow_mut().push(Rc::clone(&wait));
        Held { connection: Rc::clone(&self.connection), wait }
    }
}

impl Held {
    /// Ready when it was held for too long.
    pub(super) fn poll_given_up(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.wait.given_up.get() {
            return Poll::Ready(());
        }
        let mut known = self.wait.waker.borrow_mut();
        match &mut *known {
            Some(known) => known.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.connection.held.borrow_mut().retain(|wait| !Rc::ptr_eq(wait, &self.wait));
    }
}

impl Wait {
    fn look(&self) {
        if self.looked.replace(true) {
            self.given_up.set(true);
            if let Some(waker) = &*self.waker.borrow() {
                waker.wake_by_ref();
            }
        }
    }
}

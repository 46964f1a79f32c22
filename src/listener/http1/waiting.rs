//! A connection between requests: the next head is read, or the connection ends.

use super::head::{Head, is_begun, parse_request};
use crate::base::clock;
use crate::base::deadline::Deadline;
use crate::base::http1::wire::Wire;
use crate::listener::connections::{Connection, Order};
use crate::listener::http::Terms;
use crate::listener::refusal::Refusal;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// What comes next on a connection.
pub(super) enum Next<R> {
    /// A request.
    Request(R),
    /// None, because of this.
    Refused(Refusal),
    /// None.
    End,
}

/// A connection without a request.
pub(super) struct Waiting<'a> {
    wire: &'a Rc<Wire>,
    known: &'a Connection,
    terms: Terms<'a>,
    /// How far the end of the head was looked for.
    searched: usize,
    /// Whether a part of a head is there, so that the deadline is that of the head.
    begun: bool,
    /// Whether it is the first head.
    first: bool,
    /// Whether no further head may begin.
    finish: bool,
    deadline: Option<Deadline>,
}

impl<'a> Waiting<'a> {
    pub(super) fn new(
        wire: &'a Rc<Wire>,
        known: &'a Connection,
        terms: Terms<'a>,
        deadline: Option<Deadline>,
    ) -> Self {
        let begun = deadline.is_some();
        Self { wire, known, terms, searched: 0, begun, first: true, finish: false, deadline }
    }

    /// Waits for the next one.
    pub(super) fn again(&mut self) {
        self.searched = 0;
        self.begun = false;
        self.first = false;
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Next<Head>> {
        self.known.wake(cx.waker());
        match self.known.order() {
            Some(Order::Close) => return Poll::Ready(Next::End),
            Some(Order::Finish) => self.finish = true,
            None => {}
        }
        // A request that has come already is served before it is asked whether one may come.
        loop {
            let parsed = self.wire.with_received(|received| {
                if received.is_empty() {
                    return Ok(None);
                }
                parse_request(received, &mut self.searched, self.terms.limits)
            });
            match parsed {
                Ok(None) => {}
                Ok(Some(head)) => {
                    self.deadline = None;
                    return Poll::Ready(Next::Request(head));
                }
                Err(refusal) => return Poll::Ready(Next::Refused(refusal)),
            }
            match self.wire.poll_fill(cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Next::End),
                Poll::Pending => break,
            }
        }
        self.poll_deadline(cx)
    }

    /// Waits for the deadline of what there is.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Next<Head>> {
        let begun = self.wire.with_received(|received| is_begun(received));
        if self.finish && !begun {
            return Poll::Ready(Next::End);
        }
        let timers = self.terms.timers;
        if begun && !self.begun {
            self.begun = true;
            self.deadline = Some(timers.header.begin(clock::now()));
        }
        let deadline = self.deadline.get_or_insert_with(|| {
            if self.first {
                timers.header.begin(clock::now())
            } else {
                timers.keep_alive.begin(clock::recent())
            }
        });
        ready!(Pin::new(deadline).poll(cx));
        Poll::Ready(if begun { Next::Refused(Refusal::HeadTimedOut) } else { Next::End })
    }
}

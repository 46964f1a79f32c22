//! Asks a silent client whether it is there.

use crate::base::clock;
use crate::base::deadline::Deadline;
use crate::listener::connections::Connection;
use crate::listener::timers::Timers;
use h2::{Ping, PingPong};
use std::pin::Pin;
use std::task::{Context, Poll};

/// What is known of whether the client is there.
#[derive(Debug)]
pub(super) struct KeepAlive {
    pings: Option<PingPong>,
    deadline: Deadline,
    /// Whether it was asked, and has sent nothing since.
    asked: bool,
}

impl KeepAlive {
    /// Begins with a client that has just been heard.
    pub(super) fn new(pings: Option<PingPong>, timers: &Timers) -> Self {
        Self { pings, deadline: timers.silence.begin(clock::now()), asked: false }
    }

    /// Ready when the client has not answered in time. It is asked after one to two times the limit
    /// of silence; anything that it sends is an answer.
    pub(super) fn poll_lost(
        &mut self,
        cx: &mut Context<'_>,
        known: &Connection,
        timers: &Timers,
    ) -> Poll<()> {
        while Pin::new(&mut self.deadline).poll(cx).is_ready() {
            let silent = !known.take_heard();
            if silent && self.asked {
                return Poll::Ready(());
            }
            self.asked = silent;
            let next = if silent { &timers.answer } else { &timers.silence };
            self.deadline = next.begin(clock::now());
            if silent && let Some(pings) = &mut self.pings {
                // An answer that has come makes room for the next question.
                let _ = pings.poll_pong(cx);
                let _ = pings.send_ping(Ping::opaque());
            }
        }
        Poll::Pending
    }
}

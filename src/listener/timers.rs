//! The deadlines of a listener's connections on one worker.

use super::limits::Limits;
use crate::base::deadline::Deadlines;
use std::rc::Rc;
use std::time::Duration;

/// How long we read on from a client that we have told that its connection closes, so that it can
/// read why.
const LINGER: Duration = Duration::from_secs(2);
/// How long we wait for a response before we look whether a client does still that wants its new
/// connection closed afterwards: most responses have come by then.
const GLANCE: Duration = Duration::from_millis(10);
/// After what silence an HTTP/2 client is asked whether it is there, and how long it may take to
/// answer.
const SILENCE: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(20);

/// The lists of deadlines, one for each length.
#[derive(Debug, Clone)]
pub(super) struct Timers {
    /// A request's head.
    pub(super) header: Rc<Deadlines>,
    /// Between two requests.
    pub(super) keep_alive: Rc<Deadlines>,
    /// Without anything being taken of what there is to write.
    pub(super) write: Rc<Deadlines>,
    /// Until a connection that is closed is let go of.
    pub(super) linger: Rc<Deadlines>,
    /// Until it is looked whether the client of a connection for one request still waits.
    pub(super) glance: Rc<Deadlines>,
    /// Until an HTTP/2 client that sends nothing is asked whether it is there.
    pub(super) silence: Rc<Deadlines>,
    /// Until it has to have answered.
    pub(super) answer: Rc<Deadlines>,
    lengths: [Duration; 3],
}

impl Timers {
    /// None running yet.
    pub(super) fn new(limits: &Limits) -> Self {
        let list = |length| Rc::new(Deadlines::new(length));
        Self {
            header: list(limits.header),
            keep_alive: list(limits.keep_alive),
            write: list(limits.write),
            linger: list(LINGER),
            glance: list(GLANCE),
            silence: list(SILENCE),
            answer: list(ANSWER),
            lengths: lengths(limits),
        }
    }

    /// Whether they are those of these limits.
    pub(super) fn are_of(&self, limits: &Limits) -> bool {
        self.lengths == lengths(limits)
    }
}

fn lengths(limits: &Limits) -> [Duration; 3] {
    [limits.header, limits.keep_alive, limits.write]
}

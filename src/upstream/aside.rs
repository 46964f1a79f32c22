//! What the client sends while the endpoint does, sent by a task of its own.
//!
//! Were it sent when the client takes what the endpoint sends, two that both send before they read
//! would wait for each other forever. Most requests are sent before their response begins, and need
//! no such task.

use crate::base::body::BodyError;
use crate::base::quiet::Quiet;
use std::panic::resume_unwind;
use std::task::{Context, Poll, ready};
use tokio::task::JoinHandle;

/// A task that sends; it is ended with its owner.
#[derive(Debug)]
pub(super) struct Aside(Option<Quiet<JoinHandle<Result<(), BodyError>>>>);

impl Aside {
    /// Begins to send.
    pub(super) fn start(sending: impl Future<Output = Result<(), BodyError>> + 'static) -> Self {
        Self(Some(Quiet::new(tokio::task::spawn_local(sending))))
    }

    /// Waits until all is sent, or says once why it can not be.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        let Some(task) = &mut self.0 else { return Poll::Ready(Ok(())) };
        let sent = ready!(task.poll(cx));
        self.0 = None;
        Poll::Ready(match sent {
            Ok(sent) => sent,
            // A bug: to be counted where the other bugs of this connection are.
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(_) => Ok(()),
        })
    }

    /// Looks whether it failed; what waits is told when it does.
    pub(super) fn check(&mut self, cx: &mut Context<'_>) -> Result<(), BodyError> {
        match self.poll(cx) {
            Poll::Ready(sent) => sent,
            Poll::Pending => Ok(()),
        }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

//! What the client sends after a change of protocol, sent by a task beside what the endpoint sends.
//!
//! Were it sent when the client takes what the endpoint sends, two that both send before they read
//! would wait for each other forever.

use crate::base::body::BodyError;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::task::JoinHandle;

/// A task that sends; it is ended with its owner.
#[derive(Debug)]
pub(super) struct Aside(Option<JoinHandle<Result<(), BodyError>>>);

impl Aside {
    /// Begins to send.
    pub(super) fn start(sending: impl Future<Output = Result<(), BodyError>> + 'static) -> Self {
        Self(Some(tokio::task::spawn_local(sending)))
    }

    /// Looks whether it failed; what waits is told when it does.
    pub(super) fn check(&mut self, cx: &mut Context<'_>) -> Result<(), BodyError> {
        let Some(task) = &mut self.0 else { return Ok(()) };
        let Poll::Ready(sent) = Pin::new(task).poll(cx) else { return Ok(()) };
        self.0 = None;
        match sent {
            Ok(sent) => sent,
            // A bug: to be counted where the other bugs of this connection are.
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(_) => Ok(()),
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

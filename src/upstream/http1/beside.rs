//! A connection on which the response comes while the request is still being sent.

use super::connection::Connection;
use super::upload::{Upload, UploadError};
use crate::base::body::{BodyError, Source};
use crate::upstream::aside::Aside;
use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

/// A connection that a response comes over.
#[derive(Debug)]
pub(super) enum Held {
    /// Its request is sent.
    Alone(Box<Connection>),
    /// Its request is being sent.
    Beside(Beside),
}

/// A connection with the task that sends over it. Dropped, it ends the task.
#[derive(Debug)]
pub(super) struct Beside {
    connection: Rc<RefCell<Box<Connection>>>,
    sending: Aside,
}

impl Held {
    /// Goes on to send the rest of a request.
    pub(super) fn beside<S: Source + 'static>(
        connection: Box<Connection>,
        upload: Upload<S>,
    ) -> Self {
        let connection = Rc::new(RefCell::new(connection));
        let sending = Aside::start(send(upload, Rc::clone(&connection)));
        Self::Beside(Beside { connection, sending })
    }

    /// Does something with the connection.
    pub(super) fn with<T>(&mut self, act: impl FnOnce(&mut Connection) -> T) -> T {
        match self {
            Self::Alone(connection) => act(connection),
            Self::Beside(Beside { connection, .. }) => act(&mut connection.borrow_mut()),
        }
    }

    /// Looks how the sending goes; what waits is told when it is over.
    pub(super) fn check(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        match self {
            Self::Alone(_) => Poll::Ready(Ok(())),
            Self::Beside(Beside { sending, .. }) => sending.poll(cx),
        }
    }

    /// The connection, if nobody sends over it any more.
    pub(super) fn into_alone(self) -> Option<Box<Connection>> {
        match self {
            Self::Alone(connection) => Some(connection),
            Self::Beside(Beside { connection, .. }) => {
                Rc::try_unwrap(connection).ok().map(RefCell::into_inner)
            }
        }
    }
}

async fn send<S: Source>(
    mut upload: Upload<S>,
    connection: Rc<RefCell<Box<Connection>>>,
) -> Result<(), BodyError> {
    let sent = poll_fn(|cx| upload.poll(&mut connection.borrow_mut().stream, cx)).await;
    sent.map_err(|error| match error {
        UploadError::Connection(error) => BodyError::Source(error.into()),
        UploadError::Body(error) => error,
    })
}

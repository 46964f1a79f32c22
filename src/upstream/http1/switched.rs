//! A connection after `101 Switching Protocols`: bytes in both directions, each at its own pace.

use super::connection::Connection;
use super::exchange::ReceiveError;
use super::upload::{Upload, UploadError};
use crate::base::body::{BodyError, Source};
use crate::upstream::aside::Aside;
use bytes::Bytes;
use http_body::Frame;
use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// What the endpoint sends, until it ends its sending side. Dropped, it ends the other direction.
#[derive(Debug)]
pub(super) struct Switched {
    connection: Rc<RefCell<Box<Connection>>>,
    sending: Aside,
    ended: bool,
}

impl Switched {
    /// Begins to pass on what the client sends.
    pub(super) fn start<S: Source + 'static>(
        connection: Box<Connection>,
        upload: Upload<S>,
    ) -> Self {
        let connection = Rc::new(RefCell::new(connection));
        let sending = Aside::start(send(upload, Rc::clone(&connection)));
        Self { connection, sending, ended: false }
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReceiveError>>> {
        self.sending.check(cx)?;
        if self.ended {
            return Poll::Ready(None);
        }
        let mut connection = self.connection.borrow_mut();
        if connection.received.is_empty() && ready!(connection.poll_fill(cx))? == 0 {
            self.ended = true;
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(Frame::data(connection.received.split().freeze()))))
    }
}

/// Sends what the client sends, then ends our sending side.
async fn send<S: Source>(
    mut upload: Upload<S>,
    connection: Rc<RefCell<Box<Connection>>>,
) -> Result<(), BodyError> {
    let stalled = upload.stalled();
    let sending = stalled.limit(|cx| upload.poll(&mut connection.borrow_mut().stream, cx));
    match sending.await? {
        Ok(()) => {
            let end = poll_fn(|cx| Pin::new(&mut connection.borrow_mut().stream).poll_shutdown(cx));
            // If it is closed already, its reader will see that.
            let _ = end.await;
            Ok(())
        }
        // The endpoint takes no more, but what it has sent is still to be read.
        Err(UploadError::Connection(_)) => Ok(()),
        Err(UploadError::Body(error)) => Err(error),
    }
}

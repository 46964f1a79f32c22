//! A stream after an extended CONNECT was taken up (RFC 8441): bytes in both directions, each at
//! its own pace.

use super::connection::Lease;
use super::upload::{Upload, UploadError};
use crate::base::body::{Body, BodyError, Source};
use crate::upstream::aside::Aside;
use crate::upstream::kept::Kept;
use bytes::Bytes;
use h2::RecvStream;
use http_body::Frame;
use std::task::{Context, Poll, ready};

/// What the endpoint sends, until it ends its side. Dropped, it ends the other direction too.
#[derive(Debug)]
pub(super) struct Switched {
    stream: RecvStream,
    sending: Aside,
    /// How much of what was passed on is not given back to the endpoint's window.
    unreleased: usize,
    ended: bool,
    _lease: Option<Lease>,
}

/// Why what the endpoint sends broke off.
#[derive(Debug, thiserror::Error)]
pub enum SwitchedError {
    /// The stream.
    #[error(transparent)]
    Stream(#[from] h2::Error),
    /// What the client sends.
    #[error(transparent)]
    Client(#[from] BodyError),
}

impl Switched {
    /// Begins to pass on what the client sends.
    pub(super) fn start<S: Source + 'static>(
        stream: RecvStream,
        upload: Upload,
        body: Body<S>,
        lease: Option<Lease>,
    ) -> Self {
        let sending = Aside::start(send(upload, body));
        Self { stream, sending, unreleased: 0, ended: false, _lease: lease }
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, SwitchedError>>> {
        self.sending.check(cx)?;
        let passed = std::mem::take(&mut self.unreleased);
        if passed > 0 {
            // The stream may have ended meanwhile.
            let _ = self.stream.flow_control().release_capacity(passed);
        }
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            match ready!(self.stream.poll_data(cx)).transpose()? {
                Some(data) if data.is_empty() => {}
                Some(data) => {
                    self.unreleased = data.len();
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                None => self.ended = true,
            }
        }
    }
}

/// Sends what the client sends, then ends our side.
async fn send<S: Source>(mut upload: Upload, mut body: Body<S>) -> Result<(), BodyError> {
    let stalled = body.stalled();
    let mut body = Kept::new(body);
    body.forget();
    match stalled.limit(|cx| upload.poll(&mut body, cx)).await? {
        // The endpoint takes no more, but what it has sent is still to be read.
        Ok(()) | Err(UploadError::Stream) => Ok(()),
        Err(UploadError::Body(error)) => Err(error),
    }
}

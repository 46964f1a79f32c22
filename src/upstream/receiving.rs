//! The body of an endpoint's response as it comes, whichever version of HTTP carries it.

use super::{http1, http2};
use crate::base::http1::lines::Lines;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};

/// What an endpoint is sending.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "most come over HTTP/1.1 and need no box")]
pub enum Receiving {
    /// Over a connection of its own.
    Http1(http1::Receiving),
    /// Over a stream; in a box, because most are not.
    Http2(Box<http2::Receiving>),
}

/// Why a response broke off.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// Over HTTP/1.1.
    #[error(transparent)]
    Http1(#[from] http1::ReceiveError),
    /// Over HTTP/2.
    #[error(transparent)]
    Http2(#[from] http2::SwitchedError),
}

impl Receiving {
    /// Takes the fields of the head, if they were not taken apart.
    pub fn take_lines(&mut self) -> Option<Box<Lines>> {
        match self {
            Self::Http1(body) => body.take_lines(),
            Self::Http2(_) => None,
        }
    }

    /// Whether the request is still being sent.
    pub fn is_sending(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_sending(),
            Self::Http2(body) => body.is_sending(),
        }
    }
}

impl Body for Receiving {
    type Data = Bytes;
    type Error = ReceiveError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReceiveError>>> {
        match self.get_mut() {
            Self::Http1(body) => {
                Pin::new(body).poll_frame(cx).map(|frame| frame.map(|frame| Ok(frame?)))
            }
            Self::Http2(body) => {
                Pin::new(body).poll_frame(cx).map(|frame| frame.map(|frame| Ok(frame?)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}

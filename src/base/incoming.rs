//! The body of a client's request as it comes, whichever version of HTTP carries it.

use super::http1::wire::{Informational, RawBytes, RequestBody};
use super::http2::Received;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What a client is sending.
#[derive(Debug)]
pub enum Incoming {
    /// By HTTP/1.1.
    Http1(RequestBody),
    /// By HTTP/2.
    Http2(Received),
    /// The client's side of a tunnel, where it stands for a request's body.
    Tunnel(Tunnel),
}

/// The bytes that a client sends after a request whose answer switches protocols: the client's side
/// of a tunnel, to the end of its sending side.
///
/// Nothing is read before the connection has been given a response that switches; until then it is
/// pending. It fails if the response is another one.
#[derive(Debug)]
pub struct Tunnel(Carrier);

/// What carries a tunnel.
enum Carrier {
    /// The connection of an `Upgrade` (RFC 9110 section 7.8).
    Http1(RawBytes),
    /// The stream of an extended CONNECT (RFC 8441), in a box as it is rare.
    Stream(Pin<Box<dyn Body<Data = Bytes, Error = BoxError>>>),
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl fmt::Debug for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http1(bytes) => f.debug_tuple("Http1").field(bytes).finish(),
            Self::Stream(_) => f.debug_tuple("Stream").finish_non_exhaustive(),
        }
    }
}

impl Tunnel {
    /// What a stream carries.
    pub fn stream(source: impl Body<Data = Bytes, Error = BoxError> + 'static) -> Self {
        Self(Carrier::Stream(Box::pin(source)))
    }
}

impl Incoming {
    /// Whether it comes over HTTP/1.1 or 1.0.
    pub fn is_http1(&self) -> bool {
        matches!(self, Self::Http1(_))
    }

    /// Whether the request may switch protocols: in HTTP/1.1 `Connection` names `Upgrade`, which is
    /// there, and there is no body.
    pub fn offers_tunnel(&self) -> bool {
        match self {
            Self::Http1(body) => body.offers_raw_bytes(),
            Self::Http2(_) => false,
            Self::Tunnel(_) => true,
        }
    }

    /// The client's side of a tunnel in place of the body, if it is offered.
    #[must_use]
    pub fn into_tunnel(self) -> Self {
        match self {
            Self::Http1(body) => match body.raw_bytes() {
                Some(bytes) => Self::Tunnel(Tunnel(Carrier::Http1(bytes))),
                None => Self::Http1(body),
            },
            other => other,
        }
    }

    /// Where informational responses (1xx but 101) go, if the client understands them.
    pub fn informational(&self) -> Option<Informational> {
        match self {
            Self::Http1(body) => body.informational(),
            Self::Http2(_) | Self::Tunnel(_) => None,
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Http1(body) => Pin::new(body).poll_frame(cx),
            Self::Http2(body) => {
                Pin::new(body).poll_frame(cx).map(|frame| frame.map(|frame| Ok(frame?)))
            }
            Self::Tunnel(tunnel) => Pin::new(tunnel).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
            Self::Tunnel(tunnel) => tunnel.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
            Self::Tunnel(tunnel) => tunnel.size_hint(),
        }
    }
}

impl Body for Tunnel {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut self.get_mut().0 {
            Carrier::Http1(bytes) => Pin::new(bytes).poll_frame(cx),
            Carrier::Stream(source) => source.as_mut().poll_frame(cx),
        }
    }
}

//! One request and its response over a stream.

use super::connection::Lease;
use super::head::{Framing, Invalid, extended, framing, request};
use super::switched::{Switched, SwitchedError};
use super::upload::{Upload, UploadError};
use crate::base::body::{Body, BodyError, Source};
use crate::base::http1::fields::remove_forbidden;
use crate::base::http1::wire::Informational;
use crate::upstream::aside::Aside;
use crate::upstream::kept::Kept;
use crate::upstream::outgoing::Message;
use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream};
use http::response;
use http_body::{Frame, SizeHint};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

/// The most informational responses (1xx) before the final one.
const INFORMATIONAL_MAX: u8 = 16;

/// A request that is being sent, and whose response's head is waited for. Dropped before that, it
/// resets its stream.
#[derive(Debug)]
pub struct Sending<'m, S> {
    message: &'m mut Message<S>,
    response: ResponseFuture,
    upload: Option<Upload>,
    lease: Option<Lease>,
    informational: u8,
}

/// The head of a response, and the stream that the rest comes over.
#[derive(Debug)]
pub struct Head {
    /// The response without its body.
    pub parts: response::Parts,
    stream: RecvStream,
}

impl Head {
    /// Whether it is all there is of the response.
    pub fn is_all(&self) -> bool {
        self.stream.is_end_stream()
    }
}

/// Why there is no response.
#[derive(Debug)]
pub enum SendError {
    /// The endpoint did not look at the request, and says so (RFC 9113 section 8.7).
    Refused(h2::Error),
    /// The endpoint or its connection broke off.
    Broken(h2::Error),
    /// What came is no valid response.
    Invalid(String),
    /// The endpoint serves no extended CONNECT (RFC 8441 section 3).
    NotExtended,
    /// The request can not be sent in HTTP/2.
    Unsendable(Invalid),
    /// The client's body failed.
    Body(BodyError),
}

/// The body of a response. Its stream is reset if it is dropped before the end.
#[derive(Debug)]
pub struct Receiving {
    /// Nothing after the end.
    open: Option<Open>,
    /// In place of all that: what the endpoint sends in the protocol that was asked for.
    switched: Option<Box<Switched>>,
    /// How much is left of it, if that is known.
    length: Option<u64>,
}

/// What a body that is not at its end needs.
#[derive(Debug)]
struct Open {
    stream: RecvStream,
    /// What sends the rest of the request, when the response came before its end.
    sending: Option<Aside>,
    /// How much of what was passed on is not given back to the endpoint's window.
    unreleased: usize,
    _lease: Option<Lease>,
}

impl<'m, S: Source + 'static> Sending<'m, S> {
    /// Begins to send a message over a stream.
    pub fn new(lease: Lease, message: &'m mut Message<S>, secure: bool) -> Result<Self, SendError> {
        message.body.rewind();
        let head = request(&message.parts, secure);
        let head = if message.is_upgrade() { head.and_then(extended) } else { head };
        let head = head.map_err(SendError::Unsendable)?;
        let mut sender = lease.sender();
        if message.is_upgrade() && !sender.is_extended_connect_protocol_enabled() {
            return Err(SendError::NotExtended);
        }
        let sent = sender.send_request(head, !message.streamed);
        let (response, stream) = sent.map_err(|error| {
            // It has ended or is about to: nothing was sent.
            lease.close();
            SendError::Refused(error)
        })?;
        let upload = message.streamed.then(|| Upload::new(stream));
        Ok(Self { message, response, upload, lease: Some(lease), informational: 0 })
    }

    /// Sends on, and waits for the head of the response, which is then to be accepted, or dropped
    /// if the request is to be sent again; informational ones go to `informed`.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        informed: Option<&Informational>,
    ) -> Poll<Result<Head, SendError>> {
        if let Some(upload) = self.upload.as_mut().filter(|_| !self.message.is_upgrade()) {
            match upload.poll(&mut self.message.body, cx) {
                Poll::Ready(Err(UploadError::Body(error))) => {
                    return Poll::Ready(Err(SendError::Body(error)));
                }
                Poll::Ready(Ok(()) | Err(UploadError::Stream)) => {
                    self.upload = None;
                    self.message.body.abandon();
                }
                Poll::Pending => {}
            }
        }
        while let Poll::Ready(Some(Ok(head))) = self.response.poll_informational(cx) {
            // Nobody asked for another protocol, which HTTP/2 has not (RFC 9113 section 8.6).
            self.informational += 1;
            if head.status() == 101 || self.informational > INFORMATIONAL_MAX {
                let wrong = "an informational response that nobody asked for";
                return Poll::Ready(Err(SendError::Invalid(wrong.to_owned())));
            }
            if let Some(informed) = informed {
                informed.send(&head.into_parts().0);
            }
        }
        let response = ready!(Pin::new(&mut self.response).poll(cx)).map_err(classify)?;
        let (parts, stream) = response.into_parts();
        Poll::Ready(Ok(Head { parts, stream }))
    }

    /// Whether the request can be sent again, although it was answered.
    pub fn can_repeat(&self) -> bool {
        self.message.body.is_whole() && !self.message.is_upgrade()
    }

    /// Passes the response over, so that the request can be sent again. What has come of it already
    /// is taken, for endpoints count streams that are reset as abuse.
    pub fn discard(self, head: Head) {
        let mut stream = head.stream;
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(Ok(data))) = stream.poll_data(&mut cx) {
            // The stream may have ended meanwhile.
            let _ = stream.flow_control().release_capacity(data.len());
        }
    }

    /// Takes the response over.
    pub fn accept(mut self, head: Head) -> Result<(response::Parts, Receiving), SendError> {
        let Head { parts, stream } = head;
        if self.message.is_upgrade() {
            return self.upgraded(parts, stream);
        }
        let framing = framing(&parts, &self.message.parts.method)
            .map_err(|error| SendError::Invalid(error.to_string()))?;
        let receiving = self.answered(stream, framing);
        Ok((parts, receiving))
    }

    /// No response came in time.
    pub fn timed_out(&self) {
        if let Some(lease) = &self.lease {
            lease.suspect();
        }
    }

    fn answered(&mut self, stream: RecvStream, framing: Framing) -> Receiving {
        let Framing { bodiless, length } = framing;
        let ended = bodiless || stream.is_end_stream();
        let sending = self.upload.take().filter(|_| !ended).map(|upload| {
            let nothing = Kept::new(Body::empty());
            let mut body = std::mem::replace(&mut self.message.body, nothing);
            body.forget();
            Aside::start(send(upload, body))
        });
        let lease = self.lease.take();
        let open = Open { stream, sending, unreleased: 0, _lease: lease };
        Receiving { open: (!ended).then_some(open), switched: None, length }
    }

    /// The answer to an extended CONNECT: any success takes it up (RFC 8441 section 5).
    fn upgraded(
        &mut self,
        parts: response::Parts,
        stream: RecvStream,
    ) -> Result<(response::Parts, Receiving), SendError> {
        let upload = self.upload.take();
        // What the client has said, or not said yet, can not be said again.
        self.message.spent = true;
        let body = self.message.body.take_untouched();
        let halves = upload.zip(body).filter(|_| parts.status.is_success());
        let Some((upload, body)) = halves else {
            let framing = framing(&parts, &self.message.parts.method)
                .map_err(|error| SendError::Invalid(error.to_string()))?;
            return Ok((parts, self.answered(stream, framing)));
        };
        let switched = Switched::start(stream, upload, body, self.lease.take());
        let switched = Some(Box::new(switched));
        Ok((parts, Receiving { open: None, switched, length: None }))
    }
}

/// Sends the rest of a request; what becomes of its stream is seen by who reads the response.
async fn send<S: Source>(mut upload: Upload, mut body: Kept<S>) -> Result<(), BodyError> {
    match poll_fn(|cx| upload.poll(&mut body, cx)).await {
        Ok(()) | Err(UploadError::Stream) => Ok(()),
        Err(UploadError::Body(error)) => Err(error),
    }
}

fn classify(error: h2::Error) -> SendError {
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    if error.is_remote() && (error.is_go_away() || refused) {
        // Only streams that come after the last one that was looked at hear of a GOAWAY.
        return SendError::Refused(error);
    }
    if error.is_library() {
        return SendError::Invalid(error.to_string());
    }
    SendError::Broken(error)
}

impl Receiving {
    /// Whether the request is still being sent.
    pub fn is_sending(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.sending.is_some())
    }
}

impl http_body::Body for Receiving {
    type Data = Bytes;
    type Error = SwitchedError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, SwitchedError>>> {
        let this = self.get_mut();
        if let Some(switched) = &mut this.switched {
            return switched.poll(cx);
        }
        let Some(open) = &mut this.open else { return Poll::Ready(None) };
        let frame = ready!(open.poll(cx));
        let ended = match &frame {
            Some(Ok(frame)) => {
                let data = frame.data_ref().map_or(0, Bytes::len) as u64;
                this.length = this.length.map(|length| length.saturating_sub(data));
                // After the last byte the end is waited for: resetting streams that are all but
                // ended is what endpoints count as abuse.
                frame.is_trailers() || open.stream.is_end_stream()
            }
            Some(Err(_)) | None => true,
        };
        if ended {
            open.release();
            this.open = None;
        }
        Poll::Ready(frame.map(|frame| Ok(frame?)))
    }

    fn is_end_stream(&self) -> bool {
        self.open.is_none() && self.switched.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.switched.is_some() {
            return SizeHint::default();
        }
        match (&self.open, self.length) {
            (None, _) => SizeHint::with_exact(0),
            (Some(_), Some(length)) => SizeHint::with_exact(length),
            (Some(_), None) => SizeHint::default(),
        }
    }
}

impl Open {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if let Some(sending) = &mut self.sending
            && sending.poll(cx).is_ready()
        {
            self.sending = None;
        }
        // Whoever asks for more has passed on what came before.
        self.release();
        loop {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    self.unreleased = data.len();
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => break,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx)).transpose();
        Poll::Ready(trailers.map(|trailers| {
            trailers.map(|mut trailers| {
                remove_forbidden(&mut trailers);
                Frame::trailers(trailers)
            })
        }))
    }
}

impl Open {
    /// Lets the endpoint send as much as was passed on.
    fn release(&mut self) {
        let passed = std::mem::take(&mut self.unreleased);
        if passed > 0 {
            // The stream may have ended meanwhile.
            let _ = self.stream.flow_control().release_capacity(passed);
        }
    }
}

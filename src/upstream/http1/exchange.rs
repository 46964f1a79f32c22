//! One request and its response over a connection.

use super::beside::Held;
use super::connection::Connection;
use super::head::{Form, Head, take_response};
use super::switched::Switched;
use super::upload::{Upload, UploadError};
use crate::base::body::{BodyError, Source};
use crate::base::http1::decode::Decoder;
use crate::base::http1::fields::Invalid;
use crate::base::http1::lines::Lines;
use crate::base::http1::wire::Informational;
use crate::upstream::local::LocalEndpoint;
use bytes::Bytes;
use http::{Method, StatusCode, response};
use http_body::{Body, Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

/// The most informational responses (1xx) before the final one.
const INFORMATIONAL_MAX: u8 = 16;

/// A request that is being sent, and whose response's head is waited for.
#[derive(Debug)]
pub struct Sending<'u, S> {
    connection: Option<Box<Connection>>,
    upload: &'u mut Option<Upload<S>>,
    method: &'u Method,
    /// Where informational responses go, if the client understands them.
    informed: Option<&'u Informational>,
    /// In which form the fields of the response are wanted.
    form: Form,
    searched: usize,
    informational: u8,
    /// The endpoint takes no more of the request, but may have answered.
    broken: bool,
}

/// Why there is no response.
#[derive(Debug)]
pub enum SendError {
    /// The endpoint's connection broke.
    Broken(io::Error),
    /// The endpoint closed the connection before its response was complete.
    Closed,
    /// What came is no valid response.
    Invalid(Invalid),
    /// The client's body failed.
    Body(BodyError),
}

/// The body of a response. Its connection is kept for other requests at its end, and closed if it
/// is dropped before.
#[derive(Debug)]
pub struct Receiving {
    connection: Option<Held>,
    endpoint: Rc<LocalEndpoint>,
    decoder: Decoder,
    keep_alive: bool,
    /// The fields of the head, if they were not taken apart.
    lines: Option<Box<Lines>>,
    /// In place of all that: what the endpoint sends in the protocol that was switched to.
    switched: Option<Box<Switched>>,
}

/// Why a response broke off.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The endpoint's connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    /// The endpoint closed the connection inside the body.
    #[error("the endpoint closed the connection inside the body")]
    Closed,
    /// The body is framed wrongly.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// What the client sends in the protocol that was switched to broke off.
    #[error(transparent)]
    Client(#[from] BodyError),
}

impl<'u, S: Source + 'static> Sending<'u, S> {
    /// Begins to send what `upload` holds over the connection.
    pub fn new(
        connection: Box<Connection>,
        upload: &'u mut Option<Upload<S>>,
        method: &'u Method,
        informed: Option<&'u Informational>,
        form: Form,
    ) -> Self {
        let connection = Some(connection);
        Self {
            connection,
            upload,
            method,
            informed,
            form,
            searched: 0,
            informational: 0,
            broken: false,
        }
    }

    /// Sends on, and waits for the head of the response, which is then to be accepted or discarded.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, SendError>> {
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(Err(SendError::Closed));
        };
        if let Some(upload) = self.upload.as_mut().filter(|_| !self.broken) {
            match upload.poll(&mut connection.stream, cx) {
                Poll::Ready(Err(UploadError::Body(error))) => {
                    return Poll::Ready(Err(SendError::Body(error)));
                }
                Poll::Ready(Err(UploadError::Connection(error))) if upload.is_unsent() => {
                    return Poll::Ready(Err(SendError::Broken(error)));
                }
                // It may have answered before it closed.
                Poll::Ready(Err(UploadError::Connection(_))) => {
                    self.broken = true;
                    // From now on only the endpoint is waited for.
                    upload.abandon();
                }
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        loop {
            let read = ready!(connection.poll_fill(cx)).map_err(SendError::Broken)?;
            if read == 0 {
                return Poll::Ready(Err(SendError::Closed));
            }
            let received = &mut connection.received;
            let taken = take_response(received, &mut self.searched, self.method, self.form);
            let mut head = taken.map_err(SendError::Invalid)?;
            while let Some(Head { parts, lines, decoder, keep_alive }) = head.take() {
                if !parts.status.is_informational()
                    || (parts.status == StatusCode::SWITCHING_PROTOCOLS
                        && self.upload.as_mut().is_some_and(Upload::switch))
                {
                    return Poll::Ready(Ok(Head { parts, lines, decoder, keep_alive }));
                }
                // Any other 101 is one that nobody asked for.
                self.informational += 1;
                if parts.status == StatusCode::SWITCHING_PROTOCOLS
                    || self.informational > INFORMATIONAL_MAX
                {
                    let wrong = Invalid("an informational response that nobody asked for");
                    return Poll::Ready(Err(SendError::Invalid(wrong)));
                }
                if let Some(informed) = self.informed {
                    informed.send(&parts);
                }
                let received = &mut connection.received;
                head = take_response(received, &mut self.searched, self.method, self.form)
                    .map_err(SendError::Invalid)?;
            }
        }
    }

    /// Whether the request can be sent again, although it was answered.
    pub fn can_repeat(&self) -> bool {
        self.upload.as_ref().is_some_and(Upload::can_rewind)
    }

    /// Passes the response over, so that the request can be sent again.
    pub fn discard(mut self, head: Head, endpoint: &Rc<LocalEndpoint>) {
        let sent = self.upload.as_ref().is_some_and(Upload::is_sent);
        if !sent || self.broken {
            return;
        }
        // What has come of it already is taken, and the connection kept if that is all.
        let (_, mut receiving) = self.answered(head, endpoint);
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(Ok(_))) = Pin::new(&mut receiving).poll_frame(&mut cx) {}
    }

    /// Takes the response over.
    pub fn accept(
        mut self,
        head: Head,
        endpoint: &Rc<LocalEndpoint>,
    ) -> (response::Parts, Receiving) {
        if head.parts.status == StatusCode::SWITCHING_PROTOCOLS {
            self.switched(head.parts, endpoint)
        } else {
            self.answered(head, endpoint)
        }
    }

    fn answered(
        &mut self,
        head: Head,
        endpoint: &Rc<LocalEndpoint>,
    ) -> (response::Parts, Receiving) {
        let Head { parts, lines, decoder, keep_alive } = head;
        let unsent = self.upload.as_ref().is_some_and(|upload| !upload.is_sent());
        let connection = self.connection.take();
        let goes_on = unsent && !self.broken && decoder != Decoder::Done;
        let carrier = if goes_on {
            let halves = connection.zip(self.take_upload());
            halves.map(|(connection, upload)| Held::beside(connection, upload))
        } else {
            connection.map(Held::Alone)
        };
        let mut receiving = Receiving {
            connection: carrier,
            endpoint: Rc::clone(endpoint),
            decoder,
            keep_alive: keep_alive && !self.broken && (goes_on || !unsent),
            lines,
            switched: None,
        };
        receiving.finish_if_done();
        (parts, receiving)
    }

    /// What is left to send, now that it is sent once and for all.
    fn take_upload(&mut self) -> Option<Upload<S>> {
        let mut upload = self.upload.take()?;
        upload.forget();
        Some(upload)
    }

    /// The endpoint speaks another protocol from here on.
    fn switched(
        &mut self,
        parts: response::Parts,
        endpoint: &Rc<LocalEndpoint>,
    ) -> (response::Parts, Receiving) {
        let halves = self.connection.take().zip(self.take_upload());
        let receiving = Receiving {
            connection: None,
            endpoint: Rc::clone(endpoint),
            decoder: Decoder::UntilClose,
            keep_alive: false,
            lines: None,
            switched: halves
                .map(|(connection, upload)| Box::new(Switched::start(connection, upload))),
        };
        (parts, receiving)
    }
}

impl Receiving {
    /// Whether the request is still being sent.
    pub fn is_sending(&self) -> bool {
        matches!(self.connection, Some(Held::Beside(_)))
    }

    /// Takes the fields of the head, if they were not taken apart.
    pub fn take_lines(&mut self) -> Option<Box<Lines>> {
        self.lines.take()
    }

    /// Has the connection for itself once the request is sent.
    fn look_at_request(&mut self, cx: &mut Context<'_>) {
        let Some(held @ Held::Beside(_)) = &mut self.connection else { return };
        let Poll::Ready(sent) = held.check(cx) else { return };
        // The response may still be whole; the connection is not used again.
        self.keep_alive &= sent.is_ok();
        self.connection = self.connection.take().and_then(Held::into_alone).map(Held::Alone);
    }

    /// Gives the connection back after the last byte, if both sides agree that it was the last.
    fn finish_if_done(&mut self) {
        if self.decoder != Decoder::Done {
            return;
        }
        let Some(Held::Alone(mut connection)) = self.connection.take() else { return };
        if self.keep_alive && connection.received.is_empty() {
            connection.rest();
            self.endpoint.keep_idle(connection);
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
        let this = self.get_mut();
        if let Some(switched) = &mut this.switched {
            return switched.poll(cx);
        }
        loop {
            this.look_at_request(cx);
            let Some(held) = &mut this.connection else { return Poll::Ready(None) };
            let decoder = &mut this.decoder;
            if let Some(frame) = held.with(|connection| decoder.take(&mut connection.received))? {
                this.finish_if_done();
                return Poll::Ready(Some(Ok(frame)));
            }
            if this.decoder == Decoder::Done {
                this.finish_if_done();
                return Poll::Ready(None);
            }
            if ready!(held.with(|connection| connection.poll_fill(cx)))? == 0 {
                this.connection = None;
                if !this.decoder.close() {
                    return Poll::Ready(Some(Err(ReceiveError::Closed)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.decoder == Decoder::Done
    }

    fn size_hint(&self) -> SizeHint {
        match self.decoder {
            Decoder::Done => SizeHint::with_exact(0),
            Decoder::Length(left) => SizeHint::with_exact(left),
            Decoder::Chunked(_) | Decoder::UntilClose => SizeHint::default(),
        }
    }
}

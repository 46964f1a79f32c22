//! A request that is to be sent, in the form that its pool's endpoints understand.

use super::http1::Upload;
use super::http1::head::Added;
use super::kept::Kept;
use super::transport::Protocol;
use crate::base::body::{Body, BodyError, Source};
use crate::base::http1::fields::content_length;
use http::header::{CONTENT_LENGTH, UPGRADE};
use http::{HeaderValue, request};
use std::task::{Context, Poll, ready};

/// A request that is to be sent. At most one of its forms is there; none after it was answered.
#[derive(Debug)]
pub struct Outgoing<S> {
    /// Written as HTTP/1.1.
    pub upload: Option<Upload<S>>,
    /// For endpoints that speak HTTP/2, or may; in a box, because most do not.
    pub message: Option<Box<Message<S>>>,
    /// Whether it is complete with its head, but its client may send on.
    open: bool,
}

/// A request that can be written in either version.
#[derive(Debug)]
pub struct Message<S> {
    /// Its head, in origin form.
    pub parts: request::Parts,
    /// Its body.
    pub body: Kept<S>,
    /// Whether there is a body.
    pub streamed: bool,
    /// Whether an endpoint may have acted on it.
    pub spent: bool,
}

impl<S> Message<S> {
    /// Whether it asks for another protocol, in which the body is what the client sends: all others
    /// have lost this field, which concerns only one connection.
    pub fn is_upgrade(&self) -> bool {
        self.parts.headers.contains_key(UPGRADE)
    }
}

impl<S: Source> Outgoing<S> {
    /// A request to a pool, with some fields that are not in its map. `keeps` says whether its body
    /// is to be kept for another attempt; for endpoints that may refuse a stream unseen it is in
    /// any case.
    pub fn new(
        mut parts: request::Parts,
        added: &[Added<'_>],
        body: Body<S>,
        protocol: Protocol,
        upgrade: bool,
        keeps: bool,
    ) -> Self {
        let streamed = matches!(body, Body::Stream(_));
        let length = if streamed && !upgrade { parts.headers.get(CONTENT_LENGTH) } else { None };
        let open = length.is_some_and(|length| content_length(length.as_bytes()) == Ok(0));
        if protocol == Protocol::Http1 {
            let body = if keeps { Kept::new(body) } else { Kept::passing(body) };
            return Self {
                upload: Some(written(parts, added, body, upgrade)),
                message: None,
                open,
            };
        }
        for (name, value) in added {
            parts.headers.insert(*name, HeaderValue::clone(value));
        }
        let message = Message { parts, body: Kept::new(body), streamed, spent: false };
        Self { upload: None, message: Some(Box::new(message)), open }
    }

    /// Whether the head says that nothing follows, but the client has not ended its stream. With a
    /// byte of a body the request is malformed (RFC 9113 section 8.1.1), and must not be complete
    /// for anybody by then: its end is to be waited for before it is sent.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Waits for that end.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        match (&mut self.upload, &mut self.message) {
            (Some(upload), _) => ready!(upload.poll_nothing(cx))?,
            (None, Some(message)) => ready!(message.body.poll_nothing(cx))?,
            (None, None) => {}
        }
        self.open = false;
        Poll::Ready(Ok(()))
    }

    /// Whether nothing was sent, or nothing that an endpoint looked at, and all may still come.
    pub fn is_unsent(&self) -> bool {
        match (&self.upload, &self.message) {
            (Some(upload), _) => upload.is_unsent(),
            (None, Some(message)) => !message.spent && message.body.is_whole(),
            (None, None) => false,
        }
    }

    /// Makes it ready to be sent again although an endpoint may have acted on it; says whether it
    /// is.
    pub fn rewind(&mut self) -> bool {
        match (&mut self.upload, &mut self.message) {
            (Some(upload), _) => upload.rewind(),
            (None, Some(message)) if message.body.is_whole() => {
                message.spent = false;
                true
            }
            _ => false,
        }
    }

    /// Writes it as HTTP/1.1 for an endpoint that speaks no HTTP/2; says whether it is written.
    pub fn write_http1(&mut self) -> bool {
        if self.upload.is_some() {
            return true;
        }
        let Some(message) = self.message.as_mut().filter(|message| message.body.is_whole()) else {
            return false;
        };
        let mut body = std::mem::replace(&mut message.body, Kept::new(Body::empty()));
        body.rewind();
        let upgrade = message.is_upgrade();
        self.upload = Some(written(message.parts.clone(), &[], body, upgrade));
        true
    }

    /// Makes a message of it again if all of it may still come; says whether it is one.
    pub fn unwrite_http1(&mut self) -> bool {
        let Some(message) = &mut self.message else { return false };
        let Some(upload) = &mut self.upload else { return true };
        let spent = !upload.is_unsent();
        let Some(body) = upload.take_body() else { return false };
        message.body = body;
        message.spent |= spent;
        self.upload = None;
        true
    }
}

fn written<S: Source>(
    parts: request::Parts,
    added: &[Added<'_>],
    body: Kept<S>,
    upgrade: bool,
) -> Upload<S> {
    if upgrade { Upload::upgrade(&parts, added, body) } else { Upload::new(parts, added, body) }
}

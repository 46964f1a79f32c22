//! The way to a connection, or to a stream of one, for a request to an endpoint.

use super::http1::Connection;
use super::http2::{self, Lease};
use super::local::LocalEndpoint;
use super::stream::Stream;
use super::transport::{ConnectError, Protocol, Spoken};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Where a request can be sent.
#[derive(Debug)]
pub enum Opened {
    /// A connection of its own.
    Http1(Box<Connection>),
    /// A stream of a connection.
    Http2(Lease),
}

impl LocalEndpoint {
    /// Connects for HTTP/1.1, not longer than `timeout`.
    pub async fn connect(&self, timeout: Duration) -> Result<Box<Connection>, ConnectError> {
        let connecting = self.transport.connect(self.endpoint.address);
        match tokio::time::timeout(timeout, connecting).await {
            Ok(Ok((stream, Spoken::Http1))) => Ok(Box::new(self.http1(stream))),
            Ok(Ok((_, Spoken::Http2))) => Err(ConnectError::Protocol("it speaks HTTP/2")),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ConnectError::TimedOut),
        }
    }

    fn http1(&self, stream: Stream) -> Connection {
        Connection::new(stream, Arc::clone(&self.pool.series), self.worker)
    }

    /// Where a request can be sent that may go in either version: over a connection that is there,
    /// or a new one; not longer than `timeout`, the wait for a free stream included.
    pub async fn open(self: &Rc<Self>, timeout: Duration) -> Result<Opened, ConnectError> {
        match self.ready() {
            Some(opened) => Ok(opened),
            None => match tokio::time::timeout(timeout, self.wait(timeout)).await {
                Ok(opened) => opened,
                Err(_) if self.http2.is_opening() => Err(ConnectError::TimedOut),
                Err(_) => Err(ConnectError::Full),
            },
        }
    }

    /// What is there already.
    fn ready(self: &Rc<Self>) -> Option<Opened> {
        if let Some(lease) = self.http2.lease(self) {
            return Some(Opened::Http2(lease));
        }
        match self.transport.protocol {
            Protocol::H2 => None,
            Protocol::Http1 | Protocol::Auto => self.take_idle().map(Opened::Http1),
        }
    }

    async fn wait(self: &Rc<Self>, timeout: Duration) -> Result<Opened, ConnectError> {
        loop {
            if let Some(opened) = self.ready() {
                return Ok(opened);
            }
            if self.spoken.get() == Some(Spoken::Http1) {
                // As many connections as requests: nobody waits for another's.
                let (stream, spoken) = self.transport.connect(self.endpoint.address).await?;
                if spoken == Spoken::Http1 {
                    return Ok(Opened::Http1(Box::new(self.http1(stream))));
                }
                self.spoken.set(Some(spoken));
                continue;
            }
            if self.http2.begin_opening() {
                tokio::task::spawn_local(Rc::clone(self).fill(timeout));
            }
            if let Ok(outcome) = self.http2.wait()?.await
                && let Some(lease) = outcome?
            {
                return Ok(Opened::Http2(lease));
            }
        }
    }

    /// Opens connections for those who wait, in a task of its own: the request that was the first
    /// to wait may be given up before the others.
    async fn fill(self: Rc<Self>, timeout: Duration) {
        loop {
            let opened = tokio::time::timeout(timeout, self.open_one()).await;
            match opened.unwrap_or(Err(ConnectError::TimedOut)) {
                Ok(connection) => {
                    self.http2.opened(connection.clone());
                    match connection {
                        Some(_) => self.http2.changed(&self),
                        None => self.http2.wake(&|| Ok(None)),
                    }
                }
                Err(error) => {
                    self.http2.opened(None);
                    self.http2.wake(&|| Err(error.again()));
                }
            }
            if !self.http2.is_awaited() || !self.http2.begin_opening() {
                return;
            }
        }
    }

    /// Opens an HTTP/2 connection; keeps it as one for HTTP/1.1 if the endpoint chooses that.
    async fn open_one(self: &Rc<Self>) -> Result<Option<Rc<http2::Connection>>, ConnectError> {
        let (stream, spoken) = self.transport.connect(self.endpoint.address).await?;
        self.spoken.set(Some(spoken));
        if spoken == Spoken::Http1 {
            self.keep_idle(Box::new(self.http1(stream)));
            return Ok(None);
        }
        let series = Arc::clone(&self.pool.series);
        http2::Connection::open(stream, self, series, self.worker).await.map(Some)
    }
}

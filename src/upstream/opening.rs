//! The way to a connection, or to a stream of one, for a request to an endpoint.

use super::http1::Connection;
use super::http2::{self, Lease, Opening};
use super::keep_alive::Life;
use super::local::{LocalEndpoint, Pending, Room};
use super::quota::Permit;
use super::stream::Stream;
use super::transport::{ConnectError, Protocol, Spoken};
use crate::base::clock;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often it is looked whether anybody still waits for a first connection.
const LOOK: Duration = Duration::from_millis(100);

/// Where a request can be sent.
#[derive(Debug)]
pub enum Opened {
    /// A connection of its own.
    Http1(Box<Connection>),
    /// A stream of a connection.
    Http2(Lease),
}

impl LocalEndpoint {
    /// A connection for HTTP/1.1, a new one unless none more may be made: that waits for room, or
    /// for one that becomes idle here. Connecting takes no longer than `timeout`.
    pub async fn connect(&self, timeout: Duration) -> Result<Box<Connection>, ConnectError> {
        let connection = self.connect_alone(timeout).await?;
        connection.ok_or(ConnectError::Protocol("it speaks HTTP/2"))
    }

    /// The same; none if the endpoint speaks HTTP/2.
    async fn connect_alone(
        &self,
        timeout: Duration,
    ) -> Result<Option<Box<Connection>>, ConnectError> {
        let permit = match self.take_room() {
            Some(permit) => permit,
            None => match self.wait_for_room().await? {
                Room::New(permit) => permit,
                Room::Kept(connection) => return Ok(Some(connection)),
            },
        };
        let connecting = self.transport.connect(self.endpoint.address);
        match tokio::time::timeout(timeout, connecting).await {
            Ok(Ok((stream, Spoken::Http1))) => Ok(Some(self.http1(stream, permit))),
            Ok(Ok((_, Spoken::Http2))) => Ok(None),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ConnectError::TimedOut),
        }
    }

    fn http1(&self, stream: Stream, permit: Permit) -> Box<Connection> {
        let series = Arc::clone(&self.pool.series);
        let life = Life::new(clock::now(), rand::random());
        Box::new(Connection::new(stream, life, series, self.worker, permit))
    }

    /// Where a request can be sent that may go in either version: over a connection that is there,
    /// or a new one; not longer than `timeout`, the wait for a free stream included, but not that
    /// for room where connections are limited.
    pub async fn open(self: &Rc<Self>, timeout: Duration) -> Result<Opened, ConnectError> {
        match self.ready() {
            Some(opened) => Ok(opened),
            None => self.wait(timeout).await,
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
        let mut over = pin!(tokio::time::sleep(timeout));
        loop {
            if let Some(opened) = self.ready() {
                return Ok(opened);
            }
            if self.spoken.get() == Some(Spoken::Http1) {
                // As many connections as requests: nobody waits for another's.
                let left = over.deadline().saturating_duration_since(Instant::now());
                match self.connect_alone(left).await? {
                    Some(connection) => return Ok(Opened::Http1(connection)),
                    None => self.spoken.set(Some(Spoken::Http2)),
                }
                continue;
            }
            let pending = self.begin_opening(timeout)?;
            let waiting = self.http2.wait()?;
            let outcome = if let Some(pending) = pending {
                let outcome = pending.wait(waiting).await?;
                over.as_mut().reset(Instant::now() + timeout);
                outcome
            } else {
                tokio::select! {
                    biased;
                    outcome = waiting => outcome,
                    () = &mut over => return Err(match self.http2.opening() {
                        Opening::Connecting => ConnectError::TimedOut,
                        Opening::No | Opening::Waiting => ConnectError::Full,
                    }),
                }
            };
            if let Ok(outcome) = outcome
                && let Some(lease) = outcome?
            {
                return Ok(Opened::Http2(lease));
            }
        }
    }

    /// Has another connection opened if there may be one. If that has to wait for room, and there
    /// is no other connection to wait for, the request is pending.
    fn begin_opening(
        self: &Rc<Self>,
        timeout: Duration,
    ) -> Result<Option<Pending<'_>>, ConnectError> {
        if self.http2.may_open() {
            if let Some(permit) = self.take_room() {
                self.http2.begin(Opening::Connecting);
                tokio::task::spawn_local(Rc::clone(self).fill(timeout, permit));
                return Ok(None);
            }
            if self.http2.is_open() {
                return Ok(None);
            }
        } else if self.http2.opening() != Opening::Waiting {
            return Ok(None);
        }
        let pending = self.begin_waiting()?;
        if self.http2.opening() == Opening::No {
            self.http2.begin(Opening::Waiting);
            tokio::task::spawn_local(Rc::clone(self).fill_later(timeout));
        }
        Ok(Some(pending))
    }

    /// Waits for room for those who wait, as one of those in line however many they are.
    async fn fill_later(self: Rc<Self>, timeout: Duration) {
        let mut ticket = self.queue_for_room();
        let permit = loop {
            let turn = tokio::time::timeout(LOOK, &mut ticket).await;
            if !self.http2.is_awaited() {
                return self.http2.opened(None);
            }
            if let Ok(permit) = turn {
                break permit;
            }
        };
        drop(ticket);
        self.http2.begin(Opening::Connecting);
        // From now on they wait for a connection, and may do so for as long as for any other.
        self.http2.wake(&|| Ok(None));
        self.fill(timeout, permit).await;
    }

    /// Opens connections for those who wait, in a task of its own: the request that was the first
    /// to wait may be given up before the others.
    async fn fill(self: Rc<Self>, timeout: Duration, mut permit: Permit) {
        loop {
            let opened = tokio::time::timeout(timeout, self.open_one(permit)).await;
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
            if !self.http2.is_awaited() || !self.http2.may_open() {
                return;
            }
            // Without room for another they wait for a stream.
            let Some(next) = self.take_room() else { return };
            permit = next;
            self.http2.begin(Opening::Connecting);
        }
    }

    /// Opens an HTTP/2 connection; keeps it as one for HTTP/1.1 if the endpoint chooses that.
    async fn open_one(
        self: &Rc<Self>,
        permit: Permit,
    ) -> Result<Option<Rc<http2::Connection>>, ConnectError> {
        let (stream, spoken) = self.transport.connect(self.endpoint.address).await?;
        self.spoken.set(Some(spoken));
        if spoken == Spoken::Http1 {
            self.keep_idle(self.http1(stream, permit));
            return Ok(None);
        }
        http2::Connection::open(stream, self, permit).await.map(Some)
    }
}

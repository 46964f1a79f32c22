//! The beginning of a connection: TLS if the listener speaks it, and the choice of the protocol.

use super::ListenerShard;
use super::connections::{Connection, Order};
use super::detect::{Detected, Protocol, detect};
use super::http::Session;
use super::http1::Start;
use super::refusal::Refusal;
use super::timers::Timers;
use crate::base::accepted::Accepted;
use crate::base::io::Io;
use crate::tls::Server;
use crate::tls::identity::Identity;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What a TLS handshake needs.
#[derive(Debug)]
pub(super) struct Secure<'a> {
    /// The listener's certificates and so on.
    pub(super) server: &'a Server,
    /// How long it may take.
    pub(super) timeout: Duration,
    /// Where handshakes that fail are counted.
    pub(super) shard: &'a ListenerShard,
}

/// Brings a connection to where requests can be read. Nothing if it ends before, or is told to.
pub(super) async fn open(
    mut stream: Accepted,
    secure: Option<Secure<'_>>,
    known: &Connection,
    timers: &Timers,
) -> Option<(Start, Protocol, Session)> {
    let Some(secure) = secure else {
        let Detected { read, protocol, deadline } = detect(&mut stream, known, timers).await?;
        let io = Io::new(stream, read, Rc::clone(&known.flow));
        return Some((Start { io, deadline }, protocol, Session::default()));
    };
    let server = secure.server;
    // In a box, because its state is large and gone when the first request comes.
    let stream = Box::pin(handshake(stream, secure, known)).await?;
    let (_, connection) = stream.get_ref();
    let protocol = match connection.alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        _ => Protocol::Http1,
    };
    let certificate = connection.peer_certificates().and_then(<[_]>::first);
    let identity = certificate.map(|certificate| Identity::new(certificate));
    let covered = server.covered(connection.server_name());
    let io = Io::secure(stream, Rc::clone(&known.flow));
    Some((Start { io, deadline: None }, protocol, Session { secure: true, identity, covered }))
}

/// Does the TLS handshake. A connection that is told to finish still may, so that a client which
/// was accepted is not left with half of it.
async fn handshake(
    stream: Accepted,
    secure: Secure<'_>,
    known: &Connection,
) -> Option<TlsStream<Accepted>> {
    let mut accepting = TlsAcceptor::from(secure.server.config()).accept(stream);
    let mut finish = false;
    let done = tokio::time::timeout(
        secure.timeout,
        poll_fn(|cx| {
            known.wake(cx.waker());
            match known.order() {
                Some(Order::Finish) => finish = true,
                Some(Order::Close) => return Poll::Ready(None),
                None => {}
            }
            Pin::new(&mut accepting).poll(cx).map(Some)
        }),
    );
    let done = done.await.unwrap_or_else(|_| {
        secure.shard.refusals.count(Refusal::HandshakeTimedOut);
        Some(Err(io::ErrorKind::TimedOut.into()))
    });
    if finish {
        known.tell(Order::Finish);
    }
    done?
        .inspect_err(|error| {
            secure.shard.handshake_failures.increment();
            tracing::debug!(%error, "TLS handshake");
        })
        .ok()
}

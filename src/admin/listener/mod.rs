//! The admin socket: bound on the control plane, moved when the configuration says so.

mod spares;

use super::State;
use crate::base::drain::{self, Drain, Draining};
use crate::config::reload::AdminSocket;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use spares::Spares;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::sync::watch;

/// The most admin connections at one time.
const CONNECTIONS_MAX: usize = 256;
/// Connections that the kernel holds until they are accepted, as many as the standard library asks
/// for.
const BACKLOG: i32 = 128;
/// How long a client may take for a request's head, and how long its connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection may be kept, so that a client that does not read its answer holds on to
/// neither the answer nor its place for ever.
const LIFETIME_MAX: Duration = Duration::from_mins(10);
/// How long a connection may take to finish once it was asked to.
const FINISH_TIMEOUT: Duration = Duration::from_secs(30);
/// How long accepting pauses when no connection can be taken.
const PAUSE: Duration = Duration::from_millis(50);

/// The admin listener in use and the one that is about to be.
#[derive(Debug)]
pub struct AdminListener {
    state: Arc<State>,
    current: Option<Current>,
    planned: Option<Planned>,
    address: watch::Sender<Option<SocketAddr>>,
}

#[derive(Debug)]
struct Current {
    configured: SocketAddr,
    socket: Arc<tokio::net::TcpListener>,
    stop: Drain,
}

#[derive(Debug)]
enum Planned {
    Keep,
    Move(SocketAddr, TcpListener, Arc<Spares>),
    /// Nobody asked for the default address, and it is taken.
    Without,
}

impl AdminListener {
    /// Not listening yet.
    pub fn new(state: Arc<State>) -> Self {
        Self { state, current: None, planned: None, address: watch::Sender::new(None) }
    }

    /// Binds an address that only the socket in use may have, as when moving from loopback to every
    /// address under one port.
    fn bind(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let error = match TcpListener::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => error,
            bound => return bound,
        };
        let ours = self.address.borrow().is_some_and(|ours| ours.port() == address.port());
        let Some(current) = self.current.as_ref().filter(|_| ours) else { return Err(error) };
        let in_use = SockRef::from(&*current.socket);
        // For this moment only; whoever binds without it hears that the port is taken, as before.
        in_use.set_reuse_port(true)?;
        let beside = bind_beside(address);
        in_use.set_reuse_port(false)?;
        beside
    }

    /// The real address, as it changes.
    pub fn address(&self) -> watch::Receiver<Option<SocketAddr>> {
        self.address.subscribe()
    }
}

impl AdminSocket for AdminListener {
    fn plan(&mut self, address: SocketAddr, asked_for: bool) -> io::Result<()> {
        // What a change that was then refused for another reason has bound is free again.
        self.planned = None;
        if self.current.as_ref().is_some_and(|current| current.configured == address) {
            self.planned = Some(Planned::Keep);
            return Ok(());
        }
        let bound = self.bind(address).and_then(|socket| {
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        self.planned = Some(match bound {
            Ok(socket) => {
                // Now, since the first clients of the proxy may take all that there are.
                let spares = Arc::new(Spares::default());
                spares.refill();
                Planned::Move(address, socket, spares)
            }
            Err(error) if !asked_for && error.kind() == io::ErrorKind::AddrInUse => {
                tracing::warn!(%address, "the default admin address is taken: there is no admin listener; set `admin.address`");
                Planned::Without
            }
            Err(error) => return Err(error),
        });
        Ok(())
    }

    fn commit(&mut self) {
        let (configured, socket, spares) = match self.planned.take() {
            Some(Planned::Move(configured, socket, spares)) => (configured, socket, spares),
            Some(Planned::Without) => {
                self.current = None;
                self.address.send_replace(None);
                return;
            }
            Some(Planned::Keep) | None => return,
        };
        let socket = match tokio::net::TcpListener::from_std(socket) {
            Ok(socket) => Arc::new(socket),
            Err(error) => {
                tracing::error!(%configured, %error, "no admin listener");
                return;
            }
        };
        self.address.send_replace(socket.local_addr().ok());
        let (stop, stopping) = drain::pair();
        tokio::spawn(accept(Arc::clone(&socket), Arc::clone(&self.state), stopping, spares));
        // The old listener ends here: dropping its drain asks its connections to finish.
        self.current = Some(Current { configured, socket, stop });
    }

    fn abandon(&mut self) {
        self.planned = None;
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        self.stop.begin();
    }
}

/// Binds an address beside a socket of this process that allows it.
fn bind_beside(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_reuse_port(false)?;
    Ok(socket.into())
}

/// Accepts; with spare file descriptors while clients of the proxy hold all others.
async fn accept(
    socket: Arc<tokio::net::TcpListener>,
    state: Arc<State>,
    mut stopping: Draining,
    spares: Arc<Spares>,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let loopback = socket.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let mut failing = false;
    loop {
        let next = async {
            let permit = Arc::clone(&room).acquire_owned().await.map_err(io::Error::other)?;
            let (stream, _) = socket.accept().await?;
            Ok::<_, io::Error>((permit, stream))
        };
        let accepted = tokio::select! {
            () = stopping.asked() => return,
            accepted = next => accepted,
        };
        let (permit, stream) = match accepted {
            Ok(accepted) => accepted,
            // At once, before anybody else takes the one that became free.
            Err(_) if spares.give_one() => continue,
            Err(error) => {
                // Once, and not at every try: out of file descriptors it goes on for long.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "can not accept admin connections");
                }
                tokio::time::sleep(PAUSE).await;
                // The spares may have been lost to clients of the proxy that have left since.
                spares.refill();
                continue;
            }
        };
        failing = false;
        let (state, stopping) = (Arc::clone(&state), stopping.clone());
        let spares = Arc::clone(&spares);
        tokio::spawn(async move {
            serve(stream, state, loopback, stopping).await;
            spares.refill();
            drop(permit);
        });
    }
}

async fn serve(
    stream: tokio::net::TcpStream,
    state: Arc<State>,
    loopback: bool,
    mut stopping: Draining,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(super::respond(&state, loopback, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        result = connection.as_mut() => return ended(result),
        () = stopping.asked() => {}
        () = tokio::time::sleep(LIFETIME_MAX) => {}
    }
    connection.as_mut().graceful_shutdown();
    if let Ok(result) = tokio::time::timeout(FINISH_TIMEOUT, connection).await {
        ended(result);
    }
}

fn ended(result: hyper::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%error, "admin connection");
    }
}

#[cfg(test)]
mod tests;

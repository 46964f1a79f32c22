//! Accepting connections, and going on after running out of file descriptors.

use super::socket::BACKLOG;
use super::{ListenerShard, Settings};
use crate::base::accepted::Accepted;
use crate::base::drain::Draining;
use crate::telemetry::shard::WorkerIndex;
use arc_swap::ArcSwap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How long accepting pauses when the process can not take another connection.
const PAUSE: Duration = Duration::from_millis(50);
/// How long nothing more is said of it.
const QUIET: Duration = Duration::from_secs(10);

/// Accepts until the end is asked for, then takes what the kernel had accepted already.
pub(super) async fn accept<E>(
    socket: AsyncFd<TcpListener>,
    settings: Arc<ArcSwap<Settings<E>>>,
    worker: WorkerIndex,
    mut stop: Draining,
    mut serve: impl FnMut(Accepted, SocketAddr, Arc<Settings<E>>),
) {
    let mut accepted = |stream: Accepted, peer: SocketAddr| {
        let settings = settings.load_full();
        shard(&settings, worker).accepted.increment();
        serve(stream, peer, settings);
    };
    let mut warned: Option<Instant> = None;
    loop {
        tokio::select! {
            biased;
            () = stop.asked() => break,
            result = socket.async_io(Interest::READABLE, take) => match result {
                Ok((stream, peer)) => accepted(stream, peer),
                Err(error) => {
                    let settings = settings.load_full();
                    shard(&settings, worker).accept_errors.increment();
                    if !is_of_one_connection(&error) {
                        if warned.is_none_or(|warned| warned.elapsed() >= QUIET) {
                            warned = Some(Instant::now());
                            tracing::warn!(listener = %settings.name, %error, "can not accept");
                        }
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            },
        }
    }
    // These clients are connected already; closing the socket would reset them. The kernel is asked
    // directly, because the runtime may not have noticed them yet and hands out so many at a time.
    let socket = socket.into_inner();
    for (stream, peer) in std::iter::from_fn(|| take(&socket).ok()).take(BACKLOG) {
        accepted(stream, peer);
    }
}

/// Takes a connection that waits.
#[cfg(target_os = "linux")]
fn take(socket: &TcpListener) -> io::Result<(Accepted, SocketAddr)> {
    use rustix::net::{SocketFlags, acceptfrom_with};
    // One system call, where the standard library needs another for each flag but the first.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (stream, peer) = acceptfrom_with(socket, flags)?;
    let peer = peer.ok_or(io::ErrorKind::ConnectionAborted)?.try_into()?;
    Ok((Accepted::new(stream.into()), peer))
}

/// Takes a connection that waits.
#[cfg(not(target_os = "linux"))]
fn take(socket: &TcpListener) -> io::Result<(Accepted, SocketAddr)> {
    let (stream, peer) = socket.accept()?;
    stream.set_nonblocking(true)?;
    Ok((Accepted::new(stream), peer))
}

/// One worker's counters of a listener.
pub(super) fn shard<E>(settings: &Settings<E>, worker: WorkerIndex) -> &ListenerShard {
    settings.series.shards.of(worker)
}

/// Whether only the connection failed that was to be accepted (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::accept;
    use crate::base::drain;
    use crate::listener::limits::Limits;
    use crate::listener::{ListenerSeries, Settings, socket};
    use crate::telemetry::shard::WorkerIndex;
    use arc_swap::ArcSwap;
    use std::cell::Cell;
    use std::net::TcpStream;
    use std::sync::Arc;

    #[tokio::test]
    async fn clients_that_the_kernel_has_accepted_are_served_when_accepting_ends() {
        const CLIENTS: usize = 300;
        let socket = socket::bind(([127, 0, 0, 1], 0).into(), 1).unwrap().remove(0);
        let address = socket.local_addr().unwrap();
        let socket = socket::watch(socket).unwrap();
        let clients: Vec<_> = (0..CLIENTS).map(|_| TcpStream::connect(address).unwrap()).collect();
        let series = Arc::new(ListenerSeries::new("web", 1));
        let settings = Settings {
            name: "web".into(),
            series,
            extension: Arc::new(()),
            tls: None,
            announcing: Arc::default(),
            census: Arc::default(),
            limits: Limits::default(),
        };
        let (stop, stopping) = drain::pair();
        stop.begin();
        let served = Cell::new(0);
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        accept(socket, settings, WorkerIndex(0), stopping, |_, _, _| {
            served.set(served.get() + 1);
        })
        .await;
        assert_eq!(served.get(), clients.len());
    }
}

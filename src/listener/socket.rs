//! Binding: one listening socket per worker on the same address.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Connections that the kernel holds for us until they are accepted, per worker.
pub(super) const BACKLOG: usize = 4096;

/// Binds a socket per worker. An address that anybody else listens on is an error, although the
/// workers share it among themselves.
pub fn bind(address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    if address.port() != 0 {
        // `SO_REUSEPORT` would hide that another process of the same user has the port.
        open(address, false)?;
    }
    let mut sockets = Vec::with_capacity(workers);
    let mut address = address;
    for _ in 0..workers.max(1) {
        let socket = open(address, true)?;
        address = socket.local_addr()?;
        sockets.push(socket);
    }
    Ok(sockets)
}

fn open(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a predecessor that wait in TIME_WAIT do not keep the port.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    // Those that are accepted inherit it (Linux, BSD), which saves a system call for each.
    socket.set_tcp_nodelay(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(BACKLOG).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// Has the runtime say when connections wait to be accepted; its own type for such sockets would
/// take note of each that is.
#[expect(
    deprecated,
    reason = "sound, as a listener keeps its descriptor; what replaces it is unsafe"
)]
pub(super) fn watch(socket: TcpListener) -> io::Result<AsyncFd<TcpListener>> {
    AsyncFd::with_interest(socket, Interest::READABLE)
}

#[cfg(test)]
mod tests {
    use super::bind;

    #[test]
    fn what_is_accepted_sends_without_delay() {
        let socket = bind(([127, 0, 0, 1], 0).into(), 1).unwrap().remove(0);
        socket.set_nonblocking(false).unwrap();
        let _client = std::net::TcpStream::connect(socket.local_addr().unwrap()).unwrap();
        assert!(socket.accept().unwrap().0.nodelay().unwrap());
    }

    #[test]
    fn workers_share_an_address_that_nobody_else_gets() {
        let sockets = bind(([127, 0, 0, 1], 0).into(), 3).unwrap();
        let address = sockets[0].local_addr().unwrap();
        assert!(sockets.iter().all(|socket| socket.local_addr().unwrap() == address));
        assert_eq!(bind(address, 2).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    }
}

//! An accepted socket: the runtime is told of it when there is something to wait for.
//!
//! Many a connection has its request there when it is accepted, and is closed after the response.
//! To register it with the runtime meanwhile would be two of the eight system calls of its life.

use super::socket;
use socket2::SockRef;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{self, Shutdown};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::coop;

/// A socket that does not block.
#[derive(Debug)]
pub struct Accepted(State);

#[derive(Debug)]
enum State {
    /// The runtime does not know it; nobody waits for it.
    Direct(Direct),
    /// The runtime says when it is ready.
    Registered(TcpStream),
}

#[derive(Debug)]
struct Direct {
    /// There until the runtime takes it.
    socket: Option<net::TcpStream>,
    /// Whether all was read that had come, so that to ask for more would be in vain.
    drained: bool,
}

impl Accepted {
    /// A socket that does not block, and that the runtime does not know yet.
    pub fn new(socket: net::TcpStream) -> Self {
        Self(State::Direct(Direct { socket: Some(socket), drained: false }))
    }

    /// Whether the runtime knows it.
    pub fn is_registered(&self) -> bool {
        matches!(self.0, State::Registered(_))
    }

    /// The socket as the runtime knows it from now on; an error if it can not take it.
    pub fn registered(&mut self) -> io::Result<&mut TcpStream> {
        if let State::Direct(direct) = &mut self.0 {
            let socket = direct.socket.take().ok_or(ErrorKind::NotConnected)?;
            self.0 = State::Registered(TcpStream::from_std(socket)?);
        }
        match &mut self.0 {
            State::Registered(stream) => Ok(stream),
            State::Direct(_) => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// The socket, which the runtime knows no longer; an error if it does not let go of it.
    pub fn into_std(self) -> io::Result<net::TcpStream> {
        match self.0 {
            State::Direct(direct) => Ok(direct.socket.ok_or(ErrorKind::NotConnected)?),
            State::Registered(stream) => stream.into_std(),
        }
    }

    /// Lets it end by a reset when it is dropped.
    pub fn set_zero_linger(&self) -> io::Result<()> {
        match &self.0 {
            State::Direct(Direct { socket: Some(socket), .. }) => {
                SockRef::from(socket).set_linger(Some(Duration::ZERO))
            }
            State::Direct(_) => Ok(()),
            State::Registered(stream) => stream.set_zero_linger(),
        }
    }

    /// Moves bytes if that can be done without the runtime, which is not told of the socket yet and
    /// need not be; nothing if it is to be asked.
    fn poll_now(
        &mut self,
        cx: &mut Context<'_>,
        call: impl FnOnce(&mut Direct) -> Option<io::Result<usize>>,
    ) -> Poll<Option<io::Result<usize>>> {
        let State::Direct(direct) = &mut self.0 else { return Poll::Ready(None) };
        let turn = ready!(coop::poll_proceed(cx));
        let moved = call(direct).filter(|moved| {
            !moved.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        });
        if moved.is_some() {
            turn.made_progress();
        }
        Poll::Ready(moved)
    }
}

impl Direct {
    fn read(&mut self, to: &mut [u8]) -> Option<io::Result<usize>> {
        if self.drained {
            return None;
        }
        let read = self.socket.as_ref()?.read(to);
        self.drained = read.as_ref().is_ok_and(|read| (1..to.len()).contains(read));
        Some(read)
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // To make other memory ready to be seen would cost more than it spares.
        if to.initialized().len() == to.capacity() {
            let read = self.poll_now(cx, |socket| socket.read(to.initialize_unfilled()));
            if let Some(read) = ready!(read) {
                to.advance(read?);
                return Poll::Ready(Ok(()));
            }
        }
        socket::poll_read(self.registered()?, cx, to)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.poll_now(cx, |socket| Some(socket.socket.as_ref()?.write(bytes)));
        match ready!(written) {
            Some(written) => Poll::Ready(written),
            None => socket::poll_write(self.registered()?, cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written =
            self.poll_now(cx, |socket| Some(socket.socket.as_ref()?.write_vectored(parts)));
        match ready!(written) {
            Some(written) => Poll::Ready(written),
            None => Pin::new(self.registered()?).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket holds nothing back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            State::Direct(Direct { socket, .. }) => {
                let socket = socket.as_ref().ok_or(ErrorKind::NotConnected)?;
                match socket.shutdown(Shutdown::Write) {
                    // The client has gone already, as with the runtime.
                    Err(error) if error.kind() == ErrorKind::NotConnected => Poll::Ready(Ok(())),
                    ended => Poll::Ready(ended),
                }
            }
            State::Registered(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Accepted;
    use std::future::poll_fn;
    use std::io::{ErrorKind, Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::pin::Pin;
    use std::task::Poll;
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};

    fn pair() -> (TcpStream, Accepted) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        accepted.set_nonblocking(true).unwrap();
        (client, Accepted::new(accepted))
    }

    /// Reads once if something is there.
    async fn try_read(socket: &mut Accepted) -> Poll<Vec<u8>> {
        let mut memory = [0; 8];
        let mut read = ReadBuf::new(&mut memory);
        let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut *socket).poll_read(cx, &mut read)));
        polled.await.map(|polled| {
            polled.unwrap();
            read.filled().to_vec()
        })
    }

    #[tokio::test]
    async fn a_request_that_has_come_is_answered_without_the_runtime() {
        let (mut client, mut socket) = pair();
        client.write_all(b"ask").unwrap();
        assert_eq!(try_read(&mut socket).await, Poll::Ready(b"ask".to_vec()));
        socket.write_all(b"answer").await.unwrap();
        socket.flush().await.unwrap();
        assert!(!socket.is_registered());
        drop(socket);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "answer");
    }

    #[tokio::test]
    async fn what_has_not_come_is_waited_for_by_the_runtime() {
        let (mut client, mut socket) = pair();
        assert!(try_read(&mut socket).await.is_pending());
        assert!(socket.is_registered());
        client.write_all(b"late").unwrap();
        let mut read = [0; 4];
        socket.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"late");
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(socket.read(&mut read).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn what_comes_between_the_last_reading_and_the_registration_is_seen() {
        let (mut client, mut socket) = pair();
        client.write_all(b"first").unwrap();
        assert_eq!(try_read(&mut socket).await, Poll::Ready(b"first".to_vec()));
        client.write_all(b"second").unwrap();
        let mut read = [0; 6];
        socket.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"second");
        assert!(socket.is_registered());
    }

    #[tokio::test]
    async fn more_than_the_socket_takes_is_written_when_there_is_room() {
        /// More than the buffers of both ends hold.
        const BYTES: usize = 16 * 1024 * 1024;
        let (mut client, mut socket) = pair();
        let reading = std::thread::spawn(move || {
            let mut all = Vec::new();
            client.read_to_end(&mut all).map(|_| all.len())
        });
        socket.write_all(&vec![7; BYTES]).await.unwrap();
        socket.shutdown().await.unwrap();
        assert!(socket.is_registered());
        assert_eq!(reading.join().unwrap().unwrap(), BYTES);
    }

    #[tokio::test]
    async fn it_ends_regularly_or_by_a_reset_whether_it_is_registered_or_not() {
        for (registered, reset) in [(false, false), (false, true), (true, false), (true, true)] {
            let (mut client, mut socket) = pair();
            if registered {
                socket.registered().unwrap();
            }
            let expected = if reset {
                socket.set_zero_linger().unwrap();
                Err(ErrorKind::ConnectionReset)
            } else {
                socket.shutdown().await.unwrap();
                Ok(0)
            };
            drop(socket.into_std().unwrap());
            let read = client.read(&mut [0]).map_err(|error| error.kind());
            assert_eq!(read, expected, "registered: {registered}");
        }
    }
}

//! Clients and an origin that allocate nothing once they are there.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

const REQUEST: &[u8] = b"GET /cart/items?page=2 HTTP/1.1\r\nhost: shop.example.com\r\n\
    user-agent: cost/1\r\naccept: */*\r\nx-user-id: u-4711\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nserver: cost\r\ncontent-type: text/plain\r\n\
    content-length: 16\r\n\r\n0123456789abcdef";

/// Answers each request with the same small response, a thread for each connection.
pub(crate) fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || serve(stream.unwrap()));
        }
    });
    address
}

fn serve(mut stream: TcpStream) {
    let mut received = [0; 4096];
    let mut length = 0;
    while let Ok(more @ 1..) = stream.read(&mut received[length..]) {
        length += more;
        if received[..length].ends_with(b"\r\n\r\n") {
            length = 0;
            if stream.write_all(RESPONSE).is_err() {
                return;
            }
        }
    }
}

/// A client on one connection.
pub(crate) struct Client(TcpStream);

impl Client {
    pub(crate) fn connect(proxy: SocketAddr) -> Self {
        let stream = TcpStream::connect(proxy).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// Sends requests, each when the one before is answered.
    pub(crate) fn ask(&mut self, times: usize) {
        for _ in 0..times {
            self.send();
            self.receive();
        }
    }

    /// Sends a request.
    pub(crate) fn send(&mut self) {
        self.0.write_all(REQUEST).unwrap();
    }

    /// Sends a request after which the connection closes.
    pub(crate) fn send_last(&mut self) {
        let fields = REQUEST.strip_suffix(b"\r\n").unwrap();
        self.0.write_all(&[fields, b"connection: close\r\n\r\n"].concat()).unwrap();
    }

    /// Receives the response to it.
    pub(crate) fn receive(&mut self) {
        let mut received = [0; 4096];
        let mut length = 0;
        while !received[..length].ends_with(b"\r\n\r\n0123456789abcdef") {
            let more = self.0.read(&mut received[length..]).unwrap();
            assert!(more > 0, "closed");
            length += more;
        }
        assert!(received.starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
}

/// A configuration that splits 90 to 10 between two pools, both of which are the origin.
pub(crate) fn yaml(origin: SocketAddr) -> String {
    format!(
        "listeners: [{{ name: web, address: '127.0.0.1:0' }}]\n\
         admin: {{ address: '127.0.0.1:0' }}\n\
         drain: {{ delay: 0s }}\n\
         pools:\n  - {{ name: stable, endpoints: ['{origin}'] }}\n  \
         - {{ name: canary, endpoints: ['{origin}'] }}\n\
         routes:\n  - name: shop\n    hostnames: [shop.example.com]\n    \
         cohort: {{ key: [{{ header: x-user-id }}] }}\n    \
         split: [{{ to: {{ stable: 90, canary: 10 }} }}]\n"
    )
}

//! A client that speaks HTTP/2 and allocates nothing once it is there.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// What begins a connection (RFC 9113 section 3.4), with a window for all that will ever come.
const BEGIN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
    \0\0\0\x04\0\0\0\0\0\
    \0\0\x04\x08\0\0\0\0\0\x7f\0\0\0";
const SETTINGS_ACK: &[u8] = b"\0\0\0\x04\x01\0\0\0\0";
/// The same request as over HTTP/1.1, each name and value literally (RFC 7541 section 6.2.2).
const FIELDS: &[u8] = b"\x82\x86\x04\x12/cart/items?page=2\x01\x10shop.example.com\
    \x0f\x2b\x06cost/1\x0f\x04\x03*/*\0\x09x-user-id\x06u-4711";
const HEAD_BYTES: usize = 9;
const FRAME_BYTES: usize = HEAD_BYTES + FIELDS.len();
/// `:status: 200` (RFC 7541 appendix A).
const STATUS_OK: u8 = 0x88;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The most requests at one time.
const STREAMS: usize = 16;

/// A client on one connection.
pub(crate) struct Http2Client {
    stream: TcpStream,
    requests: [u8; STREAMS * FRAME_BYTES],
    next: u32,
    received: [u8; 16 * 1024],
    length: usize,
}

impl Http2Client {
    pub(crate) const STREAMS: usize = STREAMS;

    pub(crate) fn connect(proxy: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(proxy).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(BEGIN).unwrap();
        stream.write_all(SETTINGS_ACK).unwrap();
        let mut requests = [0; STREAMS * FRAME_BYTES];
        for frame in requests.chunks_exact_mut(FRAME_BYTES) {
            frame[2] = u8::try_from(FIELDS.len()).unwrap();
            frame[3] = HEADERS;
            frame[4] = END_STREAM | END_HEADERS;
            frame[HEAD_BYTES..].copy_from_slice(FIELDS);
        }
        Self { stream, requests, next: 1, received: [0; 16 * 1024], length: 0 }
    }

    /// Sends as many requests as there are streams, and waits until all are answered, so often.
    pub(crate) fn ask(&mut self, times: usize) {
        for _ in 0..times {
            self.send();
            self.receive();
        }
    }

    /// Sends a request on each stream.
    pub(crate) fn send(&mut self) {
        for frame in self.requests.chunks_exact_mut(FRAME_BYTES) {
            frame[5..HEAD_BYTES].copy_from_slice(&self.next.to_be_bytes());
            self.next += 2;
        }
        self.stream.write_all(&self.requests).unwrap();
    }

    /// Receives the responses to them.
    pub(crate) fn receive(&mut self) {
        let (mut heads, mut bodies) = (0, 0);
        while bodies < STREAMS {
            let more = self.stream.read(&mut self.received[self.length..]).unwrap();
            assert!(more > 0, "closed");
            self.length += more;
            let mut at = 0;
            while let Some(frame) = frame(&self.received[at..self.length]) {
                at += frame.len();
                let (head, payload) = frame.split_at(HEAD_BYTES);
                match head[3] {
                    HEADERS => heads += usize::from(payload[0] == STATUS_OK),
                    DATA => {
                        assert_eq!((payload, head[4]), (&b"0123456789abcdef"[..], END_STREAM));
                        bodies += 1;
                    }
                    _ => {}
                }
            }
            self.received.copy_within(at..self.length, 0);
            self.length -= at;
        }
        assert_eq!(heads, STREAMS);
    }
}

/// The frame that these bytes begin with, if all of it is there.
fn frame(bytes: &[u8]) -> Option<&[u8]> {
    let [_, high, low, ..] = bytes else { return None };
    bytes.get(..HEAD_BYTES + usize::from(u16::from_be_bytes([*high, *low])))
}

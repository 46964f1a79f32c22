//! HTTP/2 frame by frame: what hostile and broken clients of the tests send.

use super::{Broken, Client};
use std::net::SocketAddr;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const STREAM_CLOSED: u32 = 5;
pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
pub(crate) const COMPRESSION_ERROR: u32 = 9;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// The head of a request that nobody minds.
pub(crate) const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/")];

/// A frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// What became of a request or of its connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The status of its response.
    Status(u16),
    /// `RST_STREAM` with this code.
    Reset(u32),
    /// GOAWAY with this code.
    GoAway(u32),
    /// The connection ended without one.
    Closed,
}

/// A client that sends frames as it is told.
pub(crate) struct Raw(pub(crate) Client);

impl Raw {
    /// Connects and says hello.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let mut raw = Self(Client::connect(address).await);
        raw.0.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        raw.send(SETTINGS, 0, 0, &[]).await;
        raw
    }

    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.0.send(frame(kind, flags, stream, payload)).await;
    }

    /// Sends a head.
    pub(crate) async fn head(&mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) {
        self.block(stream, flags, &block(fields)).await;
    }

    /// Sends a block of fields in as many frames as it takes.
    pub(crate) async fn block(&mut self, stream: u32, flags: u8, block: &[u8]) {
        const FRAME_BYTES_MAX: usize = 16 * 1024;
        let last = block.len().div_ceil(FRAME_BYTES_MAX) - 1;
        for (index, part) in block.chunks(FRAME_BYTES_MAX).enumerate() {
            let end = if index == last { END_HEADERS } else { 0 };
            match index {
                0 => self.send(HEADERS, end | flags, stream, part).await,
                _ => self.send(CONTINUATION, end, stream, part).await,
            }
        }
    }

    /// Reads a frame.
    pub(crate) async fn read(&mut self) -> Result<Frame, Broken> {
        let head = self.0.take(9).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let payload = self.0.take(length.try_into().unwrap()).await?;
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        Ok(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Reads until a stream has an answer or the connection ends.
    pub(crate) async fn outcome(&mut self, stream: u32) -> Outcome {
        loop {
            let Ok(frame) = self.read().await else { return Outcome::Closed };
            let code =
                |from: usize| u32::from_be_bytes(frame.payload[from..from + 4].try_into().unwrap());
            match frame.kind {
                GOAWAY => return Outcome::GoAway(code(4)),
                RST_STREAM if frame.stream == stream => return Outcome::Reset(code(0)),
                HEADERS if frame.stream == stream => {
                    return Outcome::Status(status(&frame.payload));
                }
                _ => {}
            }
        }
    }

    /// A GET of this stream and its status.
    pub(crate) async fn get(&mut self, stream: u32) -> Outcome {
        self.head(stream, END_STREAM, &GET).await;
        self.outcome(stream).await
    }
}

/// A frame as bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A block of fields, each as a literal that is not indexed (RFC 7541 section 6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// A length with a prefix of seven bits (RFC 7541 section 5.1).
fn length(block: &mut Vec<u8>, length: usize) {
    const PREFIX: usize = 127;
    if length < PREFIX {
        block.push(u8::try_from(length).unwrap());
        return;
    }
    block.push(127);
    let mut rest = length - PREFIX;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}

/// The status at the beginning of a block, which servers write out of the static table or as a
/// literal with an indexed name.
fn status(block: &[u8]) -> u16 {
    // The size of the table may be set first.
    let start = block.iter().position(|byte| byte & 0xe0 != 0x20).unwrap();
    match block[start] {
        0x88 => 200,
        0x89 => 204,
        0x8a => 206,
        0x8b => 304,
        0x8c => 400,
        0x8d => 404,
        0x8e => 500,
        // Three digits in Huffman's code, of five or six bits each.
        0x08 | 0x48 => {
            let length = usize::from(block[start + 1] & 0x7f);
            let text = &block[start + 2..start + 2 + length];
            digits(text)
        }
        other => panic!("a status? {other:#x}"),
    }
}

fn digits(bytes: &[u8]) -> u16 {
    let mut bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    let mut number = 0;
    for _ in 0..3 {
        let five = (0..5).fold(0, |code, _| code << 1 | u16::from(bits.next().unwrap()));
        let digit = if five < 3 {
            five
        } else {
            // 3 is 011001, and so on (RFC 7541 appendix B).
            (five << 1 | u16::from(bits.next().unwrap())) - 0b01_1001 + 3
        };
        number = number * 10 + digit;
    }
    number
}

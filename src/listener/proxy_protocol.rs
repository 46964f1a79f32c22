//! The PROXY protocol (HAProxy's specification): who the client is, told by a proxy before it.

use super::connections::{Connection, Order};
use super::refusal::Refusal;
use crate::predicate::Cidrs;
use ppp::{v1, v2};
use schemars::JsonSchema;
use serde::Deserialize;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::str::from_utf8;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncReadExt, ReadBuf};
use tokio::net::TcpStream;

/// The longest header of version 1, its line end included (section 2.1).
const V1_BYTES_MAX: usize = 107;
/// The longest header of version 2 that is read: addresses, and what is added to them.
pub const HEADER_BYTES_MAX: usize = 2048;
/// How version 2 begins (section 2.2).
const V2_BEGINNING: &[u8] = v2::PROTOCOL_PREFIX;
/// What is before the length of a version 2 header, and the length itself.
const V2_FIXED_BYTES: usize = 16;

/// Which peers say for whom they connect.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProxyProtocolConfig {
    /// The peers, as CIDRs, whose connections begin with a PROXY protocol header, version 1 or 2;
    /// each of them must. Those of others must not.
    pub trusted: Cidrs,
}

/// Whom a header names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// Nobody else: the proxy connects for itself, or does not know.
    Peer,
    /// The client.
    Client(SocketAddr),
}

/// What is no PROXY protocol header, or one that is malformed or too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no valid PROXY protocol header")]
pub struct Invalid;

/// Reads a header off the beginning of what a peer sends: its length in bytes and whom it names.
/// Nothing if it is not complete yet.
pub fn parse(bytes: &[u8]) -> Result<Option<(usize, Address)>, Invalid> {
    if bytes.starts_with(V2_BEGINNING) {
        parse_v2(bytes)
    } else if V2_BEGINNING.starts_with(bytes) {
        Ok(None)
    } else {
        parse_v1(bytes)
    }
}

/// Section 2.2.
fn parse_v2(bytes: &[u8]) -> Result<Option<(usize, Address)>, Invalid> {
    let Some(&[high, low]) = bytes.get(V2_FIXED_BYTES - 2..V2_FIXED_BYTES) else {
        return Ok(None);
    };
    let length = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if length > HEADER_BYTES_MAX {
        return Err(Invalid);
    }
    let Some(header) = bytes.get(..length) else { return Ok(None) };
    let header = v2::Header::try_from(header).map_err(|_| Invalid)?;
    let address = match (header.command, header.protocol, header.addresses) {
        (v2::Command::Proxy, v2::Protocol::Stream, v2::Addresses::IPv4(ip)) => {
            Address::Client((ip.source_address, ip.source_port).into())
        }
        (v2::Command::Proxy, v2::Protocol::Stream, v2::Addresses::IPv6(ip)) => {
            Address::Client((ip.source_address, ip.source_port).into())
        }
        // What is no TCP connection over IP has no address of ours.
        _ => Address::Peer,
    };
    Ok(Some((length, address)))
}

/// Section 2.1.
fn parse_v1(bytes: &[u8]) -> Result<Option<(usize, Address)>, Invalid> {
    const BEGINNING: &[u8] = b"PROXY ";
    if !bytes.starts_with(BEGINNING) && !BEGINNING.starts_with(bytes) {
        return Err(Invalid);
    }
    let line = bytes.get(..V1_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = memchr::memmem::find(line, b"\r\n") else {
        return if line.len() < V1_BYTES_MAX { Ok(None) } else { Err(Invalid) };
    };
    let length = end + 2;
    // ASCII alone (section 2.1): at other letters after a carriage return the reader panics.
    let line = line.get(..length).filter(|line| line.is_ascii());
    let line = line.and_then(|line| from_utf8(line).ok()).ok_or(Invalid)?;
    let header = v1::Header::try_from(line).map_err(|_| Invalid)?;
    let address = match header.addresses {
        v1::Addresses::Unknown => Address::Peer,
        // Rust reads a sign before a port, the specification has none.
        _ if line.contains('+') => return Err(Invalid),
        v1::Addresses::Tcp4(ip) => Address::Client((ip.source_address, ip.source_port).into()),
        v1::Addresses::Tcp6(ip) => Address::Client((ip.source_address, ip.source_port).into()),
    };
    Ok(Some((length, address)))
}

/// Reads the header of a trusted peer, and nothing behind it: whom it names, or why the connection
/// is refused. Nothing if the connection ends before, or is told to.
pub(super) async fn receive(
    stream: &mut TcpStream,
    known: &Connection,
    timeout: Duration,
) -> Result<Option<Address>, Refusal> {
    let mut finish = false;
    let read = tokio::time::timeout(timeout, read(stream, known, &mut finish)).await;
    if finish {
        known.tell(Order::Finish);
    }
    match read {
        Err(_) => Err(Refusal::ProxyHeaderTimedOut),
        Ok(Err(Invalid)) => Err(Refusal::ProxyHeader),
        Ok(Ok(address)) => Ok(address),
    }
}

/// Looks at what has come before taking it, so that what follows the header stays for others.
async fn read(
    stream: &mut TcpStream,
    known: &Connection,
    finish: &mut bool,
) -> Result<Option<Address>, Invalid> {
    let mut header = [0; HEADER_BYTES_MAX];
    let mut taken = 0;
    loop {
        let Some(space) = header.get_mut(taken..).filter(|space| !space.is_empty()) else {
            return Err(Invalid);
        };
        let Some(seen) = peek(stream, known, finish, space).await else { return Ok(None) };
        let parsed = parse(header.get(..taken + seen).unwrap_or_default())?;
        // An incomplete header has everything that has come.
        let until = parsed.map_or(taken + seen, |(length, _)| length);
        let part = header.get_mut(taken..until).ok_or(Invalid)?;
        if stream.read_exact(part).await.is_err() {
            return Ok(None);
        }
        taken = until;
        if let Some((_, address)) = parsed {
            return Ok(Some(address));
        }
    }
}

/// Waits for bytes; nothing at the connection's end.
async fn peek(
    stream: &TcpStream,
    known: &Connection,
    finish: &mut bool,
    space: &mut [u8],
) -> Option<usize> {
    let mut buffer = ReadBuf::new(space);
    poll_fn(|cx| {
        known.wake(cx.waker());
        match known.order() {
            Some(Order::Finish) => *finish = true,
            Some(Order::Close) => return Poll::Ready(None),
            // It has a time limit of its own.
            None => {}
        }
        Pin::new(stream).poll_peek(cx, &mut buffer).map(|read| read.ok().filter(|read| *read > 0))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::{Address, HEADER_BYTES_MAX, Invalid, V2_BEGINNING, parse};
    use proptest::prelude::*;
    use std::net::SocketAddr;

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [V2_BEGINNING, &[0x20 | command, family], &length, rest].concat()
    }

    fn client(text: &str) -> Address {
        Address::Client(text.parse().unwrap())
    }

    #[test]
    fn version_1_is_ascii() {
        for text in ["PROXY TCP4 1\r\u{13f}\r\n", "PROXY UNKNOWN \u{e9}\r\n"] {
            assert_eq!(parse(text.as_bytes()), Err(Invalid), "{text:?}");
        }
    }

    #[test]
    fn version_1_names_the_source() {
        let four = b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\nGET / HTTP/1.1\r\n";
        assert_eq!(parse(four), Ok(Some((41, client("192.0.2.7:56324")))));
        let six = b"PROXY TCP6 2001:db8::7 ::1 1 2\r\n";
        assert_eq!(parse(six), Ok(Some((32, client("[2001:db8::7]:1")))));
        assert_eq!(parse(b"PROXY UNKNOWN\r\n"), Ok(Some((15, Address::Peer))));
        let unknown = b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n";
        assert_eq!(parse(unknown), Ok(Some((unknown.len(), Address::Peer))));
    }

    #[test]
    fn version_2_names_the_source_of_a_tcp_connection() {
        let ports = [0x01, 0xbb, 0, 80];
        let four = [&[192, 0, 2, 7, 10, 0, 0, 1][..], &ports].concat();
        let with_more = [&four[..], &[0xee, 0, 2, 1, 2]].concat();
        assert_eq!(parse(&v2(1, 0x11, &four)), Ok(Some((28, client("192.0.2.7:443")))));
        assert_eq!(parse(&v2(1, 0x11, &with_more)), Ok(Some((33, client("192.0.2.7:443")))));
        let six = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[7], &[0; 16], &ports].concat();
        assert_eq!(parse(&v2(1, 0x21, &six)), Ok(Some((52, client("[2001:db8::7]:443")))));
        // LOCAL, no family, datagrams, UNIX sockets.
        for (command, family, rest) in
            [(0, 0, &[][..]), (0, 0x11, &four), (1, 0, &[]), (1, 0x12, &four), (1, 0x31, &[0; 216])]
        {
            let header = v2(command, family, rest);
            assert_eq!(parse(&header), Ok(Some((header.len(), Address::Peer))));
        }
    }

    #[test]
    fn what_is_no_header_is_refused_at_the_first_byte_that_differs() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"\x16\x03\x01",
            b"\r\n\r\nGET",
            b"PROXY\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
            b"PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
            b"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
            &v2(2, 0x11, &[0; 12]),
            &v2(1, 0x11, &[0; 11]),
            &v2(1, 0x41, &[0; 36]),
            &v2(1, 0x11, &[0; HEADER_BYTES_MAX])[..20],
            &[b'P'; 107],
        ] {
            assert_eq!(parse(bytes), Err(Invalid), "{:?}", String::from_utf8_lossy(bytes));
        }
        let long = format!("PROXY UNKNOWN {}", "x".repeat(93));
        assert_eq!(parse(long.as_bytes()), Err(Invalid));
        assert_eq!(parse(&long.as_bytes()[..106]), Ok(None));
    }

    proptest! {
        #[test]
        fn a_header_is_incomplete_until_its_last_byte(
            source: SocketAddr,
            destination: SocketAddr,
            more in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let name = match (source, destination) {
                (SocketAddr::V4(_), SocketAddr::V4(_)) => "TCP4",
                (SocketAddr::V6(_), SocketAddr::V6(_)) => "TCP6",
                _ => return Ok(()),
            };
            let (from, to) = (source.ip(), destination.ip());
            let header =
                format!("PROXY {name} {from} {to} {} {}\r\n", source.port(), destination.port());
            let header = header.as_bytes();
            for end in 0..header.len() {
                prop_assert_eq!(parse(&header[..end]), Ok(None));
            }
            let bytes = [header, &more].concat();
            // Flow labels and scopes are not written.
            let expected = SocketAddr::new(from, source.port());
            prop_assert_eq!(parse(&bytes), Ok(Some((header.len(), Address::Client(expected)))));
        }

        #[test]
        fn anything_is_read_or_refused(
            start in prop_oneof![Just(&b"PROXY TCP4 "[..]), Just(V2_BEGINNING), Just(&b""[..])],
            rest in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [start, &rest].concat();
            if let Ok(Some((length, _))) = parse(&bytes) {
                prop_assert!(length <= bytes.len().min(HEADER_BYTES_MAX));
                prop_assert_eq!(parse(&bytes[..length]), parse(&bytes));
            }
        }
    }
}

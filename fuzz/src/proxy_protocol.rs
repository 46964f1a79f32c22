//! PROXY protocol headers: what is read is what a second, plain reading of the bytes says.

use serin::listener::proxy_protocol::{Address, HEADER_BYTES_MAX, parse};
use std::net::{IpAddr, SocketAddr};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest header of version 1.
const V1_BYTES_MAX: usize = 107;

/// What a peer sends first.
pub fn run(bytes: &[u8]) {
    match parse(bytes) {
        Ok(Some((length, address))) => {
            assert!(length <= bytes.len() && length <= HEADER_BYTES_MAX);
            let header = &bytes[..length];
            assert_eq!(
                parse(header),
                Ok(Some((length, address))),
                "what follows the header counts"
            );
            for end in 0..length {
                assert_eq!(parse(&bytes[..end]), Ok(None), "it ends before its end");
            }
            assert_eq!(plain(header), Some(address), "it names somebody else");
        }
        Ok(None) => assert!(bytes.len() < HEADER_BYTES_MAX, "it may go on without end"),
        Err(_) => assert!(!is_certain(bytes), "a valid header is refused"),
    }
}

/// Whom a whole header names; nothing if it is no header.
fn plain(header: &[u8]) -> Option<Address> {
    if let Some(rest) = header.strip_prefix(SIGNATURE) {
        let (fixed, body) = rest.split_at_checked(4)?;
        let client = |address: IpAddr, port: &[u8]| {
            let port = u16::from_be_bytes([port[0], port[1]]);
            Some(Address::Client(SocketAddr::new(address, port)))
        };
        return match (fixed[0], fixed[1]) {
            (0x21, 0x11) => {
                let address: [u8; 4] = body.get(..4)?.try_into().ok()?;
                client(address.into(), body.get(8..10)?)
            }
            (0x21, 0x21) => {
                let address: [u8; 16] = body.get(..16)?.try_into().ok()?;
                client(address.into(), body.get(32..34)?)
            }
            (0x20 | 0x21, _) => Some(Address::Peer),
            _ => None,
        };
    }
    let line = std::str::from_utf8(header).ok()?.strip_suffix("\r\n")?;
    let words: Vec<&str> = line.split(' ').collect();
    match *words {
        ["PROXY", "UNKNOWN", ..] => Some(Address::Peer),
        ["PROXY", family @ ("TCP4" | "TCP6"), source, _, port, _] => {
            let source: IpAddr = source.parse().ok()?;
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            let right = digits && source.is_ipv4() == (family == "TCP4");
            let client = SocketAddr::new(source, port.parse().ok()?);
            right.then_some(Address::Client(client))
        }
        _ => None,
    }
}

/// Whether these bytes begin with a header that every reader takes.
fn is_certain(bytes: &[u8]) -> bool {
    if bytes.starts_with(SIGNATURE) {
        let Some(fixed) = bytes.get(12..16) else { return false };
        let length = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        let least = match (fixed[0], fixed[1]) {
            (0x21, 0x11) => 12,
            (0x21, 0x21) => 36,
            _ => return false,
        };
        return length == least && bytes.len() >= 16 + length;
    }
    let line = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = line.windows(2).position(|two| two == b"\r\n") else { return false };
    let Ok(line) = std::str::from_utf8(&line[..end]) else { return false };
    let words: Vec<&str> = line.split(' ').collect();
    let ["PROXY", family @ ("TCP4" | "TCP6"), source, target, one, two] = *words else {
        return false;
    };
    let address = |text: &str| {
        text.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4() == (family == "TCP4"))
    };
    let port = |text: &str| text.parse::<u16>().is_ok_and(|port| port.to_string() == text);
    address(source) && address(target) && port(one) && port(two)
}

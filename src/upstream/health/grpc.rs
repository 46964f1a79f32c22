//! The check that calls `grpc.health.v1.Health/Check` (the GRPC Health Checking Protocol).

use super::{GrpcProbeConfig, USER_AGENT, failed, http2};
use crate::upstream::transport::{ConnectError, Protocol, Spoken, Transport};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request, header};
use std::net::SocketAddr;

const PATH: &str = "/grpc.health.v1.Health/Check";
/// The largest answer, which is two bytes and their frame unless fields are added to it.
const ANSWER_BYTES_MAX: usize = 4 * 1024;
/// `HealthCheckResponse.ServingStatus`.
const STATUSES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

/// Calls, and looks whether the answer is SERVING.
pub(super) async fn ask(
    config: &GrpcProbeConfig,
    transport: &Transport,
    address: SocketAddr,
) -> Result<(), String> {
    let connected = transport.connect_in(Protocol::H2, address).await;
    let (stream, spoken) = connected.map_err(|error| failed(&error))?;
    if spoken != Spoken::Http2 {
        return Err(failed(&ConnectError::Protocol("it does not speak HTTP/2")));
    }
    let target = http2::target(transport.tls.is_some(), &address.to_string(), PATH)?;
    let request = Request::post(target)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, USER_AGENT)
        .body(())
        .map_err(|error| error.to_string())?;
    let answer = http2::ask(stream, request, call(&config.service), ANSWER_BYTES_MAX).await?;
    if !answer.status.is_success() {
        return Err(format!("it answered with the status {}", answer.status.as_u16()));
    }
    // In the head if it is all there is of the answer.
    let fields = answer.trailers.as_ref().unwrap_or(&answer.headers);
    match status(fields) {
        Some(0) => {}
        Some(status) => return Err(format!("the call ended with the status {status}")),
        None => return Err("the call ended without a status".to_owned()),
    }
    match serving(&answer.body) {
        Some(1) => Ok(()),
        Some(status) => {
            let name = usize::try_from(status).ok().and_then(|status| STATUSES.get(status));
            Err(format!("it is {}", name.unwrap_or(&"of a status that nobody knows")))
        }
        None => Err("its answer is no HealthCheckResponse".to_owned()),
    }
}

fn status(fields: &HeaderMap) -> Option<u32> {
    fields.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// A `HealthCheckRequest`, whose field 1 is the service, in its frame.
fn call(service: &str) -> Bytes {
    const SERVICE: u8 = 1 << 3 | 2;
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(SERVICE);
        put_varint(&mut message, service.len());
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(&message);
    framed.freeze()
}

fn put_varint(message: &mut BytesMut, mut number: usize) {
    let seven = |number: usize| u8::try_from(number & 0x7F).unwrap_or_default();
    while number >= 0x80 {
        message.put_u8(seven(number) | 0x80);
        number >>= 7;
    }
    message.put_u8(seven(number));
}

/// The status in a framed `HealthCheckResponse`, its field 1; 0 if it is left out. Nothing if the
/// answer is none.
fn serving(answer: &[u8]) -> Option<u64> {
    const VARINT: u64 = 0;
    const FIXED64: u64 = 1;
    const BYTES: u64 = 2;
    const FIXED32: u64 = 5;
    let (frame, mut rest) = answer.split_first_chunk::<5>()?;
    let [compressed, length @ ..] = *frame;
    if compressed != 0 || usize::try_from(u32::from_be_bytes(length)).ok()? != rest.len() {
        return None;
    }
    let mut status = 0;
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let skipped = match tag & 7 {
            VARINT => {
                let value = varint(&mut rest)?;
                if tag >> 3 == 1 {
                    status = value;
                }
                0
            }
            FIXED64 => 8,
            BYTES => varint(&mut rest)?,
            FIXED32 => 4,
            _ => return None,
        };
        rest = rest.get(usize::try_from(skipped).ok()?..)?;
    }
    Some(status)
}

/// Takes a number from the front.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    /// A number of 64 bits, 7 in each byte.
    const BYTES_MAX: u32 = 10;
    let mut number = 0;
    for place in 0..BYTES_MAX {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7F).checked_shl(7 * place)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{call, serving};
    use proptest::prelude::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[0][..], &length, message].concat()
    }

    #[test]
    fn a_call_names_the_service_if_there_is_one() {
        assert_eq!(call(""), &[0, 0, 0, 0, 0][..]);
        assert_eq!(call("a.B"), &b"\0\0\0\0\x05\x0a\x03a.B"[..]);
        let long = "x".repeat(300);
        let mut message = vec![0x0a, 0xac, 0x02];
        message.extend(long.bytes());
        assert_eq!(call(&long), framed(&message));
    }

    #[test]
    fn the_status_is_found_among_other_fields() {
        for (message, status) in [
            (&[8, 1][..], Some(1)),
            (&[8, 2], Some(2)),
            (&[], Some(0)),
            (&[0x12, 2, 8, 1, 8, 3], Some(3)),
            (&[0x10, 7, 0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8, 8, 1], Some(1)),
            (&[8, 0x81, 0x80, 0x00], Some(1)),
            (&[8], None),
            (&[8, 0x80], None),
            (&[0x12, 9, 8, 1], None),
            (&[0x0b, 8, 1], None),
            (&[0xff; 12], None),
        ] {
            assert_eq!(serving(&framed(message)), status, "{message:?}");
        }
        for wrong in [&[][..], &[0, 0, 0, 0], &[1, 0, 0, 0, 2, 8, 1], &[0, 0, 0, 0, 3, 8, 1]] {
            assert_eq!(serving(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(message in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = (serving(&message), serving(&framed(&message)));
        }
    }
}

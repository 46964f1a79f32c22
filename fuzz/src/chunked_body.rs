//! Chunked bodies: read in any pieces, the result is that of the plainest possible reader.

use super::naive;
use bytes::BytesMut;
use serin::base::http1::decode::Decoder;

/// What a body was: its data, the names of its trailers, and what came after it.
type Body = (Vec<u8>, Vec<Vec<u8>>, Vec<u8>);

/// The first byte says how the rest is cut.
pub fn run(bytes: &[u8]) {
    let Some((seed, bytes)) = bytes.split_first() else { return };
    let whole = read(&[bytes]);
    let pieces = naive::pieces(bytes, *seed);
    let cut = read(&pieces);
    assert_eq!(whole, cut, "a body that comes in pieces is another one");
    match (whole, plain(bytes)) {
        (Some((data, trailers, rest)), Some(plain)) => {
            assert_eq!((&data, &rest), (&plain.0, &plain.2), "the body or its end differ");
            for name in &trailers {
                assert!(plain.1.contains(name), "a trailer nobody sent: {name:?}");
                assert!(!FORBIDDEN.contains(&&**name), "a forbidden trailer: {name:?}");
            }
        }
        (Some(_), None) => panic!("accepted, but it is no valid body"),
        (None, Some(plain)) => {
            // Only the limits on lines, trailers and their number may be stricter.
            let large = bytes.len() > 250 || plain.1.len() > 64;
            assert!(large, "refused, but it is a valid body");
        }
        (None, None) => {}
    }
}

const FORBIDDEN: [&[u8]; 4] = [b"content-length", b"transfer-encoding", b"host", b"authorization"];

fn read(pieces: &[&[u8]]) -> Option<Body> {
    let mut decoder = Decoder::chunked();
    let mut received = BytesMut::new();
    let (mut data, mut names) = (Vec::new(), Vec::new());
    for piece in pieces {
        received.extend_from_slice(piece);
        while let Some(frame) = decoder.take(&mut received).ok()? {
            match frame.into_data() {
                Ok(more) => {
                    assert!(!more.is_empty(), "an empty frame of data");
                    data.extend_from_slice(&more);
                }
                Err(frame) => {
                    let trailers = frame.into_trailers().expect("data or trailers");
                    names.extend(trailers.keys().map(|name| name.as_str().as_bytes().to_vec()));
                }
            }
        }
    }
    decoder.close().then(|| (data, names, received.to_vec()))
}

/// Reads a whole body (RFC 9112 section 7.1); extensions begin with a letter or digit, and have no
/// character that can not be seen.
fn plain(bytes: &[u8]) -> Option<Body> {
    let mut data = Vec::new();
    let mut rest = bytes;
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let line = rest[..end].strip_suffix(b"\r")?;
        let digits = line.iter().position(|byte| *byte == b';').unwrap_or(line.len());
        let (size, extension) = line.split_at(digits);
        let valid = (1..=16).contains(&size.len()) && size.iter().all(u8::is_ascii_hexdigit);
        let named = extension.get(1).is_none_or(u8::is_ascii_alphanumeric);
        let seen = naive::is_value(extension) && extension.is_ascii() && extension != b";";
        if !valid || !named || !seen {
            return None;
        }
        let size = size.iter().fold(0_u64, |sum, digit| {
            sum << 4 | u64::from((*digit as char).to_digit(16).unwrap_or_default())
        });
        rest = &rest[end + 1..];
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).ok()?;
        data.extend_from_slice(rest.get(..size)?);
        rest = rest[size..].strip_prefix(b"\r\n")?;
    }
    if let Some(rest) = rest.strip_prefix(b"\r\n") {
        return Some((data, Vec::new(), rest.to_vec()));
    }
    let end = naive::end_of_head(rest)?;
    let names = naive::lines(&rest[..end])?.into_iter().map(|line| Some(naive::field(line)?.0));
    Some((data, names.collect::<Option<_>>()?, rest[end..].to_vec()))
}

//! Where a message's body ends, and its chunks (RFC 9112 sections 6.3 and 7.1).

use super::PIECE_BYTES;
use super::fields::{Invalid, has_bare_line_feed, head_end, remove_forbidden};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;

/// The longest line of a chunk's size, its extensions included; those are not passed on.
const SIZE_LINE_BYTES_MAX: usize = 256;
/// The most digits of a chunk's size.
const SIZE_DIGITS_MAX: usize = 16;
/// Up to how much of small chunks is taken together: each for itself would cost whoever passes them
/// on a system call.
const GATHER_BYTES_MAX: usize = 16 * 1024;
/// Chunks of this size are passed on as they came.
const SMALL_BYTES_MAX: usize = 1024;
/// Up to this much more than [`PIECE_BYTES`] is the last piece: one of its own would cost more.
const LAST_PIECE_BYTES: usize = 4 * 1024;
/// The largest trailer section.
const TRAILERS_BYTES_MAX: usize = 8 * 1024;
/// The most trailer fields.
const TRAILERS_MAX: usize = 64;

/// What is left of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoder {
    /// Nothing.
    Done,
    /// This many bytes, never 0.
    Length(u64),
    /// Chunks.
    Chunked(Chunk),
    /// Everything until the sender closes the connection.
    UntilClose,
}

/// Where in a chunked body we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunk {
    /// Before a chunk's size.
    Size,
    /// Inside a chunk with this many bytes left, never 0.
    Data(u64),
    /// After a chunk's data.
    End,
    /// After the last chunk.
    Trailers,
}

impl Decoder {
    /// A body of known length.
    pub fn length(length: u64) -> Self {
        if length == 0 { Self::Done } else { Self::Length(length) }
    }

    /// A body in chunks.
    pub fn chunked() -> Self {
        Self::Chunked(Chunk::Size)
    }

    /// Takes the next frame from the front of what was received; nothing if more must come first,
    /// or if the body is done.
    pub fn take(&mut self, received: &mut BytesMut) -> Result<Option<Frame<Bytes>>, Invalid> {
        match self {
            Self::Done => Ok(None),
            Self::UntilClose if received.is_empty() => Ok(None),
            Self::UntilClose => Ok(Some(Frame::data(received.split().freeze()))),
            Self::Length(left) => {
                let Some(data) = take_data(received, left) else { return Ok(None) };
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok(Some(Frame::data(data)))
            }
            Self::Chunked(chunk) => {
                let frame = chunk.take(received)?;
                match frame {
                    Step::Frame(frame) => Ok(Some(frame)),
                    Step::More => Ok(None),
                    Step::Done(trailers) => {
                        *self = Self::Done;
                        Ok(trailers.map(Frame::trailers))
                    }
                }
            }
        }
    }

    /// How much had better be received before it is taken, as far as that is known: all that is
    /// left, or a piece.
    pub fn piece(&self) -> usize {
        match self {
            Self::Length(left) => match usize::try_from(*left) {
                Ok(left) if left <= PIECE_BYTES + LAST_PIECE_BYTES => left,
                _ => PIECE_BYTES,
            },
            Self::Done | Self::Chunked(_) | Self::UntilClose => 0,
        }
    }

    /// The sender closed the connection: says whether the body is complete.
    pub fn close(&mut self) -> bool {
        if matches!(self, Self::UntilClose) {
            *self = Self::Done;
        }
        matches!(self, Self::Done)
    }
}

/// What came of looking at what was received.
enum Step {
    Frame(Frame<Bytes>),
    More,
    Done(Option<HeaderMap>),
}

impl Chunk {
    fn take(&mut self, received: &mut BytesMut) -> Result<Step, Invalid> {
        loop {
            match self {
                Self::Size => match take_size(received)? {
                    None => return Ok(Step::More),
                    Some(0) => *self = Self::Trailers,
                    Some(size) => *self = Self::Data(size),
                },
                Self::Data(left) => {
                    let Some(data) = take_data(received, left) else { return Ok(Step::More) };
                    if *left == 0 {
                        *self = Self::End;
                    }
                    return Ok(Step::Frame(Frame::data(self.gather(data, received))));
                }
                Self::End => match received.get(..2) {
                    None => return Ok(Step::More),
                    Some(b"\r\n") => {
                        let _ = received.split_to(2);
                        *self = Self::Size;
                    }
                    Some(_) => return Err(Invalid("a chunk does not end where it should")),
                },
                Self::Trailers => {
                    return Ok(match take_trailers(received)? {
                        None => Step::More,
                        Some(trailers) => Step::Done((!trailers.is_empty()).then_some(trailers)),
                    });
                }
            }
        }
    }
}

impl Chunk {
    /// Adds what is there of the next chunks to the data of one, if they are small. What is wrong
    /// with them, or their end, is left for the next taking.
    fn gather(&mut self, data: Bytes, received: &mut BytesMut) -> Bytes {
        let mut gathered = BytesMut::new();
        while *self == Self::End && gathered.len() < GATHER_BYTES_MAX {
            let Some(line) = received.strip_prefix(b"\r\n") else { break };
            let Ok(Some((size @ 1.., length))) = parse_size(line) else { break };
            if data.len() > SMALL_BYTES_MAX || size > SMALL_BYTES_MAX as u64 {
                break;
            }
            let _ = received.split_to(2 + length);
            let mut left = size;
            if gathered.is_empty() {
                gathered.extend_from_slice(&data);
            }
            gathered.extend_from_slice(&take_data(received, &mut left).unwrap_or_default());
            *self = if left == 0 { Self::End } else { Self::Data(left) };
        }
        if gathered.is_empty() { data } else { gathered.freeze() }
    }
}

fn take_data(received: &mut BytesMut, left: &mut u64) -> Option<Bytes> {
    if received.is_empty() {
        return None;
    }
    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(received.len());
    *left -= length as u64;
    Some(received.split_to(length).freeze())
}

/// A chunk's size; nothing if its line is not all there.
fn take_size(received: &mut BytesMut) -> Result<Option<u64>, Invalid> {
    let Some((size, length)) = parse_size(received)? else { return Ok(None) };
    let _ = received.split_to(length);
    Ok(Some(size))
}

/// A chunk's size, and the length of its line; nothing if that is not all there.
fn parse_size(received: &[u8]) -> Result<Option<(u64, usize)>, Invalid> {
    let wrong = Invalid("a chunk's size is malformed");
    let line = received.get(..received.len().min(SIZE_LINE_BYTES_MAX)).unwrap_or_default();
    let Some(end) = memchr::memchr(b'\n', line) else {
        return if line.len() < SIZE_LINE_BYTES_MAX { Ok(None) } else { Err(wrong) };
    };
    let line = line.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(wrong)?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, extension) = line.split_at(digits);
    if digits == 0 || digits > SIZE_DIGITS_MAX || !is_extension(extension) {
        return Err(wrong);
    }
    let size = std::str::from_utf8(size).ok().and_then(|size| u64::from_str_radix(size, 16).ok());
    size.map(|size| Some((size, end + 1))).ok_or(wrong)
}

/// Whether it is nothing, or semicolon, name and visible text (RFC 9112 section 7.1.1): others have
/// hidden the end of a line in there.
fn is_extension(text: &[u8]) -> bool {
    let [semicolon, name, ..] = text else { return text.is_empty() };
    let visible = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~');
    *semicolon == b';' && name.is_ascii_alphanumeric() && text.iter().all(visible)
}

/// The trailers; nothing if they are not all there.
fn take_trailers(received: &mut BytesMut) -> Result<Option<HeaderMap>, Invalid> {
    if received.starts_with(b"\r\n") {
        let _ = received.split_to(2);
        return Ok(Some(HeaderMap::new()));
    }
    let section = received.get(..received.len().min(TRAILERS_BYTES_MAX)).unwrap_or_default();
    let Some(end) = head_end(section) else {
        return if section.len() < TRAILERS_BYTES_MAX {
            Ok(None)
        } else {
            Err(Invalid("the trailers are too large"))
        };
    };
    let section = received.split_to(end + 4).freeze();
    let mut fields = [httparse::EMPTY_HEADER; TRAILERS_MAX];
    let wrong = Invalid("the trailers are malformed");
    let Ok(httparse::Status::Complete((length, fields))) =
        httparse::parse_headers(&section, &mut fields)
    else {
        return Err(wrong);
    };
    if length != section.len() || has_bare_line_feed(&section) {
        return Err(wrong);
    }
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| wrong)?;
        let value = HeaderValue::from_maybe_shared(section.slice_ref(field.value));
        trailers.append(name, value.map_err(|_| wrong)?);
    }
    remove_forbidden(&mut trailers);
    Ok(Some(trailers))
}

#[cfg(test)]
mod tests {
    use super::Decoder;
    use bytes::BytesMut;
    use proptest::prelude::*;

    /// The data, the trailers' names, and what is left, if the body is valid and complete.
    fn decode(mut decoder: Decoder, pieces: &[&[u8]]) -> Option<(Vec<u8>, Vec<String>, Vec<u8>)> {
        let (mut received, mut data, mut names) = (BytesMut::new(), Vec::new(), Vec::new());
        for piece in pieces {
            received.extend_from_slice(piece);
            while let Some(frame) = decoder.take(&mut received).ok()? {
                match frame.into_data() {
                    Ok(bytes) => data.extend_from_slice(&bytes),
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap();
                        names.extend(trailers.keys().map(ToString::to_string));
                    }
                }
            }
        }
        decoder.close().then(|| (data, names, received.to_vec()))
    }

    fn chunks(text: &str) -> Option<(Vec<u8>, Vec<String>, Vec<u8>)> {
        decode(Decoder::chunked(), &[text.as_bytes()])
    }

    #[test]
    fn chunks_are_read_as_rfc_9112_says() {
        let (data, trailers, rest) =
            chunks("3\r\nabc\r\nA;x=\"y\"\r\n0123456789\r\n0\r\nx-sum: 1\r\nhost: a\r\n\r\nrest")
                .unwrap();
        assert_eq!(data, b"abc0123456789");
        assert_eq!(trailers, ["x-sum"]);
        assert_eq!(rest, b"rest");
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for wrong in [
            "3\nabc\r\n0\r\n\r\n",
            "3\r\nabc0\r\n\r\n",
            "3\r\nabcX\r\n0\r\n\r\n",
            "+3\r\nabc\r\n0\r\n\r\n",
            "0x3\r\nabc\r\n0\r\n\r\n",
            " 3\r\nabc\r\n0\r\n\r\n",
            "3 \r\nabc\r\n0\r\n\r\n",
            "\r\n0\r\n\r\n",
            "00000000000000003\r\nabc\r\n0\r\n\r\n",
            "3\r\nabc\r\n0\r\nbad trailer\r\n\r\n",
            "3\r\nabc\r\n0\r\na: b\nc: d\r\n\r\n",
            "3;\ra\r\nabc\r\n0\r\n\r\n",
            "3;\r\nabc\r\n0\r\n\r\n",
            "3;a\0\r\nabc\r\n0\r\n\r\n",
            "3;=a\r\nabc\r\n0\r\n\r\n",
            "3a=b\r\nabc\r\n0\r\n\r\n",
            "3;\u{e9}\r\nabc\r\n0\r\n\r\n",
            "3\r\nab",
            "3\r\nabc\r\n",
            "3\r\nabc\r\n0\r\n",
        ] {
            assert_eq!(chunks(wrong), None, "{wrong:?}");
        }
        assert_eq!(chunks(&format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(300))), None);
        assert_eq!(chunks(&format!("0\r\na: {}\r\n\r\n", "x".repeat(9_000))), None);
    }

    #[test]
    fn small_chunks_are_passed_on_together_and_large_ones_as_they_came() {
        let sizes = |text: String| {
            let (mut decoder, mut received) = (Decoder::chunked(), BytesMut::from(&text[..]));
            let mut sizes = Vec::new();
            while let Some(frame) = decoder.take(&mut received).unwrap() {
                sizes.push(frame.into_data().unwrap().len());
            }
            sizes
        };
        assert_eq!(sizes("1\r\na\r\n".repeat(1000) + "0\r\n\r\n"), [1000]);
        assert_eq!(sizes("1\r\na\r\n".repeat(3) + "5\r\nbc"), [5]);
        assert_eq!(sizes("1\r\na\r\n".repeat(3) + "5\r\n"), [3]);
        assert_eq!(sizes("400\r\n".to_owned() + &"x".repeat(1024) + "\r\n1\r\na\r\n"), [1025]);
        let large = format!("401\r\n{}\r\n", "x".repeat(1025));
        assert_eq!(sizes(large.repeat(2) + "1\r\na\r\n"), [1025, 1025, 1]);
        let small = format!("400\r\n{}\r\n", "x".repeat(1024));
        assert_eq!(sizes(small.repeat(20)), [16 * 1024, 4 * 1024]);
        // What is wrong is told after what came before it.
        let mut received = BytesMut::from("1\r\na\r\n1\r\nb\r\nx");
        let mut decoder = Decoder::chunked();
        received.extend_from_slice(b"\r\n");
        let first = decoder.take(&mut received).unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, &b"ab"[..]);
        assert!(decoder.take(&mut received).is_err());
    }

    #[test]
    fn a_body_of_known_length_ends_there_and_not_before() {
        let whole = decode(Decoder::length(3), &[b"ab", b"cd"]).unwrap();
        assert_eq!((whole.0, whole.2), (b"abc".to_vec(), b"d".to_vec()));
        assert_eq!(decode(Decoder::length(3), &[b"ab"]), None);
        assert!(decode(Decoder::UntilClose, &[b"ab", b"cd"]).is_some());
    }

    proptest! {
        #[test]
        fn what_comes_in_pieces_is_read_the_same(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6),
            cut in 0_usize..300,
        ) {
            let mut text = Vec::new();
            for part in &parts {
                text.extend(format!("{:X}\r\n", part.len()).as_bytes());
                text.extend(part);
                text.extend(b"\r\n");
            }
            text.extend(b"0\r\n\r\n");
            let (before, after) = text.split_at(cut.min(text.len()));
            let (data, _, rest) = decode(Decoder::chunked(), &[before, after]).unwrap();
            prop_assert_eq!(data, parts.concat());
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn arbitrary_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(Decoder::chunked(), &[&bytes]);
        }
    }
}

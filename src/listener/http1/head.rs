//! The head of a request, read strictly: what two readers could understand differently is refused.

use crate::base::http1::decode::Decoder;
use crate::base::http1::fields::{
    ConnectionOptions, content_length, has_bare_line_feed, head_end, is_chunked,
};
use crate::base::http1::scratch;
use crate::listener::limits::Limits;
use crate::listener::refusal::Refusal;
use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, request};
use httparse::{Error, ParserConfig, Status};
use std::mem::MaybeUninit;

/// Empty lines that may come before a request line (RFC 9112 section 2.2).
const EMPTY_LINES_MAX: usize = 2;
/// Up to this many fields are read without asking for memory.
const HEADERS_FREE: usize = 128;
/// Longer targets [`Uri`] does not take.
const URI_BYTES_MAX: usize = u16::MAX as usize - 1;
/// Fields that are added on the way, for which there had better be room.
const FIELDS_ADDED: usize = 5;
/// What stands after the target in a request line.
const AFTER_TARGET_BYTES: usize = " HTTP/1.1\r\n".len();

/// A request's head and what it says of the rest.
#[derive(Debug)]
pub struct Head {
    /// The request without its body.
    pub parts: request::Parts,
    /// How its body is framed.
    pub decoder: Decoder,
    /// Whether the client keeps the connection open afterwards.
    pub keep_alive: bool,
    /// Whether the client waits for a response before it sends the body.
    pub expects: bool,
    /// Whether it offers to speak another protocol afterwards.
    pub upgrade: bool,
}

/// What the fields say of the message, beside what they say to the service.
#[derive(Debug, Default)]
struct Meaning {
    codings: usize,
    /// The one coding is `chunked`, in plain sight.
    chunked: bool,
    lengths: usize,
    length: Option<u64>,
    connection: ConnectionOptions,
    upgrade: bool,
    expects: bool,
}

/// Whether what was received is the beginning of a head, and not only an empty line before it.
pub fn is_begun(received: &[u8]) -> bool {
    received.iter().any(|byte| !matches!(byte, b'\r' | b'\n'))
}

/// Takes a request's head from the front of what was received; nothing if it is not all there.
/// `searched` is how far the end was looked for before, 0 at first.
pub fn parse_request(
    received: &mut BytesMut,
    searched: &mut usize,
    limits: &Limits,
) -> Result<Option<Head>, Refusal> {
    let start = empty_lines(received)?;
    let from = searched.saturating_sub(3).max(start);
    let unseen = received.get(from..).unwrap_or_default();
    let Some(end) = head_end(unseen) else {
        let text = received.get(start..).unwrap_or_default();
        check_size(text, limits)?;
        check_bytes(unseen)?;
        *searched = received.len();
        return Ok(None);
    };
    let length = from + end + 4;
    check_size(received.get(start..length).unwrap_or_default(), limits)?;
    *searched = 0;
    let whole = length == received.len();
    let head = if whole { std::mem::take(received) } else { received.split_to(length) };
    let head = head.freeze();
    parse(&if start == 0 { head } else { head.slice(start..) }, limits).map(Some)
}

/// The length of the empty lines before the request line.
fn empty_lines(received: &[u8]) -> Result<usize, Refusal> {
    if received.first() == Some(&b'\n') {
        return Err(Refusal::BadRequestLine);
    }
    let mut length = 0;
    while received.get(length..).is_some_and(|rest| rest.starts_with(b"\r\n")) {
        length += 2;
        if length > 2 * EMPTY_LINES_MAX {
            return Err(Refusal::BadRequestLine);
        }
    }
    Ok(length)
}

/// Holds what has come of a head against the limits.
fn check_size(text: &[u8], limits: &Limits) -> Result<(), Refusal> {
    if text.len() <= limits.uri_bytes && text.len() <= limits.header_bytes {
        return Ok(());
    }
    let line_end = memchr::memchr(b'\n', text);
    let line = text.get(..line_end.unwrap_or(text.len())).unwrap_or_default();
    let target = memchr::memchr(b' ', line).map_or(0, |space| line.len() - space);
    if target > limits.uri_bytes.saturating_add(AFTER_TARGET_BYTES) {
        return Err(Refusal::TargetTooLong);
    }
    if text.len() > limits.header_bytes {
        let refusal = if line_end.is_some() || target > 0 {
            Refusal::HeadTooLarge
        } else {
            Refusal::BadRequestLine
        };
        return Err(refusal);
    }
    Ok(())
}

/// Refuses at once what no end could make right: control characters, and line ends of one byte.
fn check_bytes(text: &[u8]) -> Result<(), Refusal> {
    let control = |byte: u8| (byte < b' ' && !matches!(byte, b'\r' | b'\n' | b'\t')) || byte == 127;
    let mut before = None;
    for byte in text.iter().copied() {
        let line_end = before.is_some_and(|before| (before == b'\r') != (byte == b'\n'));
        if control(byte) || line_end {
            return Err(Refusal::BadField);
        }
        before = Some(byte);
    }
    Ok(())
}

fn parse(bytes: &Bytes, limits: &Limits) -> Result<Head, Refusal> {
    let mut free = [const { MaybeUninit::uninit() }; HEADERS_FREE];
    if let Some(fields) = free.get_mut(..limits.headers) {
        return parse_into(bytes, limits, fields);
    }
    let mut fields = vec![MaybeUninit::uninit(); limits.headers];
    parse_into(bytes, limits, &mut fields)
}

fn parse_into<'b>(
    bytes: &'b Bytes,
    limits: &Limits,
    fields: &mut [MaybeUninit<httparse::Header<'b>>],
) -> Result<Head, Refusal> {
    let mut parsed = httparse::Request::new(&mut []);
    let status = ParserConfig::default()
        .parse_request_with_uninit_headers(&mut parsed, bytes, fields)
        .map_err(|error| refusal(error, bytes))?;
    // httparse takes a bare line feed for the end of a line (RFC 9112 section 2.2 lets it).
    if status != Status::Complete(bytes.len()) || has_bare_line_feed(bytes) {
        return Err(Refusal::BadField);
    }
    let version = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let method = Method::from_bytes(parsed.method.unwrap_or_default().as_bytes());
    let method = method.map_err(|_| Refusal::BadRequestLine)?;
    let uri = target(bytes, parsed.path.unwrap_or_default(), limits)?;
    let mut headers = scratch::fields(parsed.headers.len() + FIELDS_ADDED);
    let mut meaning = Meaning::default();
    for field in &*parsed.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Refusal::BadField)?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value));
        let value = value.map_err(|_| Refusal::BadField)?;
        meaning.note(&name, &value, || is_plain(bytes, field.value));
        headers.append(name, value);
    }
    let decoder = meaning.framing(&headers, version)?;
    let keep_alive = meaning.connection.persists(version);
    let upgrade = meaning.upgrade
        && meaning.connection.others
        && version == Version::HTTP_11
        && decoder == Decoder::Done
        && names_upgrade(&headers);
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = version;
    *request.headers_mut() = headers;
    let parts = request.into_parts().0;
    Ok(Head { parts, decoder, keep_alive, expects: meaning.expects, upgrade })
}

/// What an error of httparse means for the client.
fn refusal(error: Error, head: &[u8]) -> Refusal {
    match error {
        Error::TooManyHeaders => Refusal::TooManyFields,
        Error::HeaderName | Error::HeaderValue | Error::NewLine => Refusal::BadField,
        Error::Version if has_other_version(head) => Refusal::UnknownVersion,
        Error::Version | Error::Token | Error::Status => Refusal::BadRequestLine,
    }
}

/// Whether the request line is one, but of a version that is not served here.
fn has_other_version(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let version = words.nth(2).filter(|_| words.next().is_none());
    matches!(version, Some([b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9']))
}

/// The target: visible ASCII without a fragment (RFC 9112 section 3.2).
fn target(bytes: &Bytes, target: &str, limits: &Limits) -> Result<Uri, Refusal> {
    if target.len() > limits.uri_bytes {
        return Err(Refusal::TargetTooLong);
    }
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(Refusal::BadRequestLine);
    }
    Uri::from_maybe_shared(bytes.slice_ref(target.as_bytes())).map_err(|_| {
        if target.len() > URI_BYTES_MAX { Refusal::TargetTooLong } else { Refusal::BadRequestLine }
    })
}

/// Whether nothing but spaces is around a value: what else is white depends on the reader.
fn is_plain(bytes: &Bytes, value: &[u8]) -> bool {
    let offset = (value.as_ptr() as usize).wrapping_sub(bytes.as_ptr() as usize);
    let Some((before, rest)) = bytes.split_at_checked(offset) else { return false };
    let after = rest.get(value.len()..).unwrap_or_default();
    before.iter().rev().find(|byte| **byte != b' ') == Some(&b':')
        && after.iter().find(|byte| **byte != b' ') == Some(&b'\r')
}

impl Meaning {
    fn note(&mut self, name: &HeaderName, value: &HeaderValue, is_plain: impl Fn() -> bool) {
        if *name == CONTENT_LENGTH {
            self.lengths += 1;
            self.length = content_length(value.as_bytes()).ok().filter(|_| is_plain());
        } else if *name == TRANSFER_ENCODING {
            self.codings += 1;
            self.chunked = is_chunked(value.as_bytes()) && is_plain();
        } else if *name == CONNECTION {
            self.connection.note(value.as_bytes());
        } else if *name == UPGRADE {
            self.upgrade = true;
        } else if *name == EXPECT {
            self.expects = true;
        }
    }

    /// How the body is framed (RFC 9112 section 6.3); anything ambiguous is refused.
    fn framing(&self, headers: &HeaderMap, version: Version) -> Result<Decoder, Refusal> {
        match (self.codings, self.lengths) {
            (0, 0) => Ok(Decoder::Done),
            (0, 1) => self.length.map(Decoder::length).ok_or(Refusal::BadFraming),
            (1, 0) if self.chunked && version == Version::HTTP_11 => Ok(Decoder::chunked()),
            (1.., 0) if version == Version::HTTP_11 && has_known_codings(headers) => {
                Err(Refusal::UnknownCoding)
            }
            _ => Err(Refusal::BadFraming),
        }
    }
}

/// Whether the codings are those that RFC 9112 section 7 knows, with `chunked` at the end.
fn has_known_codings(headers: &HeaderMap) -> bool {
    const KNOWN: [&[u8]; 5] = [b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress"];
    let fields = headers.get_all(TRANSFER_ENCODING).iter();
    let mut codings = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b','));
    let last = codings.next_back().unwrap_or_default().trim_ascii();
    let known =
        |coding: &[u8]| KNOWN.iter().any(|known| coding.trim_ascii().eq_ignore_ascii_case(known));
    let mut others = codings.peekable();
    last.eq_ignore_ascii_case(b"chunked") && others.peek().is_some() && others.all(known)
}

fn names_upgrade(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(CONNECTION).iter();
    let mut options = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b','));
    options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
}

#[cfg(test)]
mod tests;

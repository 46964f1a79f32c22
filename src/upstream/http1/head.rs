//! Heads of messages: requests written, responses read.

use crate::base::http1::decode::Decoder;
use crate::base::http1::fields::{
    ConnectionOptions, FIELD_BYTES, Invalid, content_length, head_end, is_chunked, write_field,
};
use crate::base::http1::lines::{Lines, each_field, is_text};
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use http::{request, response};
use hyper::ext::ReasonPhrase;

/// The largest response head.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The most header fields of a response.
pub const HEADERS_MAX: usize = 128;
/// Fields that are added on the way, for which there had better be room: `Date`.
const ADDED: usize = 1;
const LINE_END: &[u8] = b"\r\n";

/// A response's head and what it says of the rest.
#[derive(Debug)]
pub struct Head {
    /// The response without its body; without its fields, too, if they are in `lines`.
    pub parts: response::Parts,
    /// Its fields as they are passed on, if that is the form of all of them; in a box, because they
    /// are moved often and looked at once.
    pub lines: Option<Box<Lines>>,
    /// How its body is framed.
    pub decoder: Decoder,
    /// Whether the endpoint keeps the connection open afterwards.
    pub keep_alive: bool,
}

/// In which form the fields of a response are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// In a map, to be looked at and changed.
    Map,
    /// As lines, which cost less, if nothing but the framing and the connection is to be looked
    /// at: not for a response without content, nor with fields that `Connection` names.
    Lines,
}

/// A field that is written beside those of the map.
pub type Added<'a> = (&'a HeaderName, &'a HeaderValue);

/// Writes a request's head with some fields that are not in its map; the target is in origin form
/// (RFC 9112 section 3.2.1), or `*`.
pub fn write_request(parts: &request::Parts, added: &[Added<'_>]) -> Bytes {
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let fields = || parts.headers.iter().chain(added.iter().copied());
    let bytes = |(name, value): Added<'_>| name.as_str().len() + value.len() + FIELD_BYTES;
    let size: usize = fields().map(bytes).sum();
    // With two blanks, the version, and the ends of the line and of the head.
    let size = size + target.len() + parts.method.as_str().len() + 14;
    let mut head = Vec::with_capacity(size);
    head.extend_from_slice(parts.method.as_str().as_bytes());
    head.push(b' ');
    head.extend_from_slice(target.as_bytes());
    head.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in fields() {
        write_field(&mut head, name.as_str().as_bytes(), value.as_bytes());
    }
    head.extend_from_slice(LINE_END);
    debug_assert_eq!(head.len(), size, "else it grows, or is larger than it need be");
    head.into()
}

/// Takes a response's head from the front of what was received; nothing if it is not all there.
/// `searched` is how far the end was looked for before.
pub fn take_response(
    received: &mut BytesMut,
    searched: &mut usize,
    method: &Method,
    form: Form,
) -> Result<Option<Head>, Invalid> {
    let from = searched.saturating_sub(3);
    let unseen = received.get(from..).unwrap_or_default();
    let Some(end) = head_end(unseen) else {
        *searched = received.len();
        return match received.len() {
            HEAD_BYTES_MAX.. => Err(Invalid("the head is too large")),
            _ => Ok(None),
        };
    };
    let length = from + end + 4;
    if length > HEAD_BYTES_MAX {
        return Err(Invalid("the head is too large"));
    }
    *searched = 0;
    let bytes = received.split_to(length).freeze();
    let mut head = parse(&bytes, method, form)?;
    if let Some(lines) = &mut head.lines {
        lines.keep(bytes);
    }
    Ok(Some(head))
}

fn parse(bytes: &Bytes, method: &Method, form: Form) -> Result<Head, Invalid> {
    let (line, fields) = lines(bytes).ok_or(Invalid("the head is malformed"))?;
    let before = line.len() + LINE_END.len();
    let Status { version, code, reason } =
        status(line).ok_or(Invalid("the status line is malformed"))?;
    let bodiless = *method == Method::HEAD
        || code.is_informational()
        || matches!(code, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let mut form = if bodiless { Form::Map } else { form };
    let (meaning, headers, lines) = loop {
        let (mut meaning, mut headers) = (Meaning::default(), HeaderMap::new());
        let mut lines = Lines::default();
        if form == Form::Map {
            headers.reserve(memchr::memchr_iter(b'\n', fields).count().min(HEADERS_MAX) + ADDED);
        }
        each_field(fields, |field| {
            meaning.note(field.name, field.value)?;
            match form {
                Form::Map => append(&mut headers, bytes, field.name, field.value),
                Form::Lines => {
                    lines.add(field, before);
                    Ok(())
                }
            }
        })?;
        match form {
            Form::Map => break (meaning, headers, None),
            Form::Lines if meaning.connection.others => form = Form::Map,
            Form::Lines => break (meaning, headers, Some(Box::new(lines))),
        }
    };
    let decoder = meaning.framing(version, bodiless)?;
    let mut response = Response::new(());
    *response.status_mut() = code;
    *response.version_mut() = version;
    *response.headers_mut() = headers;
    if code.canonical_reason().is_none_or(|usual| usual.as_bytes() != reason)
        && let Ok(reason) = ReasonPhrase::try_from(bytes.slice_ref(reason))
    {
        response.extensions_mut().insert(reason);
    }
    let keep_alive = meaning.connection.persists(version)
        && !matches!(decoder, Decoder::UntilClose)
        && !promises_too_much(&response);
    Ok(Head { parts: response.into_parts().0, lines, decoder, keep_alive })
}

/// The status line without its end, and the lines of the fields after it.
fn lines(head: &[u8]) -> Option<(&[u8], &[u8])> {
    let head = head.strip_suffix(LINE_END)?;
    let (line, fields) = head.split_at_checked(memchr::memchr(b'\n', head)? + 1)?;
    Some((line.strip_suffix(LINE_END)?, fields))
}

/// What a status line says.
struct Status<'a> {
    version: Version,
    code: StatusCode,
    reason: &'a [u8],
}

/// Reads a status line (RFC 9112 section 4). Some leave out the blank before an empty reason; one
/// that is not ASCII is not passed on.
fn status(line: &[u8]) -> Option<Status<'_>> {
    let (version, rest) = match line {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1', b' ', rest @ ..] => {
            (Version::HTTP_11, rest)
        }
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0', b' ', rest @ ..] => {
            (Version::HTTP_10, rest)
        }
        _ => return None,
    };
    let (code, reason) = rest.split_at_checked(3)?;
    let reason = match reason {
        [] => reason,
        [b' ', reason @ ..] if is_text(reason) => reason,
        _ => return None,
    };
    let code = StatusCode::from_bytes(code).ok()?;
    Some(Status { version, code, reason: if reason.is_ascii() { reason } else { b"" } })
}

/// Adds a field to the map, its value being a part of `bytes`.
fn append(
    headers: &mut HeaderMap,
    bytes: &Bytes,
    name: &[u8],
    value: &[u8],
) -> Result<(), Invalid> {
    let name = HeaderName::from_bytes(name).map_err(|_| Invalid("a field's name is malformed"))?;
    let value = HeaderValue::from_maybe_shared(bytes.slice_ref(value))
        .map_err(|_| Invalid("a field's value is malformed"))?;
    headers.append(name, value);
    Ok(())
}

/// Whether a response without content says that there is some (RFC 9110 section 8.6): it may come,
/// and would be taken for the answer to the next request.
fn promises_too_much(response: &Response<()>) -> bool {
    let headers = response.headers();
    let length = || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0");
    response.status() == StatusCode::NO_CONTENT
        && (length() || headers.contains_key(TRANSFER_ENCODING))
}

/// What the fields of a head say of the message, noted as they come: asking for each afterwards
/// costs more.
#[derive(Debug, Default)]
struct Meaning {
    /// The one transfer coding, and whether it is `chunked`.
    chunked: Option<bool>,
    length: Option<u64>,
    connection: ConnectionOptions,
    fields: usize,
}

impl Meaning {
    fn note(&mut self, name: &[u8], value: &[u8]) -> Result<(), Invalid> {
        self.fields += 1;
        if self.fields > HEADERS_MAX {
            return Err(Invalid("there are too many fields"));
        }
        // Most names have other lengths.
        let repeated = match name.len() {
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.connection.note(value);
                false
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                self.length.replace(content_length(value)?).is_some()
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.chunked.replace(is_chunked(value)).is_some()
            }
            _ => false,
        };
        if repeated { Err(Invalid("a framing field is repeated")) } else { Ok(()) }
    }

    /// How the body is framed (RFC 9112 section 6.3); anything ambiguous is an error.
    fn framing(&self, version: Version, bodiless: bool) -> Result<Decoder, Invalid> {
        if self.chunked.is_some() && self.length.is_some() {
            return Err(Invalid("both a length and a coding are given"));
        }
        let chunked = match self.chunked {
            None => false,
            Some(true) if version == Version::HTTP_11 => true,
            Some(_) => return Err(Invalid("the transfer coding is not chunked")),
        };
        Ok(match (bodiless, chunked, self.length) {
            (true, _, _) => Decoder::Done,
            (false, true, _) => Decoder::chunked(),
            (false, false, Some(length)) => Decoder::length(length),
            (false, false, None) => Decoder::UntilClose,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Form, Head, Invalid, take_response, write_request};
    use crate::base::http1::decode::Decoder;
    use bytes::BytesMut;
    use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
    use proptest::prelude::*;

    fn take(text: &str, method: &Method) -> Result<Option<Head>, Invalid> {
        take_response(&mut BytesMut::from(text), &mut 0, method, Form::Map)
    }

    fn decoder(text: &str) -> Option<Decoder> {
        take(&format!("HTTP/1.1 200 OK\r\n{text}\r\n"), &Method::GET).ok()?.map(|head| head.decoder)
    }

    #[test]
    fn a_request_is_written_in_origin_form() {
        let request = Request::post("/a?b").header("Host", "x").header("a", "1").header("a", "2");
        let parts = request.body(()).unwrap().into_parts().0;
        assert_eq!(
            write_request(&parts, &[]),
            &b"POST /a?b HTTP/1.1\r\nhost: x\r\na: 1\r\na: 2\r\n\r\n"[..]
        );
        let parts = Request::options("*").body(()).unwrap().into_parts().0;
        let (name, value) = (HeaderName::from_static("b"), HeaderValue::from_static("3"));
        assert_eq!(
            write_request(&parts, &[(&name, &value)]),
            &b"OPTIONS * HTTP/1.1\r\nb: 3\r\n\r\n"[..]
        );
    }

    #[test]
    fn the_framing_is_as_rfc_9112_says_and_ambiguity_is_refused() {
        assert_eq!(decoder("content-length: 5\r\n"), Some(Decoder::length(5)));
        assert_eq!(decoder("content-length: 0\r\n"), Some(Decoder::Done));
        assert_eq!(decoder("Transfer-Encoding: CHUNKED\r\n"), Some(Decoder::chunked()));
        assert_eq!(decoder(""), Some(Decoder::UntilClose));
        for wrong in [
            "content-length: 5\r\ncontent-length: 5\r\n",
            "content-length: 5\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: xchunked\r\n",
            "content-length: +5\r\n",
            "content-length: 5, 5\r\n",
            "content-length: \r\n",
            "content-length: 99999999999999999999\r\n",
            "content-length : 5\r\n",
            "a: b\n",
            "a: b\r\n c\r\n",
            "a\x01: b\r\n",
            "a: b\x01\r\n",
        ] {
            assert_eq!(decoder(wrong), None, "{wrong:?}");
        }
        assert!(
            take("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", &Method::GET).is_err()
        );
        let head = take("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", &Method::HEAD);
        assert_eq!(head.unwrap().unwrap().decoder, Decoder::Done);
        let head = take("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", &Method::GET);
        assert_eq!(head.unwrap().unwrap().decoder, Decoder::Done);
    }

    #[test]
    fn a_connection_persists_as_rfc_9112_says() {
        let keeps = |text: &str| take(text, &Method::GET).unwrap().unwrap().keep_alive;
        assert!(keeps("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
        assert!(!keeps("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: x, Close\r\n\r\n"));
        assert!(!keeps("HTTP/1.1 200 OK\r\n\r\n"));
        assert!(!keeps("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n"));
        assert!(keeps("HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n"));
    }

    #[test]
    fn nothing_may_stand_before_the_status() {
        for before in ["\r\n", "\r\n\r\n", "\n", " "] {
            let text = format!("{before}HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            assert!(take(&text, &Method::GET).is_err(), "{before:?}");
        }
    }

    #[test]
    fn a_head_is_bounded() {
        let text = format!("HTTP/1.1 200 OK\r\na: {}", "x".repeat(70_000));
        assert!(take(&text, &Method::GET).is_err());
        let many = "a: b\r\n".repeat(200);
        assert!(take(&format!("HTTP/1.1 200 OK\r\n{many}\r\n"), &Method::GET).is_err());
    }

    #[test]
    fn lines_are_given_where_nothing_but_the_framing_has_to_be_looked_at() {
        let take = |text: &str, method: &Method| {
            let received = &mut BytesMut::from(text);
            take_response(received, &mut 0, method, Form::Lines).unwrap().unwrap()
        };
        let usual =
            "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nX-A:1 \r\nContent-Length: 1\r\n\r\n";
        let head = take(usual, &Method::GET);
        let mut written = Vec::new();
        head.lines.unwrap().write(&mut written);
        assert_eq!(written, b"X-A: 1\r\n");
        assert!(head.parts.headers.is_empty() && head.keep_alive);
        assert_eq!(head.decoder, Decoder::length(1));
        for (text, method) in [
            (usual, Method::HEAD),
            ("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", Method::GET),
            ("HTTP/1.1 204 No Content\r\nx-a: 1\r\n\r\n", Method::GET),
            ("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", Method::GET),
            ("HTTP/1.1 200 OK\r\nconnection: close, x-a\r\nx-a: 1\r\n\r\n", Method::GET),
        ] {
            let head = take(text, &method);
            assert!(head.lines.is_none() && !head.parts.headers.is_empty(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_head_that_comes_in_pieces_is_read_the_same(
            cuts in proptest::collection::vec(0_usize..60, 0..4),
        ) {
            let text = "HTTP/1.1 404 Nope\r\ncontent-length: 3\r\nx: y\r\n\r\nabc";
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.push(text.len());
            cuts.sort_unstable();
            let (mut received, mut searched, mut from) = (BytesMut::new(), 0, 0);
            let mut found = None;
            for cut in cuts {
                received.extend_from_slice(&text.as_bytes()[from..cut]);
                from = cut;
                if found.is_none() {
                    let (received, method) = (&mut received, Method::GET);
                    found = take_response(received, &mut searched, &method, Form::Map).unwrap();
                }
            }
            let head = found.unwrap();
            prop_assert_eq!(head.parts.status, StatusCode::NOT_FOUND);
            prop_assert_eq!(&head.parts.headers["x"], "y");
            prop_assert_eq!(&received[..], b"abc");
        }

        #[test]
        fn arbitrary_bytes_are_answered_and_both_forms_take_the_same(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            fields in "((a|Date|Content-Length|Connection|Te):[ 0-9a-z,\t]{0,9}\r?\n){0,4}",
        ) {
            for bytes in [bytes, fields.into_bytes()] {
                let text = [&b"HTTP/1.1 200 OK\r\n"[..], &bytes, b"\r\n\r\n"].concat();
                let [map, lines] = [Form::Map, Form::Lines].map(|form| {
                    take_response(&mut BytesMut::from(&text[..]), &mut 0, &Method::GET, form)
                        .map(|head| head.map(|head| (head.decoder, head.keep_alive)))
                });
                prop_assert_eq!(map, lines);
            }
        }
    }
}

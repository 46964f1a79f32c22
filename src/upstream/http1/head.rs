//! Heads of messages: requests written, responses read.

use crate::base::http1::decode::Decoder;
use crate::base::http1::fields::{
    Invalid, content_length, has_bare_line_feed, head_end, is_chunked, keeps_alive, write_fields,
};
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use http::{request, response};
use hyper::ext::ReasonPhrase;
use std::mem::MaybeUninit;

/// The largest response head.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The most header fields of a response.
pub const HEADERS_MAX: usize = 128;

/// A response's head and what it says of the rest.
#[derive(Debug)]
pub struct Head {
    /// The response without its body.
    pub parts: response::Parts,
    /// How its body is framed.
    pub decoder: Decoder,
    /// Whether the endpoint keeps the connection open afterwards.
    pub keep_alive: bool,
}

/// Writes a request's head; the target is in origin form (RFC 9112 section 3.2.1), or `*`.
pub fn write_request(parts: &request::Parts) -> Bytes {
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let fields = parts.headers.iter();
    let size: usize = fields.map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    // With two blanks, the version, and the ends of the line and of the head.
    let size = size + target.len() + parts.method.as_str().len() + 14;
    let mut head = BytesMut::with_capacity(size);
    head.put_slice(parts.method.as_str().as_bytes());
    head.put_u8(b' ');
    head.put_slice(target.as_bytes());
    head.put_slice(b" HTTP/1.1\r\n");
    write_fields(&mut head, &parts.headers);
    debug_assert_eq!(head.len(), size, "else it grows, or is larger than it need be");
    head.freeze()
}

/// Takes a response's head from the front of what was received; nothing if it is not all there.
/// `searched` is how far the end was looked for before.
pub fn take_response(
    received: &mut BytesMut,
    searched: &mut usize,
    method: &Method,
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
    parse(&received.split_to(length).freeze(), method).map(Some)
}

fn parse(bytes: &Bytes, method: &Method) -> Result<Head, Invalid> {
    let mut fields = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let status = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields)
        .map_err(|_| Invalid("the head is malformed"))?;
    // httparse takes a bare line feed for the end of a line (RFC 9112 section 2.2 lets it).
    // It also passes over empty lines before the status, which only requests may have before them.
    let whole = status == httparse::Status::Complete(bytes.len()) && bytes.starts_with(b"HTTP/");
    if !whole || has_bare_line_feed(bytes) {
        return Err(Invalid("the head is malformed"));
    }
    let code = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let code = code.ok_or(Invalid("the status is malformed"))?;
    let version = match parsed.version {
        Some(1) => Version::HTTP_11,
        _ => Version::HTTP_10,
    };
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    let mut meaning = Meaning::default();
    for field in &*parsed.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes())
            .map_err(|_| Invalid("a field's name is malformed"))?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value))
            .map_err(|_| Invalid("a field's value is malformed"))?;
        meaning.note(&name, &value)?;
        headers.append(name, value);
    }
    let persists = version == Version::HTTP_11;
    let keep_alive = if meaning.connection { keeps_alive(&headers, version) } else { persists };
    let decoder = meaning.framing(version, code, method)?;
    let mut response = Response::new(());
    *response.status_mut() = code;
    *response.version_mut() = version;
    *response.headers_mut() = headers;
    if let Some(reason) = parsed.reason.filter(|reason| Some(*reason) != code.canonical_reason())
        && let Ok(reason) = ReasonPhrase::try_from(bytes.slice_ref(reason.as_bytes()))
    {
        response.extensions_mut().insert(reason);
    }
    let keep_alive =
        keep_alive && !matches!(decoder, Decoder::UntilClose) && !promises_too_much(&response);
    Ok(Head { parts: response.into_parts().0, decoder, keep_alive })
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
    connection: bool,
}

impl Meaning {
    fn note(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), Invalid> {
        let repeated = if *name == TRANSFER_ENCODING {
            self.chunked.replace(is_chunked(value)).is_some()
        } else if *name == CONTENT_LENGTH {
            self.length.replace(content_length(value)?).is_some()
        } else {
            self.connection |= *name == CONNECTION;
            false
        };
        if repeated { Err(Invalid("a framing field is repeated")) } else { Ok(()) }
    }

    /// How the body is framed (RFC 9112 section 6.3); anything ambiguous is an error.
    fn framing(
        &self,
        version: Version,
        status: StatusCode,
        method: &Method,
    ) -> Result<Decoder, Invalid> {
        if self.chunked.is_some() && self.length.is_some() {
            return Err(Invalid("both a length and a coding are given"));
        }
        let chunked = match self.chunked {
            None => false,
            Some(true) if version == Version::HTTP_11 => true,
            Some(_) => return Err(Invalid("the transfer coding is not chunked")),
        };
        let bodiless = *method == Method::HEAD
            || status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
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
    use super::{Head, Invalid, take_response, write_request};
    use crate::base::http1::decode::Decoder;
    use bytes::BytesMut;
    use http::{Method, Request, StatusCode};
    use proptest::prelude::*;

    fn take(text: &str, method: &Method) -> Result<Option<Head>, Invalid> {
        take_response(&mut BytesMut::from(text), &mut 0, method)
    }

    fn decoder(text: &str) -> Option<Decoder> {
        take(&format!("HTTP/1.1 200 OK\r\n{text}\r\n"), &Method::GET).ok()?.map(|head| head.decoder)
    }

    #[test]
    fn a_request_is_written_in_origin_form() {
        let request = Request::post("/a?b").header("Host", "x").header("a", "1").header("a", "2");
        let parts = request.body(()).unwrap().into_parts().0;
        assert_eq!(
            write_request(&parts),
            &b"POST /a?b HTTP/1.1\r\nhost: x\r\na: 1\r\na: 2\r\n\r\n"[..]
        );
        let parts = Request::options("*").body(()).unwrap().into_parts().0;
        assert_eq!(write_request(&parts), &b"OPTIONS * HTTP/1.1\r\n\r\n"[..]);
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
                    found = take_response(&mut received, &mut searched, &Method::GET).unwrap();
                }
            }
            let head = found.unwrap();
            prop_assert_eq!(head.parts.status, StatusCode::NOT_FOUND);
            prop_assert_eq!(&head.parts.headers["x"], "y");
            prop_assert_eq!(&received[..], b"abc");
        }

        #[test]
        fn arbitrary_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut text = b"HTTP/1.1 200 OK\r\n".to_vec();
            text.extend(bytes);
            text.extend(b"\r\n\r\n");
            let _ = take_response(&mut BytesMut::from(&text[..]), &mut 0, &Method::GET);
        }
    }
}

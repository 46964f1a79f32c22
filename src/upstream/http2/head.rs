//! Heads of messages: requests as HTTP/2 has them, responses checked beyond what h2 refuses itself.

use crate::base::http1::fields::content_length;
use h2::ext::Protocol;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, SEC_WEBSOCKET_KEY, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, StatusCode, Uri, Version, request, response};

/// What is wrong with a request or response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub &'static str);

/// How a response's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    /// Whether there is none, whatever comes (RFC 9110 section 6.4.1).
    pub bodiless: bool,
    /// Its length, if it is known.
    pub length: Option<u64>,
}

/// Makes the request of one in origin form: `Host` becomes `:authority` (RFC 9113 section 8.3.1).
/// What concerns only one connection was removed before.
pub fn request(parts: &request::Parts, secure: bool) -> Result<Request<()>, Invalid> {
    let mut request = Request::new(());
    *request.method_mut() = parts.method.clone();
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = parts.headers.clone();
    let host = request.headers_mut().remove(HOST);
    let host = host.as_ref().map(http::HeaderValue::as_bytes).unwrap_or_default();
    let target = parts.uri.path_and_query().cloned();
    let mut uri = http::uri::Parts::default();
    uri.path_and_query = Some(target.unwrap_or(PathAndQuery::from_static("/")));
    if host.is_empty() {
        // Only HTTP/1.0 may do without, and h2 lets what was forwarded from there.
        *request.version_mut() = Version::HTTP_11;
    } else {
        uri.scheme = Some(if secure { Scheme::HTTPS } else { Scheme::HTTP });
        uri.authority =
            Some(Authority::try_from(host).map_err(|_| Invalid("the host is no authority"))?);
    }
    *request.uri_mut() =
        Uri::from_parts(uri).map_err(|_| Invalid("the target can not be written"))?;
    Ok(request)
}

/// Makes an extended CONNECT of a request that asks for another protocol (RFC 8441 section 5).
pub fn extended(mut request: Request<()>) -> Result<Request<()>, Invalid> {
    let headers = request.headers_mut();
    headers.remove(CONNECTION);
    headers.remove(SEC_WEBSOCKET_KEY);
    let protocol = headers.remove(UPGRADE).ok_or(Invalid("no protocol is asked for"))?;
    let protocol = protocol.to_str().map_err(|_| Invalid("the protocol is no text"))?;
    if request.uri().authority().is_none() {
        return Err(Invalid("a host is needed"));
    }
    // Its values are compared as they are, and are registered in lower case.
    request.extensions_mut().insert(Protocol::from(protocol.to_ascii_lowercase().as_str()));
    *request.method_mut() = Method::CONNECT;
    Ok(request)
}

/// How the response to a request with this method is framed. That the length agrees with what comes
/// is enforced by h2 (RFC 9113 section 8.1.1).
pub fn framing(parts: &response::Parts, method: &Method) -> Result<Framing, Invalid> {
    let mut lengths = parts.headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() {
        return Err(Invalid("the length is repeated"));
    }
    let length = length.map(|length| content_length(length.as_bytes())).transpose();
    let length = length.map_err(|_| Invalid("the length is malformed"))?;
    if parts.status.is_informational() {
        return Err(Invalid("the final response is informational"));
    }
    let bodiless = *method == Method::HEAD
        || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    Ok(Framing { bodiless, length })
}

#[cfg(test)]
mod tests {
    use super::{framing, request};
    use http::{Method, Request, Response, Version};

    fn sent(builder: http::request::Builder, secure: bool) -> Option<Request<()>> {
        request(&builder.body(()).unwrap().into_parts().0, secure).ok()
    }

    #[test]
    fn the_host_becomes_the_authority() {
        let get = || Request::get("/a?b").header("host", "shop.test:81").header("x", "1");
        let made = sent(get(), true).unwrap();
        assert_eq!(made.uri().to_string(), "https://shop.test:81/a?b");
        assert_eq!(made.version(), Version::HTTP_2);
        assert!(!made.headers().contains_key("host"));
        assert_eq!(made.headers()["x"], "1");
        let made = sent(get(), false).unwrap();
        assert_eq!(made.uri().scheme_str(), Some("http"));
    }

    #[test]
    fn an_asterisk_and_a_missing_host_are_kept() {
        let made = sent(Request::options("*").header("host", "a"), false).unwrap();
        assert_eq!(made.uri().path(), "*");
        let made = sent(Request::get("/x").header("host", ""), false).unwrap();
        assert_eq!(made.uri().authority(), None);
        assert!(sent(Request::get("/x").header("host", "a b"), false).is_none());
    }

    #[test]
    fn a_response_says_its_length_once() {
        let of = |lengths: &[&str], method: Method, status: u16| {
            let mut builder = Response::builder().status(status);
            for length in lengths {
                builder = builder.header("content-length", *length);
            }
            framing(&builder.body(()).unwrap().into_parts().0, &method).ok()
        };
        assert_eq!(of(&["5"], Method::GET, 200).unwrap().length, Some(5));
        assert_eq!(of(&["5", "5"], Method::GET, 200), None);
        assert_eq!(of(&["+5"], Method::GET, 200), None);
        assert_eq!(of(&[], Method::GET, 101), None);
        assert!(of(&["5"], Method::HEAD, 200).unwrap().bodiless);
        assert!(of(&["5"], Method::GET, 304).unwrap().bodiless);
    }
}

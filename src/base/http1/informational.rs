//! Informational responses (RFC 9110 section 15.2) as they are passed on.

use bytes::{BufMut, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, response};

/// What concerns only one connection, or a body that is not there.
static LEFT_OUT: [HeaderName; 8] = [
    CONNECTION,
    CONTENT_LENGTH,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Writes an informational response without the fields of the connection that it came on.
pub fn write_informational(to: &mut BytesMut, parts: &response::Parts) {
    let named = parts.headers.get_all(CONNECTION).iter();
    let named = named.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let named: Vec<_> = named.map(<[u8]>::trim_ascii).collect();
    to.put_slice(b"HTTP/1.1 ");
    to.put_slice(parts.status.as_str().as_bytes());
    to.put_u8(b' ');
    to.put_slice(parts.status.canonical_reason().unwrap_or_default().as_bytes());
    to.put_slice(b"\r\n");
    for (name, value) in &parts.headers {
        let bytes = name.as_str().as_bytes();
        if LEFT_OUT.contains(name) || named.iter().any(|named| named.eq_ignore_ascii_case(bytes)) {
            continue;
        }
        to.put_slice(bytes);
        to.put_slice(b": ");
        to.put_slice(value.as_bytes());
        to.put_slice(b"\r\n");
    }
    to.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::write_informational;
    use bytes::BytesMut;
    use http::Response;

    #[test]
    fn fields_of_the_connection_are_not_passed_on() {
        let response = Response::builder()
            .status(103)
            .header("link", "</a.css>")
            .header("connection", "x-secret")
            .header("x-secret", "1")
            .header("content-length", "5")
            .body(());
        let mut written = BytesMut::new();
        write_informational(&mut written, &response.unwrap().into_parts().0);
        assert_eq!(written, &b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n"[..]);
    }
}

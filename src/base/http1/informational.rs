//! Informational responses (RFC 9110 section 15.2) as they are passed on.

use super::lines::is_of_connection;
use bytes::{BufMut, BytesMut};
use http::header::{CONNECTION, TRAILER};
use http::response;

/// Writes an informational response without the fields of the connection that it came on, and of a
/// body that is not there.
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
        let is_named = || named.iter().any(|named| named.eq_ignore_ascii_case(bytes));
        if is_of_connection(bytes) || *name == TRAILER || is_named() {
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
            .header("proxy-authenticate", "Basic")
            .header("trailer", "x-sum")
            .body(());
        let mut written = BytesMut::new();
        write_informational(&mut written, &response.unwrap().into_parts().0);
        assert_eq!(written, &b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n"[..]);
    }
}

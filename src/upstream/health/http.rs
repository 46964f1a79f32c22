//! The check that asks with GET, in the version of HTTP that the pool speaks, for a status.

use super::{HttpProbeConfig, USER_AGENT, failed, http2};
use crate::base::status::StatusPattern;
use crate::upstream::http1::head::{Form, take_response, write_request};
use crate::upstream::stream::Stream;
use crate::upstream::transport::{Spoken, Transport};
use bytes::{Bytes, BytesMut};
use http::{Method, Request, StatusCode, header, request};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The most informational responses (1xx) before the final one.
const INFORMATIONAL_MAX: u8 = 16;

/// Asks, and compares the status.
pub(super) async fn ask(
    config: &HttpProbeConfig,
    transport: &Transport,
    address: SocketAddr,
) -> Result<(), String> {
    let host = config.host.clone().unwrap_or_else(|| address.to_string());
    let (stream, spoken) = transport.connect(address).await.map_err(|error| failed(&error))?;
    let status = match spoken {
        Spoken::Http1 => {
            let request = Request::get(&config.path)
                .header(header::HOST, host)
                .header(header::USER_AGENT, USER_AGENT)
                .header(header::ACCEPT, "*/*")
                .header(header::CONNECTION, "close")
                .body(());
            let request = request.map_err(|error| error.to_string())?;
            over_http1(stream, &request.into_parts().0).await?
        }
        Spoken::Http2 => {
            let secure = transport.tls.is_some();
            let target = http2::target(secure, &host, &config.path)?;
            let request = Request::get(target)
                .header(header::USER_AGENT, USER_AGENT)
                .header(header::ACCEPT, "*/*")
                .body(())
                .map_err(|error| error.to_string())?;
            http2::ask(stream, request, Bytes::new(), 0).await?.status
        }
    };
    check(status, &config.statuses)
}

/// Sends the request, and reads nothing but the head of the response: as strictly as those of
/// requests, so that an endpoint is not healthy whose answers nobody would take.
async fn over_http1(mut stream: Stream, request: &request::Parts) -> Result<StatusCode, String> {
    let broken = |error: std::io::Error| error.to_string();
    stream.write_all(&write_request(request, &[])).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let (mut received, mut searched, mut informational) = (BytesMut::new(), 0, 0);
    loop {
        let taken = take_response(&mut received, &mut searched, &Method::GET, Form::Map);
        match taken.map_err(|error| error.to_string())? {
            Some(head) if head.parts.status.is_informational() => {
                informational += 1;
                if informational > INFORMATIONAL_MAX {
                    return Err("it has nothing but informational answers".to_owned());
                }
            }
            Some(head) => return Ok(head.parts.status),
            None if stream.read_buf(&mut received).await.map_err(broken)? == 0 => {
                return Err("it closed the connection without an answer".to_owned());
            }
            None => {}
        }
    }
}

fn check(status: StatusCode, statuses: &[StatusPattern]) -> Result<(), String> {
    if statuses.iter().any(|pattern| pattern.holds(status.as_u16())) {
        return Ok(());
    }
    Err(format!("it answered with the status {}", status.as_u16()))
}

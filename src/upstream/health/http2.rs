//! One request over an HTTP/2 connection of its own, for the checks that need one.

use crate::upstream::stream::Stream;
use bytes::Bytes;
use futures_util::future::{Either, select};
use h2::client::{Builder, SendRequest};
use http::{HeaderMap, Request, StatusCode, Uri};
use std::pin::pin;
use std::time::Duration;

/// The largest head of an answer.
const HEAD_BYTES_MAX: u32 = 16 * 1024;
/// How long taking leave may take, after what was asked is known.
const LEAVE: Duration = Duration::from_millis(100);

/// An answer, as much of it as was asked for.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Option<HeaderMap>,
}

/// Where a request goes.
pub(super) fn target(secure: bool, host: &str, path: &str) -> Result<Uri, String> {
    let scheme = if secure { "https" } else { "http" };
    let target = Uri::builder().scheme(scheme).authority(host).path_and_query(path).build();
    target.map_err(|error| format!("`{host}` and `{path}` are no target: {error}"))
}

/// Sends the request and reads the answer, of its body not more than `body_max` bytes; without any,
/// the head is all that is waited for. Then the connection ends.
pub(super) async fn ask(
    stream: Stream,
    request: Request<()>,
    body: Bytes,
    body_max: usize,
) -> Result<Answer, String> {
    let mut builder = Builder::new();
    builder.enable_push(false).max_header_list_size(HEAD_BYTES_MAX);
    let (sender, connection) = builder.handshake(stream).await.map_err(broken)?;
    let exchange = pin!(exchange(sender, request, body, body_max));
    let mut connection = Box::pin(connection);
    match select(exchange, connection.as_mut()).await {
        Either::Left((answer, _)) => {
            // No part of the time that the answer may take.
            tokio::spawn(tokio::time::timeout(LEAVE, connection));
            answer
        }
        // It is over, but what came before may be an answer.
        Either::Right((Ok(()), exchange)) => exchange.await,
        Either::Right((Err(error), _)) => Err(broken(error)),
    }
}

async fn exchange(
    sender: SendRequest<Bytes>,
    request: Request<()>,
    body: Bytes,
    body_max: usize,
) -> Result<Answer, String> {
    let mut sender = sender.ready().await.map_err(broken)?;
    let (response, mut sending) = sender.send_request(request, body.is_empty()).map_err(broken)?;
    if !body.is_empty() {
        sending.send_data(body, true).map_err(broken)?;
    }
    let (head, mut receiving) = response.await.map_err(broken)?.into_parts();
    let mut answer = Answer { status: head.status, headers: head.headers, ..Answer::default() };
    if body_max == 0 {
        return Ok(answer);
    }
    while let Some(data) = receiving.data().await {
        let data = data.map_err(broken)?;
        if answer.body.len() + data.len() > body_max {
            return Err("its answer is too long".to_owned());
        }
        answer.body.extend_from_slice(&data);
    }
    answer.trailers = receiving.trailers().await.map_err(broken)?;
    Ok(answer)
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn broken(error: h2::Error) -> String {
    error.to_string()
}

//! The demo's upstreams: small servers that say who they are, slowly or wrongly if asked to.

use crate::base::units;
use crate::predicate::{cookie, query_value};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// The longest delay that a request may ask for.
const DELAY_MAX: Duration = Duration::from_mins(1);
/// The most connections of one upstream.
const CONNECTIONS_MAX: usize = 1024;
/// The most characters of a user's name that are repeated in the answer.
const USER_CHARS_MAX: usize = 64;
/// How long accepting pauses when no connection can be taken.
const PAUSE: Duration = Duration::from_millis(50);

/// Answers every request in the name of a pool, until the runtime ends.
pub(super) async fn serve(socket: TcpListener, pool: Arc<str>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((stream, _)) = socket.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let pool = Arc::clone(&pool);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&pool), request));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            // How a connection ends is the proxy's concern: it is the one to tell.
            let _ = connection.await;
            drop(permit);
        });
    }
}

/// One answer; an error breaks the connection off.
async fn answer(
    pool: Arc<str>,
    mut request: Request<Incoming>,
) -> io::Result<Response<Full<Bytes>>> {
    while let Some(frame) = request.body_mut().frame().await {
        frame.map_err(io::Error::other)?;
    }
    let wish = match Wish::read(request.uri().query()) {
        Ok(wish) => wish,
        Err(message) => return Ok(respond(&pool, StatusCode::BAD_REQUEST, message + "\n")),
    };
    if !wish.delay.is_zero() {
        tokio::time::sleep(wish.delay).await;
    }
    if wish.fail {
        return Err(io::Error::other("asked to fail"));
    }
    let text = match version(&pool) {
        Some(version) => format!("{pool} {version}, you are {}\n", user(&request)),
        None => format!("{pool}, you are {}\n", user(&request)),
    };
    Ok(respond(&pool, wish.status, text))
}

fn respond(pool: &str, status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("text/plain; charset=utf-8"));
    if let Ok(version) = HeaderValue::from_str(version(pool).unwrap_or(pool)) {
        headers.insert("x-version", version);
    }
    response
}

/// What the demo's pools serve.
fn version(pool: &str) -> Option<&'static str> {
    match pool {
        "stable" => Some("v1"),
        "canary" => Some("v2"),
        _ => None,
    }
}

/// The user's name as the demo's cohort finds it.
fn user<B>(request: &Request<B>) -> String {
    let headers = request.headers();
    let name = headers.get("x-user-id").map(HeaderValue::as_bytes);
    match name.or_else(|| cookie(headers, "uid")) {
        Some(name) => String::from_utf8_lossy(name).chars().take(USER_CHARS_MAX).collect(),
        None => "nobody in particular".to_owned(),
    }
}

/// What the query asks of the answer.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    delay: Duration,
    status: StatusCode,
    fail: bool,
}

impl Wish {
    fn read(query: Option<&str>) -> Result<Self, String> {
        let value = |name| {
            query_value(query, name).map(|value| String::from_utf8_lossy(&value).into_owned())
        };
        let delay = match value("delay") {
            Some(delay) => delay.parse::<units::Duration>()?.0.min(DELAY_MAX),
            None => Duration::ZERO,
        };
        let status = match value("status") {
            Some(status) => status
                .parse()
                .ok()
                .filter(|status| (200..=599).contains(status))
                .and_then(|status| StatusCode::from_u16(status).ok())
                .ok_or_else(|| format!("`{status}` is no status from 200 to 599"))?,
            None => StatusCode::OK,
        };
        Ok(Self { delay, status, fail: value("fail").is_some_and(|fail| fail != "0") })
    }
}

#[cfg(test)]
mod tests {
    use super::{DELAY_MAX, Wish};
    use http::StatusCode;
    use std::time::Duration;

    #[test]
    fn a_query_may_ask_for_delay_status_and_failure() {
        let wish = Wish::read(Some("delay=500ms&status=503&fail=1")).unwrap();
        let status = StatusCode::SERVICE_UNAVAILABLE;
        assert_eq!(wish, Wish { delay: Duration::from_millis(500), status, fail: true });
        let plain = Wish::read(None).unwrap();
        assert_eq!(plain, Wish { delay: Duration::ZERO, status: StatusCode::OK, fail: false });
        assert_eq!(Wish::read(Some("delay=1d")).unwrap().delay, DELAY_MAX);
        for wrong in ["delay=soon", "status=100", "status=600", "status=x"] {
            assert!(Wish::read(Some(wrong)).is_err(), "{wrong}");
        }
    }
}

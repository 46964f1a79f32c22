//! The admin listener: health, metrics, the API and the dashboard; nothing here changes state.
//!
//! A new endpoint is one function in a file of its own, its module and its entry in `ENDPOINTS`.

mod answer;
mod config;
mod dashboard;
mod explain;
mod guard;
mod health;
pub mod listener;
mod metrics;
mod pools;
mod question;
mod routes;
mod stats;
#[cfg(test)]
mod tests;

use crate::config::reload::StatusCell;
use crate::proxy::worker::SnapshotCell;
use crate::telemetry::metrics::Metrics;
use answer::Answer;
use bytes::Bytes;
use http::header::ALLOW;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Semaphore;

/// The most answers that are made at one time off the control plane's thread: with thousands of
/// routes each takes a while and many megabytes.
const ASIDE_MAX: usize = 2;

static ASIDE: Semaphore = Semaphore::const_new(ASIDE_MAX);

/// What the endpoints show.
#[derive(Debug)]
pub struct State {
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The snapshot in use.
    pub snapshot: SnapshotCell,
    /// Where the configuration in use comes from, and why the newest was refused.
    pub status: StatusCell,
    /// Whether the process is on its way out.
    pub draining: AtomicBool,
}

impl State {
    /// Whether requests are to be sent here: a configuration is in use and the end is not near.
    pub fn is_ready(&self) -> bool {
        self.snapshot.load().generation > 0 && !self.draining.load(Ordering::Relaxed)
    }
}

/// One path of the admin listener.
struct Endpoint {
    path: &'static str,
    access: Access,
    effort: Effort,
    /// What it answers, for whoever asks for a path that is not there.
    about: &'static str,
    /// Answers; what was sent is empty but for [`Access::Ask`].
    answer: fn(&State, &[u8]) -> Answer,
}

/// The methods of an endpoint.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    /// GET and HEAD.
    Read,
    /// POST of a question, which changes nothing.
    Ask,
}

/// Where an answer is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effort {
    /// Where the request is read: it must not wait and not take long.
    Small,
    /// On a thread for such work.
    Large,
}

/// Every endpoint.
#[rustfmt::skip]
const ENDPOINTS: &[Endpoint] = {
    use Access::{Ask, Read};
    use Effort::{Large, Small};
    &[
        endpoint("/", Read, Small, "the dashboard", dashboard::page),
        endpoint("/livez", Read, Small, "200 while the process runs", health::livez),
        endpoint("/readyz", Read, Small, "200 if requests are to be sent here", health::readyz),
        endpoint("/metrics", Read, Large, "metrics for Prometheus", metrics::text_format),
        endpoint("/api/config", Read, Small, "the configuration in use and the last error", config::json),
        endpoint("/api/routes", Read, Large, "the routes with their arms and weights", routes::json),
        endpoint("/api/pools", Read, Large, "the pools with their endpoints", pools::json),
        endpoint("/api/stats", Read, Large, "what was decided and how it went, as counts", stats::json),
        endpoint("/api/explain", Ask, Large, "what would be done with a request, and why", explain::json),
    ]
};

const fn endpoint(
    path: &'static str,
    access: Access,
    effort: Effort,
    about: &'static str,
    answer: fn(&State, &[u8]) -> Answer,
) -> Endpoint {
    Endpoint { path, access, effort, about, answer }
}

impl Access {
    const fn allow(self) -> &'static str {
        match self {
            Self::Read => "GET, HEAD",
            Self::Ask => "POST",
        }
    }

    fn allows(self, method: &Method) -> bool {
        self.allow().split(", ").any(|allowed| allowed == method.as_str())
    }
}

/// Answers one admin request.
async fn respond<B>(state: &Arc<State>, loopback: bool, request: Request<B>) -> Answer
where
    B: http_body::Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let is_head = request.method() == Method::HEAD;
    let mut answer = match guard::check(&request, loopback) {
        Ok(()) => dispatch(state, request).await,
        Err((status, text)) => answer::text(status, format!("{text}\n")),
    };
    if is_head {
        *answer.body_mut() = Full::default();
    }
    answer
}

async fn dispatch<B>(state: &Arc<State>, request: Request<B>) -> Answer
where
    B: http_body::Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let path = request.uri().path();
    let Some(endpoint) = ENDPOINTS.iter().find(|endpoint| endpoint.path == path) else {
        return answer::text(StatusCode::NOT_FOUND, listing());
    };
    let Endpoint { access, effort, answer, .. } = *endpoint;
    if !access.allows(request.method()) {
        let text = format!("{path} takes {}\n", access.allow());
        let mut refused = answer::text(StatusCode::METHOD_NOT_ALLOWED, text);
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static(access.allow()));
        return refused;
    }
    let sent = match access {
        Access::Read => Bytes::new(),
        Access::Ask => match question::read(request.into_body()).await {
            Ok(sent) => sent,
            Err((status, text)) => return answer::error(status, &text),
        },
    };
    match effort {
        Effort::Small => answer(state, &sent),
        Effort::Large => aside(Arc::clone(state), answer, sent).await,
    }
}

/// Makes an answer where it delays nobody.
async fn aside(state: Arc<State>, answer: fn(&State, &[u8]) -> Answer, sent: Bytes) -> Answer {
    let permit = ASIDE.acquire().await;
    let made = tokio::task::spawn_blocking(move || {
        // Kept until the work is done, even if nobody waits for it any more.
        let _permit = permit;
        answer(&state, &sent)
    });
    made.await.unwrap_or_else(|error| {
        tracing::error!(%error, "an admin answer could not be made");
        let text = "a bug: the answer could not be made\n".to_owned();
        answer::text(StatusCode::INTERNAL_SERVER_ERROR, text)
    })
}

/// What there is, one endpoint a line.
fn listing() -> String {
    let mut text = "not found; there is:\n".to_owned();
    for Endpoint { path, access, about, .. } in ENDPOINTS {
        // Writing to a string can not fail.
        let _ = writeln!(text, "  {:<9} {path:<13} {about}", access.allow());
    }
    text
}

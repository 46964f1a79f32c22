//! The delivery of one request, in one straight line: decide, attempt, answer.

use super::attempt::{Answer, Means, attempt};
use super::authority;
use super::decide::decide;
use super::downstream::Downstream;
use super::error::{Blame, Error};
use super::exchange::{Ending, Exchange, ResponseBody};
use super::framing::check_request;
use super::headers::{prepare_request, prepare_response};
use super::snapshot::Route;
use super::worker::Proxy;
use crate::base::body::{Body, Owned};
use crate::base::clock;
use crate::base::incoming::Incoming;
use crate::base::units;
use crate::predicate::Head;
use crate::split::Choice;
use crate::upstream::http1::Upload;
use crate::upstream::local::Place;
use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Request, Response};
use schemars::JsonSchema;
use serde::Deserialize;
use std::rc::Rc;
use std::time::Duration;

/// How long the parts of an exchange may take; 0 for as long as they like.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TimeoutsConfig {
    /// Making a connection to an endpoint; 504 after it.
    pub connect: units::Duration,
    /// From the last byte of the request to the head of the response; 504 after it.
    pub backend_request: units::Duration,
    /// The longest pause inside a body, in either direction; the message is broken off after it.
    pub idle: units::Duration,
}

impl Default for TimeoutsConfig {
    fn default() -> Self {
        Self {
            connect: units::Duration::from_secs(1),
            backend_request: units::Duration::from_secs(15),
            idle: units::Duration::from_secs(300),
        }
    }
}

/// The compiled form of [`TimeoutsConfig`].
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Making a connection.
    pub connect: Duration,
    /// Waiting for the response's head once the request is sent.
    pub response: Duration,
    /// The longest pause inside a body.
    pub idle: Duration,
}

impl From<&TimeoutsConfig> for Timeouts {
    fn from(config: &TimeoutsConfig) -> Self {
        // As in the Gateway API (GEP-1742), where zero turns a timeout off.
        let limit = |time: units::Duration| {
            if time.0.is_zero() { units::Duration::MAX } else { time.0 }
        };
        Self {
            connect: limit(config.connect),
            response: limit(config.backend_request),
            idle: limit(config.idle),
        }
    }
}

/// Delivers a request and answers it, whatever happens.
pub async fn deliver(
    proxy: &Rc<Proxy>,
    downstream: &Downstream,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    let started = clock::now();
    let local = proxy.snapshot();
    let (mut parts, incoming) = request.into_parts();
    let snapshot = &*local.snapshot;

    let checked = check_request(&parts, downstream.forwarding.uri_bytes);
    let host = checked.and_then(|()| authority::host(&parts.uri, &parts.headers, parts.version));
    let decided = host.map(|host| {
        let head = Head {
            method: &parts.method,
            host: &host,
            path: parts.uri.path(),
            query: parts.uri.query(),
            headers: &parts.headers,
            client: downstream.client(&parts.headers),
            peer: downstream.peer,
            certificate_names: &downstream.certificate_names,
        };
        decide(snapshot, &head, &|pool| snapshot.is_usable(pool), Some(proxy.random()))
    });
    let decision = decided.unwrap_or_default();
    let mut exchange = Exchange::begin(proxy, &local, decision, started);
    let Choice { pool, override_refused, .. } = decision.choice;
    let route = match decided {
        Err(cause) => Err(cause),
        Ok(_) => decision.route.and_then(|route| snapshot.routes.get(route)).ok_or(Error::NoRoute),
    };
    let chosen = route.and_then(|route| {
        let pool = pool.and_then(|pool| local.pool(pool)).ok_or(Error::NoEndpoint)?;
        Ok((route, pool))
    });
    let (route, (pool, balance)) = match chosen {
        Ok(chosen) => chosen,
        Err(cause) => return answer(exchange, cause),
    };

    let refused = route.split.override_header().filter(|_| override_refused);
    prepare_request(&mut parts, downstream, refused);
    let method = parts.method.clone();
    let informational = incoming.informational();
    let mut body = Body::stream(incoming, route.timeouts.idle);
    let progress = body.progress();
    let mut upload = Some(Upload::new(parts, body));
    let deadlines = proxy.deadlines(route.timeouts.response);
    let mut failed: Option<(Place, Error)> = None;
    for retry in 0..=route.retry.attempts {
        if !upload.as_ref().is_some_and(Upload::is_unsent) {
            break;
        }
        let except = failed.as_ref().map(|(place, _)| &**place.endpoint());
        let Some(place) = pool.take(balance, proxy.random(), except) else { break };
        let means = Means {
            method: &method,
            progress: progress.as_deref(),
            informational: informational.as_ref(),
            connect: route.timeouts.connect,
            response: &deadlines,
            retry: retry > 0,
            started,
        };
        match attempt(&place, &mut upload, &means).await {
            Ok(answer) => return relay(exchange, downstream, route, answer, place),
            Err(cause) => failed = Some((place, cause)),
        }
    }
    let cause = failed.map_or(Error::NoEndpoint, |(_, cause)| cause);
    exchange.failed(cause);
    answer(exchange, cause)
}

/// Passes the service's response on.
fn relay(
    mut exchange: Exchange,
    downstream: &Downstream,
    route: &Route,
    answer: Answer,
    place: Place,
) -> Response<ResponseBody> {
    let (mut parts, receiving) = answer;
    prepare_response(&mut parts, downstream);
    exchange.answered(parts.status);
    let body = Body::stream(receiving, route.timeouts.idle);
    Response::from_parts(parts, Owned::new(body, Ending::new(exchange, Some(place))))
}

/// Answers in the service's place.
fn answer(mut exchange: Exchange, cause: Error) -> Response<ResponseBody> {
    let meaning = cause.meaning();
    exchange.failed(cause);
    exchange.answered(meaning.status);
    let text = format!("{}: {}\n", meaning.status, meaning.text);
    let length = HeaderValue::from(text.len());
    let body = Body::Own(Bytes::from(text));
    let mut response = Response::new(Owned::new(body, Ending::new(exchange, None)));
    *response.status_mut() = meaning.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONTENT_LENGTH, length);
    if meaning.blame == Blame::Downstream {
        // What follows a refused request may be a part of it, so nobody reads it.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if cause == Error::Connect {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, OPTIONS"));
    }
    response
}

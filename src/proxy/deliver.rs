//! The delivery of one request, in one straight line: decide, attempt, answer.

use super::again::{Delivery, Elsewhere, Manner, Onward, Way};
use super::attempt::Answer;
use super::authority;
use super::decide::{Decision, Usability, choose, decide};
use super::downstream::Downstream;
use super::error::{Blame, Error, Meaning};
use super::exchange::{Ending, Exchange, ResponseBody};
use super::framing::check_request;
use super::grpc;
use super::headers::{prepare_request, prepare_response};
use super::retry::RetryPool;
use super::snapshot::{LocalSnapshot, Route, Snapshot};
use super::timeouts::End;
use super::upgrade::Upgrade;
use super::worker::Proxy;
use crate::base::body::{Body, Owned, Progress};
use crate::base::bounds::Bounds;
use crate::base::clock;
use crate::base::incoming::Incoming;
use crate::predicate::Head;
use crate::split::{Choice, PoolIndex, Reason};
use crate::upstream::http1::head::Form;
use crate::upstream::kept::KEPT_BYTES_MAX;
use crate::upstream::local::{Admitted, LocalPool, Offer, Place};
use crate::upstream::outgoing::Outgoing;
use crate::upstream::transport::Protocol;
use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Body as _;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Instant;

/// After how many seconds a client may ask again for what nobody could take (RFC 9110 section
/// 10.2.3): endpoints come back within seconds, and the others that wait will ask too.
const SOON: HeaderValue = HeaderValue::from_static("1");

/// A request that is decided about and ready to be sent.
struct Ready {
    local: Rc<LocalSnapshot>,
    route: usize,
    manner: Manner,
    outgoing: Outgoing<Incoming>,
    end: Option<End>,
    started: Instant,
    trial: Option<Box<Place>>,
}

/// Delivers a request and answers it, whatever happens. It is decided about at once; the future,
/// which is moved and takes room for as long as the request does, has only what comes after that.
pub fn deliver(
    proxy: Rc<Proxy>,
    downstream: Rc<Downstream>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> {
    let (mut exchange, mut ready) = begin(&proxy, &downstream, request);
    async move {
        let Ready { local, route, manner, outgoing, end, started, trial } = match &mut ready {
            Ok(ready) => ready,
            Err(cause) => return Ok(answer(exchange, *cause)),
        };
        let (proxy, local, manner) = (&*proxy, &**local, &mut *manner);
        let Some(route) = local.snapshot.routes.get(*route) else {
            return Ok(answer(exchange, Error::NoRoute));
        };
        let mut delivery = Delivery {
            proxy,
            exchange: &mut exchange,
            local,
            route,
            manner,
            outgoing,
            end,
            started: *started,
            trial: trial.take(),
            admitted: Admitted::default(),
            way: &manner.way,
        };
        let delivered = delivery.run().await;
        let admitted = delivery.admitted;
        Ok(match delivered {
            Ok((answer, mut place)) => {
                place.admit(admitted);
                let end = end.take();
                let (progress, upgrade) = (manner.progress.take(), manner.upgrade.take());
                let sent = Sent { answer, place, end, progress, upgrade };
                relay(exchange, &downstream, route, sent)
            }
            Err(cause) => answer(exchange, cause),
        })
    }
}

/// Decides about a request and makes it ready; or says why it can not be sent.
fn begin(
    proxy: &Rc<Proxy>,
    downstream: &Downstream,
    request: Request<Incoming>,
) -> (Exchange, Result<Ready, Error>) {
    let started = clock::now();
    let local = proxy.snapshot();
    let (parts, incoming) = request.into_parts();
    let mut message = Message { parts, incoming, asked: None, call: false, started, trial: None };
    let Message { parts, incoming, asked, call, trial, .. } = &mut message;
    *asked = self::asked(proxy, parts, incoming);
    let decided = check_and_decide(proxy, &local, downstream, parts, trial);
    *call = grpc::is_call(&parts.method, &parts.headers);
    let decision = decided.as_ref().map(|decided| decided.decision).unwrap_or_default();
    let exchange = Exchange::begin(proxy, &local, decision, started, *call);
    match decided {
        Ok(decided) => (exchange, prepare(proxy, downstream, local, decided, message)),
        Err(cause) => (exchange, Err(cause)),
    }
}

/// A request as it came.
struct Message {
    parts: Parts,
    incoming: Incoming,
    /// The protocol that the client would rather speak.
    asked: Option<Box<Upgrade>>,
    call: bool,
    started: Instant,
    trial: Option<Box<Place>>,
}

/// Makes a request that is decided about ready to be sent.
fn prepare(
    proxy: &Proxy,
    downstream: &Downstream,
    local: Rc<LocalSnapshot>,
    decided: Decided,
    message: Message,
) -> Result<Ready, Error> {
    let Decided { decision, way, elsewhere } = decided;
    let Message { mut parts, incoming, asked, call, started, trial } = message;
    let (number, route) = decision
        .route
        .and_then(|number| Some((number, local.snapshot.routes.get(number)?)))
        .ok_or(Error::NoRoute)?;
    let (way, pool) =
        way.and_then(|way| Some((way, local.pool(way.pool)?.0))).ok_or(Error::NoEndpoint)?;
    route.terms.limits.admit(&incoming)?;
    let upgrade = grant(asked, route)?;

    let end = End::of(&route.terms.timeouts, call, &parts.headers);
    let refused = route.split.override_header().filter(|_| decision.choice.override_refused);
    let forwarded = prepare_request(&mut parts, downstream, refused, upgrade.as_deref());
    let method = parts.method.clone();
    let informational = incoming.informational();
    let fits = incoming.size_hint().lower() <= KEPT_BYTES_MAX as u64;
    let keeps = upgrade.is_none() && fits && route.terms.retry.keeps_body(&method, call);
    let protocol = protocol(&local, pool, elsewhere.as_ref());
    // Nobody looks at the fields of a response that goes out as HTTP/1.1.
    let lines = incoming.is_http1() && !call && upgrade.is_none();
    let (body, progress) = body(incoming, route, upgrade.is_some());
    let added = forwarded.fields();
    let added = added.as_slice().as_flattened();
    let outgoing = Outgoing::new(parts, added, body, protocol, upgrade.is_some(), keeps);
    let manner = Manner {
        way,
        elsewhere: elsewhere.map(Box::new),
        method,
        call,
        form: if lines { Form::Lines } else { Form::Map },
        whole: progress.is_none() || keeps,
        informational,
        deadlines: proxy.deadlines(route.terms.timeouts.response),
        upgrade,
        progress,
    };
    Ok(Ready { local, route: number, manner, outgoing, end, started, trial })
}

/// The protocol that the client would rather speak, if it can.
fn asked(proxy: &Proxy, parts: &mut Parts, incoming: &Incoming) -> Option<Box<Upgrade>> {
    if !incoming.offers_tunnel() {
        return None;
    }
    Upgrade::read(parts, || proxy.random())
}

/// What the route lets through of what is asked for; the rest goes on as a request without it.
fn grant(asked: Option<Box<Upgrade>>, route: &Route) -> Result<Option<Box<Upgrade>>, Error> {
    match asked {
        Some(asked) if asked.is_one_of(&route.terms.upgrades) => Ok(Some(asked)),
        Some(asked) if asked.is_extended() => Err(Error::UpgradeRefused),
        _ => Ok(None),
    }
}

/// The body that is to be sent, and how far it got if there is one.
fn body(
    incoming: Incoming,
    route: &Route,
    upgrade: bool,
) -> (Body<Incoming>, Option<Rc<Progress>>) {
    let incoming = if upgrade { incoming.into_tunnel() } else { incoming };
    let mut body = Body::stream(incoming, route.terms.timeouts.idle);
    if let Some(bounds) = route.terms.limits.bounds().filter(|_| !upgrade) {
        body.bound(bounds);
    }
    let progress = body.progress();
    (body, progress)
}

/// The version in which the request is written: one that suits all pools that it may go to.
fn protocol(local: &LocalSnapshot, pool: &LocalPool, elsewhere: Option<&Elsewhere>) -> Protocol {
    let protocol = pool.protocol();
    let ways = elsewhere.map_or(&[][..], |elsewhere| &elsewhere.ways);
    let mut others = ways.iter().filter_map(|onward| local.pool(onward.way.pool));
    let alike = others.all(|(other, _)| other.protocol() == protocol);
    if alike { protocol } else { Protocol::Auto }
}

/// Refuses what can not be understood or can be in two ways, and decides about the rest. `trial` is
/// where the request has to go, if it decides about an endpoint's return.
fn check_and_decide(
    proxy: &Proxy,
    local: &LocalSnapshot,
    downstream: &Downstream,
    parts: &mut Parts,
    trial: &mut Option<Box<Place>>,
) -> Result<Decided, Error> {
    let snapshot = &*local.snapshot;
    check_request(parts, &downstream.forwarding)?;
    snapshot.ambiguity.resolve(&mut parts.uri, &mut parts.headers)?;
    let host = authority::host(&parts.uri, &parts.headers, parts.version)?;
    downstream.check_host(&host)?;
    let head = Head {
        method: &parts.method,
        host: &host,
        path: parts.uri.path(),
        query: parts.uri.query(),
        headers: &parts.headers,
        client: downstream.client(&parts.headers),
        peer: downstream.peer,
        certificate_names: downstream.certificate_names(),
    };
    let decision;
    (decision, *trial) = decide_here(proxy, local, &head);
    let way = decision.choice.pool.map(|pool| way(snapshot, pool, &head));
    Ok(Decided { decision, way, elsewhere: elsewhere(proxy, local, &decision, &head) })
}

fn way(snapshot: &Snapshot, pool: PoolIndex, head: &Head<'_>) -> Way {
    let balance = snapshot.balances.get(pool.0);
    Way { pool, hash: balance.and_then(|balance| balance.hash(head)) }
}

/// Where a request would go without the pool that was decided for, if it may leave it: for a retry,
/// or because it has to wait there, until the last endpoint is gone. By then others may have come
/// and gone, so all ways are of interest, the first one too.
fn elsewhere(
    proxy: &Proxy,
    local: &LocalSnapshot,
    decision: &Decision,
    head: &Head<'_>,
) -> Option<Elsewhere> {
    let snapshot = &*local.snapshot;
    let first = decision.choice.pool?;
    let retries = may_leave(snapshot, decision);
    let waits = local.pool(first)?.0.is_full();
    if !retries && !waits {
        return None;
    }
    let onward = |pool, choice| Onward { way: way(snapshot, pool, head), choice };
    let (mut passed, mut ways) = (vec![first], Vec::new());
    if waits {
        ways.push(onward(first, decision.choice));
    }
    loop {
        let others = |pool| match passed.contains(&pool) {
            true => Usability::Unusable,
            false if waits => Usability::Usable,
            false => snapshot.usability_again(pool),
        };
        let random = Some(proxy.random());
        let choice = choose(snapshot, decision.route, head, &others, random).choice;
        let Some(pool) = choice.pool else { break };
        ways.push(onward(pool, Choice { reason: Some(Reason::Fallback), ..choice }));
        if !waits {
            break;
        }
        passed.push(pool);
    }
    (!ways.is_empty()).then_some(Elsewhere { ways, retries })
}

/// Whether a retry may leave the pool that was decided for; not if the request names it itself.
fn may_leave(snapshot: &Snapshot, decision: &Decision) -> bool {
    let route = decision.route.and_then(|route| snapshot.routes.get(route));
    let retry = route.map(|route| &route.terms.retry);
    let retry = retry.filter(|retry| retry.attempts > 0 && retry.pool == RetryPool::Fallback);
    retry.is_some() && decision.choice.reason != Some(Reason::Override)
}

/// Where a request goes.
#[derive(Debug, Default)]
struct Decided {
    decision: Decision,
    way: Option<Way>,
    /// Where it would go without that pool, if it may leave it.
    elsewhere: Option<Elsewhere>,
}

/// Decides, once more if the pool has nothing left on this worker: its last endpoint, or the one
/// request of a trial, may be somebody else's since the pool was asked.
fn decide_here(
    proxy: &Proxy,
    local: &LocalSnapshot,
    head: &Head<'_>,
) -> (Decision, Option<Box<Place>>) {
    let snapshot = &*local.snapshot;
    let mut empty = Vec::new();
    loop {
        let usability = |pool| {
            if empty.contains(&pool) { Usability::Unusable } else { snapshot.usability(pool) }
        };
        let decision = decide(snapshot, head, &usability, Some(proxy.random()));
        let chosen = decision.choice.pool.filter(|pool| !empty.contains(pool));
        let Some((pool, here)) = chosen.and_then(|pool| Some((pool, local.pool(pool)?.0))) else {
            return (decision, None);
        };
        match here.offer() {
            Offer::Usable => return (decision, None),
            Offer::Trial(place) => return (decision, Some(Box::new(place))),
            Offer::Nothing => empty.push(pool),
        }
    }
}

/// What became of a request that was sent.
struct Sent {
    answer: Answer,
    place: Place,
    end: Option<End>,
    progress: Option<Rc<Progress>>,
    upgrade: Option<Box<Upgrade>>,
}

/// Passes the service's response on.
fn relay(
    mut exchange: Exchange,
    downstream: &Downstream,
    route: &Route,
    sent: Sent,
) -> Response<ResponseBody> {
    let (mut parts, mut receiving) = *sent.answer;
    exchange.answered(parts.status);
    exchange.called(&parts.headers);
    let upgrade = sent.upgrade.filter(|_| parts.status == StatusCode::SWITCHING_PROTOCOLS);
    // What is switched to another protocol is no exchange any more, and has no end.
    let end = sent.end.filter(|_| upgrade.is_none());
    prepare_response(&mut parts, downstream, upgrade.as_deref());
    let both = upgrade.is_some() || receiving.is_sending();
    let lines = receiving.take_lines();
    let mut body = Body::stream(receiving, route.terms.timeouts.idle);
    if let Some(progress) = sent.progress.as_ref().filter(|_| both) {
        // Nothing is idle as long as something moves in either direction.
        body = body.beside(Rc::clone(progress));
    }
    let cause = end.map(End::of_response).map(|End { timer, cause }| {
        let mut bounds = Bounds::default();
        bounds.end(timer);
        body.bound(bounds);
        cause
    });
    let ending = Ending::new(exchange, Some(sent.place)).bounded(cause, sent.progress);
    Response::from_parts(parts, Owned::with_lines(body, ending, lines))
}

/// Answers in the service's place.
fn answer(mut exchange: Exchange, cause: Error) -> Response<ResponseBody> {
    let meaning = cause.meaning();
    exchange.failed(cause);
    if exchange.is_call() {
        return answer_call(exchange, meaning);
    }
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
    if matches!(cause, Error::NoEndpoint | Error::PoolOverloaded) {
        headers.insert(RETRY_AFTER, SOON);
    }
    if cause == Error::Connect {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, OPTIONS"));
    }
    response
}

/// Answers a gRPC call in the service's place: its head is all there is of it ("Trailers-Only").
fn answer_call(mut exchange: Exchange, meaning: Meaning) -> Response<ResponseBody> {
    exchange.answered(StatusCode::OK);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, grpc::CONTENT);
    headers.insert(grpc::STATUS, meaning.grpc.value());
    headers.insert(grpc::MESSAGE, grpc::message(meaning.text));
    if meaning.blame == Blame::Downstream {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    exchange.called(&headers);
    let mut response = Response::new(Owned::new(Body::empty(), Ending::new(exchange, None)));
    *response.headers_mut() = headers;
    response
}

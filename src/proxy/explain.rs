//! The decision and why, told through the code that serves.

use super::decide::choose;
use super::snapshot::Snapshot;
use crate::predicate::Head;
use crate::split::PoolIndex;
use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// The most routes that are listed for not having been tried.
const UNTRIED_MAX: usize = 50;

/// A request to be explained.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Question {
    /// The method; `GET` if left out.
    #[serde(default = "get")]
    pub method: String,
    /// The URL, or the target alone.
    pub url: String,
    /// The header fields.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The client's address, which is also the connection's peer; loopback if left out.
    #[serde(default)]
    pub client_ip: Option<IpAddr>,
}

fn get() -> String {
    "GET".to_owned()
}

/// What would be done with a request, and why.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// 200 if a pool would get the request, else 400, 404 or 503.
    pub status: u16,
    /// The route that takes it.
    pub route: Option<Arc<str>>,
    /// The arm that holds: its name, or its index.
    pub arm: Option<String>,
    /// The pool; nothing if a random draw decides.
    pub pool: Option<Arc<str>>,
    /// Why that pool.
    pub reason: Option<&'static str>,
    /// The weights of the arm's pools that have a usable endpoint.
    pub weights: serde_json::Map<String, serde_json::Value>,
    /// The cohort's scores of the arm's pools, the least of which wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scores: Option<serde_json::Map<String, serde_json::Value>>,
    /// Whether health is ignored, because no pool has a usable endpoint.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub health_ignored: bool,
    /// Whether an override header was there and did not count.
    pub override_refused: bool,
    /// The routes looked at, in order, with the first predicate that failed.
    pub considered: Vec<Considered>,
}

/// One item of a route's `matches` that was tried, or a route that was not.
#[derive(Debug, Clone, Serialize)]
pub struct Considered {
    /// The route.
    pub route: Arc<str>,
    /// The number of the item; nothing if its host or path ruled the whole route out.
    #[serde(rename = "match")]
    pub item: Option<usize>,
    /// The first predicate that failed; nothing if the item matched.
    pub failed: Option<String>,
}

/// Explains what would be done with a request; the error says what is wrong with the question.
pub fn explain(snapshot: &Snapshot, question: &Question) -> Result<Explanation, String> {
    let method = Method::from_bytes(question.method.as_bytes())
        .map_err(|_| format!("`{}` is no method", question.method))?;
    let uri: Uri = question.url.parse().map_err(|error| format!("`{}`: {error}", question.url))?;
    let mut headers = headers(&uri, &question.headers)?;
    let mut target = Uri::from(uri.path_and_query().cloned().ok_or("the URL has no path")?);
    snapshot
        .ambiguity
        .resolve(&mut target, &mut headers)
        .map_err(|cause| format!("it gets {}: {}", cause.meaning().status, cause.meaning().text))?;
    let host = super::authority::host(&target, &headers, Version::HTTP_10)
        .map_err(|_| "the host is malformed or given twice".to_owned())?;
    let client = question.client_ip.unwrap_or(Ipv4Addr::LOCALHOST.into()).to_canonical();
    let head = Head {
        method: &method,
        host: &host,
        path: target.path(),
        query: target.query(),
        headers: &headers,
        client,
        peer: client,
        certificate_names: &[],
    };
    Ok(answer(snapshot, &head))
}

fn headers(uri: &Uri, fields: &[(String, String)]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let parsed: HeaderName = name.parse().map_err(|_| format!("`{name}` is no header name"))?;
        let value = HeaderValue::from_str(value)
            .or_else(|_| HeaderValue::from_bytes(value.as_bytes()))
            .map_err(|_| format!("the value of `{name}` is no header value"))?;
        headers.append(parsed, value);
    }
    if let Some(authority) = uri.authority().filter(|_| !headers.contains_key(HOST)) {
        let host = HeaderValue::from_str(authority.as_str()).map_err(|error| error.to_string())?;
        headers.insert(HOST, host);
    }
    Ok(headers)
}

fn answer(snapshot: &Snapshot, head: &Head<'_>) -> Explanation {
    let usability = |pool: PoolIndex| snapshot.usability(pool);
    let name = |route: usize| snapshot.routes.get(route).map(|route| Arc::clone(&route.name));
    let mut considered = Vec::new();
    let mut tried = std::collections::HashSet::new();
    let found = snapshot.table.trace(head, &mut |found, failed| {
        tried.insert(found.route);
        let route = name(found.route).unwrap_or_default();
        considered.push(Considered { route, item: Some(found.item), failed });
    });
    let untried = (0..snapshot.routes.len()).filter(|route| !tried.contains(route));
    considered.extend(
        untried
            .filter_map(|route| {
                let failed = Some(snapshot.table.mismatch(route, head)?);
                Some(Considered { route: name(route)?, item: None, failed })
            })
            .take(UNTRIED_MAX),
    );

    let decision = choose(snapshot, found.map(|found| found.route), head, &usability, None);
    let choice = decision.choice;
    let usable = |pool: PoolIndex| decision.counts(usability(pool));
    let route = decision.route.and_then(|route| snapshot.routes.get(route));
    let pool_name = |pool: PoolIndex| snapshot.pool_name(pool).cloned().unwrap_or_default();
    let arm = route.zip(choice.arm);
    let weights = arm.map(|(route, arm)| route.split.odds(arm, &usable)).unwrap_or_default();
    let scores = arm.and_then(|(route, arm)| route.split.scores(head, arm));
    Explanation {
        status: match route {
            None => 404,
            Some(_) if choice.pool.is_none() && !choice.undrawn => 503,
            Some(_) => 200,
        },
        route: route.map(|route| Arc::clone(&route.name)),
        arm: arm.and_then(|(route, arm)| Some(route.split.arms().get(arm)?.name().to_owned())),
        pool: choice.pool.map(pool_name),
        reason: choice.reason.map(crate::split::Reason::as_str),
        weights: weights
            .into_iter()
            .map(|(pool, weight)| (pool_name(pool).to_string(), weight.number().into()))
            .collect(),
        scores: scores.map(|scores| {
            let score =
                |(pool, score): (PoolIndex, f64)| (pool_name(pool).to_string(), score.into());
            scores.into_iter().map(score).collect()
        }),
        health_ignored: decision.at_need && (choice.pool.is_some() || choice.undrawn),
        override_refused: choice.override_refused,
        considered,
    }
}

//! The server: connections, requests, and the answers to them.

use super::accounts::Account;
use super::resource::Call;
use super::status::Failure;
use super::store::{Store, Told, line};
use super::{Mood, Shared, discovery, rbac, reads, writes};
use bytes::Bytes;
use futures_util::stream;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

type Body = UnsyncBoxBody<Bytes, io::Error>;
type Answer = Result<Response<Body>, Failure>;

/// Serves until told to stop; then nothing is left of it.
pub(super) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut stop: oneshot::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stop => break,
        };
        let Ok((stream, _)) = accepted else { continue };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            match &shared.secured {
                None => converse(&shared, stream).await,
                Some(secured) => {
                    if let Ok(stream) = secured.acceptor.accept(stream).await {
                        converse(&shared, stream).await;
                    }
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    connections.shutdown().await;
}

async fn converse(shared: &Arc<Shared>, stream: impl AsyncRead + AsyncWrite + Unpin) {
    let service = service_fn(|request| answer(shared, request));
    let serving = hyper::server::conn::http1::Builder::new();
    let _ = serving.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let answer = match respond(shared, request).await {
        Ok(answer) => answer,
        Err(failure) => {
            let mut answer = json_answer(failure.code, &failure.status());
            if let Some(seconds) = failure.retry_after() {
                answer.headers_mut().insert(RETRY_AFTER, seconds.into());
            }
            answer
        }
    };
    Ok(answer)
}

async fn respond(shared: &Arc<Shared>, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let text = |name: header::HeaderName| {
        head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let (agent, authorization) = (text(USER_AGENT), text(AUTHORIZATION));
    let token = authorization.strip_prefix("Bearer ").unwrap_or_default();
    let call = Call::read(&head.method, head.uri.path(), head.uri.query().unwrap_or_default());
    {
        let mut seen = shared.seen.lock();
        seen.agents.insert(agent);
        token.clone_into(&mut seen.token);
        if let Some(Ok(call)) = &call {
            *seen.requests.entry((call.resource.plural, call.verb)).or_default() += 1;
        }
    }
    let resource = call.as_ref().and_then(|call| Some(call.as_ref().ok()?.resource.plural));
    shared.until_it_answers(resource.unwrap_or_default()).await;
    if let Mood::Fails(code) = *shared.mood.borrow() {
        return Err(Failure::told(code));
    }
    let account = shared.accounts.lock().of(token, &shared.store.lock());
    if account.is_none() && token != *shared.token.lock() {
        return Err(Failure::unauthorized());
    }
    let Some(call) = call else {
        let path = head.uri.path();
        if matches!(path, "/healthz" | "/livez" | "/readyz") {
            return Ok(Response::new(whole("ok".into())));
        }
        let document = discovery::document(path).ok_or_else(Failure::no_such_path)?;
        return Ok(json_answer(200, &document));
    };
    let call = call?;
    authorize(shared, account.as_ref(), &call, call.verb)?;
    let body = read(&head.headers, body).await?;
    if call.verb == "watch" {
        return watch(shared, &call);
    }
    let creates = writes::creates(&shared.store.lock(), &call, &head.headers);
    if creates && call.verb == "patch" {
        authorize(shared, account.as_ref(), &call, "create")?;
    }
    if call.subresource == "token" {
        let token = shared.accounts.lock().issue(&shared.store.lock(), &call, &body)?;
        return Ok(json_answer(201, &token));
    }
    let done = perform(&mut shared.store.lock(), &call, &head.headers, body)?;
    Ok(json_answer(if creates { 201 } else { 200 }, &done))
}

fn perform(
    store: &mut Store,
    call: &Call,
    headers: &HeaderMap,
    body: Value,
) -> Result<Value, Failure> {
    match call.verb {
        "get" => reads::get(store, call),
        "list" => reads::list(store, call),
        "create" => writes::create(store, call, body),
        "update" => writes::replace(store, call, body),
        "patch" => writes::patch(store, call, headers, &body),
        "delete" => writes::delete(store, call, &body),
        _ => writes::delete_all(store, call, &body),
    }
}

/// Whether it is allowed: to an account that was given a token by the roles that are there, to whom
/// has the token of the test by those that the test says.
fn authorize(
    shared: &Shared,
    account: Option<&Account>,
    call: &Call,
    verb: &'static str,
) -> Result<(), Failure> {
    let name = call.name_for_authorizer();
    let mut own = account.map(|account| account.rights(&shared.store.lock()));
    let mut told = shared.rbac.lock();
    let rbac = own.as_mut().or(told.as_mut());
    let user = rbac.as_ref().map_or("tester", |rbac| &rbac.user);
    let forbidden = shared.forbidden.lock().contains(&(call.resource.plural, verb));
    let why = if forbidden {
        Some(rbac::refusal(user, call, verb))
    } else {
        rbac.and_then(|rbac| rbac.check(call, verb))
    };
    why.map_or(Ok(()), |why| Err(Failure::forbidden(call.resource, &name, &why)))
}

/// The body of a request; null if there is none.
async fn read(headers: &HeaderMap, body: Incoming) -> Result<Value, Failure> {
    let bytes = body.collect().await.map_err(|error| Failure::bad_request(error.to_string()))?;
    let bytes = bytes.to_bytes();
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.contains("protobuf") {
        return Err(Failure::unsupported_media_type(kind));
    }
    serde_json::from_slice(&bytes).map_err(|error| Failure::bad_request(error.to_string()))
}

fn watch(shared: &Arc<Shared>, call: &Call) -> Answer {
    let bookmarks = call.query.flag("allowWatchBookmarks");
    let timeout = call.query.number("timeoutSeconds")?.filter(|&seconds| seconds > 0);
    let filter = call.filter()?;
    let opened = {
        let mut store = shared.store.lock();
        let from = reads::watch_from(&store, call)?;
        store.watch(filter, from, bookmarks)
    };
    let (id, told) = match opened {
        Ok(opened) => opened,
        Err(failure) if failure.code == 410 && !*shared.gone_is_answer.lock() => {
            let answer = Response::new(whole(line("ERROR", &failure.status())));
            return Ok(with_json(answer));
        }
        Err(failure) => return Err(failure),
    };
    let watching = Watching {
        shared: Arc::clone(shared),
        id,
        told,
        end: timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds)),
        next_bookmark: Instant::now() + *shared.bookmark_every.lock(),
    };
    let lines = stream::unfold(watching, |mut watching| async move {
        let line = watching.next().await?;
        Some((line.map(Frame::data), watching))
    });
    Ok(with_json(Response::new(StreamBody::new(lines).boxed_unsync())))
}

/// The answer to a watch as it goes on.
struct Watching {
    shared: Arc<Shared>,
    id: u64,
    told: mpsc::UnboundedReceiver<Told>,
    end: Option<Instant>,
    next_bookmark: Instant,
}

impl Watching {
    /// The next line; nothing at the end, and an error where the connection breaks.
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        let told = loop {
            let end = async {
                match self.end {
                    Some(end) => tokio::time::sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                told = self.told.recv() => break told,
                () = end => {
                    let mut store = self.shared.store.lock();
                    store.bookmark(Some(self.id));
                    store.end(self.id);
                    self.end = None;
                }
                () = tokio::time::sleep_until(self.next_bookmark) => {
                    self.next_bookmark = Instant::now() + *self.shared.bookmark_every.lock();
                    self.shared.store.lock().bookmark(Some(self.id));
                }
            }
        };
        if let Some(Told::Line(_)) = told {
            self.shared.until_it_answers("").await;
        }
        match told? {
            Told::Line(line) => Some(Ok(line)),
            Told::Break => Some(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn json_answer(code: u16, value: &Value) -> Response<Body> {
    let mut answer = Response::new(whole(value.to_string().into()));
    *answer.status_mut() = StatusCode::from_u16(code).unwrap();
    with_json(answer)
}

fn with_json(mut answer: Response<Body>) -> Response<Body> {
    answer.headers_mut().insert(CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    answer
}

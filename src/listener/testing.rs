//! What the tests of connections have in common: a client's end, and what serves ours.

use super::ListenerShard;
use super::connections::{Connection, Connections};
use super::http::{Terms, begin};
use super::http2::Panics;
use super::limits::Limits;
use super::timers::Timers;
use crate::base::accepted::Accepted;
use crate::base::body::Reply;
use crate::base::drain;
use crate::base::incoming::Incoming;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::shard::WorkerIndex;
use http::{Request, Response};
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, spawn_local};
use tower::Service;

/// The client's end of a connection, and ours.
pub(super) async fn pair() -> (TcpStream, TcpStream) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
    (client, socket.accept().await.unwrap().0)
}

/// How a connection is served.
#[derive(Debug, Default)]
pub(super) struct Serving {
    pub(super) connections: Rc<Connections>,
    pub(super) limits: Limits,
    /// Other than those of the limits.
    pub(super) timers: Option<Timers>,
}

impl Serving {
    /// Begins; what is known of the connection, and what ends when it does.
    pub(super) fn start<S, B>(
        self,
        stream: TcpStream,
        service: S,
    ) -> (Rc<Connection>, JoinHandle<()>)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + 'static,
        S::Future: 'static,
        B: Reply + 'static,
    {
        let Self { connections, limits, timers } = self;
        let (_drain, draining) = drain::pair();
        let entry = connections.open(draining);
        let known = Rc::clone(&entry.connection);
        let timers = timers.map_or_else(|| connections.timers(&limits), Rc::new);
        let accepted = Accepted::new(stream.into_std().unwrap());
        let serving = spawn_local(async move {
            let panics = Panics { metrics: Arc::new(Metrics::new(1)), worker: WorkerIndex(0) };
            let shard = ListenerShard::default();
            let terms = Terms { limits: &limits, timers: &timers, shard: &shard, panics: &panics };
            if let Some(serving) = begin(accepted, None, |_| service, &entry, terms).await {
                serving.await;
            }
        });
        (known, serving)
    }
}

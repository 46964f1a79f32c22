//! HTTP/2 by the h2 crate: clients, and origins that do with each connection what the test says.

use super::within;
use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::{self, SendResponse};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A client's connection.
#[derive(Clone)]
pub(crate) struct H2Client(pub(crate) SendRequest<Bytes>);

/// A response that is complete.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) head: Response<()>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

impl H2Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (client, connection) = within(h2::client::handshake(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(client)
    }

    /// Sends the head of a request.
    pub(crate) async fn begin(
        &self,
        request: Request<()>,
        end: bool,
    ) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
        let mut client = within(self.0.clone().ready()).await.unwrap();
        client.send_request(request, end).unwrap()
    }

    /// Sends a request with a body and trailers if there are any, and reads the response.
    pub(crate) async fn exchange(
        &self,
        request: Request<()>,
        body: Option<&[u8]>,
        trailers: Option<HeaderMap>,
    ) -> Result<Answered, h2::Error> {
        let (response, mut sending) = self.begin(request, body.is_none()).await;
        if let Some(body) = body {
            sending.send_data(Bytes::copy_from_slice(body), trailers.is_none())?;
        }
        if let Some(trailers) = trailers {
            sending.send_trailers(trailers)?;
        }
        let (head, mut body) = within(response).await?.into_parts();
        let (body, trailers) = within(read(&mut body)).await?;
        Ok(Answered { head: Response::from_parts(head, ()), body, trailers })
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Answered, h2::Error> {
        let request = Request::get(format!("http://a.test{path}")).body(()).unwrap();
        self.exchange(request, None, None).await
    }
}

/// Reads a body to its end.
async fn read(body: &mut RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        bytes.extend_from_slice(&data);
        body.flow_control().release_capacity(data.len())?;
    }
    Ok((bytes, body.trailers().await?))
}

/// A connection to an origin.
pub(crate) type Served = server::Connection<TcpStream, Bytes>;

/// An origin that speaks HTTP/2 without TLS; it ends with the test.
pub(crate) struct H2Origin {
    pub(crate) address: SocketAddr,
    accepted: Arc<Mutex<usize>>,
    accepting: JoinHandle<()>,
}

/// A request at an origin, and the way to answer it.
pub(crate) struct Answering {
    pub(crate) head: http::request::Parts,
    pub(crate) body: RecvStream,
    pub(crate) respond: SendResponse<Bytes>,
}

impl H2Origin {
    /// Lets the closure serve each connection, whose number it is told, from 0.
    pub(crate) async fn connections<F>(
        builder: server::Builder,
        serve: impl Fn(Served, usize) -> F + Clone + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let accepted = Arc::new(Mutex::new(0));
        let noted = Arc::clone(&accepted);
        let accepting = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = socket.accept().await else { return };
                let number = *noted.lock();
                *noted.lock() += 1;
                let (builder, serve) = (builder.clone(), serve.clone());
                tokio::spawn(async move {
                    if let Ok(connection) = builder.handshake(stream).await {
                        serve(connection, number).await;
                    }
                });
            }
        });
        Self { address, accepted, accepting }
    }

    /// Lets the closure answer each request, many at once.
    pub(crate) async fn requests<F>(
        builder: server::Builder,
        answer: impl Fn(Answering) -> F + Clone + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::connections(builder, move |mut connection, _| {
            let answer = answer.clone();
            async move {
                while let Some(Ok(request)) = connection.accept().await {
                    tokio::spawn(answer(Answering::new(request)));
                }
            }
        })
        .await
    }

    /// Answers every request with 200 and its name, in `x-origin` and as the body.
    pub(crate) async fn named(name: &'static str) -> Self {
        Self::requests(server::Builder::new(), async move |answering| {
            answering.say(name).await;
        })
        .await
    }

    /// How many connections were accepted.
    pub(crate) fn accepted(&self) -> usize {
        *self.accepted.lock()
    }
}

impl Drop for H2Origin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Answering {
    pub(crate) fn new((request, respond): (Request<RecvStream>, SendResponse<Bytes>)) -> Self {
        let (head, body) = request.into_parts();
        Self { head, body, respond }
    }

    /// Reads the request to its end.
    pub(crate) async fn read(&mut self) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
        read(&mut self.body).await
    }

    /// Answers 200 with a name.
    #[expect(clippy::unused_async, reason = "what serves a request is a future")]
    pub(crate) async fn say(mut self, name: &'static str) {
        let response = Response::builder().header("x-origin", name).body(()).unwrap();
        if let Ok(mut stream) = self.respond.send_response(response, false) {
            let _ = stream.send_data(Bytes::from_static(name.as_bytes()), true);
        }
    }
}

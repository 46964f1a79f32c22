//! How the endpoints of a pool are spoken to: which version of HTTP, and TLS or not.

use super::limits::Overloaded;
use super::settings::PoolConfig;
use super::stream::Stream;
use crate::base::problem::Problems;
use crate::tls;
use schemars::JsonSchema;
use serde::Deserialize;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpStream;

/// Which version of HTTP is spoken with the endpoints of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; without TLS with prior knowledge (RFC 9113 section 3.3).
    H2,
    /// HTTP/2 if the endpoint chooses it in the TLS handshake, else HTTP/1.1; needs `tls`.
    Auto,
}

impl Protocol {
    /// What is offered in the TLS handshake (RFC 7301), the best first.
    const fn names(self) -> &'static [&'static [u8]] {
        match self {
            Self::Http1 => &[b"http/1.1"],
            Self::H2 => &[b"h2"],
            Self::Auto => &[b"h2", b"http/1.1"],
        }
    }
}

/// How the endpoints of a pool are spoken to. It never changes: another setting makes another one,
/// and connections of the one before are not used for new requests.
#[derive(Debug)]
pub struct Transport {
    /// The version of HTTP.
    pub protocol: Protocol,
    /// TLS, if it is spoken.
    pub tls: Option<Arc<tls::Client>>,
}

/// The version that a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectError {
    /// The endpoint refused, or there is no way to it.
    Failed(io::Error),
    /// It did not answer in time.
    TimedOut,
    /// The TLS handshake failed.
    Tls(io::Error),
    /// It does not speak the version of HTTP that it should.
    Protocol(&'static str),
    /// All connections are as full as they may be, and so is the queue before them.
    Full,
    /// As many connections as the pool may have are in use, and the request can not wait for one,
    /// or has waited for too long.
    Overloaded,
}

impl From<Overloaded> for ConnectError {
    fn from(_: Overloaded) -> Self {
        Self::Overloaded
    }
}

impl ConnectError {
    /// The same for another request that waited for the same connection.
    #[must_use]
    pub fn again(&self) -> Self {
        let copy = |error: &io::Error| io::Error::new(error.kind(), error.to_string());
        match self {
            Self::Failed(error) => Self::Failed(copy(error)),
            Self::TimedOut => Self::TimedOut,
            Self::Tls(error) => Self::Tls(copy(error)),
            Self::Protocol(why) => Self::Protocol(why),
            Self::Full => Self::Full,
            Self::Overloaded => Self::Overloaded,
        }
    }
}

impl Default for Transport {
    fn default() -> Self {
        Self { protocol: Protocol::Http1, tls: None }
    }
}

impl Transport {
    /// Reads the files that the pool's settings name; what is wrong is noted there. Blocks.
    pub fn load(
        config: &PoolConfig,
        folder: impl Into<PathBuf>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let protocol = config.protocol();
        let tls = match &config.tls {
            Some(tls) => {
                let names = protocol.names();
                Some(Arc::new(tls::Client::load(tls, &folder.into(), names, problems)?))
            }
            None => None,
        };
        Some(Self { protocol, tls })
    }

    /// Whether connections made with the other are as good as those made with this.
    pub fn is_like(&self, other: &Self) -> bool {
        let same = match (&self.tls, &other.tls) {
            (None, None) => true,
            (Some(one), Some(other)) => one.is_like(other),
            _ => false,
        };
        same && self.protocol == other.protocol
    }

    /// Connects, and says which version is to be spoken.
    pub async fn connect(&self, address: SocketAddr) -> Result<(Stream, Spoken), ConnectError> {
        self.connect_in(self.protocol, address).await
    }

    /// The same for another version than requests are sent in.
    pub async fn connect_in(
        &self,
        protocol: Protocol,
        address: SocketAddr,
    ) -> Result<(Stream, Spoken), ConnectError> {
        let stream = TcpStream::connect(address).await.map_err(ConnectError::Failed)?;
        stream.set_nodelay(true).map_err(ConnectError::Failed)?;
        let Some(tls) = &self.tls else {
            let spoken = if protocol == Protocol::H2 { Spoken::Http2 } else { Spoken::Http1 };
            return Ok((Stream::Plain(stream), spoken));
        };
        let secured = if protocol == self.protocol {
            tls.connect(stream, address.ip()).await
        } else {
            tls.connect_offering(protocol.names(), stream, address.ip()).await
        };
        let stream = secured.map_err(ConnectError::Tls)?;
        let chosen = stream.get_ref().1.alpn_protocol();
        let spoken = match (protocol, chosen) {
            (Protocol::H2 | Protocol::Auto, Some(b"h2")) => Spoken::Http2,
            // RFC 9113 section 3.2: HTTP/2 over TLS is agreed upon in the handshake.
            (Protocol::H2, _) => {
                return Err(ConnectError::Protocol("it did not choose h2 in the TLS handshake"));
            }
            (Protocol::Http1 | Protocol::Auto, _) => Spoken::Http1,
        };
        Ok((Stream::Secure(Box::new(stream)), spoken))
    }
}

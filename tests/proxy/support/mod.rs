//! What the subjects share: the app, the origins, the wire, deadlines.

mod app;
mod authority;
#[cfg(feature = "kube")]
pub(crate) mod cluster;
#[cfg(feature = "dns")]
mod dns;
pub(crate) mod frames;
mod http2;
mod load;
#[cfg(feature = "kube")]
mod log;
#[cfg(feature = "kube")]
pub(crate) mod manifests;
mod origin;
mod upgraded;
mod wire;

pub(crate) use app::App;
pub(crate) use authority::{Authority, Pair};
#[cfg(feature = "kube")]
pub(crate) use cluster::Cluster;
#[cfg(feature = "dns")]
pub(crate) use dns::{Kind, NameServer, Says};
pub(crate) use frames::{Raw, RawEndpoint};
pub(crate) use http2::{Answering, H2Client, H2Origin, Served};
pub(crate) use load::Load;
#[cfg(feature = "kube")]
pub(crate) use log::Log;
pub(crate) use origin::{Connection, Origin};
pub(crate) use upgraded::{ASKING, Upgraded, Version, ask, connect, head};
pub(crate) use wire::{Body, Broken, Client, Head, Response, Wire};

use socket2::{Domain, Socket, Type};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

/// How long anything may take that is expected to happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// Awaits what is expected to happen.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it should have happened by now")
}

/// Looks again and again until the answer is yes.
pub(crate) async fn eventually(what: &str, mut look: impl AsyncFnMut() -> bool) {
    /// How long to leave the processor to what is waited for.
    const PACE: Duration = Duration::from_millis(5);
    let looking = async {
        while !look().await {
            tokio::time::sleep(PACE).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, looking).await.is_ok(), "never: {what}");
}

/// A configuration with one listener and the admin on free ports, and these pools and routes.
pub(crate) fn config(pools: &[(&str, &[SocketAddr])], routes: &str) -> String {
    let listeners = "[{ name: web, address: '127.0.0.1:0' }]";
    config_with(listeners, "{ delay: 0s, timeout: 10s }", pools, routes)
}

/// The same with listeners and draining of one's own.
pub(crate) fn config_with(
    listeners: &str,
    drain: &str,
    pools: &[(&str, &[SocketAddr])],
    routes: &str,
) -> String {
    use std::fmt::Write as _;
    let mut text = format!(
        "listeners: {listeners}\nadmin: {{ address: '127.0.0.1:0' }}\ndrain: {drain}\npools:\n"
    );
    for (name, endpoints) in pools {
        let endpoints: Vec<_> = endpoints.iter().map(|address| format!("'{address}'")).collect();
        let _ = writeln!(text, "  - {{ name: {name}, endpoints: [{}] }}", endpoints.join(", "));
    }
    let _ = writeln!(text, "routes:\n{routes}");
    text
}

/// A configuration whose only route sends everything to the given endpoints; `more` is further
/// settings of the route.
pub(crate) fn all_to(endpoints: &[SocketAddr], more: &str) -> String {
    let comma = if more.is_empty() { "" } else { ", " };
    let route = format!("  - {{ name: all, split: [{{ to: only }}]{comma}{more} }}");
    config(&[("only", endpoints)], &route)
}

/// A configuration whose only pool has one endpoint and further settings.
pub(crate) fn pool_with(address: SocketAddr, settings: &str, route: &str) -> String {
    pool_of(&[address], settings, route)
}

/// The same with these endpoints.
pub(crate) fn pool_of(endpoints: &[SocketAddr], settings: &str, route: &str) -> String {
    let comma = if route.is_empty() { "" } else { ", " };
    let endpoints: Vec<_> = endpoints.iter().map(|address| format!("'{address}'")).collect();
    let endpoints = endpoints.join(", ");
    format!(
        "listeners: [{{ name: web, address: '127.0.0.1:0' }}]\n\
         admin: {{ address: '127.0.0.1:0' }}\n\
         drain: {{ delay: 0s, timeout: 10s }}\n\
         pools: [{{ name: only, endpoints: [{endpoints}], {settings} }}]\n\
         routes: [{{ name: all, split: [{{ to: only }}]{comma}{route} }}]\n"
    )
}

/// An address that nobody listens on, and that nobody else is given: only who asks for it by its
/// port can listen there.
pub(crate) fn nobody() -> SocketAddr {
    /// Bound until the end, for a port that is given up is somebody else's soon.
    static HELD: Mutex<Vec<Socket>> = Mutex::new(Vec::new());
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    HELD.lock().unwrap().push(socket);
    address
}

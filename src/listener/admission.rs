//! How many connections a listener has, all workers together, and who is turned away at the door.

use super::refusal::Refusal;
use crate::base::accepted::Accepted;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// How much of what a client has sent already is read before it is turned away: closing a socket
/// with unread bytes resets the connection, and the client may not see why.
const DISCARD_BYTES: usize = 4096;

/// The connections of a listener.
#[derive(Debug, Default)]
pub struct Census {
    open: AtomicUsize,
    /// By client, if there is a limit; never more than there are connections.
    clients: Mutex<HashMap<IpAddr, u32>>,
}

/// A connection that is counted, until it is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Census>);

/// A connection that is counted for its client, until it is dropped.
#[derive(Debug)]
pub(super) struct ClientPlace {
    census: Arc<Census>,
    client: IpAddr,
}

impl Census {
    /// Counts a connection, unless there are as many as there may be; 0 for no limit.
    pub(super) fn enter(self: &Arc<Self>, limit: usize) -> Option<Place> {
        let place = Place(Arc::clone(self));
        let before = self.open.fetch_add(1, Relaxed);
        // The place is given back when it is dropped.
        (limit == 0 || before < limit).then_some(place)
    }

    /// Counts a connection of a client, unless it has as many as it may have.
    pub(super) fn enter_client(self: &Arc<Self>, ip: IpAddr, limit: u32) -> Option<ClientPlace> {
        let client = counted_as(ip);
        let mut clients = self.clients.lock();
        let open = clients.entry(client).or_default();
        if *open >= limit {
            return None;
        }
        *open += 1;
        Some(ClientPlace { census: Arc::clone(self), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        let mut clients = self.census.clients.lock();
        if let Some(open) = clients.get_mut(&self.client) {
            *open -= 1;
            if *open == 0 {
                clients.remove(&self.client);
            }
        }
    }
}

/// An address as its connections are counted: IPv6 by /64, which is what one client gets at least
/// (RFC 6177).
fn counted_as(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

/// Says why, if the client can be told without TLS and without waiting for it.
pub(super) fn turn_away(stream: Accepted, secure: bool, refusal: Refusal) {
    let (status, text) = match refusal {
        Refusal::ConnectionsOfClient => ("429 Too Many Requests", "429: too many connections\n"),
        _ => ("503 Service Unavailable", "503: too many connections\n"),
    };
    if secure {
        return;
    }
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
    // The runtime does not know yet whether it can be written to, the kernel does.
    if let Ok(mut stream) = stream.into_std() {
        let _ = stream.read(&mut [0; DISCARD_BYTES]);
        let _ = stream.write(answer.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::Census;
    use std::net::IpAddr;
    use std::sync::Arc;

    #[test]
    fn a_place_is_free_again_when_its_connection_ends() {
        let census = Arc::new(Census::default());
        let first = census.enter(1).unwrap();
        assert!(census.enter(1).is_none());
        assert!(census.enter(2).is_some());
        drop(first);
        let places: Vec<_> = (0..5).map(|_| census.enter(0).unwrap()).collect();
        assert!(census.enter(5).is_none());
        drop(places);
        assert!(census.enter(1).is_some());
    }

    #[test]
    fn clients_are_counted_by_address_or_network_and_forgotten_when_gone() {
        let census = Arc::new(Census::default());
        let enter = |ip: &str| census.enter_client(ip.parse::<IpAddr>().unwrap(), 1);
        let four = enter("192.0.2.1").unwrap();
        assert!(enter("::ffff:192.0.2.1").is_none());
        let other = enter("192.0.2.2").unwrap();
        let six = enter("2001:db8::1").unwrap();
        assert!(enter("2001:db8:0:0:ffff::9").is_none());
        assert!(enter("2001:db8:0:1::1").is_some());
        drop((four, other, six));
        assert!(census.clients.lock().is_empty());
        assert!(enter("192.0.2.1").is_some());
    }
}

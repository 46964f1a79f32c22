//! A name server that answers what the test says, over UDP and TCP, and counts what it is asked.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

/// A name server of one test; it ends with the test. It knows no name that it was not told of.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    serving: [JoinHandle<()>; 2],
}

/// What is answered for a name.
#[derive(Debug, Clone)]
pub(crate) enum Says {
    /// These addresses, as far as they are of the family asked for, with this time to live.
    Addresses(Vec<IpAddr>, u32),
    /// There is no such name.
    NoSuchName,
    /// The name is there, without addresses.
    NoRecords,
    /// The server failed.
    Fails,
    /// Nothing at all.
    Silence,
}

/// The type of an address record (RFC 1035 section 3.2.2, RFC 3596 section 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Kind {
    A = 1,
    Aaaa = 28,
}

#[derive(Default)]
struct Zone {
    says: HashMap<(String, Kind), Says>,
    asked: HashMap<(String, Kind), usize>,
}

impl Says {
    /// These addresses, with a time to live that is over at once.
    pub(crate) fn addresses(addresses: &[&str]) -> Self {
        Self::Addresses(addresses.iter().map(|address| address.parse().unwrap()).collect(), 0)
    }
}

impl NameServer {
    pub(crate) async fn start() -> Self {
        let (udp, tcp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            // The port may be somebody else's over UDP.
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let zone = Arc::new(Mutex::new(Zone::default()));
        let serving = [
            tokio::spawn(datagrams(udp, Arc::clone(&zone))),
            tokio::spawn(streams(tcp, Arc::clone(&zone))),
        ];
        Self { address, zone, serving }
    }

    /// From now on, this is answered for a name.
    pub(crate) fn say(&self, name: &str, says: &Says) {
        self.say_of(name, Kind::A, says);
        self.say_of(name, Kind::Aaaa, says);
    }

    /// The same for one type of record.
    pub(crate) fn say_of(&self, name: &str, kind: Kind, says: &Says) {
        self.zone.lock().says.insert((name.to_owned(), kind), says.clone());
    }

    /// How often a name was asked for, of the type that was asked for less often.
    pub(crate) fn asked(&self, name: &str) -> usize {
        let zone = self.zone.lock();
        let times = |kind| zone.asked.get(&(name.to_owned(), kind)).copied().unwrap_or(0);
        times(Kind::A).min(times(Kind::Aaaa))
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.serving.iter().for_each(JoinHandle::abort);
    }
}

async fn datagrams(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut buffer = [0; 4096];
    loop {
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else { continue };
        if let Some(answer) = answer(&zone, &buffer[..length], Some(512)) {
            let _ = socket.send_to(&answer, peer).await;
        }
    }
}

async fn streams(socket: TcpListener, zone: Arc<Mutex<Zone>>) {
    while let Ok((mut stream, _)) = socket.accept().await {
        let zone = Arc::clone(&zone);
        tokio::spawn(async move {
            while let Ok(length) = stream.read_u16().await {
                let mut question = vec![0; length.into()];
                stream.read_exact(&mut question).await?;
                if let Some(answer) = answer(&zone, &question, None) {
                    stream.write_u16(answer.len().try_into().unwrap()).await?;
                    stream.write_all(&answer).await?;
                }
            }
            Ok::<_, std::io::Error>(())
        });
    }
}

/// The answer to a message with one question (RFC 1035 section 4): its head says that it is
/// truncated if it is longer than it may be.
fn answer(zone: &Mutex<Zone>, message: &[u8], most: Option<usize>) -> Option<Vec<u8>> {
    let (name, end) = name(message)?;
    let kind = match message.get(end..end + 2)? {
        [0, 1] => Kind::A,
        [0, 28] => Kind::Aaaa,
        _ => return None,
    };
    let says = {
        let mut zone = zone.lock();
        *zone.asked.entry((name.clone(), kind)).or_default() += 1;
        zone.says.get(&(name, kind)).cloned().unwrap_or(Says::NoSuchName)
    };
    let (code, addresses, ttl) = match says {
        Says::Addresses(addresses, ttl) => (0, addresses, ttl),
        Says::NoRecords => (0, Vec::new(), 0),
        Says::NoSuchName => (3, Vec::new(), 0),
        Says::Fails => (2, Vec::new(), 0),
        Says::Silence => return None,
    };
    let mut records = Vec::new();
    let mut count = 0_u16;
    for address in addresses {
        let data = match (address, kind) {
            (IpAddr::V4(address), Kind::A) => address.octets().to_vec(),
            (IpAddr::V6(address), Kind::Aaaa) => address.octets().to_vec(),
            _ => continue,
        };
        // The name is the one of the question.
        records.extend([0xc0, 12, 0, kind as u8, 0, 1]);
        records.extend(ttl.to_be_bytes());
        records.extend([0, data.len().try_into().unwrap()]);
        records.extend(data);
        count += 1;
    }
    let truncated = most.is_some_and(|most| end + 4 + records.len() > most);
    if truncated {
        records.clear();
        count = 0;
    }
    let mut answer = message[..2].to_vec();
    answer.extend([0x85 | u8::from(truncated) << 1, 0x80 | code, 0, 1]);
    answer.extend(count.to_be_bytes());
    answer.extend([0; 4]);
    answer.extend(&message[12..end + 4]);
    answer.extend(records);
    Some(answer)
}

/// The name in the question of a message, without the dot at its end, and where it ends.
fn name(message: &[u8]) -> Option<(String, usize)> {
    let (mut labels, mut at) = (Vec::new(), 12);
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        let label = std::str::from_utf8(message.get(at..at + length)?).ok()?;
        labels.push(label.to_ascii_lowercase());
        at += length;
    }
}

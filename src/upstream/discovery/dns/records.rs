//! Look-ups that see the records, and so how long they live.

use super::names::names;
use super::{Answer, DnsConfig, Family, LookUp};
use crate::upstream::discovery::Missed;
use futures_util::future::{Either, select};
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{Hosts, TokioResolver};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, timeout_at};

/// How often each name server is asked.
const ROUNDS: usize = 2;
/// How long the addresses of one family wait for those of the other.
const GRACE: Duration = Duration::from_secs(1);
/// What the system says of names.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// The look-ups of one name.
pub(super) struct Records {
    config: DnsConfig,
    asking: Option<Asking>,
}

/// Whom to ask for what, as the system has it.
struct Asking {
    /// The files from which this was read, as they were then.
    files: Files,
    /// The addresses that the system knows without asking anybody.
    hosts: Vec<IpAddr>,
    names: Vec<Name>,
    servers: Vec<TokioResolver>,
    /// The name server that answered last, which is asked first.
    first: AtomicUsize,
}

/// When files were changed, and how long they are.
type Files = [Option<(SystemTime, u64)>; FILES.len()];

/// The addresses of one family, and how long they hold.
type Part = (Vec<IpAddr>, Duration);

impl Records {
    pub(super) fn new(config: &DnsConfig) -> Self {
        Self { config: config.clone(), asking: None }
    }

    /// Whom to ask now: read anew when the system's files have changed.
    async fn asking(&mut self) -> Result<&Asking, Missed> {
        let known = self.asking.take();
        let config = self.config.clone();
        let read = tokio::task::spawn_blocking(move || {
            let files = files();
            match known {
                Some(asking) if asking.files == files => Ok(asking),
                _ => Asking::read(&config, files),
            }
        });
        let read = read.await.map_err(|error| Missed::Failed(error.to_string()))?;
        let asking = read.map_err(|error| Missed::Failed(error.to_string()))?;
        Ok(self.asking.insert(asking))
    }
}

impl LookUp for Records {
    async fn look_up(&mut self, deadline: Instant) -> Result<Answer, Missed> {
        if let Ok(address) = self.config.host.parse() {
            return Ok(Answer { addresses: vec![address], ..Answer::default() });
        }
        let asking = self.asking().await?;
        if !asking.hosts.is_empty() {
            return Ok(Answer { addresses: asking.hosts.clone(), ..Answer::default() });
        }
        let mut missed = Missed::NoSuchName;
        for name in &asking.names {
            match asking.both(name, deadline).await {
                // What the next name has may be something else than what is meant.
                Err(Missed::Timeout) => return Err(Missed::Timeout),
                Err(why) => missed = worse(missed, why),
                Ok(answer) => return Ok(answer),
            }
        }
        Err(missed)
    }
}

impl Asking {
    /// Reads the system's files. Blocks.
    fn read(config: &DnsConfig, files: Files) -> Result<Self, NetError> {
        let (system, mut options) = match read_system_conf() {
            Err(_) if !config.servers.is_empty() => Default::default(),
            read => read?,
        };
        let mut search: Vec<String> = system.search.iter().map(ToString::to_string).collect();
        if search.is_empty() {
            search.extend(system.domain.as_ref().map(ToString::to_string));
        }
        // A name that is too long with a search domain is none.
        let names = names(&config.host, &search, options.ndots);
        let names: Vec<Name> =
            names.iter().filter_map(|name| Name::from_ascii(name).ok()).collect();
        let servers = if config.servers.is_empty() {
            system.name_servers
        } else {
            config.servers.iter().map(|server| name_server(server.ip(), server.port())).collect()
        };
        let tries = u32::try_from(servers.len() * ROUNDS).unwrap_or(u32::MAX);
        options.timeout = options.timeout.min(config.timeout.0 / tries.max(1));
        // The time to live is ours to watch, and so is what is asked again.
        options.cache_size = 0;
        options.attempts = 0;
        options.use_hosts_file = ResolveHosts::Never;
        let servers = servers.into_iter().map(|server| resolver(server, &options));
        Ok(Self {
            files,
            hosts: hosts(&config.host),
            names,
            servers: servers.collect::<Result<_, _>>()?,
            first: AtomicUsize::new(0),
        })
    }

    /// Asks for the addresses of both families at once.
    async fn both(&self, name: &Name, deadline: Instant) -> Result<Answer, Missed> {
        let v4 = pin!(self.ask(name, RecordType::A, deadline));
        let v6 = pin!(self.ask(name, RecordType::AAAA, deadline));
        let (v4, v6) = match select(v4, v6).await {
            Either::Left((v4, v6)) => {
                let v6 = other(&v4, v6).await;
                (v4, v6)
            }
            Either::Right((v6, v4)) => (other(&v6, v4).await, v6),
        };
        join(v4, v6)
    }

    /// Asks the name servers in turn until one knows, be it that there is nothing.
    async fn ask(&self, name: &Name, kind: RecordType, deadline: Instant) -> Result<Part, Missed> {
        let asking = async {
            let mut missed = Missed::Failed("there is no name server to ask".to_owned());
            let turns = self.servers.iter().enumerate().cycle().skip(self.first.load(Relaxed));
            for (index, server) in turns.take(self.servers.len() * ROUNDS) {
                let answer = server.lookup(name.clone(), kind).await;
                match answer.map_or_else(|error| Err(missed_by(&error)), |lookup| part(&lookup)) {
                    Err(why @ (Missed::Failed(_) | Missed::Timeout)) => missed = why,
                    known => {
                        self.first.store(index, Relaxed);
                        return known;
                    }
                }
            }
            Err(missed)
        };
        timeout_at(deadline, asking).await.unwrap_or(Err(Missed::Timeout))
    }
}

/// The answer for the other family: there are servers that never give one.
async fn other(
    first: &Result<Part, Missed>,
    other: impl Future<Output = Result<Part, Missed>>,
) -> Result<Part, Missed> {
    if first.is_err() {
        return other.await;
    }
    tokio::time::timeout(GRACE, other).await.unwrap_or(Err(Missed::Timeout))
}

/// The addresses of both families; those of one are enough.
fn join(v4: Result<Part, Missed>, v6: Result<Part, Missed>) -> Result<Answer, Missed> {
    let unknown = |missed: &Missed, family| {
        matches!(missed, Missed::Timeout | Missed::Failed(_)).then_some(family)
    };
    let ((addresses, ttl), unknown) = match (v4, v6) {
        (Ok((mut addresses, ttl)), Ok((more, other))) => {
            addresses.extend(more);
            ((addresses, ttl.min(other)), None)
        }
        (Ok(part), Err(missed)) => (part, unknown(&missed, Family::V6)),
        (Err(missed), Ok(part)) => (part, unknown(&missed, Family::V4)),
        (Err(v4), Err(v6)) => return Err(worse(v4, v6)),
    };
    Ok(Answer { addresses, ttl: Some(ttl), unknown })
}

/// The one that leaves more open.
fn worse(one: Missed, two: Missed) -> Missed {
    let open = |missed: &Missed| match missed {
        Missed::NoSuchName => 0,
        Missed::NoRecords => 1,
        Missed::Failed(_) => 2,
        Missed::Timeout => 3,
    };
    if open(&two) > open(&one) { two } else { one }
}

/// The addresses in an answer. The names on the way count for how long it holds.
fn part(lookup: &Lookup) -> Result<Part, Missed> {
    let records = lookup.answers();
    let addresses: Vec<IpAddr> = records.iter().filter_map(|one| one.data.ip_addr()).collect();
    match records.iter().map(|record| record.ttl).min() {
        Some(ttl) if !addresses.is_empty() => Ok((addresses, Duration::from_secs(ttl.into()))),
        _ => Err(Missed::NoRecords),
    }
}

fn missed_by(error: &NetError) -> Missed {
    match error {
        NetError::Timeout => Missed::Timeout,
        NetError::Dns(DnsError::NoRecordsFound(found)) => match found.response_code {
            ResponseCode::NXDomain => Missed::NoSuchName,
            ResponseCode::NoError => Missed::NoRecords,
            code => Missed::Failed(code.to_string()),
        },
        other => Missed::Failed(other.to_string()),
    }
}

fn name_server(ip: IpAddr, port: u16) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = port;
        connection
    });
    NameServerConfig::new(ip, true, connections.into())
}

/// One that asks this name server alone: what it answers is told as it is.
fn resolver(server: NameServerConfig, options: &ResolverOpts) -> Result<TokioResolver, NetError> {
    let config = ResolverConfig::from_name_servers(vec![server]);
    let provider = TokioRuntimeProvider::default();
    TokioResolver::builder_with_config(config, provider).with_options(options.clone()).build()
}

/// The addresses in the system's file of hosts, which go before those in DNS.
fn hosts(host: &str) -> Vec<IpAddr> {
    let host = host.to_ascii_lowercase();
    let (Ok(hosts), Ok(name)) = (Hosts::from_system(), Name::from_ascii(&host)) else {
        return Vec::new();
    };
    let queries = [RecordType::A, RecordType::AAAA].map(|kind| Query::query(name.clone(), kind));
    let found = queries.iter().filter_map(|query| hosts.lookup_static_host(query));
    let parts = found.filter_map(|lookup| part(&lookup).ok());
    parts.flat_map(|(addresses, _)| addresses).collect()
}

fn files() -> Files {
    FILES.map(|path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::{Family, Missed, Part, join, worse};
    use std::net::IpAddr;
    use std::time::Duration;

    fn part(addresses: &[&str], seconds: u64) -> Part {
        let addresses = addresses.iter().map(|one| one.parse::<IpAddr>().unwrap());
        (addresses.collect(), Duration::from_secs(seconds))
    }

    fn failed() -> Missed {
        Missed::Failed("SERVFAIL".to_owned())
    }

    #[test]
    fn one_family_is_enough_and_the_other_is_unknown_only_if_it_could_not_be_asked_for() {
        let (v4, v6) = (part(&["10.0.0.1"], 30), part(&["::2"], 20));
        let both = join(Ok(v4.clone()), Ok(v6.clone())).unwrap();
        assert_eq!((both.addresses.len(), both.unknown), (2, None));
        assert_eq!(both.ttl, Some(Duration::from_secs(20)));
        for (missed, unknown) in [
            (Missed::NoRecords, false),
            (Missed::NoSuchName, false),
            (Missed::Timeout, true),
            (failed(), true),
        ] {
            let first = join(Ok(v4.clone()), Err(missed.clone())).unwrap();
            assert_eq!((first.addresses, first.unknown.is_some()), (v4.0.clone(), unknown));
            let second = join(Err(missed), Ok(v6.clone())).unwrap();
            assert_eq!(second.unknown, unknown.then_some(Family::V4));
        }
    }

    #[test]
    fn a_name_is_gone_only_if_nothing_else_can_be() {
        let gone = || Missed::NoSuchName;
        assert_eq!(join(Err(gone()), Err(gone())), Err(Missed::NoSuchName));
        assert_eq!(join(Err(gone()), Err(Missed::NoRecords)), Err(Missed::NoRecords));
        assert_eq!(join(Err(failed()), Err(Missed::NoRecords)), Err(failed()));
        assert_eq!(worse(Missed::Timeout, failed()), Missed::Timeout);
    }
}

//! Endpoints of a Service: all of its slices joined, by the port that is asked for.

use super::Port;
use crate::cluster::facts::{ServiceFacts, SliceEndpoint, SliceFacts};
use crate::upstream::discovery::Found;
use crate::upstream::transport::Protocol;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// What the slices of a Service come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Joined {
    /// The endpoints, each once.
    pub(super) endpoints: Vec<Found>,
    /// What they speak, if the Service says it.
    pub(super) protocol: Option<Protocol>,
    /// The `appProtocol` that says that they speak it over TLS, if one does.
    pub(super) secured: Option<String>,
    /// The names of the ports that are there, if none is the one that is asked for.
    pub(super) other_ports: Option<Vec<String>>,
    /// Whether the Service has the port that is asked for, under a name that no slice knows yet.
    pub(super) renamed: bool,
}

/// Joins the slices of a Service. A number is that of the Service's port (as `backendRef.port` of
/// the Gateway API), and without a Service that of the slices.
///
/// Requests go to endpoints that are ready; when none is, to those that still serve while they
/// terminate (KEP-1669, as kube-proxy does). All other terminating ones are draining.
pub(super) fn join<'a>(
    slices: impl Iterator<Item = &'a SliceFacts> + Clone,
    service: Option<&ServiceFacts>,
    port: &Port,
) -> Joined {
    // One address can be in two slices while it moves from one to the other: ready wins.
    let mut all: BTreeMap<SocketAddr, SliceEndpoint> = BTreeMap::new();
    let (mut protocol, mut secured) = (None, None);
    let mut matched = false;
    for slice in slices.clone() {
        let Some((number, spoken)) = listening(slice, service, port) else { continue };
        matched = true;
        protocol = protocol.or_else(|| version(spoken));
        secured = secured.or_else(|| is_over_tls(spoken).then(|| spoken.to_owned()));
        for endpoint in &slice.endpoints {
            let address = SocketAddr::new(endpoint.ip, number);
            let known = all.entry(address).or_insert(*endpoint);
            if endpoint.ready && !known.ready {
                *known = *endpoint;
            }
        }
    }
    let any_ready = all.values().any(|endpoint| endpoint.ready);
    let endpoints = all.iter().filter_map(|(address, endpoint)| {
        let usable = endpoint.ready || (!any_ready && endpoint.serving && endpoint.terminating);
        (usable || endpoint.terminating).then(|| Found { draining: !usable, ..(*address).into() })
    });
    let endpoints = endpoints.collect();
    let mut others: Vec<String> =
        slices.flat_map(|slice| &slice.ports).map(|port| port.name.clone()).collect();
    others.sort_unstable();
    others.dedup();
    let other_ports = (!matched && !others.is_empty()).then_some(others);
    let has = |number| service.is_some_and(|known| known.ports.iter().any(|p| p.0 == number));
    let renamed = other_ports.is_some() && matches!(port, Port::Number(number) if has(*number));
    Joined { endpoints, protocol, secured, other_ports, renamed }
}

/// Where the endpoints of a slice listen for what comes to the Service's port, and that port's
/// `appProtocol`.
fn listening<'a>(
    slice: &'a SliceFacts,
    service: Option<&ServiceFacts>,
    port: &Port,
) -> Option<(u16, &'a str)> {
    let by_name = |name: &str| slice.ports.iter().find(|known| known.name == name);
    let found = match port {
        Port::Name(name) => by_name(name),
        Port::Number(number) => match service {
            Some(service) if !service.ports.is_empty() => {
                let known = service.ports.iter().find(|(known, _)| known == number)?;
                by_name(&known.1)
            }
            // A Service without ports has slices without: all ports of its pods are meant.
            Some(_) if slice.ports.is_empty() => return Some((*number, "")),
            _ => slice.ports.iter().find(|known| known.port == *number),
        },
    };
    found.map(|found| (found.port, found.protocol.as_str()))
}

/// What an `appProtocol` says of the version of HTTP (KEP-3726); nothing for all others.
fn version(spoken: &str) -> Option<Protocol> {
    match spoken {
        "kubernetes.io/h2c" | "grpc" => Some(Protocol::H2),
        "kubernetes.io/ws" | "http" => Some(Protocol::Http1),
        _ => None,
    }
}

/// Whether an `appProtocol` is spoken over TLS (KEP-3726).
fn is_over_tls(spoken: &str) -> bool {
    matches!(spoken, "https" | "kubernetes.io/wss")
}

#[cfg(test)]
mod tests {
    use super::{Joined, Port, Protocol, ServiceFacts, SliceEndpoint, SliceFacts, join};
    use crate::cluster::facts::SlicePort;
    use proptest::prelude::*;
    use std::net::IpAddr;

    fn port(name: &str, port: u16, protocol: &str) -> SlicePort {
        SlicePort { name: name.to_owned(), port, protocol: protocol.to_owned() }
    }

    fn endpoint(ip: &str, ready: bool, serving: bool, terminating: bool) -> SliceEndpoint {
        SliceEndpoint { ip: ip.parse().unwrap(), ready, serving, terminating }
    }

    fn slice(ports: &[SlicePort], endpoints: &[SliceEndpoint]) -> SliceFacts {
        SliceFacts { ports: ports.to_vec(), endpoints: endpoints.to_vec() }
    }

    fn shown(joined: &Joined) -> Vec<(String, bool)> {
        joined.endpoints.iter().map(|f| (f.address.to_string(), f.draining)).collect()
    }

    #[test]
    fn all_slices_are_joined_and_ports_are_those_of_each() {
        let slices = [
            slice(
                &[port("http", 8080, "kubernetes.io/h2c"), port("admin", 9090, "")],
                &[endpoint("10.0.0.1", true, true, false)],
            ),
            slice(&[port("http", 8081, "")], &[endpoint("10.0.0.2", true, true, false)]),
            slice(&[port("http", 8080, "")], &[endpoint("fd00::1", true, true, false)]),
            slice(&[port("other", 1, "")], &[endpoint("10.0.0.3", true, true, false)]),
        ];
        let service =
            ServiceFacts { ports: vec![(80, "http".to_owned()), (81, "none".to_owned())] };
        for asked in [Port::Number(80), Port::Name("http".to_owned())] {
            let joined = join(slices.iter(), Some(&service), &asked);
            let expected = ["10.0.0.1:8080", "10.0.0.2:8081", "[fd00::1]:8080"];
            assert_eq!(shown(&joined), expected.map(|address| (address.to_owned(), false)));
            assert_eq!((joined.protocol, joined.other_ports), (Some(Protocol::H2), None));
        }
        for asked in [Port::Number(81), Port::Number(8080), Port::Name("grpc".to_owned())] {
            let joined = join(slices.iter(), Some(&service), &asked);
            let others = Some(["admin", "http", "other"].map(str::to_owned).to_vec());
            assert_eq!((joined.endpoints.len(), joined.other_ports), (0, others), "{asked}");
            assert_eq!(joined.renamed, asked == Port::Number(81), "{asked}");
        }
        // Slices that somebody made by hand.
        assert_eq!(shown(&join(slices.iter(), None, &Port::Number(8081))).len(), 1);
    }

    #[test]
    fn a_port_whose_protocol_is_spoken_over_tls_is_known() {
        let http = ["", "http", "grpc", "kubernetes.io/h2c", "kubernetes.io/ws"];
        let https = ["https", "kubernetes.io/wss"].map(|protocol| (protocol, Some(protocol)));
        for (protocol, secured) in http.map(|protocol| (protocol, None)).into_iter().chain(https) {
            let slices = [port("web", 80, "http"), port("web", 443, protocol)];
            let slices = slices.map(|port| slice(&[port], &[]));
            let joined = join(slices.iter(), None, &Port::Name("web".to_owned()));
            assert_eq!(joined.secured.as_deref(), secured, "{protocol}");
        }
    }

    #[test]
    fn a_service_without_ports_has_all() {
        let slices = [slice(&[], &[endpoint("10.0.0.1", true, true, false)])];
        let service = ServiceFacts { ports: Vec::new() };
        let joined = join(slices.iter(), Some(&service), &Port::Number(7));
        assert_eq!(shown(&joined), [("10.0.0.1:7".to_owned(), false)]);
    }

    #[test]
    fn terminating_endpoints_serve_only_when_nobody_else_does() {
        let http = [port("http", 80, "")];
        let terminating = endpoint("10.0.0.2", false, true, true);
        let ended = endpoint("10.0.0.3", false, false, true);
        let starting = endpoint("10.0.0.4", false, false, false);
        let with = |ready| {
            let first = endpoint("10.0.0.1", ready, ready, false);
            let slices = [slice(&http, &[first, terminating, ended, starting])];
            shown(&join(slices.iter(), None, &Port::Number(80)))
        };
        let expected = [("10.0.0.1:80", false), ("10.0.0.2:80", true), ("10.0.0.3:80", true)];
        assert_eq!(with(true), expected.map(|(a, draining)| (a.to_owned(), draining)));
        let expected = [("10.0.0.2:80", false), ("10.0.0.3:80", true)];
        assert_eq!(with(false), expected.map(|(a, draining)| (a.to_owned(), draining)));
    }

    proptest! {
        #[test]
        fn what_is_ready_is_used_once_in_whatever_slices_it_is(
            places in prop::collection::vec((0..6_u8, any::<[bool; 3]>(), 0..3_usize), 0..20),
        ) {
            let http = [port("http", 80, "")];
            let mut slices = [slice(&http, &[]), slice(&http, &[]), slice(&http, &[])];
            for (last, [ready, serving, terminating], at) in &places {
                let ip = IpAddr::from([10, 0, 0, *last]);
                let (ready, serving, terminating) = (*ready, *serving, *terminating);
                slices[*at].endpoints.push(SliceEndpoint { ip, ready, serving, terminating });
            }
            let joined = join(slices.iter(), None, &Port::Number(80));
            for last in 0..6_u8 {
                let ip = IpAddr::from([10, 0, 0, last]);
                let uses = joined.endpoints.iter().filter(|f| f.address.ip() == ip);
                let uses: Vec<_> = uses.map(|found| found.draining).collect();
                prop_assert!(uses.len() <= 1);
                if places.iter().any(|(other, [ready, ..], _)| *other == last && *ready) {
                    prop_assert_eq!(uses, vec![false]);
                }
            }
        }
    }
}

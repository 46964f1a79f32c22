//! Endpoints among pods: which of them may get requests, and where.

use super::Port;
use crate::cluster::facts::PodFacts;
use crate::upstream::discovery::Found;
use std::collections::HashMap;
use std::net::SocketAddr;

/// The endpoints among pods: those that are ready, and those that are being deleted as draining, so
/// that their requests finish. A named port is that of each pod's own containers. Of pods that share
/// an address, as on the network of their node or while one takes over from the other, a ready one
/// counts.
pub(super) fn endpoints<'a>(
    pods: impl IntoIterator<Item = &'a PodFacts>,
    port: &Port,
) -> Vec<Found> {
    let endpoint = |pod: &PodFacts| {
        let number = match port {
            Port::Number(number) => *number,
            Port::Name(name) => pod.ports.iter().find(|(known, _)| known == name)?.1,
        };
        let address = SocketAddr::new(pod.ip?, number);
        (pod.ready || pod.terminating)
            .then(|| Found { draining: pod.terminating, ..address.into() })
    };
    let mut all: Vec<Found> = Vec::new();
    let mut places = HashMap::new();
    for found in pods.into_iter().filter_map(endpoint) {
        let place = *places.entry(found.address).or_insert(all.len());
        match all.get_mut(place) {
            Some(known) => known.draining &= found.draining,
            None => all.push(found),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::{PodFacts, Port, endpoints};

    fn pod(ip: &str, ready: bool, terminating: bool) -> PodFacts {
        let ports = vec![("http".to_owned(), 8080), ("admin".to_owned(), 9090)];
        PodFacts { ip: ip.parse().ok(), ready, terminating, ports }
    }

    #[test]
    fn ready_pods_are_endpoints_and_terminating_ones_drain() {
        let pods = [
            pod("10.0.0.1", true, false),
            pod("10.0.0.2", false, false),
            pod("10.0.0.3", true, true),
            pod("10.0.0.4", false, true),
            pod("", true, false),
            pod("fd00::1", true, false),
        ];
        let found = endpoints(&pods, &Port::Name("http".to_owned()));
        let found: Vec<_> = found.iter().map(|f| (f.address.to_string(), f.draining)).collect();
        let expected = [
            ("10.0.0.1:8080", false),
            ("10.0.0.3:8080", true),
            ("10.0.0.4:8080", true),
            ("[fd00::1]:8080", false),
        ];
        assert_eq!(found, expected.map(|(address, draining)| (address.to_owned(), draining)));
        assert_eq!(endpoints(&pods, &Port::Number(81))[0].address.port(), 81);
        assert!(endpoints(&pods, &Port::Name("grpc".to_owned())).is_empty());
    }

    #[test]
    fn of_pods_at_one_address_a_ready_one_counts() {
        let (ready, leaving) = (pod("10.0.0.1", true, false), pod("10.0.0.1", true, true));
        let starting = pod("10.0.0.1", false, false);
        for (pods, draining) in [
            ([&leaving, &ready, &starting], false),
            ([&ready, &starting, &leaving], false),
            ([&starting, &leaving, &leaving], true),
        ] {
            let found = endpoints(pods, &Port::Number(80));
            assert_eq!(found.iter().map(|one| one.draining).collect::<Vec<_>>(), [draining]);
        }
    }
}

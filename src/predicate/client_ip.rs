//! The leaf `clientIp`: the client's address is within one of a list of networks.

use super::Head;
use super::compile::{Compiler, Part, leaf};
use super::condition::{Condition, Predicate};
use super::shown::listed;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One network as written: a CIDR, or an address that stands for itself.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Cidr(IpNet);

impl TryFrom<String> for Cidr {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let network = text
            .parse()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map_err(|_| format!("`{}` is no CIDR such as `10.0.0.0/8`", text.escape_debug()))?;
        Ok(Self(unmapped(network).trunc()))
    }
}

/// How many bits of an IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2) say that it is one.
const MAPPED_BITS: u8 = 96;

/// The IPv4 network that an IPv6 network of mapped addresses stands for.
fn unmapped(network: IpNet) -> IpNet {
    let IpNet::V6(wide) = network else { return network };
    let address = wide.addr().to_ipv4_mapped();
    let prefix = wide.prefix_len().checked_sub(MAPPED_BITS);
    address
        .zip(prefix)
        .and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok())
        .map_or(network, IpNet::V4)
}

/// A list of networks; an IPv4-mapped IPv6 address counts as the IPv4 address.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(from = "Vec<Cidr>")]
pub struct Cidrs {
    /// In the order written.
    networks: Vec<IpNet>,
    /// Without overlaps and in order, to be searched by bisection.
    v4: Vec<Ipv4Net>,
    v6: Vec<Ipv6Net>,
}

impl Cidrs {
    /// Whether one of the networks has the address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.contains_v4(address),
            IpAddr::V6(address) => self.contains_v6(address),
        }
    }

    /// Whether there is no network.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// The networks in the order written.
    pub fn networks(&self) -> &[IpNet] {
        &self.networks
    }

    fn contains_v4(&self, address: Ipv4Addr) -> bool {
        let after = self.v4.partition_point(|network| network.network() <= address);
        after
            .checked_sub(1)
            .and_then(|last| self.v4.get(last))
            .is_some_and(|network| network.contains(&address))
    }

    fn contains_v6(&self, address: Ipv6Addr) -> bool {
        let after = self.v6.partition_point(|network| network.network() <= address);
        after
            .checked_sub(1)
            .and_then(|last| self.v6.get(last))
            .is_some_and(|network| network.contains(&address))
    }
}

impl From<Vec<Cidr>> for Cidrs {
    fn from(cidrs: Vec<Cidr>) -> Self {
        cidrs.into_iter().map(|Cidr(network)| network).collect()
    }
}

impl FromIterator<IpNet> for Cidrs {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        let networks: Vec<_> = networks.into_iter().collect();
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in &networks {
            match unmapped(*network) {
                IpNet::V4(network) => v4.push(network.trunc()),
                IpNet::V6(network) => v6.push(network.trunc()),
            }
        }
        let (mut v4, mut v6) = (Ipv4Net::aggregate(&v4), Ipv6Net::aggregate(&v6));
        v4.sort();
        v6.sort();
        Self { networks, v4, v6 }
    }
}

impl JsonSchema for Cidrs {
    fn schema_name() -> Cow<'static, str> {
        "Cidrs".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Networks as CIDRs; an address without `/` stands for itself.",
            "type": "array",
            "items": { "type": "string", "examples": ["10.0.0.0/8", "2001:db8::/32", "::1"] }
        })
    }
}

/// The networks that the client's address is asked to be in.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "ClientIpConfig")]
#[schemars(with = "ClientIpConfig")]
pub struct ClientIpPredicate(Cidrs);

/// What is asked of the client's address, as written.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ClientIp")]
struct ClientIpConfig {
    /// The address is within one of these networks.
    r#in: Cidrs,
}

impl TryFrom<ClientIpConfig> for ClientIpPredicate {
    type Error = String;

    fn try_from(config: ClientIpConfig) -> Result<Self, String> {
        if config.r#in.is_empty() {
            return Err("an empty list never holds".to_owned());
        }
        Ok(Self(config.r#in))
    }
}

impl Predicate for ClientIpPredicate {
    fn holds(&self, head: &Head<'_>) -> bool {
        self.0.contains(head.client)
    }

    fn describe(&self, head: &Head<'_>) -> String {
        format!("clientIp: {} is not in {}", head.client, listed(self.0.networks(), ", "))
    }
}

impl Part for ClientIpPredicate {
    fn compile(&self, _: &mut Compiler<'_>) -> Condition {
        leaf(self)
    }
}

#[cfg(test)]
mod tests {
    use super::{Cidrs, ClientIpPredicate};
    use crate::predicate::Predicate;
    use crate::predicate::condition::tests::head;
    use http::HeaderMap;
    use ipnet::IpNet;
    use proptest::prelude::*;
    use std::net::IpAddr;

    fn contains(cidrs: &[&str], address: &str) -> bool {
        let cidrs: Cidrs = serde_json::from_value(serde_json::json!(cidrs)).unwrap();
        cidrs.contains(address.parse().unwrap())
    }

    #[test]
    fn networks_have_their_addresses() {
        let list = ["10.0.0.0/8", "192.168.1.7", "2001:db8::/32", "10.1.0.0/16", "172.16.9.9/12"];
        for inside in ["10.1.2.3", "192.168.1.7", "2001:db8::1", "::ffff:10.0.0.1", "172.31.0.1"] {
            assert!(contains(&list, inside), "{inside}");
        }
        for outside in ["11.0.0.1", "192.168.1.8", "2001:db9::1", "::10.0.0.1", "::1"] {
            assert!(!contains(&list, outside), "{outside}");
        }
        assert!(contains(&["::ffff:10.0.0.0/104"], "10.200.0.1"));
        assert!(contains(&["::ffff:10.0.0.1"], "10.0.0.1"));
        assert!(contains(&["0.0.0.0/0"], "::ffff:1.2.3.4"));
        assert!(!contains(&["::/0"], "1.2.3.4"));
        assert!(!contains(&[], "1.2.3.4"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for wrong in ["", "10.0.0.0/33", "10.0.0", "localhost", "10.0.0.1:80"] {
            let error = serde_json::from_value::<Cidrs>(serde_json::json!([wrong])).unwrap_err();
            assert!(error.to_string().contains("is no CIDR"), "{wrong}");
        }
    }

    #[test]
    fn the_client_is_in_one_of_the_networks() {
        let headers = HeaderMap::new();
        let read = |json: &str| serde_json::from_str::<ClientIpPredicate>(json);
        assert!(read(r#"{"in": ["10.0.0.0/8"]}"#).unwrap().holds(&head(&headers)));
        assert_eq!(
            read(r#"{"in": ["10.0.0.8", "::1"]}"#).unwrap().describe(&head(&headers)),
            "clientIp: 10.0.0.9 is not in 10.0.0.8/32, ::1/128"
        );
        assert!(read(r#"{"in": []}"#).unwrap_err().to_string().contains("never holds"));
        assert!(read("{}").unwrap_err().to_string().contains("missing field `in`"));
    }

    proptest! {
        #[test]
        fn bisection_finds_what_a_plain_search_finds(
            list in prop::collection::vec((any::<[u8; 4]>(), 4_u8..=32), 0..12),
            narrow in any::<[u8; 2]>(),
            address in any::<[u8; 4]>(),
            near: bool,
        ) {
            let networks: Vec<IpNet> = list
                .iter()
                .map(|(octets, prefix)| IpNet::new((*octets).into(), *prefix).unwrap())
                .collect();
            let mut address = address;
            if near && let Some((octets, _)) = list.first() {
                address = [octets[0], octets[1], narrow[0], narrow[1]];
            }
            let address = IpAddr::from(address);
            let plain = networks.iter().any(|network| network.contains(&address));
            prop_assert_eq!(networks.into_iter().collect::<Cidrs>().contains(address), plain);
        }
    }
}

//! Where a guest may go: `rules, target -> rule`, and which addresses are nobody's business but the owner's.
//!
//! Pure: names are compared, never resolved, here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;
use http::uri::Scheme;

use crate::config::EgressRule;

/// Where a workload may call, ready for look-up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    rules: Vec<(Destination, EgressRule)>,
}

#[derive(Debug, PartialEq, Eq)]
struct Destination {
    host: String,
    /// `None`: the default port of the scheme.
    port: Option<u16>,
}

impl Policy {
    pub(crate) fn new(rules: &[EgressRule]) -> Self {
        Self {
            rules: rules
                .iter()
                .map(|rule| (destination(&rule.host), rule.clone()))
                .collect(),
        }
    }

    /// Return the rule that allows `target`.
    pub(crate) fn find(&self, target: &Target) -> Option<&EgressRule> {
        let allows = |destination: &Destination| {
            destination.host == target.host && destination.port.unwrap_or(target.default_port) == target.port
        };
        self.rules
            .iter()
            .find(|(destination, _)| allows(destination))
            .map(|(_, rule)| rule)
    }
}

fn destination(pattern: &str) -> Destination {
    let pattern = pattern.to_ascii_lowercase();
    let split = pattern
        .rsplit_once(':')
        .filter(|(host, _)| !host.contains(':') || host.ends_with(']'))
        .and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
    let (host, port) = match split {
        Some((host, port)) => (host, Some(port)),
        None => (pattern, None),
    };
    Destination {
        host: bare(&host).to_owned(),
        port,
    }
}

/// A host without the brackets of an IPv6 literal and without the final dot of a rooted name.
fn bare(host: &str) -> &str {
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host)
}

/// What a guest wants to reach.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    default_port: u16,
    pub(crate) is_tls: bool,
}

impl Target {
    /// Return the target of a request; `None` without a host.
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        let is_tls = uri.scheme() == Some(&Scheme::HTTPS);
        let default_port = if is_tls { 443 } else { 80 };
        let host = bare(uri.host()?).to_ascii_lowercase();
        (!host.is_empty()).then(|| Self {
            host,
            port: uri.port_u16().unwrap_or(default_port),
            default_port,
            is_tls,
        })
    }
}

/// Whether an address belongs to the public Internet (IANA special-purpose registries, RFC 6890).
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19)))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let embedded = |high: u16, low: u16| is_public_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match (a, b) {
        // IPv4-mapped and -compatible, loopback, unspecified.
        (0, 0) if c == 0 && d == 0 && e == 0 && (f == 0xffff || f == 0) => f == 0xffff && embedded(g, h),
        // NAT64 (RFC 6052) and 6to4 carry an IPv4 address.
        (0x64, 0xff9b) => c == 0 && embedded(g, h),
        (0x2002, _) => embedded(b, c),
        (0x2001, 0xdb8) => false,
        // Global unicast is 2000::/3; everything else is local, multicast or unassigned.
        _ => a & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(host: &str) -> EgressRule {
        EgressRule {
            host: host.to_owned(),
            jurisdiction: "DE".to_owned(),
            allow_private: false,
        }
    }

    fn is_allowed(rules: &[&str], uri: &str) -> bool {
        let rules: Vec<_> = rules.iter().map(|host| rule(host)).collect();
        Policy::new(&rules)
            .find(&Target::of(&uri.parse().unwrap()).unwrap())
            .is_some()
    }

    #[test]
    fn a_rule_names_one_host_and_port_exactly() {
        assert!(is_allowed(&["api.example.org"], "https://API.example.org/x"));
        assert!(is_allowed(&["api.example.org"], "http://api.example.org./x"));
        assert!(!is_allowed(&["api.example.org"], "https://api.example.org:8443/x"));
        assert!(is_allowed(&["api.example.org:8443"], "https://api.example.org:8443/"));
        assert!(!is_allowed(&["api.example.org:8443"], "https://api.example.org/"));
        assert!(!is_allowed(&["example.org"], "https://api.example.org/"));
        assert!(!is_allowed(&["example.org"], "https://user@evil.net/example.org"));
        assert!(is_allowed(&["[2001:db8::1]:80"], "http://[2001:db8::1]/"));
        assert!(!is_allowed(&[], "http://example.org/"));
    }

    #[test]
    fn private_addresses_are_never_public_in_any_disguise() {
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:7f00:1::1",
            "2001:db8::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "9.9.9.9",
            "193.0.0.1",
            "2a00:1450:4001::1",
            "::ffff:9.9.9.9",
            "64:ff9b::9.9.9.9",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }
}

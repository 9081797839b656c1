//! Which destinations are dialled at all. The global-sidecar is a way around for calls that the mesh would have let pass; it is no way into
//! what only it, or its node, can reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::dial::Dial;
use super::refusal::Refusal;

/// Addresses at which clouds tell a machine its secrets, besides the link-local ones.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// Whether this destination may be dialled. A name is admitted by its port; its addresses are looked at when they are known, by
/// [`never_dialled`].
///
/// `own` is the address at which the client reached this pod. `is_redirected` says whether calls to a port are redirected to the
/// global-sidecar at all: a call to any other port never comes here honestly.
///
/// # Errors
/// The destination is not dialled.
pub fn admit(dial: &Dial, own: IpAddr, is_redirected: impl Fn(u16) -> bool) -> Result<(), Refusal> {
    let port = match dial {
        Dial::Address(address) => {
            let what = never_dialled(address.ip());
            if let Some(what) =
                what.or((address.ip().to_canonical() == own.to_canonical()).then_some("this pod itself"))
            {
                return Err(Refusal::Forbidden { dial: dial.clone(), what });
            }
            address.port()
        }
        Dial::Name { port, .. } => *port,
    };
    if is_redirected(port) { Ok(()) } else { Err(Refusal::Port { dial: dial.clone() }) }
}

/// What an address is that nobody's call leads to honestly: the caller's own proxy never sends such a call here.
#[must_use]
pub fn never_dialled(address: IpAddr) -> Option<&'static str> {
    let address = embedded(address);
    if METADATA.contains(&address) {
        return Some("a cloud's metadata service");
    }
    if address.is_loopback() {
        return Some("a loopback address");
    }
    if address.is_multicast() {
        return Some("a multicast address");
    }
    let (nowhere, link_local) = match address {
        IpAddr::V4(v4) => (v4.octets().first() == Some(&0) || v4.is_broadcast(), v4.is_link_local()),
        IpAddr::V6(v6) => (v6.is_unspecified(), v6.is_unicast_link_local()),
    };
    if nowhere {
        Some("no address of a host")
    } else if link_local {
        Some("a link-local address")
    } else {
        None
    }
}

/// IPv4 in the clothes of IPv6: mapped (`::ffff:0:0/96`) or by NAT64 (`64:ff9b::/96`).
fn embedded(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => match v6.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
                Ipv4Addr::new(a, b, c, d).into()
            }
            _ => v6.into(),
        },
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 1, 1));

    fn to(address: &str) -> Dial {
        Dial::Address(address.parse().unwrap())
    }

    #[test]
    fn what_only_the_pod_or_its_node_can_reach_is_never_dialled() {
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "fe80::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "100.100.100.200",
            "168.63.129.16",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "255.255.255.255",
            "224.0.0.1",
            "ff02::1",
        ] {
            assert!(never_dialled(address.parse().unwrap()).is_some(), "{address}");
        }
    }

    #[test]
    fn what_the_caller_could_reach_itself_is_dialled() {
        for address in
            ["10.96.0.7", "172.17.0.4", "192.168.1.1", "93.184.215.14", "100.64.0.1", "fd00::7", "2001:db8::1"]
        {
            assert_eq!(never_dialled(address.parse().unwrap()), None, "{address}");
        }
    }

    #[test]
    fn only_redirected_ports_are_dialled_and_never_the_pod_itself() {
        let redirected = |port| port == 9080;
        assert_eq!(admit(&to("10.96.0.7:9080"), OWN, redirected), Ok(()));
        assert_eq!(admit(&Dial::Name { host: "reviews".into(), port: 9080 }, OWN, redirected), Ok(()));
        for refused in
            [to("10.96.0.7:10250"), to("10.1.1.1:9080"), to("[::ffff:10.1.1.1]:9080"), to("169.254.169.254:9080")]
        {
            assert_eq!(admit(&refused, OWN, redirected).unwrap_err().status(), 421, "{refused}");
        }
        let by_name = Dial::Name { host: "kubelet".into(), port: 10250 };
        assert!(admit(&by_name, OWN, redirected).unwrap_err().to_string().contains("kubelet:10250"));
    }
}

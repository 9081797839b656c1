//! Who is believed, and what may be dialled.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::sync::{PoisonError, RwLock};

use http::HeaderMap;
use lazyload_api::names::{DIALLED_BY_HOST_HEADER, ORIG_DEST_HEADER, SOURCE_NS_HEADER};
use lazyload_logic::route::{self, Dial, Refusal};

use super::port_list::PortSet;

/// From where Istio's proxy connects to its application over IPv6; over IPv4 it is 127.0.0.6.
const ISTIO_INBOUND_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6));

/// How much is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guard {
    /// Slime's headers are believed only from the proxy of this pod; destinations must be redirected ports of other hosts.
    #[default]
    Full,
    /// Destinations only: where the proxy hides behind its clients' addresses (interception mode TPROXY).
    Destinations,
    /// Nothing, for runs without a mesh: every destination may be on loopback.
    Off,
}

impl FromStr for Guard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" | "full" => Ok(Self::Full),
            "destinations" => Ok(Self::Destinations),
            "off" => Ok(Self::Off),
            other => Err(format!("{other:?}: expected full, destinations or off")),
        }
    }
}

/// The two ends of a client's connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) peer: IpAddr,
    pub(super) own: IpAddr,
}

impl Ends {
    /// The proxy connects from Istio's inbound addresses, or from one of this pod's own.
    fn is_proxy(self) -> bool {
        let peer = self.peer.to_canonical();
        peer.is_loopback() || peer == self.own.to_canonical() || peer == ISTIO_INBOUND_V6
    }
}

/// The guard of one forwarder.
#[derive(Debug, Default)]
pub(super) struct Guarded {
    guard: Guard,
    /// Ports that are listened on because they are redirected; nothing where they are not known.
    redirected: RwLock<Option<PortSet>>,
}

impl Guarded {
    pub(super) fn new(guard: Guard) -> Self {
        Self { guard, redirected: RwLock::default() }
    }

    /// These ports are redirected, besides those that were before: callers' proxies learn of a change later than we.
    pub(super) fn redirected(&self, ports: &PortSet) {
        let mut redirected = self.redirected.write().unwrap_or_else(PoisonError::into_inner);
        redirected.get_or_insert_default().extend(ports);
    }

    /// Slime's headers from anybody but the proxy are refused.
    pub(super) fn believe(&self, headers: &HeaderMap, ends: Ends) -> Result<(), Refusal> {
        if self.guard != Guard::Full || ends.is_proxy() {
            return Ok(());
        }
        let ours = [ORIG_DEST_HEADER, SOURCE_NS_HEADER, DIALLED_BY_HOST_HEADER];
        match ours.into_iter().find(|header| headers.contains_key(*header)) {
            Some(header) => Err(Refusal::NotFromProxy { header }),
            None => Ok(()),
        }
    }

    /// Destinations that no honest call has are refused. A port on which the call came is always right.
    pub(super) fn admit(&self, dial: &Dial, ends: Ends, listener_port: u16) -> Result<(), Refusal> {
        if self.guard == Guard::Off {
            return Ok(());
        }
        let redirected = self.redirected.read().unwrap_or_else(PoisonError::into_inner);
        let is_redirected =
            |port| port == listener_port || redirected.as_ref().is_none_or(|ports| ports.contains(&port));
        route::admit(dial, ends.own, is_redirected)
    }

    /// Whether an address that a name stands for may be dialled.
    pub(super) fn checks_addresses(&self) -> bool {
        self.guard != Guard::Off
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(peer: &str) -> Ends {
        Ends { peer: peer.parse().unwrap(), own: "10.1.1.1".parse().unwrap() }
    }

    #[test]
    fn headers_are_believed_from_the_pods_proxy_alone() {
        let guarded = Guarded::new(Guard::Full);
        let mut headers = HeaderMap::new();
        assert_eq!(guarded.believe(&headers, ends("10.1.1.9")), Ok(()));
        headers.insert(SOURCE_NS_HEADER, "default".parse().unwrap());
        for proxy in ["127.0.0.6", "::6", "127.0.0.1", "10.1.1.1", "::ffff:10.1.1.1"] {
            assert_eq!(guarded.believe(&headers, ends(proxy)), Ok(()), "{proxy}");
        }
        assert_eq!(
            guarded.believe(&headers, ends("10.1.1.9")),
            Err(Refusal::NotFromProxy { header: SOURCE_NS_HEADER })
        );
        assert_eq!(Guarded::new(Guard::Destinations).believe(&headers, ends("10.1.1.9")), Ok(()));
    }

    #[test]
    fn a_port_that_was_redirected_once_stays_a_destination() {
        let guarded = Guarded::new(Guard::Full);
        let to = |port| guarded.admit(&Dial::Address(([10, 96, 0, 7], port).into()), ends("127.0.0.6"), 80);
        assert_eq!(to(9080), Ok(()));
        guarded.redirected(&PortSet::from([9080]));
        guarded.redirected(&PortSet::from([9081]));
        assert_eq!([to(80), to(9080), to(9081)], [Ok(()), Ok(()), Ok(())]);
        assert!(to(10250).is_err());
    }
}

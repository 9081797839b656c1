//! Owns what an access log tells: who called which host, and which entries tell nothing and why.
//! Never resolves an address to a workload or completes a short host name: that needs the index.
//! Next: `authority` for the host, `identity` for the caller's certificate, `log_line` for logs as text; the binary's `observe` for logs over gRPC.

pub mod authority;
pub mod cluster;
pub mod identity;
mod json_log;
pub mod log_line;
mod text_log;

use std::net::IpAddr;

pub use authority::Host;
pub use identity::Identity;
pub use log_line::{LineError, LogLine, call_of, parse_line};

/// One pair of one access-log message: somebody called a host, so and so often within that message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The address that called; IPv4 mapped into IPv6 is written as IPv4.
    pub caller: IpAddr,
    /// Who called, by the certificate; none without mTLS, and in logs as text. Where there is no certificate, and who tells serves one namespace
    /// alone, that namespace.
    pub peer: Option<Identity<Box<str>>>,
    /// The host as the client asked for it, without port, in lower case, without trailing dot; a short name is still short.
    pub authority: String,
    /// How often within the message; 0 where nothing was called ([`Call::heard`], [`Call::lost`]).
    pub count: u64,
}

/// What stands for a host where something was lost: no host has this name.
const LOST: &str = "?";
/// What one replica tells another instead of a cluster, where nothing was called: that a proxy was heard, or that something of it was lost.
const MARKS: [&str; 2] = ["lazyload|heard", "lazyload|lost"];

impl Call {
    /// No call: the caller's own proxy is heard, and all that it has told was passed on before this.
    #[must_use]
    pub fn heard(caller: IpAddr, peer: Option<Identity<Box<str>>>) -> Self {
        Self { caller, peer, authority: String::new(), count: 0 }
    }

    /// No call: something that the caller's own proxy has told was not passed on.
    #[must_use]
    pub fn lost(caller: IpAddr, peer: Option<Identity<Box<str>>>) -> Self {
        Self { caller, peer, authority: LOST.to_owned(), count: 0 }
    }

    /// Whether it is of a proxy that was heard (`Some(true)`) or of which something was lost; `None` for a call.
    #[must_use]
    pub fn is_heard(&self) -> Option<bool> {
        (self.count == 0).then(|| self.authority != LOST)
    }

    /// What one replica tells another of it instead of a cluster; `None` for a call.
    #[must_use]
    pub fn mark(&self) -> Option<&'static str> {
        let [heard, lost] = MARKS;
        self.is_heard().map(|is_heard| if is_heard { heard } else { lost })
    }
}

/// What another replica's entry tells where it tells of no call.
#[must_use]
pub fn marked(entry: &Entry<'_>) -> Option<Call> {
    let [heard, lost] = MARKS;
    let make = match entry.upstream_cluster {
        mark if mark == heard => Call::heard,
        mark if mark == lost => Call::lost,
        _ => return None,
    };
    let Caller::Address(address) = entry.caller else { return None };
    let peer = entry.peer.and_then(identity::parse).map(|peer| peer.to_owned());
    Some(make(address.parse::<IpAddr>().ok()?.to_canonical(), peer))
}

/// The caller's address in an access-log entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Caller<'a> {
    /// The entry names none.
    #[default]
    Absent,
    /// A pipe or an address internal to Envoy.
    NotSocket,
    /// The address of a socket, as written.
    Address(&'a str),
}

/// What matters of one access-log entry of a global-sidecar's proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Who called.
    pub caller: Caller<'a>,
    /// The caller's SPIFFE URI; absent where it spoke without mTLS.
    pub peer: Option<&'a str>,
    /// Envoy's name of the cluster that answered; tells the direction.
    pub upstream_cluster: &'a str,
    /// The requested `:authority` or `Host`.
    pub authority: &'a str,
}

/// Who called which host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pair<'a> {
    /// The address that called.
    pub caller: IpAddr,
    /// Who called, as in [`Call::peer`].
    pub peer: Option<Identity<&'a str>>,
    /// The host.
    pub host: Host<'a>,
}

/// Why an entry tells nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Skipped {
    /// The entry's bytes are no entry.
    EntryMalformed,
    /// The log names no caller.
    NoCallerAddress,
    /// The caller is a pipe or internal to Envoy.
    CallerNotSocket,
    /// The caller's address is not an IP address.
    CallerNotAddress,
    /// The caller's certificate has a SPIFFE URI that is not of Istio's form.
    IdentityMalformed,
    /// The caller is of another namespace than the one that this global-sidecar serves.
    NotItsNamespace,
    /// The entry is of a connection and not of a request.
    NotHttp,
    /// The entry is of another proxy than a global-sidecar's.
    OtherProxy,
    /// The entry is the second one of the same request: the proxy's own call onward.
    NotInbound,
    /// The line is of Envoy's own traffic (health, metrics) or of a request that was routed nowhere.
    NotRouted,
    /// No host was requested (TCP, for example).
    NoAuthority,
    /// The requested host is an IP address.
    AuthorityIsAddress,
    /// The requested host cannot be a host name.
    AuthorityMalformed,
    /// A workload's own proxy tells of a call that was not its workload's to another one.
    NotOutbound,
    /// A workload's own proxy claims that somebody else called.
    NotItsOwn,
}

impl Skipped {
    /// Every reason; [`Skipped::index`] is the place in here.
    pub const ALL: [Self; 15] = [
        Self::EntryMalformed,
        Self::NoCallerAddress,
        Self::CallerNotSocket,
        Self::CallerNotAddress,
        Self::IdentityMalformed,
        Self::NotItsNamespace,
        Self::NotHttp,
        Self::OtherProxy,
        Self::NotInbound,
        Self::NotRouted,
        Self::NoAuthority,
        Self::AuthorityIsAddress,
        Self::AuthorityMalformed,
        Self::NotOutbound,
        Self::NotItsOwn,
    ];

    /// The reason as a metric's label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EntryMalformed => "entry_malformed",
            Self::NoCallerAddress => "no_caller_address",
            Self::CallerNotSocket => "caller_not_socket",
            Self::CallerNotAddress => "caller_not_address",
            Self::IdentityMalformed => "identity_malformed",
            Self::NotItsNamespace => "not_its_namespace",
            Self::NotHttp => "not_http",
            Self::OtherProxy => "other_proxy",
            Self::NotInbound => "not_inbound",
            Self::NotRouted => "not_routed",
            Self::NoAuthority => "no_authority",
            Self::AuthorityIsAddress => "authority_is_address",
            Self::AuthorityMalformed => "authority_malformed",
            Self::NotOutbound => "not_outbound",
            Self::NotItsOwn => "not_its_own",
        }
    }

    /// The reason's place in [`Skipped::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// Who called which host, as told by an entry of a global-sidecar's proxy; borrows from the entry.
///
/// Only inbound entries count: they carry the caller's address and the host that it asked for, while the outbound entry
/// of the same request has the proxy itself as the caller. One that serves a single namespace is believed about callers of that one alone.
///
/// # Errors
/// The reason why the entry tells nothing.
pub fn pair_of<'a>(entry: &Entry<'a>, serves: Option<&'a str>) -> Result<Pair<'a>, Skipped> {
    if !cluster::is_inbound(entry.upstream_cluster) {
        return Err(Skipped::NotInbound);
    }
    let address = match entry.caller {
        Caller::Absent | Caller::Address("") => return Err(Skipped::NoCallerAddress),
        Caller::NotSocket => return Err(Skipped::CallerNotSocket),
        Caller::Address(address) => address,
    };
    let caller: IpAddr = address.parse().map_err(|_| Skipped::CallerNotAddress)?;
    let peer = match entry.peer {
        Some(uri) => Some(identity::parse(uri).ok_or(Skipped::IdentityMalformed)?),
        None => None,
    };
    let peer = match (peer, serves) {
        (Some(peer), Some(served)) if peer.namespace != served => return Err(Skipped::NotItsNamespace),
        // Whose address it is, the index knows.
        (None, served) => served.map(Identity::of_namespace),
        (peer, _) => peer,
    };
    Ok(Pair { caller: caller.to_canonical(), peer, host: authority::parse(entry.authority)? })
}

/// What an entry of a workload's own proxy tells its workload to have called. The caller is who sends the log, at this address and with this
/// identity, whatever the entry says: nobody can speak for another.
///
/// # Errors
/// The reason why the entry tells nothing.
pub fn own_pair_of<'a>(entry: &Entry<'a>, own: IpAddr, peer: Option<Identity<&'a str>>) -> Result<Pair<'a>, Skipped> {
    let called = cluster::called(entry.upstream_cluster).ok_or(Skipped::NotOutbound)?;
    if let Caller::Address(address) = entry.caller
        && let Ok(address) = address.parse::<IpAddr>()
        && !is_same_workload(address.to_canonical(), own)
    {
        return Err(Skipped::NotItsOwn);
    }
    let host = match authority::parse(entry.authority) {
        // The client dialled an address: the mesh knows whose it is.
        Err(Skipped::AuthorityIsAddress | Skipped::NoAuthority) if !called.is_empty() => authority::parse(called),
        host => host,
    }?;
    Ok(Pair { caller: own, peer, host })
}

/// An application may call from another of its pod's addresses: one of the other family cannot be told from a stranger's here, and nothing is
/// taken from it.
fn is_same_workload(address: IpAddr, own: IpAddr) -> bool {
    address == own || address.is_loopback() || address.is_ipv4() != own.is_ipv4()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workloads_own_proxy_tells_what_it_calls_and_speaks_for_nobody_else() {
        let own: IpAddr = "172.17.0.11".parse().unwrap();
        let outbound =
            Entry { upstream_cluster: "outbound|9080||details.default.svc.cluster.local", peer: None, ..mk_entry() };
        let told =
            |entry: Entry<'static>| own_pair_of(&entry, own, None).map(|pair| (pair.caller, pair.host.into_string()));
        assert_eq!(told(outbound), Ok((own, "details".to_owned())));
        let passed = Entry { upstream_cluster: "PassthroughCluster", authority: "www.example.com", ..outbound };
        assert_eq!(told(passed), Ok((own, "www.example.com".to_owned())));
        for authority in ["10.96.0.7:9080", ""] {
            let host = "details.default.svc.cluster.local".to_owned();
            assert_eq!(told(Entry { authority, ..outbound }), Ok((own, host)), "{authority:?}");
        }
        for address in ["127.0.0.1", "127.0.0.6", "fd00::7", "::ffff:172.17.0.11"] {
            assert!(told(Entry { caller: Caller::Address(address), ..outbound }).is_ok(), "{address}");
        }
        for (entry, reason) in [
            (Entry { caller: Caller::Address("172.17.0.12"), ..outbound }, "not_its_own"),
            (mk_entry(), "not_outbound"),
            (Entry { upstream_cluster: "InboundPassthroughCluster", ..outbound }, "not_outbound"),
            (Entry { upstream_cluster: "prometheus_stats", ..outbound }, "not_outbound"),
            (Entry { upstream_cluster: "", ..outbound }, "not_outbound"),
            (Entry { authority: "de tails", ..outbound }, "authority_malformed"),
            (Entry { authority: "10.1.1.1", ..passed }, "authority_is_address"),
        ] {
            assert_eq!(told(entry).unwrap_err().name(), reason, "{entry:?}");
        }
    }

    fn mk_entry() -> Entry<'static> {
        Entry {
            caller: Caller::Address("172.17.0.11"),
            peer: Some("spiffe://cluster.local/ns/default/sa/bookinfo-productpage"),
            upstream_cluster: "inbound|9080||",
            authority: "details:9080",
        }
    }

    #[test]
    fn an_inbound_entry_tells_who_called_which_host() {
        let pair = pair_of(&mk_entry(), None).unwrap();
        assert_eq!((pair.caller.to_string().as_str(), pair.host.as_str()), ("172.17.0.11", "details"));
        assert!(pair.peer.unwrap().is("default", "bookinfo-productpage"));
        assert_eq!(pair_of(&Entry { peer: None, ..mk_entry() }, None).unwrap().peer, None);
    }

    #[test]
    fn who_serves_one_namespace_is_believed_about_callers_of_that_one_alone() {
        let (entry, bare) = (mk_entry(), Entry { peer: None, ..mk_entry() });
        assert!(pair_of(&entry, Some("default")).unwrap().peer.unwrap().is("default", "bookinfo-productpage"));
        assert_eq!(pair_of(&entry, Some("shop")), Err(Skipped::NotItsNamespace));
        let told = pair_of(&bare, Some("shop")).unwrap();
        assert_eq!(told.peer, Some(Identity::of_namespace("shop")), "the pod that has the address must be of it");
    }

    #[test]
    fn an_ipv4_caller_mapped_into_ipv6_is_the_ipv4_caller() {
        let entry = Entry { caller: Caller::Address("::ffff:172.17.0.11"), ..mk_entry() };
        assert_eq!(pair_of(&entry, None).unwrap().caller.to_string(), "172.17.0.11");
    }

    #[test]
    fn an_entry_that_tells_nothing_says_why() {
        let cases = [
            (
                Entry { upstream_cluster: "outbound|9080||details.default.svc.cluster.local", ..mk_entry() },
                "not_inbound",
            ),
            (Entry { upstream_cluster: "PassthroughCluster", ..mk_entry() }, "not_inbound"),
            (Entry { upstream_cluster: "", ..mk_entry() }, "not_inbound"),
            (Entry { caller: Caller::Absent, ..mk_entry() }, "no_caller_address"),
            (Entry { caller: Caller::Address(""), ..mk_entry() }, "no_caller_address"),
            (Entry { caller: Caller::NotSocket, ..mk_entry() }, "caller_not_socket"),
            (Entry { caller: Caller::Address("productpage"), ..mk_entry() }, "caller_not_address"),
            (Entry { peer: Some("spiffe://cluster.local/web"), ..mk_entry() }, "identity_malformed"),
            (Entry { authority: "", ..mk_entry() }, "no_authority"),
            (Entry { authority: "10.1.2.3:80", ..mk_entry() }, "authority_is_address"),
            (Entry { authority: "de tails", ..mk_entry() }, "authority_malformed"),
        ];
        for (entry, reason) in cases {
            assert_eq!(pair_of(&entry, None).unwrap_err().name(), reason, "{entry:?}");
        }
    }

    #[test]
    fn every_reason_has_its_place_and_its_own_name() {
        for (place, reason) in Skipped::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), place);
        }
        let names: std::collections::BTreeSet<_> = Skipped::ALL.into_iter().map(Skipped::name).collect();
        assert_eq!(names.len(), Skipped::ALL.len());
    }
}

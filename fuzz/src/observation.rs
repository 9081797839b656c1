//! Access-log messages and lines, and what is in them.

use lazyload_logic::ledger::{evidence_key, host_of_evidence};
use lazyload_logic::observation::{
    authority as hosts, call_of, cluster as clusters, identity as identities, pair_of, parse_line,
};

use crate::scan::{Bad, scan};
use crate::sender::is_other_proxy;
use crate::text;

/// A message gives no more entries than it has bytes for, and what a pair says is in the message.
pub fn access_log(data: &[u8]) {
    let _ = is_other_proxy(data);
    let mut entries = 0;
    for scanned in scan(data) {
        entries += 1;
        let scanned = match scanned {
            Ok(scanned) => scanned,
            Err(Bad::Entry | Bad::Tcp | Bad::Message) => continue,
        };
        let Ok(entry) = scanned.said.entry() else { continue };
        if let Ok(pair) = pair_of(&entry, None) {
            assert!(pair.host.as_str().len() <= 253 && !pair.host.as_str().is_empty());
            assert_eq!(
                hosts::parse(pair.host.as_str()).map(|host| host.into_string()),
                Ok(pair.host.as_str().to_owned())
            );
            if let Some(peer) = pair.peer {
                let path = format!("/ns/{}/sa/{}", peer.namespace, peer.account);
                assert!(data.windows(path.len()).any(|window| window == path.as_bytes()));
            }
        }
    }
    // Each entry takes two bytes at least; an error may follow the last one.
    assert!(entries <= data.len() / 2 + 1, "{entries} of {} bytes", data.len());
}

/// A line that tells a call tells a host that is read as itself.
pub fn log_line(data: &[u8]) {
    match parse_line(text(data)).map(|line| call_of(&line)) {
        Ok(Ok(call)) => {
            assert_eq!(hosts::parse(&call.authority).map(|host| host.into_string()), Ok(call.authority.clone()));
            assert_eq!(call.caller, call.caller.to_canonical());
        }
        Ok(Err(reason)) => assert!(!reason.name().is_empty()),
        Err(error) => assert!(error.to_string().len() < 1000, "{error}"),
    }
}

/// A host is a name in lower case, never an address, and is read again as itself.
pub fn authority(data: &[u8]) {
    let Ok(host) = hosts::parse(text(data)) else { return };
    let name = host.as_str();
    assert!((1..=253).contains(&name.len()), "{name:?}");
    assert!(name.parse::<std::net::IpAddr>().is_err(), "{name:?}");
    assert!(name.split('.').all(|label| (1..=63).contains(&label.len())), "{name:?}");
    assert!(name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.')), "{name:?}");
    assert_eq!(hosts::parse(name).as_ref(), Ok(&host));
}

/// What is inbound has the form `inbound|…|…|…`.
pub fn cluster(data: &[u8]) {
    let name = text(data);
    let by_parts = name.split('|').collect::<Vec<_>>();
    assert_eq!(clusters::is_inbound(name), by_parts.len() == 4 && by_parts[0] == "inbound");
}

/// An identity makes up the URI that it was read from.
pub fn identity(data: &[u8]) {
    let uri = text(data);
    let Some(identity) = identities::parse(uri) else { return };
    let path = format!("/ns/{}/sa/{}", identity.namespace, identity.account);
    let trust =
        uri.strip_prefix("spiffe://").and_then(|rest| rest.strip_suffix(&path)).expect("the rest is the trust domain");
    assert!(!trust.is_empty() && !trust.contains('/'));
    assert!(identity.to_owned().is(identity.namespace, identity.account));
}

/// A host read from a key gives a key from which it is read again.
pub fn evidence(data: &[u8]) {
    let Some(host) = host_of_evidence(text(data)) else { return };
    assert!(!host.is_empty() && !host.contains(['"', '/', ' ', ':']));
    assert_eq!(host_of_evidence(&evidence_key(host)), Some(host));
}

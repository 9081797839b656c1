//! Calls, and who was heard, as an access-log message that a proxy might have sent. How often a call was seen is not told: any number is evidence. Of whom the
//! namespace alone is known, that is told as the subset of the cluster: a replica of an older version believes such a call by its address.

use bytes::Bytes;
use lazyload_logic::observation::Call;
use prost::Message;

use super::super::wire;

/// Calls in a message: far from the largest that is taken.
const CALLS: usize = 1024;
/// What an inbound entry's cluster looks like; the port tells nothing.
const CLUSTER: &str = "inbound|80|";

/// Messages with an entry for each call.
pub(super) fn messages(calls: &[Call]) -> impl Iterator<Item = Bytes> {
    calls.chunks(CALLS).map(|calls| {
        let http_logs = Some(wire::HttpLogs { log_entry: calls.iter().map(entry).collect() });
        wire::StreamAccessLogsMessage { identifier: None, tcp_logs: None, http_logs }.encode_to_vec().into()
    })
}

fn entry(call: &Call) -> wire::HttpEntry {
    let address = wire::SocketAddress { address: call.caller.to_string().into_bytes() };
    // The trust domain was not kept: the proxy has checked the certificate.
    let (known, of_namespace) = match &call.peer {
        Some(peer) if peer.names_account() => (Some(peer), ""),
        Some(peer) => (None, &*peer.namespace),
        None => (None, ""),
    };
    let uri = known.map(|peer| format!("spiffe://-/ns/{}/sa/{}", peer.namespace, peer.account));
    let name = uri.map(|uri| wire::SubjectAltName { san: Some(wire::San::Uri(uri.into_bytes())) });
    let tls = name.map(|name| wire::Tls {
        peer_certificate_properties: Some(wire::Certificate { subject_alt_name: vec![name] }),
    });
    wire::HttpEntry {
        common_properties: Some(wire::Common {
            tls_properties: tls,
            upstream_cluster: call
                .mark()
                .map_or_else(|| format!("{CLUSTER}{of_namespace}|"), str::to_owned)
                .into_bytes(),
            downstream_direct_remote_address: Some(wire::Address {
                address: Some(wire::AddressKind::SocketAddress(address)),
            }),
        }),
        request: Some(wire::Request { authority: call.authority.as_bytes().to_vec() }),
        response: None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use lazyload_logic::observation::Identity;
    use tokio::sync::mpsc;

    use super::super::super::counters::Counters;
    use super::super::super::intake::{From, Intake};
    use super::super::super::seen::Limits;
    use super::*;

    #[test]
    fn who_was_heard_arrives_as_such_from_a_replica_and_from_nobody_else() {
        let peer = Some(Identity { namespace: "default".into(), account: "web".into() });
        let marks = [Call::heard([10, 0, 0, 1].into(), peer), Call::lost([10, 0, 0, 2].into(), None)];
        for (from, expected) in [(From::Replica, Some(marks.to_vec())), (From::Proxy(None), None)] {
            let (calls_tx, mut calls_rx) = mpsc::channel(8);
            let intake = Intake::new(calls_tx, Arc::new(Counters::default()), Limits::default(), Instant::now());
            let mut intake = intake.of(from);
            for message in messages(&marks) {
                intake.take(&message, Instant::now()).unwrap();
            }
            assert_eq!(calls_rx.try_recv().ok(), expected);
        }
    }

    #[test]
    fn a_call_arrives_as_it_was_but_for_its_count() {
        let peer = Some(Identity { namespace: "default", account: "bookinfo-productpage" }.to_owned());
        let of_namespace = |namespace| Some(Identity::of_namespace(namespace).to_owned());
        let call = |caller: &str, peer, authority: &str| Call {
            caller: caller.parse().unwrap(),
            peer,
            authority: authority.into(),
            count: 1,
        };
        let mut calls = vec![
            call("10.0.0.1", peer, "details"),
            call("10.0.0.1", None, "details"),
            call("10.0.0.1", of_namespace("default"), "details"),
            call("10.0.0.1", of_namespace("shop"), "details"),
            call("fd00::7", None, "www.example.com"),
        ];
        calls.extend((0..3000).map(|number| call("10.0.0.2", None, &format!("host-{number:04}"))));
        let sent: Vec<Bytes> = messages(&calls).collect();
        assert_eq!(sent.len(), 3);
        let (calls_tx, mut calls_rx) = mpsc::channel(8);
        let intake = Intake::new(calls_tx, Arc::new(Counters::default()), Limits::default(), Instant::now());
        let mut intake = intake.of(From::Replica);
        let mut arrived = Vec::new();
        for message in sent {
            intake.take(&message, Instant::now()).unwrap();
            arrived.extend(calls_rx.try_recv().unwrap());
        }
        let sorted = |mut calls: Vec<Call>| {
            calls.sort_by(|a, b| (a.caller, &a.authority, &a.peer).cmp(&(b.caller, &b.authority, &b.peer)));
            calls
        };
        assert_eq!(sorted(arrived), sorted(calls));
    }
}

//! The life of one access-log message: scan, absorb what was passed on a moment ago, judge and count the rest within the
//! message, pass it on at once; and now and then, that who speaks for itself is heard. Everything here belongs to one stream; streams share nothing but the channel and the counters.

use std::sync::Arc;
use std::time::Instant;

use hashbrown::HashMap;
use lazyload_logic::observation::{Call, Entry, Identity, Pair, Skipped, cluster, marked, own_pair_of, pair_of};
use lazyload_logic::trust::{Peer, Serves};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::counters::{Counters, Tally};
use super::door::Met;
use super::fields::Malformed;
use super::marks::Marks;
use super::on_the_way::unix_time;
use super::relay::Relay;
use super::scan::{Bad, Scanned, scan};
use super::seen::{Limits, Seen};
use super::sender::{is_callers, is_other_proxy};

/// Most new pairs that one message is trusted to tell; more are counted as overflow.
const MAX_PAIRS: usize = 4096;

/// The receiver of calls has ended: nobody wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReceiverGone;

/// What a stream's messages go through.
#[derive(Debug)]
pub(super) struct Intake {
    seen: Seen,
    calls: mpsc::Sender<Vec<Call>>,
    counters: Arc<Counters>,
    teller: Teller,
    /// Who is at the other end.
    met: Option<Arc<Met>>,
    from: From,
    marks: Marks,
}

/// Whose calls a stream tells, as its first message says; and the certificate, where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Teller {
    /// A global-sidecar's proxy: those of its callers.
    GlobalSidecar,
    /// Another replica, of what it was told.
    Replica,
    /// A workload's own proxy: its own, and nobody else's.
    Itself,
    /// Another proxy: nobody's.
    Nobody,
}

/// Whose a stream is.
#[derive(Clone, Debug)]
pub(super) enum From {
    /// A proxy's; what is new is told on, if there are other replicas.
    Proxy(Option<Relay>),
    /// Another replica's.
    Replica,
}

/// The new pairs of a message.
type Fresh<'a> = HashMap<Pair<'a>, Told<'a>, foldhash::quality::RandomState>;

/// What a message tells of a pair.
#[derive(Clone, Copy, Debug, Default)]
struct Told<'a> {
    count: u64,
    /// When the first of the calls began, unread.
    began: &'a [u8],
}

/// The namespace whose callers a global-sidecar may tell of; `None` if it may tell of all, or if nobody knows who it is.
fn served(met: &Met) -> Option<&str> {
    let alone = met.peer == Some(Peer::GlobalSidecar(Serves::OwnNamespace));
    met.account.as_ref().filter(|_| alone).map(|it| &*it.namespace)
}

impl Teller {
    /// Who called whom, as an entry tells of those whose calls it may tell.
    fn pair_of<'a>(self, entry: &Entry<'a>, met: Option<&'a Met>) -> Result<Pair<'a>, Skipped> {
        match (self, met) {
            (Self::GlobalSidecar, met) => pair_of(entry, met.and_then(served)),
            (Self::Replica, _) => pair_of(entry, cluster::inbound_subset(entry.upstream_cluster)),
            (Self::Itself, Some(met)) => {
                let account = met.account.as_ref();
                let account = account.map(|it| Identity { namespace: &*it.namespace, account: &*it.account });
                own_pair_of(entry, met.address, account)
            }
            (Self::Itself | Self::Nobody, _) => Err(Skipped::OtherProxy),
        }
    }
}

impl Intake {
    /// For a stream that begins now.
    pub(super) fn new(calls: mpsc::Sender<Vec<Call>>, counters: Arc<Counters>, limits: Limits, now: Instant) -> Self {
        let mut seen = Seen::new(limits, now);
        seen.count(Some(counters.busy.clone()));
        Self {
            seen,
            calls,
            counters,
            teller: Teller::GlobalSidecar,
            met: None,
            from: From::Proxy(None),
            marks: Marks::default(),
        }
    }

    /// The same for a stream of whom we have met.
    pub(super) fn met(self, met: Option<Met>) -> Self {
        let is_workload = met.as_ref().is_some_and(|met| met.peer == Some(Peer::Workload));
        let teller = if is_workload { Teller::Nobody } else { self.teller };
        Self { met: met.map(Arc::new), teller, ..self }
    }

    /// The same for a stream that may be another's.
    pub(super) fn of(mut self, from: From) -> Self {
        // What another replica tells it has counted itself.
        let is_proxy = matches!(from, From::Proxy(_));
        self.seen.count(is_proxy.then(|| self.counters.busy.clone()));
        let teller = if is_proxy { self.teller } else { Teller::Replica };
        Self { from, teller, ..self }
    }

    /// Nothing came for a while: what was counted is told.
    pub(super) fn rest(&mut self, now: Instant) {
        self.seen.turn(now);
        self.tell_marks(now);
    }

    /// Takes a message; its new pairs are passed on together, ordered by caller and host.
    ///
    /// # Errors
    /// The receiver has ended.
    pub(super) fn take(&mut self, message: &[u8], now: Instant) -> Result<(), ReceiverGone> {
        self.seen.turn(now);
        self.listen(message);
        let met = self.met.clone();
        let mut tally = Tally::default();
        let mut fresh = Fresh::default();
        for scanned in scan(message) {
            match scanned {
                Ok(scanned) => self.judge(&scanned, met.as_deref(), &mut fresh, &mut tally),
                Err(Bad::Entry) => {
                    tally.entries += 1;
                    tally.skip(Skipped::EntryMalformed);
                }
                Err(Bad::Tcp) => {
                    tally.entries += 1;
                    tally.skip(Skipped::NotHttp);
                }
                Err(Bad::Message) => tally.malformed = true,
            }
        }
        let passed = if fresh.is_empty() { Ok(()) } else { self.pass(fresh, &mut tally, now) };
        self.tell_marks(now);
        match self.from {
            From::Proxy(_) => self.counters.add(&tally),
            From::Replica => self.counters.add_heard(&tally),
        }
        passed
    }

    /// Who says that it speaks for itself does so from then on.
    fn listen(&mut self, message: &[u8]) {
        if is_callers(message) && self.met.is_some() && matches!(self.from, From::Proxy(_)) {
            self.teller = Teller::Itself;
            // It does not pass a global-sidecar.
            self.seen.count(Some(self.counters.busy_callers.clone()));
        } else if self.teller == Teller::GlobalSidecar && is_other_proxy(message) {
            self.teller = Teller::Nobody;
        }
    }

    fn judge<'a>(&mut self, scanned: &Scanned<'a>, met: Option<&'a Met>, fresh: &mut Fresh<'a>, tally: &mut Tally) {
        tally.entries += 1;
        if self.teller == Teller::Nobody {
            return tally.skip(Skipped::OtherProxy);
        }
        if self.seen.absorb_same(&scanned.said) {
            tally.absorbed += 1;
            return;
        }
        let entry = scanned.said.entry().map_err(|Malformed| Skipped::EntryMalformed);
        if let (From::Replica, Ok(entry)) = (&self.from, &entry)
            && let Some(mark) = marked(entry)
        {
            return self.marks.add(mark);
        }
        let (entry, pair) = match entry.and_then(|entry| Ok((entry, self.teller.pair_of(&entry, met)?))) {
            Ok(judged) => judged,
            Err(reason) => return tally.skip(reason),
        };
        if self.seen.absorb(&pair, &scanned.said) {
            tally.absorbed += 1;
            return;
        }
        if fresh.len() >= MAX_PAIRS && !fresh.contains_key(&pair) {
            tally.overflow += 1;
            if self.is_watched() {
                self.marks.lose(&pair);
            }
            return;
        }
        let (peer, response_code) = (entry.peer, scanned.response_code);
        tracing::trace!(caller = %pair.caller, host = %pair.host, peer, response_code, "a call");
        fresh.entry(pair).or_insert(Told { count: 0, began: scanned.began }).count += 1;
    }

    /// Whether it matters that something is lost. What passed the global-sidecar its caller's own proxy tells too.
    fn is_watched(&self) -> bool {
        self.teller == Teller::Itself || matches!(self.from, From::Replica)
    }

    /// Tells who was heard, after everything that it told.
    fn tell_marks(&mut self, now: Instant) {
        if let Some(met) = self.met.as_ref().filter(|_| self.teller == Teller::Itself && self.marks.is_due(now)) {
            self.marks.add(Call::heard(met.address, met.account.clone()));
        }
        if self.marks.is_empty() {
            return;
        }
        let Ok(place) = self.calls.try_reserve() else { return self.marks.put_off() };
        let marks = self.marks.take(now);
        if let From::Proxy(Some(relay)) = &self.from {
            relay.tell_marks(&marks);
        }
        place.send(marks);
    }

    /// Passes pairs on; only what was passed on counts as seen, so that the next entry of another pair tries again.
    fn pass(&mut self, fresh: Fresh<'_>, tally: &mut Tally, now: Instant) -> Result<(), ReceiverGone> {
        let amount = u64::try_from(fresh.len()).unwrap_or(u64::MAX);
        let is_watched = self.is_watched();
        let place = match self.calls.try_reserve() {
            Ok(place) => place,
            Err(TrySendError::Full(())) => {
                tally.overflow += amount;
                if is_watched {
                    fresh.keys().for_each(|pair| self.marks.lose(pair));
                }
                return Ok(());
            }
            Err(TrySendError::Closed(())) => return Err(ReceiverGone),
        };
        let began = fresh.values().filter_map(|told| unix_time(told.began)).min();
        let mut calls: Vec<Call> = fresh
            .into_iter()
            .map(|(Pair { caller, peer, host }, Told { count, .. })| {
                let peer = peer.as_ref().map(Identity::to_owned);
                Call { caller, peer, authority: host.into_string(), count }
            })
            .collect();
        calls.sort_unstable_by(|a, b| (a.caller, &a.authority, &a.peer).cmp(&(b.caller, &b.authority, &b.peer)));
        for call in &calls {
            if !self.seen.insert(call, now) {
                tally.forgotten_early += 1;
            }
        }
        if let From::Proxy(Some(relay)) = &self.from {
            relay.tell(&calls, now);
        }
        place.send(calls);
        tally.passed += amount;
        // Who tells of himself does so once a second: that is no part of the time to direct.
        if let Some(began) = began.filter(|_| self.teller == Teller::GlobalSidecar) {
            self.counters.on_the_way.since(began);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;
    use std::time::Duration;

    use prost::Message;

    use super::super::client::mk_message;
    use super::super::wire;
    use super::*;

    fn mk_intake(capacity: usize) -> (Intake, mpsc::Receiver<Vec<Call>>, Arc<Counters>, Instant) {
        let (calls_tx, calls_rx) = mpsc::channel(capacity);
        let (counters, start) = (Arc::new(Counters::default()), Instant::now());
        (Intake::new(calls_tx, counters.clone(), Limits::default(), start), calls_rx, counters, start)
    }

    fn mk(pairs: &[(&str, &str)]) -> Vec<u8> {
        let entries: Vec<_> = pairs.iter().map(|(caller, host)| (caller.parse().unwrap(), *host, 9080)).collect();
        mk_message(&entries).to_vec()
    }

    fn told(calls: &[Call]) -> Vec<String> {
        calls.iter().map(|call| format!("{} {} {}", call.caller, call.authority, call.count)).collect()
    }

    #[test]
    fn a_pair_seen_once_in_a_message_counts_one_and_repeats_within_it_add_up() {
        let (mut intake, mut calls, counters, start) = mk_intake(8);
        let message = mk(&[
            ("172.17.0.11", "reviews:9080"),
            ("172.17.0.11", "details:9080"),
            ("172.17.0.11", "Reviews."),
            ("172.17.0.9", "reviews"),
        ]);
        intake.take(&message, start).unwrap();
        let expected = ["172.17.0.9 reviews 1", "172.17.0.11 details 1", "172.17.0.11 reviews 2"];
        assert_eq!(told(&calls.try_recv().unwrap()), expected);
        assert!(calls.try_recv().is_err());
        assert_eq!((counters.entries.load(Relaxed), counters.passed.load(Relaxed)), (4, 3));
    }

    #[test]
    fn a_repeated_pair_is_absorbed_and_passed_on_again_later() {
        let (mut intake, mut calls, counters, start) = mk_intake(8);
        let details = mk(&[("172.17.0.11", "details")]);
        for millis in [0, 1, 500, 900] {
            intake.take(&details, start + Duration::from_millis(millis)).unwrap();
        }
        intake.take(&mk(&[("172.17.0.11", "details"), ("172.17.0.11", "reviews")]), start).unwrap();
        assert_eq!(told(&calls.try_recv().unwrap()), ["172.17.0.11 details 1"]);
        assert_eq!(told(&calls.try_recv().unwrap()), ["172.17.0.11 reviews 1"]);
        assert!(calls.try_recv().is_err());
        assert_eq!(counters.absorbed.load(Relaxed), 4);

        intake.take(&details, start + Duration::from_secs(2)).unwrap();
        assert_eq!(told(&calls.try_recv().unwrap()), ["172.17.0.11 details 1"]);
    }

    #[test]
    fn what_does_not_fit_is_counted_and_tried_again_by_the_next_entry() {
        let (mut intake, mut calls, counters, start) = mk_intake(1);
        let (details, reviews) = (mk(&[("172.17.0.11", "details")]), mk(&[("172.17.0.11", "reviews")]));
        intake.take(&details, start).unwrap();
        intake.take(&reviews, start).unwrap();
        assert_eq!((counters.passed.load(Relaxed), counters.overflow.load(Relaxed)), (1, 1));
        assert_eq!(told(&calls.try_recv().unwrap()), ["172.17.0.11 details 1"]);
        intake.take(&reviews, start).unwrap();
        assert_eq!(told(&calls.try_recv().unwrap()), ["172.17.0.11 reviews 1"]);
    }

    #[test]
    fn skipped_and_malformed_entries_are_counted_and_the_others_passed() {
        let (mut intake, mut calls, counters, start) = mk_intake(8);
        let mut message = mk(&[("172.17.0.11", "10.0.0.1:80"), ("172.17.0.11", "details"), ("172.17.0.11", "")]);
        message.extend([0x12, 0x04, 0x0a, 0x02, 0x08, 0x01]); // an entry whose field 1 is a number
        message.extend([0x12, 0x7f]); // longer than the message
        intake.take(&message, start).unwrap();
        assert_eq!(told(&calls.try_recv().unwrap()), ["172.17.0.11 details 1"]);
        for (reason, count) in Skipped::ALL.map(|reason| (reason, counters.skipped(reason))) {
            use Skipped::{AuthorityIsAddress, EntryMalformed, NoAuthority};
            let expected = matches!(reason, AuthorityIsAddress | EntryMalformed | NoAuthority);
            assert_eq!(count, u64::from(expected), "{}", reason.name());
        }
        assert_eq!((counters.entries.load(Relaxed), counters.messages_malformed.load(Relaxed)), (4, 1));
    }

    /// An entry of pod 172.17.0.11 that asked for details, before it is changed.
    fn mk_entry(identity: Option<&str>, change: impl FnOnce(&mut wire::HttpEntry)) -> wire::HttpEntry {
        let message = mk(&[("172.17.0.11", "details")]);
        let message = wire::StreamAccessLogsMessage::decode(message.as_slice()).unwrap();
        let mut entry = message.http_logs.unwrap().log_entry.remove(0);
        let names = identity.map(|uri| wire::SubjectAltName { san: Some(wire::San::Uri(uri.into())) });
        let certificate = wire::Certificate { subject_alt_name: names.into_iter().collect() };
        let tls = wire::Tls { peer_certificate_properties: Some(certificate) };
        entry.common_properties.as_mut().unwrap().tls_properties = Some(tls);
        change(&mut entry);
        entry
    }

    fn mk_stream_message(node: Option<&str>, entries: Vec<wire::HttpEntry>) -> Vec<u8> {
        let node = node.map(|id| wire::Node { id: id.into() });
        let message = wire::StreamAccessLogsMessage {
            identifier: node.map(|node| wire::Identifier { node: Some(node), log_name: b"log".to_vec() }),
            http_logs: Some(wire::HttpLogs { log_entry: entries }),
            tcp_logs: None,
        };
        message.encode_to_vec()
    }

    #[test]
    fn a_call_carries_the_callers_identity_and_one_of_another_identity_is_another_call() {
        let (mut intake, mut calls, counters, start) = mk_intake(8);
        let [true_one, forged] = ["spiffe://cluster.local/ns/default/sa/web", "spiffe://cluster.local/ns/evil/sa/web"]
            .map(|identity| mk_stream_message(None, vec![mk_entry(Some(identity), |_| ())]));
        intake.take(&forged, start).unwrap();
        intake.take(&true_one, start).unwrap();
        intake.take(&true_one, start).unwrap();
        intake.take(&mk_stream_message(None, vec![mk_entry(None, |_| ())]), start).unwrap();
        let mut peers = Vec::new();
        while let Ok(batch) = calls.try_recv() {
            peers.extend(batch.into_iter().map(|call| call.peer));
        }
        let [Some(forged), Some(true_one), None] = &peers[..] else { panic!("{peers:?}") };
        assert!(forged.is("evil", "web") && true_one.is("default", "web"));
        assert_eq!(counters.absorbed.load(Relaxed), 1);
    }

    #[test]
    fn of_a_message_with_all_kinds_of_entries_the_calls_are_passed_and_each_other_is_counted() {
        let (mut intake, mut calls, counters, start) = mk_intake(8);
        let cluster = |cluster: &'static str| {
            move |entry: &mut wire::HttpEntry| {
                entry.common_properties.as_mut().unwrap().upstream_cluster = cluster.into();
            }
        };
        let entries = vec![
            mk_entry(None, cluster("outbound|9080||details.default.svc.cluster.local")),
            mk_entry(Some("spiffe://cluster.local/web"), |_| ()),
            mk_entry(None, |_| ()),
            mk_entry(None, cluster("PassthroughCluster")),
            mk_entry(None, |entry| entry.common_properties = None),
            mk_entry(None, |entry| entry.request = None),
        ];
        let mut message = mk_stream_message(None, entries);
        message.extend([0x1a, 0x04, 0x0a, 0x00, 0x0a, 0x00]); // two entries of connections
        intake.take(&message, start).unwrap();
        assert_eq!(told(&calls.try_recv().unwrap()), ["172.17.0.11 details 1"]);
        for (reason, count) in Skipped::ALL.map(|reason| (reason, counters.skipped(reason))) {
            let expected = match reason {
                Skipped::NotInbound => 3,
                Skipped::NotHttp => 2,
                Skipped::IdentityMalformed | Skipped::NoAuthority => 1,
                _ => 0,
            };
            assert_eq!(count, expected, "{}", reason.name());
        }
        assert_eq!(counters.entries.load(Relaxed), 8);
    }

    #[test]
    fn another_proxys_stream_tells_nothing_and_says_so() {
        let (mut intake, mut calls, counters, start) = mk_intake(8);
        let node = "sidecar~172.17.0.11~details-v1-79f774bdb9-6vzj6.default~default.svc.cluster.local";
        intake.take(&mk_stream_message(Some(node), vec![mk_entry(None, |_| ())]), start).unwrap();
        intake.take(&mk_stream_message(None, vec![mk_entry(None, |_| ())]), start).unwrap();
        assert!(calls.try_recv().is_err());
        assert_eq!(counters.skipped(Skipped::OtherProxy), 2, "Envoy names itself in the first message only");
    }

    const OWN: &str = "sidecar~172.17.0.11~productpage-v1-6b746f74dc-vkfr7.default~default.svc.cluster.local";

    fn met(peer: Option<Peer>) -> Met {
        let account = Identity { namespace: "default".into(), account: "web".into() };
        Met { address: "172.17.0.11".parse().unwrap(), peer, account: peer.map(|_| account) }
    }

    /// The first message of a workload's own proxy.
    fn mk_own_message(entries: Vec<wire::HttpEntry>) -> Vec<u8> {
        let message = mk_stream_message(Some(OWN), entries);
        let mut message = wire::StreamAccessLogsMessage::decode(message.as_slice()).unwrap();
        message.identifier.as_mut().unwrap().log_name = b"lazyload_caller".to_vec();
        message.encode_to_vec()
    }

    /// An outbound entry that claims to be of a call from this address.
    fn mk_own_entry(from: &str) -> wire::HttpEntry {
        let entry = mk(&[(from, "details")]);
        let entry = wire::StreamAccessLogsMessage::decode(entry.as_slice()).unwrap();
        let mut entry = entry.http_logs.unwrap().log_entry.remove(0);
        let outbound = "outbound|9080||details.default.svc.cluster.local";
        entry.common_properties.as_mut().unwrap().upstream_cluster = outbound.into();
        entry
    }

    #[test]
    fn a_workloads_own_proxy_speaks_for_itself_alone_and_what_it_forges_is_counted() {
        for peer in [None, Some(Peer::Workload)] {
            let (intake, mut calls, counters, start) = mk_intake(8);
            let mut intake = intake.of(From::Proxy(None)).met(Some(met(peer)));
            let forged = mk_own_entry("172.17.0.99");
            let inbound = mk_entry(None, |_| ());
            intake.take(&mk_own_message(vec![mk_own_entry("172.17.0.11"), forged, inbound]), start).unwrap();
            let told_calls = calls.try_recv().unwrap();
            assert_eq!(told(&told_calls), ["172.17.0.11 details 1"]);
            let account = told_calls[0].peer.as_ref();
            assert_eq!(account.is_some_and(|account| account.is("default", "web")), peer.is_some());
            assert_eq!(counters.skipped(Skipped::NotItsOwn), 1);
            assert_eq!(counters.skipped(Skipped::NotOutbound), 1);
            assert_eq!(calls.try_recv().unwrap(), [Call::heard("172.17.0.11".parse().unwrap(), account.cloned())]);
            assert!(calls.try_recv().is_err());
            drop(intake);
            assert!(counters.busy.take().0.is_empty(), "what is direct does not pass the global-sidecar");
            assert_eq!(told(&counters.busy_callers.take().0), ["172.17.0.11 details 1"]);
        }
    }

    #[test]
    fn who_speaks_for_itself_is_heard_after_what_it_told_and_is_not_where_something_was_lost() {
        let (intake, mut calls, _, start) = mk_intake(2);
        let mut intake = intake.of(From::Proxy(None)).met(Some(met(None)));
        let own = "172.17.0.11".parse().unwrap();
        intake.take(&mk_own_message(vec![mk_own_entry("172.17.0.11")]), start).unwrap();
        assert_eq!(told(&calls.try_recv().unwrap()), ["172.17.0.11 details 1"]);
        assert_eq!(calls.try_recv().unwrap(), [Call::heard(own, None)]);
        intake.rest(start + Duration::from_secs(9));
        assert!(calls.try_recv().is_err());
        intake.rest(start + Duration::from_secs(10));
        assert_eq!(calls.try_recv().unwrap(), [Call::heard(own, None)]);

        let entry = |host: &str| {
            let mut entry = mk_own_entry("172.17.0.11");
            entry.request = Some(wire::Request { authority: host.as_bytes().to_vec() });
            vec![entry]
        };
        for host in ["a.b", "b.b", "c.b"] {
            intake.take(&mk_own_message(entry(host)), start + Duration::from_secs(11)).unwrap();
        }
        let told_hosts: Vec<String> =
            [calls.try_recv(), calls.try_recv()].iter().flatten().flat_map(|it| told(it)).collect();
        assert_eq!(told_hosts, ["172.17.0.11 a.b 1", "172.17.0.11 b.b 1"]);
        intake.rest(start + Duration::from_secs(30));
        assert_eq!(calls.try_recv().unwrap(), [Call::lost(own, None)]);
        intake.rest(start + Duration::from_secs(40));
        assert_eq!(calls.try_recv().unwrap(), [Call::heard(own, None)]);
        assert!(calls.try_recv().is_err());
    }

    #[test]
    fn a_workload_that_does_not_speak_of_itself_is_not_believed_about_anybody() {
        let (intake, mut calls, counters, start) = mk_intake(8);
        let mut intake = intake.of(From::Proxy(None)).met(Some(met(Some(Peer::Workload))));
        let node = "sidecar~172.17.0.10~global-sidecar-7dd48b65c8-gc7g4.mesh-operator~mesh-operator.svc.cluster.local";
        for node in [Some(node), None] {
            intake.take(&mk_stream_message(node, vec![mk_entry(None, |_| ())]), start).unwrap();
        }
        assert!(calls.try_recv().is_err());
        assert_eq!(counters.skipped(Skipped::OtherProxy), 2);
    }

    #[test]
    fn a_global_sidecar_of_one_namespace_is_believed_about_callers_of_that_one_alone() {
        let (intake, mut calls, counters, start) = mk_intake(8);
        let account = Identity { namespace: "shop", account: "global-sidecar" }.to_owned();
        let peer = Some(Peer::GlobalSidecar(Serves::OwnNamespace));
        let address = "172.17.0.10".parse().unwrap();
        let mut intake = intake.of(From::Proxy(None)).met(Some(Met { address, peer, account: Some(account) }));
        let of = |namespace: &str| format!("spiffe://cluster.local/ns/{namespace}/sa/web");
        let entries = [Some(of("shop")), Some(of("bank")), None].map(|uri| mk_entry(uri.as_deref(), |_| ()));
        intake.take(&mk_stream_message(None, entries.to_vec()), start).unwrap();
        let told = calls.try_recv().unwrap();
        let accounts: Vec<_> = told.iter().map(|call| call.peer.as_ref().map(|peer| &*peer.account)).collect();
        assert_eq!(accounts, [Some(""), Some("web")], "by its address it must be of the namespace");
        assert!(told.iter().all(|call| call.peer.as_ref().is_some_and(|peer| &*peer.namespace == "shop")));
        assert_eq!(counters.skipped(Skipped::NotItsNamespace), 1);
        assert!(calls.try_recv().is_err());
    }

    #[test]
    fn one_message_cannot_flood_the_receiver() {
        let (mut intake, mut calls, counters, start) = mk_intake(8);
        let hosts: Vec<String> = (0..MAX_PAIRS + 10).map(|number| format!("host-{number}")).collect();
        let pairs: Vec<(&str, &str)> = hosts.iter().map(|host| ("172.17.0.11", host.as_str())).collect();
        intake.take(&mk(&pairs), start).unwrap();
        assert_eq!(calls.try_recv().unwrap().len(), MAX_PAIRS);
        assert_eq!(counters.overflow.load(Relaxed), 10);
    }

    #[test]
    fn it_says_when_nobody_wants_to_know() {
        let (mut intake, calls, _, start) = mk_intake(8);
        drop(calls);
        assert_eq!(intake.take(&mk(&[("172.17.0.11", "details")]), start), Err(ReceiverGone));
        assert_eq!(intake.take(&mk(&[]), start), Ok(()));
    }
}

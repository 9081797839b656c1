//! Owns what was learned: which hosts each caller's fence was seen calling, with the evidence as the seed prints it.
//! Never forgets on its own and never decides what a host is good for.
//! Next: `evidence` for the form in which a fence's status keeps it, `window` for when it was last seen by Prometheus, `usage` for how long it was not
//! called and `hearing` for who was heard meanwhile, `fence` for what is made of it.

mod evidence;
mod hearing;
mod usage;
mod window;

use std::collections::{BTreeMap, BTreeSet};

use crate::types::ObjectRef;
pub use evidence::{evidence_key, evidence_size, host_of_evidence};
pub use hearing::Hearing;
pub use usage::{Usage, Usages, Use};
pub use window::{ToldOfFence, Window, Windows};

/// Hosts kept for one caller: a bound against a caller that makes up names.
pub const MAX_HOSTS_PER_FENCE: usize = 10_000;
/// Bytes of evidence kept for one caller, so that all of it always fits into its fence's status.
pub const MAX_BYTES_PER_FENCE: usize = 1_000_000;

/// What recording a call changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// The host is new for this caller.
    New,
    /// It was known; its first count stays, as in the original.
    Known,
    /// The caller has too many hosts already, and had room until now.
    Full,
    /// The caller had too many hosts before.
    StillFull,
}

/// Evidence by fence name. A caller may have evidence before it has a fence, and keeps it when the fence is made anew.
#[derive(Debug, Default)]
pub struct Ledger {
    by_fence: BTreeMap<ObjectRef, BTreeMap<String, String>>,
    /// Bytes that the evidence of each fence takes in its status.
    bytes: BTreeMap<ObjectRef, usize>,
    /// Fences with calls of hosts that there was no room for.
    full: BTreeSet<ObjectRef>,
    /// Evidence that was given up: a status from before does not bring it back.
    expired: BTreeMap<ObjectRef, BTreeSet<String>>,
}

impl Ledger {
    /// Records that a caller was seen calling a host, `count` times in the message that told of it.
    pub fn record(&mut self, fence: &ObjectRef, host: &str, count: u64) -> Recorded {
        let key = evidence_key(host);
        // Nearly always.
        if self.evidence(fence).is_some_and(|evidence| evidence.contains_key(&key)) {
            return Recorded::Known;
        }
        self.observe(fence, &key, &count.to_string())
    }

    /// Records evidence in its text form: a key of `metricStatus` and its value.
    pub fn observe(&mut self, fence: &ObjectRef, key: &str, value: &str) -> Recorded {
        let evidence = self.by_fence.entry(fence.clone()).or_default();
        if evidence.contains_key(key) {
            return Recorded::Known;
        }
        let bytes = self.bytes.entry(fence.clone()).or_default();
        let size = evidence_size(key, value);
        if evidence.len() >= MAX_HOSTS_PER_FENCE || *bytes + size > MAX_BYTES_PER_FENCE {
            return if self.full.insert(fence.clone()) { Recorded::Full } else { Recorded::StillFull };
        }
        *bytes += size;
        evidence.insert(key.to_owned(), value.to_owned());
        if let Some(expired) = self.expired.get_mut(fence) {
            expired.remove(key);
        }
        Recorded::New
    }

    /// Brings the value of known evidence up to date.
    pub fn refresh(&mut self, fence: &ObjectRef, key: &str, value: &str) {
        if let Some(known) = self.by_fence.get_mut(fence).and_then(|evidence| evidence.get_mut(key)) {
            value.clone_into(known);
        }
    }

    /// Gives evidence up, for good until it is seen again.
    pub fn expire(&mut self, fence: &ObjectRef, key: &str) {
        if let Some(evidence) = self.by_fence.get_mut(fence)
            && let Some((key, value)) = evidence.remove_entry(key)
            && let Some(bytes) = self.bytes.get_mut(fence)
        {
            *bytes = bytes.saturating_sub(evidence_size(&key, &value));
            self.full.remove(fence);
        }
        self.expired.entry(fence.clone()).or_default().insert(key.to_owned());
    }

    /// Whether evidence was given up and has not been seen since.
    #[must_use]
    pub fn is_expired(&self, fence: &ObjectRef, key: &str) -> bool {
        self.expired.get(fence).is_some_and(|expired| expired.contains(key))
    }

    /// Takes in the evidence that a fence's status carries, for example after a restart. What is known already stays as it is.
    pub fn seed(&mut self, fence: &ObjectRef, metric_status: &BTreeMap<String, String>) {
        if metric_status.is_empty() {
            return;
        }
        let evidence = self.by_fence.entry(fence.clone()).or_default();
        let expired = self.expired.get(fence);
        for (key, count) in metric_status.iter().filter(|(key, _)| expired.is_none_or(|keys| !keys.contains(*key))) {
            evidence.entry(key.clone()).or_insert_with(|| count.clone());
        }
        let bytes = evidence.iter().map(|(key, count)| evidence_size(key, count)).sum();
        self.bytes.insert(fence.clone(), bytes);
    }

    /// The evidence of one fence: `{destination_service="HOST"}` to a count.
    #[must_use]
    pub fn evidence(&self, fence: &ObjectRef) -> Option<&BTreeMap<String, String>> {
        self.by_fence.get(fence)
    }

    /// The hosts that one fence was seen calling, in order.
    #[must_use]
    pub fn hosts(&self, fence: &ObjectRef) -> BTreeSet<String> {
        let keys = self.evidence(fence).into_iter().flat_map(BTreeMap::keys);
        keys.filter_map(|key| host_of_evidence(key)).map(str::to_owned).collect()
    }

    /// Forgets a caller whose fence and Service are both gone.
    pub fn forget(&mut self, fence: &ObjectRef) {
        self.by_fence.remove(fence);
        self.expired.remove(fence);
        self.bytes.remove(fence);
        self.full.remove(fence);
    }

    /// Whether there were hosts of this fence that there was no room for.
    #[must_use]
    pub fn is_full(&self, fence: &ObjectRef) -> bool {
        self.full.contains(fence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_count_of_a_host_stays() {
        let mut ledger = Ledger::default();
        let fence = ObjectRef::new("default", "productpage");
        assert_eq!(ledger.record(&fence, "details.default.svc.cluster.local", 1), Recorded::New);
        assert_eq!(ledger.record(&fence, "details.default.svc.cluster.local", 7), Recorded::Known);
        let evidence = ledger.evidence(&fence).unwrap();
        assert_eq!(evidence[r#"{destination_service="details.default.svc.cluster.local"}"#], "1");
    }

    #[test]
    fn seeding_adds_and_never_overwrites() {
        let mut ledger = Ledger::default();
        let fence = ObjectRef::new("default", "a");
        ledger.record(&fence, "x.y.z", 2);
        let status = BTreeMap::from([(evidence_key("x.y.z"), "9".to_owned()), (evidence_key("u.v.w"), "3".to_owned())]);
        ledger.seed(&fence, &status);
        assert_eq!(ledger.evidence(&fence).unwrap()[&evidence_key("x.y.z")], "2");
        assert_eq!(ledger.hosts(&fence), BTreeSet::from(["u.v.w".to_owned(), "x.y.z".to_owned()]));
    }

    #[test]
    fn what_was_given_up_comes_back_by_being_seen_and_not_by_an_old_status() {
        let mut ledger = Ledger::default();
        let fence = ObjectRef::new("default", "a");
        let status = BTreeMap::from([(evidence_key("x.y.z"), "9".to_owned())]);
        ledger.seed(&fence, &status);
        ledger.expire(&fence, &evidence_key("x.y.z"));
        ledger.seed(&fence, &status);
        assert!(ledger.hosts(&fence).is_empty() && ledger.is_expired(&fence, &evidence_key("x.y.z")));
        assert_eq!(ledger.record(&fence, "x.y.z", 1), Recorded::New);
        assert!(!ledger.is_expired(&fence, &evidence_key("x.y.z")));
    }

    #[test]
    fn a_caller_that_makes_up_names_is_bounded() {
        let mut ledger = Ledger::default();
        let fence = ObjectRef::new("default", "a");
        for number in 0..MAX_HOSTS_PER_FENCE {
            ledger.record(&fence, &format!("h{number}.example"), 1);
        }
        assert_eq!(ledger.record(&fence, "one.more", 1), Recorded::Full);
        assert_eq!(ledger.record(&fence, "two.more", 1), Recorded::StillFull);
        assert!(ledger.is_full(&fence));
        let long = ObjectRef::new("default", "long");
        let host = |number: usize| format!("{number:05}.{}", "x".repeat(244));
        let fitting = (0..10_000).take_while(|number| ledger.record(&long, &host(*number), 1) == Recorded::New).count();
        assert_eq!(fitting, 3_533, "ten thousand names of 250 bytes do not fit into a status");
        assert!(serde_json::to_vec(ledger.evidence(&long).unwrap()).unwrap().len() <= MAX_BYTES_PER_FENCE);
    }
}

//! How long each learned host was not called, in time in which everybody was heard who could have called it; and which of them are in quarantine
//! for that. Nothing here is forgotten: a host in quarantine stays learned, and its first call brings it back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use lazyload_api::service_fence::Unused;

use crate::types::ObjectRef;

/// Parts of a lease in which a status tells how much of it has passed: more of them would be more writes, fewer would cost a restart more.
const STEPS: u32 = 16;
/// How often a false expiry doubles the lease.
const DOUBLINGS: u64 = 4;
/// Hosts of a fence of which a status tells how long they were not called, or that they are in quarantine.
const MOST: usize = 1_000;

/// What is known of all fences.
#[derive(Debug, Default)]
pub struct Usages {
    by_fence: BTreeMap<ObjectRef, Usage>,
}

/// One fence's hosts, by the names that `status.domains` has for them.
#[derive(Debug)]
pub struct Usage {
    /// Time in which everybody was heard.
    watched: Duration,
    /// Up to when it was counted, by the monotonic clock.
    until: Duration,
    /// Whether everybody was heard at the last look.
    heard: bool,
    hosts: BTreeMap<String, Host>,
}

/// One host.
#[derive(Debug, Default)]
struct Host {
    /// When it was called last, or met, in watched time.
    at: Duration,
    /// How long it was not called before that, as the status told when we began.
    before: Duration,
    /// The same as the status tells it now, in seconds.
    told_for: u64,
    kept: Kept,
    /// What the status tells.
    told: Kept,
}

/// What a status keeps of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Kept {
    /// In quarantine since (Unix seconds), after so many seconds without a call.
    quarantined: Option<(i64, u64)>,
    false_expiries: u64,
}

/// What a call of a host means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It is called as ever.
    Usual,
    /// It is called after a time that the status tells.
    Again,
    /// It was in quarantine, and is not any more.
    Back,
}

impl Usages {
    /// What is known of a fence, if its hosts are watched or one of them is in quarantine.
    #[must_use]
    pub fn find(&self, fence: &ObjectRef) -> Option<&Usage> {
        self.by_fence.get(fence)
    }

    /// The same, to be changed.
    pub fn find_mut(&mut self, fence: &ObjectRef) -> Option<&mut Usage> {
        self.by_fence.get_mut(fence)
    }

    /// The same; one that is not watched is from now on.
    pub fn of(&mut self, fence: &ObjectRef, now: Duration) -> &mut Usage {
        let usage = Usage { watched: Duration::ZERO, until: now, heard: false, hosts: BTreeMap::new() };
        self.by_fence.entry(fence.clone()).or_insert(usage)
    }

    /// Fences that are watched.
    pub fn fences(&self) -> impl Iterator<Item = &ObjectRef> {
        self.by_fence.keys()
    }

    /// Watches a fence no more.
    pub fn forget(&mut self, fence: &ObjectRef) {
        self.by_fence.remove(fence);
    }
}

impl Usage {
    /// Takes in what the status of the fence tells. What was decided here and is not told yet stays; and how long a host was not called is told to
    /// who knows nothing of it.
    pub fn adopt(&mut self, told: &BTreeMap<String, Unused>) {
        for (name, unused) in told {
            let new = Host { at: self.watched, before: Duration::from_secs(unused.for_seconds), ..Host::default() };
            self.hosts.entry(name.clone()).or_insert(new);
        }
        for (name, host) in &mut self.hosts {
            let unused = told.get(name);
            let told = unused.map(Kept::of).unwrap_or_default();
            host.told_for = unused.map_or(0, |unused| unused.for_seconds);
            if host.kept == host.told {
                host.kept = told.clone();
            }
            host.told = told;
        }
    }

    /// Everybody was heard from then to then.
    pub fn pass(&mut self, from: Duration, to: Duration) {
        self.heard = to >= from;
        let from = from.max(self.until);
        if to > from {
            self.watched += to.saturating_sub(from);
            self.until = to;
        }
    }

    /// Until now somebody was not heard: what was not counted so far never is.
    pub fn miss(&mut self, now: Duration) {
        self.heard = false;
        self.until = self.until.max(now);
    }

    /// Whether everybody was heard at the last look.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.heard
    }

    /// A host is called now.
    pub fn call(&mut self, name: &str, now: Duration) -> Use {
        let at = self.present(now);
        let Some(host) = self.hosts.get_mut(name) else { return Use::Usual };
        host.at = at;
        host.before = Duration::ZERO;
        if host.kept.quarantined.take().is_some() {
            host.kept.false_expiries = host.kept.false_expiries.saturating_add(1);
            return Use::Back;
        }
        if host.told_for > 0 { Use::Again } else { Use::Usual }
    }

    /// These are the hosts that are learned. One that is met for the first time begins its lease now.
    pub fn meet(&mut self, learned: &BTreeSet<String>, now: Duration) {
        let at = self.present(now);
        self.hosts.retain(|name, _| learned.contains(name));
        for name in learned {
            if !self.hosts.contains_key(name) {
                self.hosts.insert(name.clone(), Host { at, ..Host::default() });
            }
        }
    }

    /// The hosts whose lease is over, as many as a status can tell of; none while somebody is not heard.
    #[must_use]
    pub fn due(&self, lease: Duration) -> BTreeSet<String> {
        if !self.heard {
            return BTreeSet::new();
        }
        let told = self.hosts.values().filter(|host| host.kept != Kept::default()).count();
        let is_due = |host: &Host| {
            let lease = lease_of(lease, host.kept.false_expiries);
            host.kept.quarantined.is_none() && self.unused(host) >= lease
        };
        let due = self.hosts.iter().filter(|(_, host)| is_due(host)).map(|(name, _)| name.clone());
        due.take(MOST.saturating_sub(told)).collect()
    }

    /// Puts a host into quarantine.
    pub fn quarantine(&mut self, name: &str, lease: Duration, unix_seconds: i64) {
        if let Some(host) = self.hosts.get_mut(name) {
            let lease = lease_of(lease, host.kept.false_expiries);
            host.kept.quarantined = Some((unix_seconds, lease.as_secs()));
        }
    }

    /// Whether a host is in quarantine.
    #[must_use]
    pub fn is_quarantined(&self, name: &str) -> bool {
        self.hosts.get(name).is_some_and(|host| host.kept.quarantined.is_some())
    }

    /// The hosts in quarantine.
    pub fn quarantined(&self) -> impl Iterator<Item = &String> {
        self.hosts.iter().filter(|(_, host)| host.kept.quarantined.is_some()).map(|(name, _)| name)
    }

    /// What a status tells: those in quarantine, those that were, and for how long others were not called, in steps that all hosts take together.
    #[must_use]
    pub fn shown(&self, lease: Duration) -> BTreeMap<String, Unused> {
        let step = (lease / STEPS).max(Duration::from_secs(1));
        let mut shown = BTreeMap::new();
        for only_kept in [true, false] {
            for (name, host) in &self.hosts {
                if (host.kept != Kept::default()) == only_kept && shown.len() < MOST {
                    let told = host.shown(lease, self.steps(host, step));
                    shown.extend(told.map(|told| (name.clone(), told)));
                }
            }
        }
        shown
    }

    /// Now, in watched time: what is not counted yet may still be, and makes nothing older that is called now.
    fn present(&self, now: Duration) -> Duration {
        self.watched + now.saturating_sub(self.until)
    }

    fn unused(&self, host: &Host) -> Duration {
        host.before + self.watched.saturating_sub(host.at)
    }

    /// Whole steps of the fence's time, so that many hosts cost one write.
    fn steps(&self, host: &Host, step: Duration) -> Duration {
        let (step, at, now) = (step.as_secs(), host.at.as_secs(), self.watched.as_secs());
        let steps = (now / step).saturating_sub(at.div_ceil(step));
        host.before + Duration::from_secs(steps.saturating_mul(step))
    }
}

impl Host {
    fn shown(&self, lease: Duration, unused: Duration) -> Option<Unused> {
        let false_expiries = self.kept.false_expiries;
        if let Some((since, lease_seconds)) = self.kept.quarantined {
            let since = Some(Time(Timestamp::from_second(since).unwrap_or(Timestamp::UNIX_EPOCH)));
            return Some(Unused { quarantined_since: since, lease_seconds, for_seconds: 0, false_expiries });
        }
        let lease_seconds = lease_of(lease, false_expiries).as_secs();
        let for_seconds = unused.as_secs().min(lease_seconds);
        let tells = for_seconds > 0 || false_expiries > 0;
        tells.then_some(Unused { quarantined_since: None, lease_seconds, for_seconds, false_expiries })
    }
}

impl Kept {
    fn of(unused: &Unused) -> Self {
        let since = unused.quarantined_since.as_ref().map(|since| since.0.as_second());
        let quarantined = since.map(|since| (since, unused.lease_seconds));
        Self { quarantined, false_expiries: unused.false_expiries }
    }
}

/// The first lease, doubled with each false expiry.
fn lease_of(lease: Duration, false_expiries: u64) -> Duration {
    (0..false_expiries.min(DOUBLINGS)).fold(lease, |lease, _| lease.saturating_mul(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const LEASE: Duration = Duration::from_secs(16 * 3600);

    fn usage() -> Usage {
        let mut usages = Usages::default();
        usages.of(&ObjectRef::new("default", "a"), Duration::ZERO).meet(&["b".to_owned()].into(), Duration::ZERO);
        usages.by_fence.pop_first().unwrap().1
    }

    fn due(usage: &Usage) -> bool {
        usage.due(LEASE).contains("b")
    }

    #[test]
    fn a_host_is_due_one_lease_of_heard_time_after_its_last_call() {
        let mut usage = usage();
        usage.pass(Duration::ZERO, HOUR);
        // Half an hour of it is not counted yet.
        assert_eq!(usage.call("b", HOUR + HOUR / 2), Use::Usual);
        usage.pass(Duration::ZERO, LEASE + HOUR);
        assert!(!due(&usage));
        usage.pass(Duration::ZERO, LEASE + HOUR + HOUR / 2);
        assert!(due(&usage));
    }

    #[test]
    fn time_in_which_somebody_was_not_heard_makes_nothing_older() {
        let mut usage = usage();
        usage.miss(LEASE * 100);
        assert!(!due(&usage) && !usage.is_heard());
        // What comes late of before counts no more; what is heard from the middle on counts from there.
        usage.pass(Duration::ZERO, LEASE * 100);
        usage.pass(LEASE * 101, LEASE * 102 - HOUR);
        assert!(!due(&usage) && usage.is_heard());
        usage.pass(LEASE * 101, LEASE * 102);
        assert!(due(&usage));
    }

    #[test]
    fn each_false_expiry_doubles_the_lease_up_to_sixteen_times_the_first() {
        let mut usage = usage();
        let mut now = Duration::ZERO;
        for (round, times) in [1, 2, 4, 8, 16, 16].into_iter().enumerate() {
            usage.pass(now, now + LEASE * times - HOUR);
            assert!(!due(&usage), "{round}");
            now += LEASE * times;
            usage.pass(Duration::ZERO, now);
            assert!(due(&usage), "{round}");
            usage.quarantine("b", LEASE, 7);
            assert!(usage.is_quarantined("b") && usage.due(LEASE).is_empty());
            let told = &usage.shown(LEASE)["b"];
            let round = u64::try_from(round).unwrap();
            assert_eq!((told.lease_seconds, told.false_expiries), (LEASE.as_secs() * u64::from(times), round));
            assert_eq!(usage.call("b", now), Use::Back);
            assert!(!usage.is_quarantined("b"));
        }
    }

    #[test]
    fn a_status_tells_of_a_sixteenth_of_the_lease_and_who_starts_goes_on_there() {
        let mut usage = usage();
        usage.pass(Duration::ZERO, HOUR - Duration::from_secs(1));
        assert!(usage.shown(LEASE).is_empty());
        usage.pass(Duration::ZERO, HOUR * 15 + HOUR / 2);
        let told = usage.shown(LEASE);
        assert_eq!(told["b"].for_seconds, 15 * 3600);
        usage.adopt(&told);

        let mut anew = self::usage();
        anew.hosts.clear();
        anew.adopt(&told);
        assert_eq!(anew.shown(LEASE), told, "nothing is written by who starts");
        anew.pass(Duration::ZERO, HOUR);
        assert!(due(&anew));
        assert_eq!((anew.call("b", HOUR), usage.call("b", HOUR * 16)), (Use::Again, Use::Again));
        assert!(anew.shown(LEASE).is_empty() && !due(&anew));
    }

    #[test]
    fn what_was_decided_here_and_is_not_told_yet_is_not_taken_back_by_an_older_status() {
        let mut usage = usage();
        usage.pass(Duration::ZERO, LEASE);
        usage.quarantine("b", LEASE, 7);
        usage.adopt(&BTreeMap::new());
        assert!(usage.is_quarantined("b"));
        let told = usage.shown(LEASE);
        usage.adopt(&told);
        assert_eq!(usage.call("b", LEASE), Use::Back);
        usage.adopt(&told);
        assert!(!usage.is_quarantined("b"));
        // Who hears it from another replica's status takes it over.
        let back = usage.shown(LEASE);
        usage.adopt(&back);
        usage.adopt(&told);
        assert!(usage.is_quarantined("b"));
    }

    #[test]
    fn no_more_hosts_are_told_than_fit_into_a_status() {
        let mut usage = usage();
        let hosts: BTreeSet<String> = (0..3 * MOST).map(|number| format!("h{number:05}")).collect();
        usage.meet(&hosts, Duration::ZERO);
        usage.pass(Duration::ZERO, LEASE);
        assert_eq!((usage.due(LEASE).len(), usage.shown(LEASE).len()), (MOST, MOST));
        for host in usage.due(LEASE) {
            usage.quarantine(&host, LEASE, 1);
        }
        assert_eq!((usage.due(LEASE).len(), usage.shown(LEASE).len(), usage.quarantined().count()), (0, MOST, MOST));
    }
}

//! From a call to a dependency: who called, which fences that is, which host it was. Source: contract 3.2.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use lazyload_api::names;

use super::State;
use super::change::CountsByName;
use crate::fence::completion::complete_called;
use crate::fence::revision::is_in_scope;
use crate::fence::sidecar::workload_labels;
use crate::index::{Caller, NoCaller, selects};
use crate::ledger::Recorded;
use crate::observation::{Call, Identity, authority};
use crate::types::{Now, ObjectRef};

/// A call waits this long for the news of its caller.
const WAIT_FOR_CALLER: Duration = Duration::from_secs(30);
/// Calls that have waited too long are dropped this often at most.
const TIDY: Duration = Duration::from_secs(1);
/// Callers whose calls wait at most, and calls of each.
const MAX_WAITING: (usize, usize) = (4096, 64);

/// Calls that cannot be put down to anybody yet: a pod's first calls can be faster than the news of the pod, its Service or its fence,
/// and nobody is known before everything is listed.
#[derive(Debug, Default)]
pub(super) struct WaitingCalls {
    by_caller: BTreeMap<IpAddr, Vec<Waiting>>,
    tidied: Duration,
    /// When the first one is given up; none waits without it.
    pub(super) alarm: Option<Duration>,
}

#[derive(Debug)]
struct Waiting {
    since: Duration,
    call: Call,
    /// Why it waits, for the day that it is given up.
    reason: &'static str,
}

impl Waiting {
    fn is_over(&self, now: Now) -> bool {
        now.monotonic.saturating_sub(self.since) >= WAIT_FOR_CALLER
    }
}

/// A namespace, and the fences that speak for a caller of it.
pub(super) type Callers = (String, BTreeSet<ObjectRef>);

/// Who made the call before.
struct Looked {
    caller: IpAddr,
    peer: Option<Identity<Box<str>>>,
    found: Result<Callers, NoCaller>,
}

/// What became of the calls that were seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// Hosts that were new for a caller.
    pub hosts: u64,
    /// Calls that told nothing new.
    pub known: u64,
    /// Calls put down to a caller whose certificate agrees with its address.
    pub verified: u64,
    /// Calls put down to a caller by its address alone: it spoke without mTLS.
    pub unverified: u64,
    /// Calls that were left out, by reason.
    pub skipped: CountsByName,
    /// Hosts that were not called for the window and left.
    pub expired: u64,
    /// Hosts that were not called for their lease and are, or were, in quarantine.
    pub quarantined: u64,
    /// Those of them that were called after all.
    pub returned: u64,
}

impl Learned {
    pub(super) fn skip(&mut self, reason: &'static str) {
        *self.skipped.entry(reason).or_default() += 1;
    }
}

impl State {
    /// Calls of one caller stand one after the other: who it is is looked up once for all of them.
    pub(super) fn called(&mut self, calls: Vec<Call>, now: Now) {
        let mut last = None;
        for call in calls {
            match call.is_heard() {
                Some(heard) => self.hear(&call, heard, now),
                None => last = self.call(call, last, now.monotonic, now),
            }
        }
    }

    /// Tries the calls again that came from an address before its owner was known.
    pub(super) fn retry_waiting(&mut self, address: IpAddr, now: Now) {
        if !self.unlisted.is_empty() {
            return;
        }
        for waiting in self.waiting_calls.by_caller.remove(&address).unwrap_or_default() {
            if waiting.is_over(now) {
                self.learned.skip(waiting.reason);
            } else {
                self.call(waiting.call, None, waiting.since, now);
            }
        }
    }

    /// Tries the calls of a namespace's pods again, which a Service or a fence may speak for now.
    pub(super) fn retry_waiting_in(&mut self, namespace: &str, now: Now) {
        let of_namespace = |address: &&IpAddr| self.index.may_be_of(**address, namespace);
        let addresses: Vec<IpAddr> = self.waiting_calls.by_caller.keys().filter(of_namespace).copied().collect();
        for address in addresses {
            self.retry_waiting(address, now);
        }
    }

    /// Tries all calls again once everything is listed; the time until then does not count.
    pub(super) fn retry_all_waiting(&mut self, now: Now) {
        for waiting in std::mem::take(&mut self.waiting_calls).by_caller.into_values().flatten() {
            self.call(waiting.call, None, now.monotonic, now);
        }
    }

    /// Learns from a call that was seen at `since`. Nothing that it changes changes who somebody is: who it was is given back, for the next call.
    fn call(&mut self, call: Call, last: Option<Looked>, since: Duration, now: Now) -> Option<Looked> {
        if !self.unlisted.is_empty() {
            self.wait(Waiting { since, call, reason: "unknown_caller" }, now);
            return last;
        }
        let looked = last.filter(|last| last.caller == call.caller && last.peer == call.peer);
        let looked = looked.unwrap_or_else(|| Looked {
            caller: call.caller,
            peer: call.peer.clone(),
            found: self.find_callers(&call),
        });
        self.learn(call, &looked.found, since, now);
        Some(looked)
    }

    fn learn(&mut self, call: Call, found: &Result<Callers, NoCaller>, since: Duration, now: Now) {
        let (namespace, fences) = match found {
            Ok(found) => found,
            // The address may be a new pod's, of which there is no news yet.
            Err(NoCaller::Disagrees) => return self.wait(Waiting { since, call, reason: "identity_mismatch" }, now),
            Err(NoCaller::Unknown) => return self.wait(Waiting { since, call, reason: "unknown_caller" }, now),
        };
        if !authority::parse(&call.authority).is_ok_and(|host| host.is_dns_1123()) {
            // One host that Istio's admission refuses would keep the whole Sidecar from being written.
            return self.learned.skip("not_a_dns_name");
        }
        let host = complete_called(&call.authority, namespace, &self.index);
        if self.is_global_sidecar(&host) {
            return self.learned.skip("global_sidecar");
        }
        if fences.is_empty() {
            return self.wait(Waiting { since, call, reason: "caller_without_service" }, now);
        }
        if call.peer.as_ref().is_some_and(Identity::names_account) {
            self.learned.verified += 1;
        } else {
            self.learned.unverified += 1;
        }
        for fence in fences {
            if !self.is_in_scope(fence) {
                self.learned.skip("other_revision");
                continue;
            }
            self.record_as_written(fence, &call, &host);
            self.note_use(fence, &host, now);
            let recorded = self.ledger.record(fence, &host, call.count);
            self.seen_calling(fence, &call, &host, recorded, now);
            match recorded {
                Recorded::New => {
                    self.learned.hosts += 1;
                    self.by_fence.entry(fence.clone()).or_default().pace.learned(now.monotonic);
                    self.note_call(fence, &host, &call, now.unix_seconds);
                    self.dirty.insert(fence.clone());
                }
                Recorded::Known => self.learned.known += 1,
                Recorded::Full => {
                    self.learned.skip("too_many_hosts");
                    self.dirty.insert(fence.clone());
                }
                Recorded::StillFull => self.learned.skip("too_many_hosts"),
            }
        }
    }

    /// The caller's namespace and the fences that speak for it: those that select the pod, and the namesakes of the Services that do
    /// (a fence made later then knows at once what was seen before).
    pub(super) fn find_callers(&self, call: &Call) -> Result<Callers, NoCaller> {
        let pod = match self.index.find_caller(call.caller, call.peer.as_ref())? {
            Caller::Pod(pod) => pod,
            Caller::Services(services) => {
                let namespace = services.first().ok_or(NoCaller::Unknown)?.namespace.to_string();
                return Ok((namespace, services.into_iter().cloned().collect()));
            }
        };
        let namespace = &*pod.id.namespace;
        let services = self.index.services_in(namespace).filter(|service| selects(&service.selector, &pod.labels));
        let mut fences: BTreeSet<ObjectRef> = services.map(|service| service.id.clone()).collect();
        for fence in self.index.fences_in(namespace) {
            let workload = workload_labels(&self.settings, fence, &self.index);
            if workload.is_some_and(|workload| selects(&workload, &pod.labels)) {
                fences.insert(fence.id.clone());
            }
        }
        fences.extend(self.pod_fences.fence_of(&pod.id).cloned());
        Ok((namespace.to_owned(), fences))
    }

    /// A fence of another revision learns nothing here; one that is yet to be made is this controller's.
    fn is_in_scope(&self, fence: &ObjectRef) -> bool {
        self.index.find_fence(fence).is_none_or(|fence| is_in_scope(&self.settings.revisions, &fence.labels))
    }

    /// Records the host as the client wrote it, besides the one that the mesh knows (`enableShortDomain`): as evidence, no more.
    fn record_as_written(&mut self, fence: &ObjectRef, call: &Call, host: &str) {
        if self.settings.record_written_hosts
            && call.authority != host
            && self.ledger.record(fence, &call.authority, call.count) == Recorded::New
        {
            self.dirty.insert(fence.clone());
        }
    }

    pub(super) fn is_global_sidecar(&self, host: &str) -> bool {
        host.strip_prefix(names::GLOBAL_SIDECAR).is_some_and(|rest| {
            rest.strip_suffix(names::SERVICE_DOMAIN_SUFFIX).is_some_and(|namespace| {
                let namespace = namespace.strip_prefix('.').unwrap_or_default();
                namespace == self.settings.global_sidecar_namespace()
                    || self.settings.namespaces.iter().any(|listed| listed == namespace)
            })
        })
    }

    fn wait(&mut self, waiting: Waiting, now: Now) {
        self.give_up_waiting(now);
        let by_caller = &mut self.waiting_calls.by_caller;
        if by_caller.len() >= MAX_WAITING.0 && !by_caller.contains_key(&waiting.call.caller) {
            return self.learned.skip(waiting.reason);
        }
        let calls = by_caller.entry(waiting.call.caller).or_default();
        let same =
            |known: &Waiting| known.call.authority == waiting.call.authority && known.call.peer == waiting.call.peer;
        if calls.iter().any(same) {
            return;
        }
        if calls.len() >= MAX_WAITING.1 {
            return self.learned.skip(waiting.reason);
        }
        let over = (waiting.since + WAIT_FOR_CALLER).max(self.waiting_calls.tidied + TIDY);
        self.waiting_calls.alarm = Some(self.waiting_calls.alarm.map_or(over, |alarm| alarm.min(over)));
        calls.push(waiting);
    }

    /// Drops the calls that have waited too long, unless nobody could be known yet.
    pub(super) fn give_up_waiting(&mut self, now: Now) {
        let waiting = &mut self.waiting_calls;
        if !self.unlisted.is_empty() || waiting.alarm.is_none_or(|alarm| alarm > now.monotonic) {
            return;
        }
        waiting.tidied = now.monotonic;
        self.waiting_calls.by_caller.retain(|_, calls| {
            for over in calls.extract_if(.., |waiting| waiting.is_over(now)) {
                self.learned.skip(over.reason);
            }
            !calls.is_empty()
        });
        let since = self.waiting_calls.by_caller.values().flatten().map(|waiting| waiting.since).min();
        let alarm = since.map(|since| (since + WAIT_FOR_CALLER).max(now.monotonic + TIDY));
        self.waiting_calls.alarm = alarm;
    }
}

//! Learned hosts that are not called for a time (`general.expireUnusedAfter`): out of the Sidecar, in quarantine, until their first call. The time is what
//! `ledger::usage` counts: that in which every pod's own proxy was heard. Reasons: docs/adr/0037.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lazyload_api::names;
use lazyload_api::service_fence::{Destinations, DomainStatus, Unused};

use super::State;
use super::history::What;
use crate::fence::completion::{complete_known, service_of_host};
use crate::fence::lease;
use crate::fence::sidecar::workload_labels;
use crate::index::{Caller, selects};
use crate::ledger::{Usage, Use};
use crate::observation::Call;
use crate::settings::GlobalSidecarMode;
use crate::types::{Fence, Now, ObjectRef};

/// Time between two looks at what was heard: a sixteenth of the lease, within these.
const LOOKS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

impl State {
    /// How long learned hosts of a fence stay without a call; `None`: for good.
    #[must_use]
    pub fn lease(&self, fence: &Fence) -> Option<Duration> {
        lease::decide(&self.settings, fence, self.around(fence))
    }

    /// The learned hosts of a fence that are not in quarantine, as they were learned.
    pub(super) fn in_use(&self, id: &ObjectRef) -> BTreeSet<String> {
        let mut learned = self.ledger.hosts(id);
        if let Some(usage) = self.usages.find(id) {
            learned.retain(|host| !usage.is_quarantined(&self.known_as(id, host)));
        }
        learned
    }

    /// Whether a host as it was learned is in quarantine.
    pub(super) fn is_quarantined(&self, id: &ObjectRef, host: &str) -> bool {
        self.usages.find(id).is_some_and(|usage| usage.is_quarantined(&self.known_as(id, host)))
    }

    /// A learned host as `status.domains` names it.
    fn known_as(&self, id: &ObjectRef, host: &str) -> String {
        complete_known(host, &id.namespace, &self.index)
    }

    /// Takes in that a workload's own proxy was heard, or that something it told was lost.
    pub(super) fn hear(&mut self, call: &Call, heard: bool, now: Now) {
        // Whose calls may have been lost while nobody was known is not heard yet.
        if !self.unlisted.is_empty() {
            return;
        }
        if let Ok(Caller::Pod(pod)) = self.index.find_caller(call.caller, call.peer.as_ref()) {
            if heard {
                self.hearing.hear(pod, now.monotonic);
            } else {
                self.hearing.lose(pod);
            }
        }
    }

    /// A host of a fence is called.
    pub(super) fn note_use(&mut self, id: &ObjectRef, host: &str, now: Now) {
        if self.usages.find(id).is_none() {
            return;
        }
        let name = self.known_as(id, host);
        let Some(usage) = self.usages.find_mut(id) else { return };
        match usage.call(&name, now.monotonic) {
            Use::Usual => return,
            Use::Again => {}
            Use::Back => {
                self.learned.returned += 1;
                self.by_fence.entry(id.clone()).or_default().pace.learned(now.monotonic);
                self.history.add(id, now.unix_seconds, What::Returned { host: name });
            }
        }
        self.dirty.insert(id.clone());
    }

    /// Takes in what the status of a fence tells of its hosts.
    pub(super) fn adopt_unused(&mut self, id: &ObjectRef, now: Now) {
        let Some(fence) = self.index.find_fence(id) else { return };
        if !fence.status.unused.is_empty() || self.usages.find(id).is_some() {
            self.usages.of(id, now.monotonic).adopt(&fence.status.unused);
        }
    }

    /// A pod goes, or has ended. If it was not heard to its end, what it called may be unknown.
    pub(super) fn pod_leaves(&mut self, id: &ObjectRef, now: Duration) {
        let Some(pod) = self.index.find_pod(id).filter(|pod| !pod.addresses.is_empty()) else { return };
        if self.hearing.span(pod, now).is_some() {
            return;
        }
        for fence in self.index.fences_in(&id.namespace) {
            let workload = workload_labels(&self.settings, fence, &self.index);
            if workload.is_some_and(|workload| selects(&workload, &pod.labels))
                && let Some(usage) = self.usages.find_mut(&fence.id)
            {
                usage.miss(now);
            }
        }
    }

    /// Counts the time in which everybody was heard who could have called a host of this fence; also where another replica decides.
    pub(super) fn listen(&mut self, fence: &Fence, now: Duration) {
        let span = self.heard_span(fence, now);
        let learned = self.ledger.hosts(&fence.id);
        let learned = learned.iter().map(|host| self.known_as(&fence.id, host));
        // A short name that is no Service's is evidence, and no dependency.
        let learned = learned.filter(|host| host.contains('.')).collect();
        let usage = self.usages.of(&fence.id, now);
        match span {
            Some((from, to)) => usage.pass(from, to),
            None => usage.miss(now),
        }
        usage.meet(&learned, now);
    }

    /// From when to when every pod of a fence was heard; `None` if one of them is not, there is none, or not only pods may call.
    fn heard_span(&self, fence: &Fence, now: Duration) -> Option<(Duration, Duration)> {
        let workload = workload_labels(&self.settings, fence, &self.index)?;
        if self.index.has_other_endpoints(&fence.id) {
            return None;
        }
        let mut heard = None;
        for pod in self.index.callers_with(&fence.id.namespace, &workload) {
            let (since, last) = self.hearing.span(pod, now)?;
            let (from, to) = heard.unwrap_or((since, last));
            heard = Some((since.max(from), last.min(to)));
        }
        heard
    }

    /// Decides which hosts of a fence are in quarantine. Returns when to look again.
    pub(super) fn look_at_unused(&mut self, fence: &Fence, now: Now) -> Option<Duration> {
        let Some(lease) = self.lease(fence) else {
            // Nobody asks for it any more: what is in quarantine comes back.
            self.usages.forget(&fence.id);
            return None;
        };
        self.listen(fence, now.monotonic);
        let due = self.usages.find(&fence.id).map(|usage| usage.due(lease)).unwrap_or_default();
        if !due.is_empty() && self.is_enforced(fence) {
            for host in self.may_go(fence, &due, now.unix_seconds) {
                if let Some(usage) = self.usages.find_mut(&fence.id) {
                    usage.quarantine(&host, lease, now.unix_seconds);
                }
                self.learned.quarantined += 1;
                self.history.add(&fence.id, now.unix_seconds, What::Quarantined { host });
            }
        }
        Some(now.monotonic + (lease / 16).clamp(LOOKS.0, LOOKS.1))
    }

    /// Of these hosts those that are in the Sidecar because they were called, and for nothing else; and that the global-sidecar would serve.
    fn may_go(&self, fence: &Fence, due: &BTreeSet<String>, unix_seconds: i64) -> Vec<String> {
        let in_use = self.in_use(&fence.id);
        let is_due = |host: &String| due.contains(&self.known_as(&fence.id, host));
        let others: BTreeSet<String> = in_use.iter().filter(|host| !is_due(host)).cloned().collect();
        let all = self.dependencies(fence, &in_use, unix_seconds).0.domains;
        let without = self.dependencies(fence, &others, unix_seconds).0.domains;
        let goes = |host: &&String| {
            let domain = all.get(*host).filter(|domain| !domain.external && !without.contains_key(*host));
            let is_served = |name: &String| self.is_served_by_fallback(fence, name);
            // A wildcard is how the mesh knows the host, which has ports itself.
            let behind =
                |domain: &Destinations| domain.hosts.iter().filter(|name| !name.starts_with('*')).all(is_served);
            domain.is_some_and(behind) && is_served(host)
        };
        due.iter().filter(goes).cloned().collect()
    }

    /// Whether a call of a host by way of the global-sidecar would come to the same. With a policy it may be denied, for whose identity it carries.
    fn is_served_by_fallback(&self, fence: &Fence, host: &str) -> bool {
        let service = service_of_host(host).and_then(|id| self.index.find_service(&id));
        if service.is_some_and(|service| !self.index.policies_protecting(service).is_empty()) {
            return false;
        }
        let namespace = match self.settings.mode {
            GlobalSidecarMode::Cluster => self.settings.global_sidecar_namespace(),
            GlobalSidecarMode::Namespace => &fence.id.namespace,
        };
        let fallback = self.index.find_service(&ObjectRef::new(namespace, names::GLOBAL_SIDECAR));
        let ports = self.index.ports_of(host, &fence.id.namespace);
        fallback.zip(ports).is_some_and(|(fallback, ports)| !ports.is_empty() && ports.is_subset(&fallback.numbers))
    }

    /// Lists the hosts in quarantine that nothing else asks for.
    pub(super) fn list_quarantined(&self, id: &ObjectRef, domains: &mut BTreeMap<String, Destinations>) {
        for host in self.usages.find(id).into_iter().flat_map(Usage::quarantined) {
            domains.entry(host.clone()).or_insert_with(|| Destinations {
                hosts: vec![host.clone()],
                status: DomainStatus::Expire,
                ..Destinations::default()
            });
        }
    }

    /// What the status tells of hosts that are not called.
    pub(super) fn shown_unused(&self, fence: &Fence) -> BTreeMap<String, Unused> {
        let lease = self.lease(fence);
        let usage = lease.and_then(|_| self.usages.find(&fence.id));
        usage.zip(lease).map(|(usage, lease)| usage.shown(lease)).unwrap_or_default()
    }

    /// Whether the time of a fence's hosts is counted; `None` where they stay for good.
    pub(super) fn is_heard(&self, fence: &Fence) -> Option<bool> {
        self.lease(fence).filter(|_| self.is_enforced(fence))?;
        Some(self.usages.find(&fence.id).is_some_and(Usage::is_heard))
    }
}

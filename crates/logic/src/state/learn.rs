//! From a call to a dependency: who called, which fences that is, which host it was. Source: contract 3.2.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use lazyload_api::names;

use super::State;
use super::change::CountsByName;
use crate::fence::completion::complete_called;
use crate::fence::sidecar::workload_labels;
use crate::index::{Caller, selects};
use crate::ledger::Recorded;
use crate::observation::{Call, authority};
use crate::types::{Now, ObjectRef};

/// A call waits this long for the news of its caller.
const WAIT_FOR_CALLER: Duration = Duration::from_secs(30);
/// Callers whose calls wait at most, and calls of each.
const MAX_WAITING: (usize, usize) = (4096, 64);

/// What became of the calls that were seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// Hosts that were new for a caller.
    pub hosts: u64,
    /// Calls that told nothing new.
    pub known: u64,
    /// Calls that were left out, by reason.
    pub skipped: CountsByName,
}

impl Learned {
    fn skip(&mut self, reason: &'static str) {
        *self.skipped.entry(reason).or_default() += 1;
    }
}

impl State {
    pub(super) fn called(&mut self, calls: Vec<Call>, now: Now) {
        for call in calls {
            self.call(call, now);
        }
    }

    /// Tries the calls again that came from an address before its owner was known.
    pub(super) fn retry_waiting(&mut self, address: IpAddr, now: Now) {
        for (since, call) in self.waiting_calls.remove(&address).unwrap_or_default() {
            if now.monotonic.saturating_sub(since) <= WAIT_FOR_CALLER {
                self.call(call, now);
            }
        }
    }

    fn call(&mut self, call: Call, now: Now) {
        let Some((namespace, fences)) = self.find_callers(call.caller) else {
            return self.wait_for_caller(call, now);
        };
        if !authority::parse(&call.authority).is_ok_and(|host| host.is_dns_1123()) {
            // One host that Istio's admission refuses would keep the whole Sidecar from being written.
            return self.learned.skip("not_a_dns_name");
        }
        let host = complete_called(&call.authority, &namespace, &self.index);
        if self.is_global_sidecar(&host) {
            return self.learned.skip("global_sidecar");
        }
        if fences.is_empty() {
            return self.learned.skip("caller_without_service");
        }
        for fence in fences {
            match self.ledger.record(&fence, &host, call.count) {
                Recorded::New => {
                    self.learned.hosts += 1;
                    self.by_fence.entry(fence.clone()).or_default().pace.learned(now.monotonic);
                    self.dirty.insert(fence);
                }
                Recorded::Known => self.learned.known += 1,
                Recorded::Full => self.learned.skip("too_many_hosts"),
            }
        }
    }

    /// The caller's namespace and the fences that speak for it: those that select the pod, and the namesakes of the Services that do
    /// (a fence made later then knows at once what was seen before).
    fn find_callers(&self, address: IpAddr) -> Option<(String, BTreeSet<ObjectRef>)> {
        let pod = match self.index.find_caller(address)? {
            Caller::Pod(pod) => pod,
            Caller::Services(services) => {
                let namespace = services.first()?.namespace.to_string();
                return Some((namespace, services.into_iter().cloned().collect()));
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
        Some((namespace.to_owned(), fences))
    }

    fn is_global_sidecar(&self, host: &str) -> bool {
        host.strip_prefix(names::GLOBAL_SIDECAR).is_some_and(|rest| {
            rest.strip_suffix(names::SERVICE_DOMAIN_SUFFIX).is_some_and(|namespace| {
                let namespace = namespace.strip_prefix('.').unwrap_or_default();
                namespace == self.settings.global_sidecar_namespace()
                    || self.settings.namespaces.iter().any(|listed| listed == namespace)
            })
        })
    }

    fn wait_for_caller(&mut self, call: Call, now: Now) {
        if self.waiting_calls.len() >= MAX_WAITING.0 && !self.waiting_calls.contains_key(&call.caller) {
            self.waiting_calls.retain(|_, calls| {
                calls.retain(|(since, _)| now.monotonic.saturating_sub(*since) <= WAIT_FOR_CALLER);
                !calls.is_empty()
            });
            if self.waiting_calls.len() >= MAX_WAITING.0 {
                return self.learned.skip("unknown_caller");
            }
        }
        let calls = self.waiting_calls.entry(call.caller).or_default();
        calls.retain(|(since, _)| now.monotonic.saturating_sub(*since) <= WAIT_FOR_CALLER);
        if calls.len() >= MAX_WAITING.1 {
            return self.learned.skip("unknown_caller");
        }
        if !calls.iter().any(|(_, waiting)| waiting.authority == call.authority) {
            calls.push((now.monotonic, call));
        }
    }
}

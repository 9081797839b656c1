//! Sidecars that are not ours: what istioctl and Kiali say of them too (docs/reference/findings.md compares), and two fences whose own select
//! the same pods.

use std::collections::BTreeMap;

use super::{Code, Finding, finding, pairs, some_of};
use crate::fence::completion::service_of_host;
use crate::index::selects;
use crate::state::State;
use crate::types::{Fence, Labels, Sidecar};

impl State {
    /// What is odd about users' Sidecars, each for itself and beside the others of its namespace. One that stands in a fence's way is told at the fence.
    pub(super) fn of_users_sidecars(&self, findings: &mut Vec<Finding>) {
        let mut by_namespace: BTreeMap<&str, Vec<&Sidecar>> = BTreeMap::new();
        for sidecar in self.index.sidecars().filter(|sidecar| sidecar.owner_uid.is_none()) {
            by_namespace.entry(&sidecar.id.namespace).or_default().push(sidecar);
        }
        for (namespace, sidecars) in by_namespace {
            let defaults: Vec<&Sidecar> = sidecars.iter().copied().filter(|it| selector(it).is_none()).collect();
            if let [first, others @ ..] = &defaults[..]
                && !others.is_empty()
            {
                let named: Vec<String> = defaults.iter().map(|it| it.id.name.to_string()).collect();
                let named: Vec<&str> = named.iter().map(String::as_str).collect();
                let what = format!(
                    "{} have no workloadSelector: which of them the other pods of namespace {namespace} get is not defined",
                    some_of(&named)
                );
                findings.push(finding(Code::ManyDefaults, object(first), what, "keep one of them"));
            }
            for (position, sidecar) in sidecars.iter().enumerate() {
                self.of_users_sidecar(sidecar, findings);
                let later = sidecars.iter().skip(position + 1);
                for other in later.filter(|other| self.share_pods(sidecar, other)) {
                    let what = format!(
                        "Sidecar {} selects some of the same pods, and which of the two Istio takes is not defined",
                        other.id
                    );
                    let remedy = "delete one of the two, or make their selectors exclude each other";
                    findings.push(finding(Code::SidecarsClash, object(sidecar), what, remedy));
                }
            }
        }
    }

    fn of_users_sidecar(&self, sidecar: &Sidecar, findings: &mut Vec<Finding>) {
        let namespace = &*sidecar.id.namespace;
        let mut found = |code, what: String, remedy: &str| findings.push(finding(code, object(sidecar), what, remedy));
        if let Some(labels) = selector(sidecar) {
            if self.index.labels_of_pods(namespace, labels).next().is_none() {
                let what = format!("no pod has the labels {}", pairs(labels));
                found(Code::SidecarWithoutPods, what, "nothing, if they are scaled to zero; else correct the selector");
            }
            if namespace == self.settings.istio_namespace {
                let what = format!(
                    "it is in Istio's root namespace and has a workloadSelector: it is for pods of {namespace} alone, not for the mesh"
                );
                found(Code::SelectorInRoot, what, "leave out the selector if it is meant for the whole mesh");
            }
        }
        let entries = sidecar.spec.egress.iter().flat_map(|listener| &listener.hosts);
        let empty: Vec<&str> =
            entries.map(String::as_str).filter(|entry| self.stands_for_nothing(entry, namespace)).collect();
        if !empty.is_empty() {
            let what = format!("the mesh has nothing of {}", some_of(&empty));
            found(Code::SidecarUnknownHost, what, "correct the hosts, or take them out");
        }
    }

    /// Whether an entry of a Sidecar names one host, and there is none of that name, or in another namespace.
    fn stands_for_nothing(&self, entry: &str, own_namespace: &str) -> bool {
        let Some((of, host)) = entry.split_once('/') else { return false };
        if of == "~" || host.contains('*') || !host.contains('.') {
            return false;
        }
        let of = if of == "." { own_namespace } else { of };
        let is_elsewhere = service_of_host(host).is_some_and(|service| {
            of != "*" && of != &*service.namespace && self.index.find_service(&service).is_some()
        });
        is_elsewhere || !self.index.knows(host, own_namespace)
    }

    fn share_pods(&self, one: &Sidecar, other: &Sidecar) -> bool {
        let Some((one_selects, other_selects)) = selector(one).zip(selector(other)) else { return false };
        self.index.labels_of_pods(&one.id.namespace, one_selects).any(|labels| selects(other_selects, labels))
    }

    /// Fences of which neither rules the other, and that have some of their pods in common: told once, at the first by name.
    pub(super) fn of_shared_pods(&self, fence: &Fence, findings: &mut Vec<Finding>) {
        let own = |fence: &Fence| {
            let rules = self.is_enforced(fence) && self.claims.ruler(&fence.id).is_none();
            self.index.find_sidecar(&fence.id).filter(|sidecar| rules && sidecar.owner_uid.is_some())
        };
        let Some(sidecar) = own(fence) else { return };
        let others = self.index.fences_in(&fence.id.namespace).filter(|other| other.id > fence.id && !other.deleting);
        for other in others {
            if own(other).is_some_and(|theirs| self.share_pods(sidecar, theirs)) {
                let what = format!(
                    "ServiceFence {} selects some of the same pods: they get the older one of the two Sidecars, and what only the other declares is learned \
                     at its first call",
                    other.id
                );
                let remedy = "make the selectors exclude each other, or let one of them select all pods of the other";
                findings.push(finding(Code::SharedPods, format!("ServiceFence {}", fence.id), what, remedy));
            }
        }
    }
}

fn object(sidecar: &Sidecar) -> String {
    format!("Sidecar {}", sidecar.id)
}

/// The labels of the pods that a Sidecar is for; `None` if it is for all that no other selects.
fn selector(sidecar: &Sidecar) -> Option<&Labels> {
    let labels = &sidecar.spec.workload_selector.as_ref()?.labels;
    Some(labels).filter(|labels| !labels.is_empty())
}

//! Owns the answer to "why is this host in this workload's Sidecar, and if it is not, what would bring it in?". Asks the very functions that decide,
//! one source at a time, so that the answer cannot differ from what is done.
//! Never changes anything.
//! Next: `causes` for what brings a host in, `covers` for what an entry of a Sidecar stands for, `since` for since when, `advice` for what to do.

mod advice;
mod causes;
pub(super) mod covers;
mod since;

use std::collections::{BTreeMap, BTreeSet};

use lazyload_api::service_fence::Coverage;
use serde::{Deserialize, Serialize};
pub use since::Since;

use super::State;
use crate::fence::completion::{complete_known, service_of_host};
use crate::fence::enrollment::{decide, is_automatic};
use crate::fence::sidecar::workload_labels;
use crate::fence::switch::{EVERYTHING, Form};
use crate::index::selects;
use crate::report::quarantine;
use crate::types::{Fence, Labels, ObjectRef, Sidecar};

/// Why a workload sees what it sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The fence, `NAMESPACE/NAME`, whether it is there or not.
    pub fence: String,
    /// Whether there is one.
    pub fenced: bool,
    /// Who made it, or why there is none.
    pub why: String,
    /// How far it goes, and who says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// How well it is known, while it learns only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Box<Coverage>>,
    /// The labels of the pods that its Sidecar is for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub workload: Labels,
    /// Pods with these labels now.
    pub pods: usize,
    /// The Sidecar that rules these pods, `NAMESPACE/NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<String>,
    /// Every host that is asked for.
    pub hosts: Vec<HostExplained>,
}

/// Why a host is seen, or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostExplained {
    /// The host, completed; or `NAMESPACE/*`.
    pub host: String,
    /// The way that a call takes now.
    pub way: Way,
    /// Entries of the Sidecar that let it in.
    pub entries: Vec<String>,
    /// When the Sidecar got its route (Unix seconds), as far as a controller remembers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routed_since: Option<i64>,
    /// What brings it in.
    pub causes: Vec<Cause>,
    /// What to do for another answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub advice: Vec<String>,
}

/// The way of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Way {
    /// The workload's proxy has the route.
    Direct,
    /// Through the global-sidecar; its cluster is there and the route comes, or it is a dependency whose write comes.
    Coming,
    /// Through the global-sidecar, as the mesh does not know it.
    External,
    /// Through the global-sidecar.
    Fallback,
}

/// One thing that brings a host in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cause {
    /// `static`, `learned`, `policy`, `settings`, or `fence` for another fence whose pods this one's Sidecar rules; `quarantine` for what keeps it
    /// out.
    pub kind: &'static str,
    /// Where it is said, or what was seen.
    pub what: String,
    /// How the host follows from it, if it is not what is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Since when it does, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
}

impl State {
    /// Explains one host for the workload of a fence, a Service or a pod, or all hosts that matter to it. `None` if there is nothing of this
    /// name.
    #[must_use]
    pub fn explain(&self, workload: &ObjectRef, host: Option<&str>, unix_seconds: i64) -> Option<Explanation> {
        let id = self.fence_of_workload(workload)?;
        let fence = self.index.find_fence(&id);
        let labels = fence.and_then(|fence| workload_labels(&self.settings, fence, &self.index)).unwrap_or_default();
        let sidecar = fence.and_then(|fence| self.sidecar_of(fence));
        let pods = self.index.pods().filter(|pod| pod.id.namespace == id.namespace && selects(&labels, &pod.labels));
        let mut explained = Explanation {
            fence: id.to_string(),
            fenced: fence.is_some(),
            why: self.why(&id, fence),
            mode: fence.map(|fence| self.mode(fence).sentence(&self.settings, fence)),
            coverage: fence.and_then(|fence| fence.status.coverage.clone()),
            pods: pods.count(),
            workload: labels,
            sidecar: sidecar.map(|sidecar| sidecar.id.to_string()),
            hosts: Vec::new(),
        };
        let Some(fence) = fence else {
            explained.hosts.extend(host.map(|host| self.unfenced(&id, host)));
            return Some(explained);
        };
        let causes = self.causes(fence, unix_seconds);
        let wanted: BTreeSet<String> = match host {
            Some(host) => [complete_known(host, &id.namespace, &self.index)].into(),
            None => causes.keys().chain(fence.status.domains.keys()).cloned().collect(),
        };
        let form = sidecar.map(|sidecar| Form::of(&sidecar.spec));
        explained.hosts = wanted.into_iter().map(|host| self.host(fence, form.as_ref(), host, &causes)).collect();
        Some(explained)
    }

    /// The fence of a workload that is named by a fence, a Service or a pod, there or not; `None` if there is nothing of this name.
    #[must_use]
    pub fn fence_of_workload(&self, id: &ObjectRef) -> Option<ObjectRef> {
        if self.index.find_fence(id).is_some() || self.index.find_service(id).is_some() {
            return Some(id.clone());
        }
        let pod = self.index.pods().find(|pod| pod.id == *id)?;
        let of_pod = |fence: &&Fence| {
            workload_labels(&self.settings, fence, &self.index).is_some_and(|labels| selects(&labels, &pod.labels))
        };
        let fence = self.index.fences_in(&id.namespace).find(of_pod).map(|fence| fence.id.clone());
        let serves = || {
            let mut services = self.index.services_in(&id.namespace);
            services.find(|service| selects(&service.selector, &pod.labels)).map(|service| service.id.clone())
        };
        fence.or_else(serves)
    }

    /// Its own, or that of the fence that rules its pods.
    pub(super) fn sidecar_of(&self, fence: &Fence) -> Option<&Sidecar> {
        let ruler = self.claims.ruler(&fence.id).unwrap_or(&fence.id);
        self.index.find_sidecar(ruler)
    }

    fn why(&self, id: &ObjectRef, fence: Option<&Fence>) -> String {
        if let Some(fence) = fence.filter(|fence| !is_automatic(&fence.labels)) {
            return if fence.spec.enable {
                "made by a user".to_owned()
            } else {
                "made by a user, with spec.enable that is not true: it learns, and has no Sidecar".to_owned()
            };
        }
        match self.index.find_service(id) {
            Some(service) => {
                decide(&self.settings, service, self.index.find_namespace(&id.namespace)).sentence(&service.id)
            }
            None => "made by the controller for the pods of a label (general.fenceLabelKeyAlias)".to_owned(),
        }
    }

    fn host(
        &self,
        fence: &Fence,
        form: Option<&Form<'_>>,
        host: String,
        causes: &BTreeMap<String, BTreeSet<Cause>>,
    ) -> HostExplained {
        let entries: Vec<String> = form
            .into_iter()
            .flat_map(|form| form.routed.iter())
            .filter(|entry| covers::covers(entry, &host, &fence.id.namespace))
            .map(|entry| (*entry).to_owned())
            .collect();
        let announced = form.is_some_and(|form| {
            form.announced.iter().any(|entry| *entry != EVERYTHING && covers::covers(entry, &host, &fence.id.namespace))
        });
        let mut found: BTreeSet<Cause> = causes.get(&host).cloned().unwrap_or_default();
        if let Some(service) = service_of_host(&host) {
            found.extend(causes.get(&format!("{}/*", service.namespace)).into_iter().flatten().cloned());
        }
        let way = if form.is_none() || !entries.is_empty() {
            Way::Direct
        } else if fence.status.domains.get(&host).is_some_and(|domain| domain.external) {
            Way::External
        } else if announced || !found.is_empty() {
            Way::Coming
        } else {
            Way::Fallback
        };
        let quarantined = fence.status.unused.get(&host).and_then(quarantine);
        found.extend(quarantined.map(|what| Cause { kind: "quarantine", what, by: None, since: None }));
        let advice = self.advice(fence, form.is_some(), &host, way);
        let routed_since = self.sidecar_of(fence).filter(|_| !entries.is_empty());
        let routed_since = routed_since.and_then(|sidecar| self.routed_since(&sidecar.id, &host));
        HostExplained { host, way, entries, routed_since, causes: found.into_iter().collect(), advice }
    }

    /// Without a fence nothing of ours hides anything.
    fn unfenced(&self, id: &ObjectRef, host: &str) -> HostExplained {
        HostExplained {
            host: complete_known(host, &id.namespace, &self.index),
            way: Way::Direct,
            entries: Vec::new(),
            routed_since: None,
            causes: Vec::new(),
            advice: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;

//! Whether there should be an automatic fence of a name: for the Service of that name, or for pods with a label.

use std::time::Duration;

use lazyload_api::service_fence::{ServiceFenceSpec, WorkloadSelector};

use crate::fence::enrollment::{decide, label};
use crate::fence::pod_label;
use crate::fence::revision::own_fence_labels;
use crate::fence::scope::{is_system, unmanaged};
use crate::state::{Change, State};
use crate::types::{Labels, ObjectRef};

/// A fence of a pod label stays this long after the last pod is gone: a workload that is scaled to zero, or between two jobs, finds
/// everything again that it has learned.
const WITHOUT_PODS: Duration = Duration::from_secs(7 * 24 * 3600);

/// What is decided of an automatic fence.
pub(super) enum Automatic {
    /// There should be one: the change makes it.
    Wanted(Box<Change>),
    /// There should be none.
    Unwanted,
    /// One that is there stays until then.
    WantedUntil(Duration),
    /// Too little is known, or nothing is decided automatically: nothing is made and nothing deleted.
    Undecided,
}

impl State {
    pub(super) fn automatic(&mut self, id: &ObjectRef, now: Duration) -> Automatic {
        if !self.settings.auto_fence {
            return Automatic::Undecided;
        }
        if pod_label::is_name(id) {
            return self.automatic_for_pods(id, now);
        }
        let service = self.index.find_service(id);
        let namespace = self.index.find_namespace(&id.namespace);
        if service.is_some_and(|service| decide(&self.settings, service, namespace).is_enrolled()) {
            let workload = WorkloadSelector { labels: Labels::new(), from_service: true };
            let spec =
                ServiceFenceSpec { enable: true, workload_selector: Some(workload), ..ServiceFenceSpec::default() };
            return self.wanted(id, spec);
        }
        // A Service in a Namespace that was not heard of yet: the Namespace has no say yet, so nothing is deleted in its name.
        if service.is_none() || namespace.is_some() { Automatic::Unwanted } else { Automatic::Undecided }
    }

    /// The Namespace's label counts where it says no; Services' labels and the default are about Services.
    fn automatic_for_pods(&mut self, id: &ObjectRef, now: Duration) -> Automatic {
        let Some(setting) = &self.settings.pod_label else { return Automatic::Unwanted };
        let Some(namespace) = self.index.find_namespace(&id.namespace) else { return Automatic::Undecided };
        let excluded = label(&namespace.labels) == Some(false) || is_system(&self.settings, &id.namespace);
        if excluded || unmanaged(&self.settings, &id.namespace, Some(namespace)).is_some() {
            return Automatic::Unwanted;
        }
        if let Some(value) = self.pod_fences.value(id) {
            let spec = pod_label::spec(setting, value);
            if let Some(work) = self.by_fence.get_mut(id) {
                work.without_pods_since = None;
            }
            return self.wanted(id, spec);
        }
        if !self.index.find_fence(id).is_some_and(|fence| pod_label::is_made_for(setting, fence)) {
            return Automatic::Unwanted;
        }
        let since = *self.by_fence.entry(id.clone()).or_default().without_pods_since.get_or_insert(now);
        let until = since + WITHOUT_PODS;
        if now < until { Automatic::WantedUntil(until) } else { Automatic::Unwanted }
    }

    fn wanted(&self, id: &ObjectRef, spec: ServiceFenceSpec) -> Automatic {
        let labels = own_fence_labels(&self.settings.revisions);
        Automatic::Wanted(Box::new(Change::CreateFence { id: id.clone(), labels, spec: Box::new(spec) }))
    }
}

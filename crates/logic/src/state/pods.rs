//! Which pods have the label of which each value gets a fence.

use std::collections::{BTreeMap, BTreeSet};

use super::State;
use crate::fence::pod_label::{self, fence_of};
use crate::types::{ObjectRef, Pod};

/// Pods by fence, and back.
#[derive(Debug, Default)]
pub(super) struct PodFences {
    by_fence: BTreeMap<ObjectRef, Labelled>,
    fence_by_pod: BTreeMap<ObjectRef, ObjectRef>,
}

#[derive(Debug, Default)]
struct Labelled {
    value: String,
    pods: BTreeSet<ObjectRef>,
}

impl PodFences {
    /// The value of the label that a fence is for; `None` without pods.
    pub(super) fn value(&self, fence: &ObjectRef) -> Option<&str> {
        self.by_fence.get(fence).map(|labelled| labelled.value.as_str())
    }

    /// The fence that a pod asks for.
    pub(super) fn fence_of(&self, pod: &ObjectRef) -> Option<&ObjectRef> {
        self.fence_by_pod.get(pod)
    }

    /// Every fence that pods ask for.
    pub(super) fn ids(&self) -> impl Iterator<Item = &ObjectRef> {
        self.by_fence.keys()
    }

    /// Tells whether this is the first pod.
    fn add(&mut self, pod: &ObjectRef, fence: ObjectRef, value: String) -> bool {
        let labelled = self.by_fence.entry(fence.clone()).or_default();
        labelled.value = value;
        labelled.pods.insert(pod.clone());
        let first = labelled.pods.len() == 1;
        self.fence_by_pod.insert(pod.clone(), fence);
        first
    }

    /// Returns the fence if this was its last pod.
    fn remove(&mut self, pod: &ObjectRef) -> Option<ObjectRef> {
        let fence = self.fence_by_pod.remove(pod)?;
        let labelled = self.by_fence.get_mut(&fence)?;
        labelled.pods.remove(pod);
        if !labelled.pods.is_empty() {
            return None;
        }
        self.by_fence.remove(&fence);
        Some(fence)
    }
}

impl State {
    /// Takes in a pod, as it is now.
    pub(super) fn fence_pod(&mut self, pod: &Pod) {
        let wanted = self.settings.pod_label.as_ref().and_then(|setting| fence_of(setting, pod));
        if wanted.as_ref().map(|(fence, _)| fence) == self.pod_fences.fence_of(&pod.id) {
            return;
        }
        self.unfence_pod(&pod.id);
        if let Some((fence, value)) = wanted
            && self.pod_fences.add(&pod.id, fence.clone(), value)
        {
            self.hear_of_pods(fence);
        }
    }

    /// A pod is gone.
    pub(super) fn unfence_pod(&mut self, pod: &ObjectRef) {
        let Some(fence) = self.pod_fences.remove(pod) else { return };
        if self.means_nothing(&fence) {
            self.ledger.forget(&fence);
        }
        self.hear_of_pods(fence);
    }

    /// Fences of pod labels in a namespace, wanted or there.
    pub(super) fn pod_fences_in(&self, namespace: &str) -> BTreeSet<ObjectRef> {
        let wanted = self.pod_fences.ids().filter(|id| *id.namespace == *namespace);
        let there = self.index.fences_in(namespace).map(|fence| &fence.id).filter(|id| pod_label::is_name(id));
        wanted.chain(there).cloned().collect()
    }

    /// Whether nothing in the cluster asks for a fence of this name.
    pub(super) fn means_nothing(&self, id: &ObjectRef) -> bool {
        self.index.find_fence(id).is_none()
            && self.index.find_service(id).is_none()
            && self.pod_fences.value(id).is_none()
    }

    fn hear_of_pods(&mut self, fence: ObjectRef) {
        if let Some(work) = self.by_fence.get_mut(&fence) {
            work.heard();
        }
        self.dirty.insert(fence);
    }
}

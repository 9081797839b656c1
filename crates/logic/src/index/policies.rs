//! AuthorizationPolicies that allow, by the namespaces of those whom they name and by the pods that they protect.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::labelled::Labelled;
use super::selects;
use crate::policy::Policy;
use crate::types::{AuthorizationPolicy, Labels, ObjectRef};

#[derive(Debug, Default)]
pub(super) struct Policies {
    objects: BTreeMap<ObjectRef, Policy>,
    by_caller: BTreeMap<String, BTreeSet<ObjectRef>>,
    /// Those that name namespaces by a pattern.
    by_pattern: BTreeSet<ObjectRef>,
    by_label: Labelled<ObjectRef>,
    /// Those of all pods of their namespace.
    unselected: BTreeMap<Arc<str>, BTreeSet<ObjectRef>>,
}

impl Policies {
    /// Takes in a policy and tells whether it means anything new.
    pub(super) fn apply(&mut self, object: &AuthorizationPolicy) -> bool {
        let policy = Policy::read(object);
        if self.objects.get(&object.id) == policy.as_ref() {
            return false;
        }
        self.delete(&object.id);
        let Some(policy) = policy else { return true };
        let id = &object.id;
        for caller in &policy.callers {
            if caller.contains('*') {
                self.by_pattern.insert(id.clone());
            } else {
                self.by_caller.entry(caller.clone()).or_default().insert(id.clone());
            }
        }
        if policy.selector.is_empty() {
            self.unselected.entry(id.namespace.clone()).or_default().insert(id.clone());
        }
        self.by_label.insert(&policy.selector, id);
        self.objects.insert(id.clone(), policy);
        true
    }

    pub(super) fn delete(&mut self, id: &ObjectRef) {
        let Some(policy) = self.objects.remove(id) else { return };
        for caller in &policy.callers {
            if let Some(ids) = self.by_caller.get_mut(caller) {
                ids.remove(id);
                if ids.is_empty() {
                    self.by_caller.remove(caller);
                }
            }
        }
        self.by_pattern.remove(id);
        if let Some(ids) = self.unselected.get_mut(&id.namespace) {
            ids.remove(id);
            if ids.is_empty() {
                self.unselected.remove(&id.namespace);
            }
        }
        self.by_label.remove(&policy.selector, id);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    pub(super) fn find(&self, id: &ObjectRef) -> Option<&Policy> {
        self.objects.get(id)
    }

    /// The policies that may name workloads of a namespace, in order.
    pub(super) fn naming(&self, namespace: &str) -> BTreeMap<&ObjectRef, &Policy> {
        let exact = self.by_caller.get(namespace).into_iter().flatten();
        let objects = exact.chain(&self.by_pattern).filter_map(|id| self.objects.get_key_value(id));
        objects.filter(|(_, policy)| policy.may_name(namespace)).collect()
    }

    /// The policies in a namespace that protect all pods there, or all pods of the mesh.
    pub(super) fn unselected(&self, namespace: &str) -> impl Iterator<Item = &ObjectRef> {
        self.unselected.get(namespace).into_iter().flatten()
    }

    /// The policies in a namespace that protect pods with these labels by some of them.
    pub(super) fn selecting<'a>(&'a self, namespace: &'a str, labels: &Labels) -> Vec<&'a ObjectRef> {
        let mut found = Vec::new();
        for id in self.by_label.with_any(namespace, labels) {
            if self.objects.get(id).is_some_and(|policy| selects(&policy.selector, labels)) {
                found.push(id);
            }
        }
        found
    }
}

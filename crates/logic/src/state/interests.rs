//! From what has changed to the fences that it can matter to, without a look at all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::fence::interest::{Interest, PodLabel};
use crate::index::Reach;
use crate::policy::glob;
use crate::types::ObjectRef;

/// The reverse of every fence's interest.
#[derive(Debug, Default)]
pub(super) struct Interests {
    of_fence: BTreeMap<ObjectRef, Interest>,
    by_host: Names,
    by_namespace: BTreeMap<Arc<str>, BTreeSet<ObjectRef>>,
    by_label: BTreeMap<(String, String), BTreeSet<ObjectRef>>,
    by_workload: BTreeMap<PodLabel, BTreeSet<ObjectRef>>,
    /// Services by their names and aliases: fences that want a whole namespace care for all of them.
    members: Names,
}

impl Interests {
    /// Notes what the latest look at a fence has looked at.
    pub(super) fn set(&mut self, fence: &ObjectRef, interest: Interest) {
        if self.of_fence.get(fence) == Some(&interest) {
            return;
        }
        self.forget(fence);
        for host in &interest.hosts {
            self.by_host.insert(host, fence);
        }
        for namespace in &interest.namespaces {
            self.by_namespace.entry(namespace.clone()).or_default().insert(fence.clone());
        }
        for label in &interest.labels {
            self.by_label.entry(label.clone()).or_default().insert(fence.clone());
        }
        for workload in &interest.workloads {
            self.by_workload.entry(workload.clone()).or_default().insert(fence.clone());
        }
        self.of_fence.insert(fence.clone(), interest);
    }

    /// Forgets a fence that is gone.
    pub(super) fn forget(&mut self, fence: &ObjectRef) {
        let Some(interest) = self.of_fence.remove(fence) else { return };
        for host in &interest.hosts {
            self.by_host.remove(host, fence);
        }
        for namespace in &interest.namespaces {
            remove(&mut self.by_namespace, namespace, fence);
        }
        for label in &interest.labels {
            remove(&mut self.by_label, label, fence);
        }
        for workload in &interest.workloads {
            remove(&mut self.by_workload, workload, fence);
        }
    }

    /// Notes that a Service with these names exists, or does no longer.
    pub(super) fn set_member(&mut self, names: &[String], service: &ObjectRef, exists: bool) {
        for name in names {
            if exists {
                self.members.insert(name, service);
            } else {
                self.members.remove(name, service);
            }
        }
    }

    /// The fences that something with this reach can matter to.
    pub(super) fn affected(&self, reach: &Reach) -> BTreeSet<ObjectRef> {
        let mut fences = BTreeSet::new();
        let mut namespaces = BTreeSet::new();
        for host in &reach.hosts {
            fences.extend(self.by_host.matching(host).flatten().cloned());
            namespaces.extend(self.members.matching(host).flatten().map(|service| &service.namespace));
        }
        let of_namespaces = namespaces.into_iter().filter_map(|namespace| self.by_namespace.get(namespace));
        fences.extend(of_namespaces.flatten().cloned());
        for (key, value) in &reach.labels {
            fences.extend(self.by_label.get(&(key.clone(), value.clone())).into_iter().flatten().cloned());
        }
        for (namespace, key, value) in &reach.workloads {
            for namespace in [Some(namespace.clone()), None] {
                let of_pods = self.by_workload.get(&(namespace, key.clone(), value.clone()));
                fences.extend(of_pods.into_iter().flatten().cloned());
            }
        }
        for pattern in &reach.callers {
            fences.extend(self.of_namespaces(pattern).cloned());
        }
        fences
    }

    /// The fences of the namespaces that a pattern stands for.
    fn of_namespaces<'a>(&'a self, pattern: &'a str) -> impl Iterator<Item = &'a ObjectRef> {
        let before = pattern.split('*').next().unwrap_or_default();
        let known = self.of_fence.range(ObjectRef::new(before, "")..).map(|(id, _)| id);
        let near = known.take_while(move |id| id.namespace.starts_with(before));
        near.filter(move |id| glob(pattern, &id.namespace))
    }
}

fn remove<K: Ord>(map: &mut BTreeMap<K, BTreeSet<ObjectRef>>, key: &K, id: &ObjectRef) {
    if let Some(ids) = map.get_mut(key) {
        ids.remove(id);
        if ids.is_empty() {
            map.remove(key);
        }
    }
}

/// Objects by host, spelled from the end, so that all hosts that a wildcard stands for lie side by side.
#[derive(Debug, Default)]
struct Names {
    reversed: BTreeMap<String, BTreeSet<ObjectRef>>,
}

impl Names {
    fn insert(&mut self, host: &str, id: &ObjectRef) {
        self.reversed.entry(reversed(host)).or_default().insert(id.clone());
    }

    fn remove(&mut self, host: &str, id: &ObjectRef) {
        remove(&mut self.reversed, &reversed(host), id);
    }

    /// The objects of each host that a pattern stands for.
    fn matching(&self, pattern: &str) -> impl Iterator<Item = &BTreeSet<ObjectRef>> {
        let wildcard = pattern.strip_prefix('*');
        let start = reversed(wildcard.unwrap_or(pattern));
        let exact = self.reversed.get(&start).filter(|_| wildcard.is_none());
        let all = wildcard.is_some().then(|| self.reversed.range(start.clone()..));
        let all = all.into_iter().flatten().take_while(move |(name, _)| name.starts_with(&start));
        exact.into_iter().chain(all.map(|(_, ids)| ids))
    }
}

fn reversed(host: &str) -> String {
    host.chars().rev().collect()
}

//! Which Services AuthorizationPolicies protect: those whose pods they select, and those that could have no other pods. A policy of Istio's
//! root namespace is about pods of every namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Index, Reach, selects};
use crate::fence::completion::service_host;
use crate::policy::Policy;
use crate::types::{Labels, ObjectRef, Pod, Service};

/// Stands for every Service of the mesh.
const EVERY_SERVICE: &str = "*.svc.cluster.local";

impl Index {
    /// Tells which namespace's policies are about the whole mesh.
    pub fn set_root_namespace(&mut self, root: &str) {
        self.root = root.into();
    }

    /// Whether any policy allows anything: where none does, nothing can be denied for want of one.
    #[must_use]
    pub fn has_policies(&self) -> bool {
        !self.policies.is_empty()
    }

    /// The policies that may name workloads of a namespace, in order.
    #[must_use]
    pub fn policies_naming(&self, namespace: &str) -> BTreeMap<&ObjectRef, &Policy> {
        self.policies.naming(namespace)
    }

    /// Whether a policy of this name is about pods of every namespace.
    #[must_use]
    pub fn is_mesh_wide(&self, policy: &ObjectRef) -> bool {
        policy.namespace == self.root
    }

    /// The labels of the pods of a namespace that have these among them; pods that are labelled alike count once.
    pub fn labels_of_pods<'a>(&'a self, namespace: &'a str, workload: &'a Labels) -> impl Iterator<Item = &'a Labels> {
        self.workloads.selected(Some(namespace), workload).map(|(_, labels)| &**labels)
    }

    /// The service accounts of the pods of a namespace that have these labels.
    #[must_use]
    pub fn accounts(&self, namespace: &str, workload: &Labels) -> BTreeSet<Arc<str>> {
        self.workloads.accounts(namespace, workload)
    }

    /// The Services that a policy with a selector protects.
    #[must_use]
    pub fn services_protected_by(&self, id: &ObjectRef, policy: &Policy) -> BTreeSet<&Service> {
        let namespace = (!self.is_mesh_wide(id)).then_some(&*id.namespace);
        let mut services = BTreeSet::new();
        for (namespace, labels) in self.workloads.selected(namespace, &policy.selector) {
            services.extend(self.services_selecting(namespace, labels));
        }
        // Those that have no pods just now.
        if let Some((key, value)) = policy.selector.first_key_value() {
            let candidates = self.services_by_selector.with(namespace, key, value);
            let services_of = candidates.filter_map(|id| self.services.get(id));
            services.extend(services_of.filter(|service| selects(&policy.selector, &service.selector)));
        }
        services
    }

    /// The policies that protect a Service.
    #[must_use]
    pub fn policies_protecting<'a>(&'a self, service: &'a Service) -> BTreeMap<&'a ObjectRef, &'a Policy> {
        let own = &*service.id.namespace;
        let mut ids = BTreeSet::new();
        for namespace in [own, &*self.root] {
            ids.extend(self.policies.unselected(namespace));
            ids.extend(self.policies.selecting(namespace, &service.selector));
            for (_, labels) in self.workloads.selected(Some(own), &service.selector) {
                ids.extend(self.policies.selecting(namespace, labels));
            }
        }
        ids.into_iter().filter_map(|id| Some((id, self.policies.find(id)?))).collect()
    }

    fn services_selecting(&self, namespace: &str, labels: &Labels) -> impl Iterator<Item = &Service> {
        let candidates = self.services_by_selector.with_any(namespace, labels);
        let services: Vec<&Service> = candidates.into_iter().filter_map(|id| self.services.get(id)).collect();
        services.into_iter().filter(|service| selects(&service.selector, labels))
    }

    /// What a policy is about: those whom it names, and the Services that it protects.
    pub(super) fn reach_of_policy(&self, id: &ObjectRef) -> Reach {
        let Some(policy) = self.policies.find(id) else { return Reach::default() };
        let hosts = match (policy.selector.is_empty(), self.is_mesh_wide(id)) {
            (true, true) => BTreeSet::from([EVERY_SERVICE.to_owned()]),
            (true, false) => BTreeSet::from([format!("*.{}.svc.cluster.local", id.namespace)]),
            (false, _) => {
                self.services_protected_by(id, policy).into_iter().map(|service| service_host(&service.id)).collect()
            }
        };
        Reach { hosts, callers: policy.callers.clone(), ..Reach::default() }
    }

    /// What a pod is about, if it is the only one of its kind: those who look at pods with its labels, and its Services where a policy
    /// protects it by its labels.
    pub(super) fn reach_of_pod(&self, pod: &Pod) -> Reach {
        let mut reach = Reach::default();
        if self.policies.is_empty() || !self.workloads.is_alone(pod) {
            return reach;
        }
        let namespace = &pod.id.namespace;
        reach.add_workload(namespace, &pod.labels);
        reach.account = Some(pod.account.clone());
        let is_protected =
            [&**namespace, &*self.root].iter().any(|it| !self.policies.selecting(it, &pod.labels).is_empty());
        if is_protected {
            let services = self.services_selecting(namespace, &pod.labels);
            reach.hosts.extend(services.map(|service| service_host(&service.id)));
        }
        reach
    }

    /// Adds what a Service is about by its pods.
    pub(super) fn add_pods(&self, service: &Service, reach: &mut Reach) {
        if self.policies.is_empty() {
            return;
        }
        let namespace = &service.id.namespace;
        reach.add_workload(namespace, &service.selector);
        for (_, labels) in self.workloads.selected(Some(namespace), &service.selector) {
            reach.add_workload(namespace, labels);
        }
    }
}

impl Reach {
    fn add_workload(&mut self, namespace: &Arc<str>, labels: &Labels) {
        let pairs = labels.iter().map(|(key, value)| (namespace.clone(), key.clone(), value.clone()));
        self.workloads.extend(pairs);
    }
}

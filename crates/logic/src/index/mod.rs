//! Owns what exists in the cluster, with the reverse look-ups that decisions need.
//! Never decides what should exist.
//! Next: `callers` for who has an address; `virtual_services` and `gateway_routes` for what is behind a host; `registry` for which hosts
//! the mesh knows besides Services; `coverage` for which Services policies protect, `workloads` for the accounts of pods, `declared` for what
//! a proxy has to keep.

mod callers;
mod coverage;
mod declared;
mod gateway_routes;
mod gone;
mod hosts;
mod labelled;
mod policies;
mod registry;
mod virtual_services;
mod workloads;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use lazyload_api::names;

use crate::fence::completion::{service_host, service_of_host};
use crate::fence::host::check_host;
use crate::observation::Identity;
use crate::types::{Fence, Kind, Labels, Namespace, Object, ObjectRef, Pod, Service, Sidecar};
use callers::Callers;
use gateway_routes::{GatewayRoutes, Parent};
use labelled::Labelled;
use policies::Policies;
use registry::Registry;
use virtual_services::VirtualServices;
use workloads::Workloads;

pub use callers::{Caller, NoCaller};
pub use declared::{Declared, Load};

/// Everything that was seen and is kept.
#[derive(Debug, Default)]
pub struct Index {
    services: BTreeMap<ObjectRef, Service>,
    services_by_label: BTreeMap<(String, String), BTreeSet<ObjectRef>>,
    namespaces: BTreeMap<Arc<str>, Namespace>,
    fences: BTreeMap<ObjectRef, Fence>,
    sidecars: BTreeMap<ObjectRef, Sidecar>,
    services_by_selector: Labelled<ObjectRef>,
    callers: Callers,
    workloads: Workloads,
    virtual_services: VirtualServices,
    gateway_routes: GatewayRoutes,
    registry: Registry,
    policies: Policies,
    /// Istio's root namespace, whose policies are about the whole mesh.
    root: Arc<str>,
}

/// What an object is about: fences that depend on any of it can be affected by its coming, going or changing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Hosts, wildcards among them.
    pub hosts: BTreeSet<String>,
    /// Labels that selectors look at.
    pub labels: Labels,
    /// Labels of pods, each with their namespace.
    pub workloads: BTreeSet<(Arc<str>, String, String)>,
    /// The service account of a pod.
    pub account: Option<Arc<str>>,
    /// Namespaces whose workloads are named, with `*` for any letters.
    pub callers: BTreeSet<String>,
}

impl Reach {
    fn of_hosts(hosts: BTreeSet<String>) -> Self {
        Self { hosts, ..Self::default() }
    }
}

impl Index {
    /// Takes in the newest form of an object. News older than what is known is ignored. Tells whether anything that is kept of it is
    /// different now; pods and EndpointSlices always count as different.
    pub fn apply(&mut self, object: Object) -> bool {
        match object {
            Object::Service(service) => {
                if self.services.get(&service.id) == Some(&service) {
                    return false;
                }
                self.unlabel(&service.id);
                for (key, value) in &service.labels {
                    let labelled = self.services_by_label.entry((key.clone(), value.clone())).or_default();
                    labelled.insert(service.id.clone());
                }
                self.services_by_selector.insert(&service.selector, &service.id);
                self.services.insert(service.id.clone(), service);
            }
            Object::Namespace(namespace) => {
                if self.namespaces.get(&namespace.name) == Some(&namespace) {
                    return false;
                }
                self.namespaces.insert(namespace.name.clone(), namespace);
            }
            Object::Pod(pod) => {
                if let Some(old) = self.callers.find_pod(&pod.id) {
                    self.workloads.remove(old);
                }
                self.workloads.add(&pod);
                self.callers.apply_pod(pod);
            }
            Object::EndpointSlice(slice) => self.callers.apply_slice(slice),
            Object::Fence(fence) => {
                let known = self.fences.get(&fence.id);
                if known.is_some_and(|known| known.version > fence.version || *known == fence) {
                    return false;
                }
                self.fences.insert(fence.id.clone(), fence);
            }
            Object::Sidecar(sidecar) => {
                let known = self.sidecars.get(&sidecar.id);
                if known.is_some_and(|known| known.version > sidecar.version || *known == sidecar) {
                    return false;
                }
                self.sidecars.insert(sidecar.id.clone(), sidecar);
            }
            Object::VirtualService(virtual_service) => return self.virtual_services.apply(&virtual_service),
            Object::ServiceEntry(entry) => return self.registry.apply(&entry),
            Object::AuthorizationPolicy(policy) => return self.policies.apply(&policy),
            Object::HttpRoute(route) => return self.gateway_routes.apply(Kind::HttpRoute, &route),
            Object::GrpcRoute(route) => return self.gateway_routes.apply(Kind::GrpcRoute, &route),
        }
        true
    }

    /// Forgets an object.
    pub fn delete(&mut self, kind: Kind, id: &ObjectRef) {
        match kind {
            Kind::Service => {
                self.unlabel(id);
                self.services.remove(id);
            }
            Kind::Namespace => {
                self.namespaces.remove(&id.name);
            }
            Kind::Pod => {
                if let Some(pod) = self.callers.find_pod(id) {
                    self.workloads.remove(pod);
                }
                self.callers.delete_pod(id);
            }
            Kind::EndpointSlice => self.callers.delete_slice(id),
            Kind::Fence => {
                self.fences.remove(id);
            }
            Kind::Sidecar => {
                self.sidecars.remove(id);
            }
            Kind::VirtualService => self.virtual_services.delete(id),
            Kind::ServiceEntry => self.registry.delete(id),
            Kind::HttpRoute | Kind::GrpcRoute => self.gateway_routes.delete(kind, id),
            Kind::AuthorizationPolicy => self.policies.delete(id),
        }
    }

    /// Addresses of the pods of a namespace that have these labels, one of each pod.
    pub fn addresses<'a>(&'a self, namespace: &'a str, labels: &'a Labels) -> impl Iterator<Item = IpAddr> + 'a {
        let selected = self.callers.pods_in(namespace).filter(|pod| selects(labels, &pod.labels));
        selected.filter_map(|pod| pod.addresses.first().copied())
    }

    /// One pod of a namespace that has these labels, and an address.
    #[must_use]
    pub fn pod_with(&self, namespace: &str, labels: &Labels) -> Option<ObjectRef> {
        let mut pods = self.callers.pods_in(namespace);
        pods.find(|pod| !pod.addresses.is_empty() && selects(labels, &pod.labels)).map(|pod| pod.id.clone())
    }

    /// The pods of a namespace that have these labels and an address: those that may call.
    pub fn callers_with<'a>(&'a self, namespace: &'a str, labels: &'a Labels) -> impl Iterator<Item = &'a Pod> {
        let pods = self.callers.pods_in(namespace);
        pods.filter(move |pod| !pod.addresses.is_empty() && selects(labels, &pod.labels))
    }

    /// The pod of this name.
    #[must_use]
    pub fn find_pod(&self, id: &ObjectRef) -> Option<&Pod> {
        self.callers.find_pod(id)
    }

    /// Whether a Service has endpoints that are no pods.
    #[must_use]
    pub fn has_other_endpoints(&self, service: &ObjectRef) -> bool {
        self.callers.has_other_endpoints(service)
    }

    /// The ports of a host that is a Service's or a `ServiceEntry`'s, for callers of a namespace; `None` where it is known by routes alone.
    #[must_use]
    pub fn ports_of(&self, host: &str, namespace: &str) -> Option<BTreeSet<u16>> {
        let service = service_of_host(host).and_then(|id| self.find_service(&id));
        let declared = self.registry.ports_of(host, namespace);
        let of_service = service.map(|service| service.numbers.clone());
        match (of_service, declared) {
            (Some(ports), Some(more)) => Some(ports.union(&more).copied().collect()),
            (ports, more) => ports.or(more),
        }
    }

    /// What an object is about, as it is known now; nothing for one that is not known, and for kinds that concern one fence only.
    #[must_use]
    pub fn reach(&self, kind: Kind, id: &ObjectRef) -> Reach {
        match kind {
            Kind::Service => {
                let Some(service) = self.services.get(id) else { return Reach::default() };
                let hosts = BTreeSet::from([service_host(id)]);
                let mut reach = Reach { hosts, labels: service.labels.clone(), ..Reach::default() };
                self.add_pods(service, &mut reach);
                reach
            }
            Kind::VirtualService => Reach::of_hosts(self.virtual_services.hosts_of(id)),
            Kind::ServiceEntry => Reach::of_hosts(self.registry.hosts_of(id).cloned().collect()),
            Kind::HttpRoute | Kind::GrpcRoute => {
                let hosts = self.gateway_routes.parents_of(kind, id).flat_map(|parent| match parent {
                    Parent::Service(service) => vec![service_host(service)],
                    Parent::ServiceEntry(entry) => self.registry.hosts_of(entry).cloned().collect(),
                });
                Reach::of_hosts(hosts.collect())
            }
            Kind::AuthorizationPolicy => self.reach_of_policy(id),
            Kind::Pod => self.callers.find_pod(id).map(|pod| self.reach_of_pod(pod)).unwrap_or_default(),
            Kind::Namespace | Kind::EndpointSlice | Kind::Fence | Kind::Sidecar => Reach::default(),
        }
    }

    fn unlabel(&mut self, id: &ObjectRef) {
        let Some(service) = self.services.get(id) else { return };
        self.services_by_selector.remove(&service.selector, id);
        for (key, value) in &service.labels {
            let pair = (key.clone(), value.clone());
            if let Some(labelled) = self.services_by_label.get_mut(&pair) {
                labelled.remove(id);
                if labelled.is_empty() {
                    self.services_by_label.remove(&pair);
                }
            }
        }
    }

    /// The Service of this name.
    #[must_use]
    pub fn find_service(&self, id: &ObjectRef) -> Option<&Service> {
        self.services.get(id)
    }

    /// The Namespace of this name.
    #[must_use]
    pub fn find_namespace(&self, name: &str) -> Option<&Namespace> {
        self.namespaces.get(name)
    }

    /// Every Namespace.
    pub fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        self.namespaces.values()
    }

    /// The fence of this name.
    #[must_use]
    pub fn find_fence(&self, id: &ObjectRef) -> Option<&Fence> {
        self.fences.get(id)
    }

    /// The Sidecar of this name.
    #[must_use]
    pub fn find_sidecar(&self, id: &ObjectRef) -> Option<&Sidecar> {
        self.sidecars.get(id)
    }

    /// Every Sidecar.
    pub fn sidecars(&self) -> impl Iterator<Item = &Sidecar> {
        self.sidecars.values()
    }

    /// Every fence.
    pub fn fences(&self) -> impl Iterator<Item = &Fence> {
        self.fences.values()
    }

    /// The fences whose names come after this one, or all.
    pub fn fences_after(&self, after: Option<&ObjectRef>) -> impl Iterator<Item = &Fence> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.fences.range((from, Bound::Unbounded)).map(|(_, fence)| fence)
    }

    /// The fences of one namespace.
    pub fn fences_in<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Fence> {
        in_namespace(&self.fences, namespace)
    }

    /// Every Service.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values()
    }

    /// The Services of one namespace.
    pub fn services_in<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Service> {
        in_namespace(&self.services, namespace)
    }

    /// Services that carry all these labels, in every namespace; none for an empty selector.
    #[must_use]
    pub fn services_labelled(&self, selector: &Labels) -> BTreeSet<ObjectRef> {
        let labels = selector.iter();
        let sets = labels.map(|(key, value)| self.services_by_label.get(&(key.clone(), value.clone())));
        let Some(sets) = sets.collect::<Option<Vec<_>>>() else { return BTreeSet::new() };
        // The shortest first: some labels are on every Service.
        let Some(shortest) = sets.iter().min_by_key(|set| set.len()) else { return BTreeSet::new() };
        shortest.iter().filter(|id| sets.iter().all(|set| set.contains(id))).cloned().collect()
    }

    /// Every pod.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.callers.pods()
    }

    /// Who has this address, or had it a moment ago, and is whom the certificate names, if there is one.
    ///
    /// # Errors
    /// Nobody has it, or somebody else.
    pub fn find_caller(&self, address: IpAddr, peer: Option<&Identity<Box<str>>>) -> Result<Caller<'_>, NoCaller> {
        self.callers.find(address, peer)
    }

    /// Whether a pod of this namespace has this address, or had it a moment ago.
    #[must_use]
    pub fn may_be_of(&self, address: IpAddr, namespace: &str) -> bool {
        self.callers.pods_at(address).any(|pod| *pod.id.namespace == *namespace)
    }

    /// Forgets pods that are gone for long. `now` is time since any start.
    pub fn forget_gone(&mut self, now: Duration) {
        self.callers.gone.turn(now);
    }

    /// Hosts to which VirtualServices, HTTPRoutes and GRPCRoutes route calls of `host` that are made in a namespace, without itself, in
    /// order.
    #[must_use]
    pub fn destinations_behind(&self, host: &str, namespace: &str) -> BTreeSet<String> {
        let mut found = self.virtual_services.behind(host, namespace);
        let entries = self.registry.entries(host, namespace);
        found.extend(self.gateway_routes.behind(host, &entries, namespace));
        found.remove(host);
        found
    }

    /// Whether there is a Service, a ServiceEntry or a route of this host that callers of a namespace see.
    #[must_use]
    pub fn knows(&self, host: &str, namespace: &str) -> bool {
        service_of_host(host).is_some_and(|service| self.services.contains_key(&service))
            || self.registry.import_of(host, namespace).is_some()
            || self.virtual_services.knows(host, namespace)
    }

    /// What a Sidecar in a namespace has to import so that `host` is known there: itself, or a wildcard that stands for it; `None` if the
    /// mesh does not know the host. Names of Services count as known whether or not the Service exists.
    #[must_use]
    pub fn import_of(&self, host: &str, namespace: &str) -> Option<String> {
        if host.ends_with(names::SERVICE_DOMAIN_SUFFIX) {
            return check_host(host).is_ok().then(|| host.to_owned());
        }
        let routed = || self.virtual_services.knows(host, namespace).then(|| host.to_owned());
        self.registry.import_of(host, namespace).or_else(routed)
    }
}

/// The entries of one namespace: names sort within it, and no name sorts before the empty one.
fn in_namespace<'a, T>(
    objects: &'a BTreeMap<ObjectRef, T>,
    namespace: &'a str,
) -> impl Iterator<Item = &'a T> + use<'a, T> {
    let first = ObjectRef::new(namespace, "");
    objects.range(first..).take_while(move |(id, _)| &*id.namespace == namespace).map(|(_, object)| object)
}

/// Whether labels carry all pairs of a selector; an empty selector matches nothing here.
#[must_use]
pub fn selects(selector: &Labels, labels: &Labels) -> bool {
    !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(namespace: &str, name: &str, labels: &[(&str, &str)]) -> Object {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Object::Service(Service { id: ObjectRef::new(namespace, name), labels, ..Service::default() })
    }

    fn selector(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn services_are_found_by_all_labels_of_a_selector_and_a_label_edit_is_seen() {
        let mut index = Index::default();
        index.apply(service("default", "reviews", &[("app", "reviews"), ("group", "default")]));
        index.apply(service("test", "reviews", &[("app", "reviews")]));
        let both = selector(&[("app", "reviews"), ("group", "default")]);
        assert_eq!(index.services_labelled(&both), BTreeSet::from([ObjectRef::new("default", "reviews")]));

        index.apply(service("test", "reviews", &[("app", "reviews"), ("group", "default")]));
        assert_eq!(index.services_labelled(&both).len(), 2);
        index.apply(service("default", "reviews", &[("app", "other")]));
        index.delete(Kind::Service, &ObjectRef::new("test", "reviews"));
        assert!(index.services_labelled(&both).is_empty());
    }

    #[test]
    fn an_empty_selector_selects_nothing() {
        let mut index = Index::default();
        index.apply(service("default", "a", &[]));
        assert!(index.services_labelled(&Labels::new()).is_empty());
        assert!(!selects(&Labels::new(), &Labels::new()));
    }

    #[test]
    fn a_namespace_lists_only_its_own_services() {
        let mut index = Index::default();
        for (namespace, name) in [("a", "x"), ("b", "y"), ("b", "z"), ("b2", "x")] {
            index.apply(service(namespace, name, &[]));
        }
        let names: Vec<_> = index.services_in("b").map(|service| service.id.to_string()).collect();
        assert_eq!(names, ["b/y", "b/z"]);
    }

    #[test]
    fn old_news_of_a_fence_is_ignored() {
        let fence = |version: u64, enable: bool| {
            let mut fence = Fence {
                id: ObjectRef::new("default", "a"),
                uid: "u".into(),
                version,
                generation: 1,
                created: 0,
                labels: Labels::new(),
                deleting: false,
                forget: None,
                spec: Default::default(),
                status: Default::default(),
            };
            fence.spec.enable = enable;
            Object::Fence(fence)
        };
        let mut index = Index::default();
        index.apply(fence(5, true));
        index.apply(fence(4, false));
        assert!(index.find_fence(&ObjectRef::new("default", "a")).unwrap().spec.enable);
    }
}

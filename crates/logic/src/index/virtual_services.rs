//! Where VirtualServices route calls of a host to. Source: contract 2.8 with its recommendations, Istio's API reference.
//!
//! Like Istio, nothing is followed twice: a destination's own routes do not apply to a call that was routed to it, and a delegate does not
//! delegate. Where several VirtualServices have a host, or a wildcard of it, all count: which of them rules differs between versions of
//! Istio, and a destination that is missing in the Sidecar would cost requests.

use std::collections::{BTreeMap, BTreeSet};

use lazyload_api::istio::VirtualServiceSpec;

use super::hosts::{Hosts, full_name, is_exported, is_too_wide};
use crate::types::{ObjectRef, VirtualService};

/// Gateway name that stands for the sidecars of the mesh.
const MESH_GATEWAY: &str = "mesh";

#[derive(Debug, Default)]
pub(super) struct VirtualServices {
    objects: BTreeMap<ObjectRef, Routing>,
    by_host: Hosts,
    /// By the name of the delegate, which may not be there.
    by_delegate: BTreeMap<ObjectRef, BTreeSet<ObjectRef>>,
}

/// What is kept of one VirtualService.
#[derive(Debug, PartialEq)]
struct Routing {
    /// Full names and wildcards; none for a delegate.
    hosts: BTreeSet<String>,
    export_to: Vec<String>,
    destinations: BTreeSet<String>,
    delegates: BTreeSet<ObjectRef>,
}

impl Routing {
    fn is_exported(&self, id: &ObjectRef, namespace: &str) -> bool {
        is_exported(&self.export_to, &id.namespace, namespace)
    }
}

impl VirtualServices {
    /// Takes in a VirtualService and tells whether it means anything new.
    pub(super) fn apply(&mut self, object: &VirtualService) -> bool {
        let routing = read(&object.spec, &object.id.namespace);
        if self.objects.get(&object.id) == routing.as_ref() {
            return false;
        }
        self.delete(&object.id);
        let Some(routing) = routing else { return true };
        for host in &routing.hosts {
            self.by_host.insert(host, &object.id);
        }
        for delegate in &routing.delegates {
            self.by_delegate.entry(delegate.clone()).or_default().insert(object.id.clone());
        }
        self.objects.insert(object.id.clone(), routing);
        true
    }

    pub(super) fn delete(&mut self, id: &ObjectRef) {
        let Some(routing) = self.objects.remove(id) else { return };
        for host in &routing.hosts {
            self.by_host.remove(host, id);
        }
        for delegate in &routing.delegates {
            if let Some(roots) = self.by_delegate.get_mut(delegate) {
                roots.remove(id);
                if roots.is_empty() {
                    self.by_delegate.remove(delegate);
                }
            }
        }
    }

    /// The hosts that a VirtualService matters to: its own, and those of the VirtualServices that delegate to it.
    pub(super) fn hosts_of(&self, id: &ObjectRef) -> BTreeSet<String> {
        let roots = self.by_delegate.get(id).into_iter().flatten();
        let objects = roots.chain([id]).filter_map(|id| self.objects.get(id));
        objects.flat_map(|routing| &routing.hosts).cloned().collect()
    }

    /// Destinations of calls that callers of a namespace make to a host.
    pub(super) fn behind(&self, host: &str, namespace: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (id, root) in self.roots(host, namespace) {
            found.extend(root.destinations.iter().cloned());
            for delegate in &root.delegates {
                let Some(routing) = self.objects.get(delegate).filter(|routing| routing.hosts.is_empty()) else {
                    continue;
                };
                // The one who must see the delegate is the VirtualService that delegates, wherever the call comes from.
                if routing.is_exported(delegate, &id.namespace) {
                    found.extend(routing.destinations.iter().cloned());
                }
            }
        }
        found
    }

    /// Whether a host exists for these callers because a VirtualService has it, even if nothing else in the mesh does. One for `*` is
    /// about all hosts that there are, and makes none.
    pub(super) fn knows(&self, host: &str, namespace: &str) -> bool {
        let patterns = self.by_host.matching(host).filter(|(pattern, _)| pattern != "*");
        let mut ids = patterns.flat_map(|(_, ids)| ids);
        ids.any(|id| self.objects.get(id).is_some_and(|routing| routing.is_exported(id, namespace)))
    }

    fn roots<'a>(&'a self, host: &'a str, namespace: &'a str) -> impl Iterator<Item = (&'a ObjectRef, &'a Routing)> {
        let ids: BTreeSet<&ObjectRef> = self.by_host.matching(host).flat_map(|(_, ids)| ids).collect();
        let objects = ids.into_iter().filter_map(|id| Some((id, self.objects.get(id)?)));
        objects.filter(move |(id, routing)| routing.is_exported(id, namespace))
    }
}

/// `None` if it is not for the sidecars of the mesh.
fn read(spec: &VirtualServiceSpec, namespace: &str) -> Option<Routing> {
    if !spec.gateways.is_empty() && !spec.gateways.iter().any(|gateway| gateway == MESH_GATEWAY) {
        return None;
    }
    let delegates = spec.http.iter().filter_map(|route| route.delegate.as_ref()).map(|delegate| {
        let namespace = if delegate.namespace.is_empty() { namespace } else { &delegate.namespace };
        ObjectRef::new(namespace, delegate.name.as_str())
    });
    Some(Routing {
        hosts: spec.hosts.iter().map(|host| full_name(host, namespace)).collect(),
        export_to: spec.export_to.clone(),
        destinations: destinations(spec, namespace),
        delegates: delegates.collect(),
    })
}

fn destinations(spec: &VirtualServiceSpec, namespace: &str) -> BTreeSet<String> {
    let routes = spec.http.iter().chain(&spec.tcp).chain(&spec.tls);
    let hosts = routes.flat_map(|route| {
        let weighted = route.route.iter().chain(&route.mirrors).map(|weighted| &weighted.destination);
        weighted.chain(&route.mirror).map(|destination| destination.host.as_str())
    });
    let named = hosts.filter(|host| !host.is_empty()).map(|host| full_name(host, namespace));
    named.filter(|host| !is_too_wide(host)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const A: &str = "a.default.svc.cluster.local";

    fn virtual_service(namespace: &str, name: &str, spec: serde_json::Value) -> VirtualService {
        VirtualService { id: ObjectRef::new(namespace, name), spec: serde_json::from_value(spec).unwrap() }
    }

    fn index(objects: &[(&str, &str, serde_json::Value)]) -> VirtualServices {
        let mut found = VirtualServices::default();
        for (namespace, name, spec) in objects {
            assert!(found.apply(&virtual_service(namespace, name, spec.clone())));
        }
        found
    }

    fn to(host: &str, destination: &str) -> serde_json::Value {
        json!({"hosts": [host], "http": [{"route": [{"destination": {"host": destination}}]}]})
    }

    fn set(hosts: &[&str]) -> BTreeSet<String> {
        hosts.iter().map(|host| (*host).to_owned()).collect()
    }

    #[test]
    fn routes_mirrors_tcp_and_tls_destinations_are_all_behind_a_host() {
        let spec = json!({
            "hosts": ["a"],
            "http": [{"route": [{"destination": {"host": "b"}}, {"destination": {"host": "a"}}],
                      "mirror": {"host": "c.other.svc.cluster.local"},
                      "mirrors": [{"destination": {"host": "f.x.y"}}]}],
            "tcp": [{"route": [{"destination": {"host": "d"}}]}],
            "tls": [{"route": [{"destination": {"host": "e"}}, {"destination": {"host": "*"}}, {"destination": {}}]}],
        });
        assert_eq!(
            index(&[("default", "v", spec)]).behind(A, "any"),
            set(&[
                A,
                "b.default.svc.cluster.local",
                "c.other.svc.cluster.local",
                "d.default.svc.cluster.local",
                "e.default.svc.cluster.local",
                "f.x.y",
            ])
        );
    }

    #[test]
    fn two_objects_on_one_host_add_up_and_a_deleted_one_leaves_the_other() {
        let mut found = index(&[("default", "one", to("a.b.c", "x.y.z")), ("default", "two", to("a.b.c", "u.v.w"))]);
        assert_eq!(found.behind("a.b.c", "any"), set(&["u.v.w", "x.y.z"]));
        found.delete(&ObjectRef::new("default", "one"));
        assert_eq!(found.behind("a.b.c", "any"), set(&["u.v.w"]));
    }

    #[test]
    fn routes_of_gateways_alone_are_not_followed() {
        let mut spec = to("a.b.c", "x.y");
        spec["gateways"] = json!(["ingress"]);
        let mut found = VirtualServices::default();
        assert!(!found.apply(&virtual_service("default", "v", spec.clone())));
        assert!(found.behind("a.b.c", "any").is_empty());
        spec["gateways"] = json!(["ingress", "mesh"]);
        assert!(found.apply(&virtual_service("default", "v", spec.clone())));
        assert!(!found.apply(&virtual_service("default", "v", spec)));
        assert_eq!(found.behind("a.b.c", "any"), set(&["x.y"]));
    }

    #[test]
    fn a_delegates_destinations_count_for_its_roots_hosts_whichever_comes_first() {
        let root = json!({"hosts": ["a"], "http": [
            {"delegate": {"name": "part", "namespace": "team"}}, {"delegate": {"name": "missing"}},
            {"route": [{"destination": {"host": "b"}}]},
        ]});
        let part = json!({"http": [{"route": [{"destination": {"host": "c"}}]}, {"delegate": {"name": "deeper"}}]});
        let deeper = json!({"http": [{"route": [{"destination": {"host": "too-deep"}}]}]});
        let mut found = index(&[("default", "root", root), ("team", "part", part), ("team", "deeper", deeper)]);
        assert_eq!(found.behind(A, "any"), set(&["b.default.svc.cluster.local", "c.team.svc.cluster.local"]));
        assert_eq!(found.hosts_of(&ObjectRef::new("team", "part")), set(&[A]));
        found.delete(&ObjectRef::new("team", "part"));
        assert_eq!(found.behind(A, "any"), set(&["b.default.svc.cluster.local"]));
        assert_eq!(found.hosts_of(&ObjectRef::new("team", "part")), set(&[A]), "it would matter again");
    }

    #[test]
    fn a_delegate_must_be_exported_to_its_root_and_have_no_hosts() {
        let root = json!({"hosts": ["a"], "http": [{"delegate": {"name": "part", "namespace": "team"}}]});
        let mut part = json!({"exportTo": ["."], "http": [{"route": [{"destination": {"host": "c"}}]}]});
        let mut found = index(&[("default", "root", root), ("team", "part", part.clone())]);
        assert!(found.behind(A, "team").is_empty());
        part["exportTo"] = json!(["default"]);
        found.apply(&virtual_service("team", "part", part.clone()));
        assert_eq!(found.behind(A, "any"), set(&["c.team.svc.cluster.local"]));
        part["hosts"] = json!(["own.b.c"]);
        found.apply(&virtual_service("team", "part", part));
        assert!(found.behind(A, "any").is_empty());
    }

    #[test]
    fn the_callers_namespace_decides_who_is_routed() {
        let mut spec = to("a", "b");
        spec["exportTo"] = json!([".", "friend"]);
        let found = index(&[("default", "v", spec)]);
        for (namespace, routed) in [("default", true), ("friend", true), ("stranger", false)] {
            assert_eq!(!found.behind(A, namespace).is_empty(), routed, "{namespace}");
        }
    }

    #[test]
    fn wildcards_route_every_host_that_they_stand_for() {
        let found = index(&[
            ("default", "wide", to("*", "x.y.z")),
            ("default", "narrow", to("*.default.svc.cluster.local", "b")),
        ]);
        assert_eq!(found.behind(A, "any"), set(&["b.default.svc.cluster.local", "x.y.z"]));
        assert_eq!(found.behind("a.other.svc.cluster.local", "any"), set(&["x.y.z"]));
        assert!(found.knows(A, "any") && !found.knows("www.example.com", "any"));
    }
}

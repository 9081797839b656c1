//! Where HTTPRoutes and GRPCRoutes of Gateway API route calls of a Service or ServiceEntry to. Source: GEP-1426; Istio's conversion of
//! routes of the mesh.
//!
//! A route beside its parent is the producer's and applies to every caller; one elsewhere is a consumer's and applies to the callers of its
//! own namespace. Destinations in other namespaces need no ReferenceGrant here. Weights are not read: a destination that has none yet may
//! have one a moment later.

use std::collections::{BTreeMap, BTreeSet};

use lazyload_api::gateway_api::{GatewayRouteSpec, ObjectReference};

use super::hosts::is_too_wide;
use crate::fence::completion::{service_host, service_of_host};
use crate::types::{GatewayRoute, Kind, ObjectRef};

/// Group of ServiceEntries and of the kind `Hostname`.
const ISTIO_GROUP: &str = "networking.istio.io";

/// Kind and name of a route: an HTTPRoute and a GRPCRoute may share a name.
type RouteRef = (Kind, ObjectRef);

#[derive(Debug, Default)]
pub(super) struct GatewayRoutes {
    objects: BTreeMap<RouteRef, Routing>,
    by_parent: BTreeMap<Parent, BTreeSet<RouteRef>>,
}

/// What a route is attached to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Parent {
    Service(ObjectRef),
    ServiceEntry(ObjectRef),
}

impl Parent {
    fn namespace(&self) -> &str {
        match self {
            Self::Service(id) | Self::ServiceEntry(id) => &id.namespace,
        }
    }
}

#[derive(Debug, PartialEq)]
struct Routing {
    parents: BTreeSet<Parent>,
    destinations: BTreeSet<String>,
}

impl GatewayRoutes {
    /// Takes in a route and tells whether it means anything new.
    pub(super) fn apply(&mut self, kind: Kind, object: &GatewayRoute) -> bool {
        let id = (kind, object.id.clone());
        let routing = read(&object.spec, &object.id.namespace);
        if self.objects.get(&id) == routing.as_ref() {
            return false;
        }
        self.delete(kind, &object.id);
        let Some(routing) = routing else { return true };
        for parent in &routing.parents {
            self.by_parent.entry(parent.clone()).or_default().insert(id.clone());
        }
        self.objects.insert(id, routing);
        true
    }

    pub(super) fn delete(&mut self, kind: Kind, id: &ObjectRef) {
        let id = (kind, id.clone());
        let Some(routing) = self.objects.remove(&id) else { return };
        for parent in &routing.parents {
            if let Some(routes) = self.by_parent.get_mut(parent) {
                routes.remove(&id);
                if routes.is_empty() {
                    self.by_parent.remove(parent);
                }
            }
        }
    }

    /// What a route is attached to.
    pub(super) fn parents_of(&self, kind: Kind, id: &ObjectRef) -> impl Iterator<Item = &Parent> {
        self.objects.get(&(kind, id.clone())).into_iter().flat_map(|routing| &routing.parents)
    }

    /// Destinations of calls that callers of a namespace make to a host, which is a Service's or that of these ServiceEntries.
    pub(super) fn behind(&self, host: &str, entries: &BTreeSet<ObjectRef>, namespace: &str) -> BTreeSet<String> {
        if self.objects.is_empty() {
            return BTreeSet::new();
        }
        let service = service_of_host(host).map(Parent::Service);
        let parents = entries.iter().cloned().map(Parent::ServiceEntry).chain(service);
        let mut found = BTreeSet::new();
        for parent in parents {
            for route in self.by_parent.get(&parent).into_iter().flatten() {
                let of_producer = *route.1.namespace == *parent.namespace();
                if of_producer || *route.1.namespace == *namespace {
                    found.extend(self.objects.get(route).into_iter().flat_map(|it| &it.destinations).cloned());
                }
            }
        }
        found
    }
}

/// `None` if it is attached to no Service and no ServiceEntry.
fn read(spec: &GatewayRouteSpec, namespace: &str) -> Option<Routing> {
    let parents: BTreeSet<Parent> =
        spec.parent_refs.iter().filter_map(|reference| parent(reference, namespace)).collect();
    if parents.is_empty() {
        return None;
    }
    let backends = spec.rules.iter().flat_map(|rule| {
        let filters = rule.filters.iter().chain(rule.backend_refs.iter().flat_map(|backend| &backend.filters));
        let mirrors = filters.filter_map(|filter| filter.request_mirror.as_ref()).map(|mirror| &mirror.backend_ref);
        rule.backend_refs.iter().map(|backend| &backend.object).chain(mirrors)
    });
    let destinations = backends.filter_map(|reference| destination(reference, namespace));
    Some(Routing { parents, destinations: destinations.filter(|host| !is_too_wide(host)).collect() })
}

/// Without group and kind a parent is a Gateway, which is not of the mesh.
fn parent(reference: &ObjectReference, namespace: &str) -> Option<Parent> {
    match (reference.group.as_deref(), reference.kind.as_deref()) {
        (Some("" | "core"), Some("Service")) => Some(Parent::Service(target(reference, namespace))),
        (Some(ISTIO_GROUP), Some("ServiceEntry")) => Some(Parent::ServiceEntry(target(reference, namespace))),
        _ => None,
    }
}

/// Without group and kind a destination is a Service.
fn destination(reference: &ObjectReference, namespace: &str) -> Option<String> {
    match (reference.group.as_deref().unwrap_or_default(), reference.kind.as_deref().unwrap_or("Service")) {
        ("" | "core", "Service") if !reference.name.contains('.') => Some(service_host(&target(reference, namespace))),
        (ISTIO_GROUP, "Hostname") => Some(reference.name.to_ascii_lowercase()),
        _ => None,
    }
}

fn target(reference: &ObjectReference, namespace: &str) -> ObjectRef {
    ObjectRef::new(reference.namespace.as_deref().unwrap_or(namespace), reference.name.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const A: &str = "a.default.svc.cluster.local";

    fn route(namespace: &str, spec: serde_json::Value) -> GatewayRoute {
        GatewayRoute { id: ObjectRef::new(namespace, "r"), spec: serde_json::from_value(spec).unwrap() }
    }

    fn to_a(rules: &serde_json::Value) -> serde_json::Value {
        json!({"parentRefs": [{"group": "", "kind": "Service", "name": "a", "namespace": "default"}], "rules": rules})
    }

    fn behind(routes: &GatewayRoutes, namespace: &str) -> Vec<String> {
        routes.behind(A, &BTreeSet::new(), namespace).into_iter().collect()
    }

    #[test]
    fn services_hostnames_and_mirrors_are_destinations_and_other_kinds_are_not() {
        let mut routes = GatewayRoutes::default();
        let rules = json!([
            {"backendRefs": [{"name": "b", "port": 80}, {"name": "c", "namespace": "other", "weight": 0},
                {"group": "networking.istio.io", "kind": "Hostname", "name": "WWW.example.com"},
                {"group": "example.com", "kind": "Bucket", "name": "x"}, {"name": "d.other"}]},
            {"filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "m"}}},
                {"type": "RequestHeaderModifier", "requestHeaderModifier": {"add": []}}]},
        ]);
        assert!(routes.apply(Kind::HttpRoute, &route("default", to_a(&rules))));
        assert!(!routes.apply(Kind::HttpRoute, &route("default", to_a(&rules))));
        assert_eq!(
            behind(&routes, "any"),
            [
                "b.default.svc.cluster.local",
                "c.other.svc.cluster.local",
                "m.default.svc.cluster.local",
                "www.example.com"
            ]
        );
    }

    #[test]
    fn a_producers_route_is_for_everybody_and_a_consumers_for_its_own_namespace() {
        let mut routes = GatewayRoutes::default();
        let rules = |name: &str| json!([{"backendRefs": [{"name": name}]}]);
        routes.apply(Kind::HttpRoute, &route("default", to_a(&rules("p"))));
        routes.apply(Kind::GrpcRoute, &route("shop", to_a(&rules("c"))));
        assert_eq!(behind(&routes, "stranger"), ["p.default.svc.cluster.local"]);
        assert_eq!(behind(&routes, "shop"), ["c.shop.svc.cluster.local", "p.default.svc.cluster.local"]);
        routes.delete(Kind::HttpRoute, &ObjectRef::new("default", "r"));
        assert_eq!(behind(&routes, "shop"), ["c.shop.svc.cluster.local"]);
    }

    #[test]
    fn a_route_of_a_gateway_alone_is_not_followed() {
        let mut routes = GatewayRoutes::default();
        let mut spec = to_a(&json!([{"backendRefs": [{"name": "b"}]}]));
        spec["parentRefs"] =
            json!([{"name": "ingress"}, {"kind": "Gateway", "group": "gateway.networking.k8s.io", "name": "a"}]);
        assert!(!routes.apply(Kind::HttpRoute, &route("default", spec)));
        assert!(behind(&routes, "default").is_empty());
    }

    #[test]
    fn a_service_entry_can_be_a_parent() {
        let mut routes = GatewayRoutes::default();
        let mut spec = to_a(&json!([{"backendRefs": [{"name": "b"}]}]));
        spec["parentRefs"] = json!([{"group": "networking.istio.io", "kind": "ServiceEntry", "name": "e"}]);
        routes.apply(Kind::HttpRoute, &route("default", spec));
        let entries = BTreeSet::from([ObjectRef::new("default", "e")]);
        let found = routes.behind("www.example.com", &entries, "any");
        assert_eq!(found, BTreeSet::from(["b.default.svc.cluster.local".to_owned()]));
        assert!(routes.behind("www.example.com", &BTreeSet::new(), "any").is_empty());
    }
}

//! Which hosts VirtualServices route calls of a host to. Source: contract 2.8 with its recommendations.

use std::collections::{BTreeMap, BTreeSet};

use lazyload_api::istio::VirtualServiceSpec;
use lazyload_api::names;

use crate::types::{ObjectRef, VirtualService};

/// Gateway name that stands for the sidecars of the mesh.
const MESH_GATEWAY: &str = "mesh";

#[derive(Debug, Default)]
pub(super) struct Routes {
    /// Host, then VirtualService, then the destinations that it has for the host: several VirtualServices may share a host.
    by_host: BTreeMap<String, BTreeMap<ObjectRef, BTreeSet<String>>>,
    hosts_by_object: BTreeMap<ObjectRef, BTreeSet<String>>,
}

impl Routes {
    pub(super) fn apply(&mut self, virtual_service: &VirtualService) {
        let id = &virtual_service.id;
        self.delete(id);
        let spec = &virtual_service.spec;
        if !spec.gateways.is_empty() && !spec.gateways.iter().any(|gateway| gateway == MESH_GATEWAY) {
            return;
        }
        let destinations = destinations(spec, &id.namespace);
        let hosts: BTreeSet<String> = spec.hosts.iter().map(|host| full_name(host, &id.namespace)).collect();
        for host in &hosts {
            let by_object = self.by_host.entry(host.clone()).or_default();
            by_object.insert(id.clone(), destinations.clone());
        }
        self.hosts_by_object.insert(id.clone(), hosts);
    }

    pub(super) fn delete(&mut self, id: &ObjectRef) {
        for host in self.hosts_by_object.remove(id).unwrap_or_default() {
            if let Some(by_object) = self.by_host.get_mut(&host) {
                by_object.remove(id);
                if by_object.is_empty() {
                    self.by_host.remove(&host);
                }
            }
        }
    }

    pub(super) fn behind(&self, host: &str) -> BTreeSet<String> {
        let by_object = self.by_host.get(host).into_iter().flat_map(BTreeMap::values);
        by_object.flatten().filter(|destination| *destination != host).cloned().collect()
    }
}

fn destinations(spec: &VirtualServiceSpec, namespace: &str) -> BTreeSet<String> {
    let routes = spec.http.iter().chain(&spec.tcp).chain(&spec.tls);
    let hosts = routes.flat_map(|route| {
        let weighted = route.route.iter().chain(&route.mirrors).map(|weighted| &weighted.destination);
        weighted.chain(&route.mirror).map(|destination| destination.host.as_str())
    });
    hosts.filter(|host| !host.is_empty()).map(|host| full_name(host, namespace)).collect()
}

/// A name without a dot is relative to the VirtualService's namespace, as in Istio.
fn full_name(host: &str, namespace: &str) -> String {
    if host.contains('.') || host == "*" {
        return host.to_owned();
    }
    format!("{host}.{namespace}{}", names::SERVICE_DOMAIN_SUFFIX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn virtual_service(name: &str, spec: serde_json::Value) -> VirtualService {
        VirtualService {
            id: ObjectRef::new("default", name),
            labels: BTreeMap::new(),
            spec: serde_json::from_value(spec).unwrap(),
        }
    }

    fn set(hosts: &[&str]) -> BTreeSet<String> {
        hosts.iter().map(|host| (*host).to_owned()).collect()
    }

    #[test]
    fn routes_mirrors_tcp_and_tls_destinations_are_all_behind_a_host() {
        let mut routes = Routes::default();
        routes.apply(&virtual_service(
            "v",
            json!({
                "hosts": ["a"],
                "http": [{"route": [{"destination": {"host": "b"}}, {"destination": {"host": "a"}}],
                          "mirror": {"host": "c.other.svc.cluster.local"}}],
                "tcp": [{"route": [{"destination": {"host": "d"}}]}],
                "tls": [{"route": [{"destination": {"host": "e"}}]}],
            }),
        ));
        assert_eq!(
            routes.behind("a.default.svc.cluster.local"),
            set(&[
                "b.default.svc.cluster.local",
                "c.other.svc.cluster.local",
                "d.default.svc.cluster.local",
                "e.default.svc.cluster.local"
            ])
        );
    }

    #[test]
    fn two_objects_on_one_host_add_up_and_a_deleted_one_leaves_the_other() {
        let mut routes = Routes::default();
        let to = |name: &str| json!({"hosts": ["a.b.c"], "http": [{"route": [{"destination": {"host": name}}]}]});
        routes.apply(&virtual_service("one", to("x.y.z")));
        routes.apply(&virtual_service("two", to("u.v.w")));
        assert_eq!(routes.behind("a.b.c"), set(&["u.v.w", "x.y.z"]));
        routes.delete(&ObjectRef::new("default", "one"));
        assert_eq!(routes.behind("a.b.c"), set(&["u.v.w"]));
    }

    #[test]
    fn routes_of_gateways_alone_are_not_followed() {
        let mut routes = Routes::default();
        let spec = json!({"hosts": ["a.b.c"], "gateways": ["ingress"], "http": [{"route": [{"destination": {"host": "x.y"}}]}]});
        routes.apply(&virtual_service("v", spec));
        assert!(routes.behind("a.b.c").is_empty());
    }
}

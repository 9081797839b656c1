//! Builders of Kubernetes objects for tests.

use lazyload_logic::observation::{Call, authority};
use serde_json::{Value, json};

pub(crate) const FENCED: &str = "slime.io/serviceFenced";

pub(crate) fn mk_namespace(name: &str, fenced: Option<&str>) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": mk_labels(fenced)}})
}

pub(crate) fn mk_labelled_namespace(name: &str, key: &str, value: Option<&str>) -> Value {
    let labels = value.map_or(json!({}), |value| json!({key: value}));
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

pub(crate) fn mk_service(namespace: &str, name: &str, fenced: Option<&str>) -> Value {
    json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"namespace": namespace, "name": name, "labels": mk_labels(fenced)},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 9080}]}})
}

fn mk_labels(fenced: Option<&str>) -> Value {
    fenced.map_or(json!({}), |value| json!({FENCED: value}))
}

pub(crate) fn mk_pod(namespace: &str, name: &str, app: &str, address: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": {"app": app}},
        "spec": {"containers": []}, "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}})
}

pub(crate) fn mk_fence(namespace: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence",
        "metadata": {"namespace": namespace, "name": name}, "spec": spec})
}

/// A Sidecar that a user made.
pub(crate) fn mk_foreign_sidecar(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "networking.istio.io/v1beta1", "kind": "Sidecar",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"egress": [{"hosts": ["users-own/*"]}], "workloadSelector": {"labels": {"app": name}}}})
}

pub(crate) fn mk_virtual_service(namespace: &str, name: &str, host: &str, destination: &str) -> Value {
    json!({"apiVersion": "networking.istio.io/v1beta1", "kind": "VirtualService",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"hosts": [host], "http": [{"route": [{"destination": {"host": destination}}]}]}})
}

pub(crate) fn mk_service_entry(namespace: &str, name: &str, hosts: &[&str]) -> Value {
    json!({"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": {"namespace": namespace, "name": name}, "spec": {"hosts": hosts, "resolution": "DNS"}})
}

pub(crate) fn mk_http_route(namespace: &str, name: &str, service: &str, destination: &str) -> Value {
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": service}],
            "rules": [{"backendRefs": [{"name": destination, "port": 9080}]}]}})
}

/// A call as the edge passes it on; `None` if the authority names no host.
pub(crate) fn mk_call(caller: &str, written: &str, count: u64) -> Option<Call> {
    let authority = authority::parse(written).ok()?.into_string();
    Some(Call { caller: caller.parse().unwrap(), peer: None, authority, count })
}

pub(crate) fn fqdn(service: &str, namespace: &str) -> String {
    format!("{service}.{namespace}.svc.cluster.local")
}

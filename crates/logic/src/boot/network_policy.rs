//! Who may open connections to our pods, where the user asks for it (`spec.networkPolicy`). Ingress only: where the API server and the
//! destinations of requests are, no selector can say. The operator listens on its health port alone, and needs none.

use lazyload_api::names;
use serde_json::{Value, json};

use super::meta::metadata;
use super::place::{Place, places};
use super::{Installation, controller};
use crate::settings::MetricSource;

/// Istio's proxy answers probes and metrics there, for whoever asks.
const PROXY_PORTS: [u16; 3] = [15020, 15021, 15090];

/// The policies, if they are wanted.
pub(super) fn all(installation: &Installation) -> Vec<Value> {
    if !installation.network_policies {
        return Vec::new();
    }
    let places = places(installation);
    let mut policies = vec![of_controller(installation, &places)];
    if let Some(sidecar) = &installation.global_sidecar {
        policies.extend(places.iter().map(|place| of_global_sidecar(place, sidecar.probe_port)));
    }
    policies
}

/// Access logs come from global-sidecars, and from the other controllers.
fn of_controller(installation: &Installation, places: &[Place]) -> Value {
    let settings = &installation.settings;
    let name = &settings.module_name;
    let ports = controller::ports(settings);
    let mut rules = vec![json!({"ports": [tcp(ports.auxiliary), tcp(ports.metrics)]})];
    if settings.source == MetricSource::AccessLog {
        let mut from = vec![json!({"podSelector": {"matchLabels": {"app": name}}})];
        from.extend(places.iter().map(|place| {
            json!({
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": place.namespace}},
                "podSelector": {"matchLabels": {"app": names::GLOBAL_SIDECAR}},
            })
        }));
        if settings.caller_logs.is_some() {
            from.push(json!({"namespaceSelector": {}}));
        }
        rules.push(json!({"from": from, "ports": [tcp(ports.log_source)]}));
    }
    policy(&installation.namespace, name, name, &rules)
}

/// Its callers may use every port: one that left the list is served until its last caller knows.
fn of_global_sidecar(place: &Place, probe_port: u16) -> Value {
    let callers = match &place.callers {
        Some(_) => json!({"podSelector": {}}),
        None => json!({"namespaceSelector": {}}),
    };
    let open: Vec<Value> = PROXY_PORTS.into_iter().chain([probe_port]).map(tcp).collect();
    let rules = [json!({"from": [callers]}), json!({"ports": open})];
    policy(&place.namespace, names::GLOBAL_SIDECAR, names::GLOBAL_SIDECAR, &rules)
}

fn policy(namespace: &str, name: &str, app: &str, ingress: &[Value]) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": metadata(namespace, name, json!({"app": app})),
        "spec": {"podSelector": {"matchLabels": {"app": app}}, "policyTypes": ["Ingress"], "ingress": ingress},
    })
}

fn tcp(port: u16) -> Value {
    json!({"protocol": "TCP", "port": port})
}

//! What lets Prometheus see who called whom: the global-sidecar's proxy leaves the caller's identity in the request. Source: contract 3.3, 4.6.

use lazyload_api::names;
use serde_json::{Value, json};

use super::meta::metadata;
use super::place::Place;

/// The version that the proxy claims, so that telemetry filters made for known versions leave it out.
pub(super) const CLAIMED_VERSION: &str = "999.0.0";

/// The EnvoyFilter that takes away the filter by which a proxy replaces the caller's identity with its own.
pub(super) fn removal(place: &Place, manager: &str) -> Value {
    let patch = |context: &str| {
        let filter = json!({"name": manager, "subFilter": {"name": "istio.metadata_exchange"}});
        json!({
            "applyTo": "HTTP_FILTER",
            "match": {"context": context, "listener": {"filterChain": {"filter": filter}}},
            "patch": {"operation": "REMOVE"},
        })
    };
    json!({
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
        "metadata": metadata(&place.namespace, names::GLOBAL_SIDECAR_METADATA_EXCHANGE, json!({})),
        "spec": {
            "workloadSelector": {"labels": {"app": names::GLOBAL_SIDECAR}},
            "configPatches": [patch("SIDECAR_INBOUND"), patch("SIDECAR_OUTBOUND")],
        },
    })
}

//! What lets Prometheus see who called whom: the global-sidecar's proxy leaves the caller's identity in the request. Source: contract 3.3, 4.6.

use lazyload_api::names;
use serde_json::{Value, json};

use super::FilterNames;
use super::meta::metadata;
use super::place::Place;

/// The version that the proxy claims, so that telemetry filters made for known versions leave it out.
pub(super) const CLAIMED_VERSION: &str = "999.0.0";

/// The EnvoyFilter that takes away the filter by which a proxy replaces the caller's identity with its own.
pub(super) fn removal(place: &Place, filters: &[FilterNames]) -> Value {
    let patch = |names: &FilterNames, context: &str| {
        let filter = json!({"name": names.manager, "subFilter": {"name": "istio.metadata_exchange"}});
        json!({
            "applyTo": "HTTP_FILTER",
            "match": {"context": context, "listener": {"filterChain": {"filter": filter}}},
            "patch": {"operation": "REMOVE"},
        })
    };
    let patches: Vec<Value> = filters
        .iter()
        .flat_map(|names| ["SIDECAR_INBOUND", "SIDECAR_OUTBOUND"].map(|context| patch(names, context)))
        .collect();
    json!({
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
        "metadata": metadata(&place.namespace, names::GLOBAL_SIDECAR_METADATA_EXCHANGE, json!({})),
        "spec": {
            "workloadSelector": {"labels": {"app": names::GLOBAL_SIDECAR}},
            "configPatches": patches,
        },
    })
}

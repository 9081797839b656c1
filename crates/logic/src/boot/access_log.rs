//! How the global-sidecar's proxy tells the controller who called whom. Source: contract 4.6; B45.

use lazyload_api::names;
use serde_json::{Value, json};

use super::meta::{metadata, set};
use super::place::Place;
use super::{FilterNames, Installation};
use crate::settings::{LogSecurity, Settings};
use crate::types::Labels;

/// Envoy's name of the filter that speaks HTTP.
const CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";
/// The static cluster by which Istio's bootstrap reaches the agent beside the proxy.
const ISTIO_AGENT: &str = "sds-grpc";

/// What is added to the proxy's bootstrap: a cluster that is the controller's access-log service.
pub(super) fn bootstrap(installation: &Installation) -> String {
    let cluster = cluster(&installation.settings, &installation.namespace, installation.controller.log_source_port);
    // Indented: people read it in the ConfigMap.
    format!("{:#}\n", json!({"static_resources": {"clusters": [cluster]}}))
}

/// The cluster that is the access-log service of the controller in this namespace, on this port of its Service.
fn cluster(settings: &Settings, namespace: &str, port: u16) -> Value {
    let address = format!("{}.{}", settings.module_name, settings.slime_namespace);
    let http2 = json!({
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        // A controller that died without a word is noticed in seconds, not when TCP gives up.
        "explicit_http_config": {"http2_protocol_options": {"connection_keepalive": {"interval": "5s", "timeout": "3s"}}},
    });
    let mut cluster = json!({
        "name": names::ACCESS_LOG_SOURCE,
        "type": "STRICT_DNS",
        "connect_timeout": "5s",
        "dns_lookup_family": "V4_PREFERRED",
        "respect_dns_ttl": true,
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
        "upstream_connection_options": {"tcp_keepalive": {"keepalive_probes": 3, "keepalive_time": 10, "keepalive_interval": 5}},
        "load_assignment": {
            "cluster_name": names::ACCESS_LOG_SOURCE,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {
                "address": address, "port_value": port,
            }}}}]}],
        },
    });
    if settings.log_security != LogSecurity::Off {
        set(&mut cluster, "transport_socket", mutual_tls(settings, namespace));
    }
    cluster
}

/// The proxy shows the certificate that it has from Istio, and talks to the controller's identity alone. The trust domain is not compared:
/// the mesh's authorities sign none that is not trusted.
fn mutual_tls(settings: &Settings, namespace: &str) -> Value {
    let agent = |name: &str| {
        json!({"name": name, "sds_config": {
            "resource_api_version": "V3",
            // As Istio has it: without a certificate there is nothing to send.
            "initial_fetch_timeout": "0s",
            "api_config_source": {
                "api_type": "GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": true,
                "grpc_services": [{"envoy_grpc": {"cluster_name": ISTIO_AGENT}}],
            },
        }})
    };
    let account = settings.module_name.replace('.', "\\.");
    let controller = format!("spiffe://[^/]+/ns/{namespace}/sa/{account}");
    let controller = json!({"san_type": "URI", "matcher": {"safe_regex": {"regex": controller}}});
    json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": {
                "alpn_protocols": ["h2"],
                "tls_certificate_sds_secret_configs": [agent("default")],
                "combined_validation_context": {
                    "default_validation_context": {"match_typed_subject_alt_names": [controller]},
                    "validation_context_sds_secret_config": agent("ROOTCA"),
                },
            },
        },
    })
}

/// The ConfigMap that Istio's injector mounts for the proxy; its pod does not start before it exists.
pub(super) fn bootstrap_config_map(installation: &Installation, place: &Place) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(&place.namespace, names::ACCESS_LOG_SOURCE, json!({})),
        "data": {"custom_bootstrap.json": bootstrap(installation)},
    })
}

/// The EnvoyFilter that adds the access logger. Inbound only: those entries carry the caller's address and the host that it asked for.
pub(super) fn envoy_filter(place: &Place, filters: &[FilterNames]) -> Value {
    // One byte, so that an entry leaves at once. Zero would too, but takes away the limit on what waits for a slow reader.
    let logger = logger("http_envoy_accesslog", names::ACCESS_LOG_SOURCE, 1, "0.1s");
    let patch = |names: &FilterNames| logging("SIDECAR_INBOUND", names.manager, &logger);
    json!({
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
        "metadata": metadata(&place.namespace, names::GLOBAL_SIDECAR_ACCESS_LOG, json!({})),
        "spec": {
            "workloadSelector": {"labels": {"app": names::GLOBAL_SIDECAR}},
            "configPatches": filters.iter().map(patch).collect::<Vec<_>>(),
        },
    })
}

/// The spec of an EnvoyFilter by which the proxies of pods with these labels tell what they call. Its cluster has the filter's name, which no other
/// filter of these pods has. Nobody waits for these entries: they leave each second. What does not fit meanwhile is dropped by the proxy.
#[must_use]
pub fn caller_log(name: &str, settings: &Settings, port: u16, workload: &Labels) -> Value {
    let mut cluster = cluster(settings, &settings.slime_namespace, port);
    set(&mut cluster, "name", json!(name));
    if let Some(assignment) = cluster.get_mut("load_assignment") {
        set(assignment, "cluster_name", json!(name));
    }
    let logger = logger(names::CALLER_LOG_NAME, name, 16 * 1024, "1s");
    let add = json!({
        "applyTo": "CLUSTER", "match": {"context": "SIDECAR_OUTBOUND"},
        "patch": {"operation": "ADD", "value": cluster},
    });
    json!({
        "workloadSelector": {"labels": workload},
        "configPatches": [add, logging("SIDECAR_OUTBOUND", CONNECTION_MANAGER, &logger)],
    })
}

fn logger(log: &str, cluster: &str, buffer: u32, interval: &str) -> Value {
    json!({
        "name": "envoy.access_loggers.http_grpc",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
            "common_config": {
                "log_name": log,
                "transport_api_version": "V3",
                "grpc_service": {"envoy_grpc": {"cluster_name": cluster}},
                "buffer_size_bytes": buffer,
                "buffer_flush_interval": interval,
            },
        },
    })
}

/// Merging adds to the loggers that the mesh has.
fn logging(context: &str, manager: &str, logger: &Value) -> Value {
    json!({
        "applyTo": "NETWORK_FILTER",
        "match": {"context": context, "listener": {"filterChain": {"filter": {"name": manager}}}},
        "patch": {"operation": "MERGE", "value": {"typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "access_log": [logger],
        }}},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Context, resolve};

    fn filter(security: &str) -> Value {
        let entry = json!({"general": {"accessLogSecurity": security}});
        let settings = resolve(&entry, &Context::default()).unwrap().settings;
        caller_log("lazyload-caller-log.a", &settings, 8082, &Labels::from([("app".into(), "a".into())]))
    }

    #[test]
    fn the_log_of_a_caller_goes_to_the_controller_by_a_cluster_of_its_own() {
        let filter = filter("off");
        assert_eq!(filter["workloadSelector"]["labels"], json!({"app": "a"}));
        let cluster = &filter["configPatches"][0]["patch"]["value"];
        assert_eq!(cluster["name"], "lazyload-caller-log.a");
        assert_eq!(cluster["load_assignment"]["cluster_name"], "lazyload-caller-log.a");
        let endpoint = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
        assert_eq!(
            endpoint["address"]["socket_address"],
            json!({"address": "lazyload.mesh-operator", "port_value": 8082})
        );
        assert_eq!(cluster.get("transport_socket"), None);
        let log = &filter["configPatches"][1]["patch"]["value"]["typed_config"]["access_log"][0];
        let log = &log["typed_config"]["common_config"];
        assert_eq!(log["grpc_service"]["envoy_grpc"]["cluster_name"], "lazyload-caller-log.a");
        assert_eq!(log["log_name"], names::CALLER_LOG_NAME);
    }

    #[test]
    fn where_access_logs_are_secured_a_caller_shows_its_own_certificate() {
        for security in ["permissive", "strict"] {
            let filter = filter(security);
            let socket = &filter["configPatches"][0]["patch"]["value"]["transport_socket"];
            let uri = &socket["typed_config"]["common_tls_context"]["combined_validation_context"]["default_validation_context"]
                ["match_typed_subject_alt_names"][0];
            assert_eq!(uri["matcher"]["safe_regex"]["regex"], "spiffe://[^/]+/ns/mesh-operator/sa/lazyload");
        }
    }
}

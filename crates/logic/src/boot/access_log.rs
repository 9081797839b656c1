//! How the global-sidecar's proxy tells the controller who called whom. Source: contract 4.6; B45.

use lazyload_api::names;
use serde_json::{Value, json};

use super::meta::{metadata, set};
use super::place::Place;
use super::{FilterNames, Installation};
use crate::settings::LogSecurity;

/// The static cluster by which Istio's bootstrap reaches the agent beside the proxy.
const ISTIO_AGENT: &str = "sds-grpc";

/// What is added to the proxy's bootstrap: a cluster that is the controller's access-log service.
pub(super) fn bootstrap(installation: &Installation) -> String {
    let settings = &installation.settings;
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
                "address": address, "port_value": installation.controller.log_source_port,
            }}}}]}],
        },
    });
    if settings.log_security != LogSecurity::Off {
        set(&mut cluster, "transport_socket", mutual_tls(installation));
    }
    // Indented: people read it in the ConfigMap.
    format!("{:#}\n", json!({"static_resources": {"clusters": [cluster]}}))
}

/// The proxy shows the certificate that it has from Istio, and talks to the controller's identity alone. The trust domain is not compared:
/// the mesh's authorities sign none that is not trusted.
fn mutual_tls(installation: &Installation) -> Value {
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
    let account = &installation.settings.module_name;
    let controller = format!("spiffe://[^/]+/ns/{}/sa/{}", installation.namespace, account.replace('.', "\\."));
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
    let logger = json!({
        "name": "envoy.access_loggers.http_grpc",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
            "common_config": {
                "log_name": "http_envoy_accesslog",
                "transport_api_version": "V3",
                "grpc_service": {"envoy_grpc": {"cluster_name": names::ACCESS_LOG_SOURCE}},
                // One byte, so that an entry leaves at once. Zero would too, but takes away the limit on what waits for a slow reader.
                "buffer_size_bytes": 1,
                "buffer_flush_interval": "0.1s",
            },
        },
    });
    let patch = |names: &FilterNames| {
        json!({
            "applyTo": "NETWORK_FILTER",
            "match": {"context": "SIDECAR_INBOUND", "listener": {"filterChain": {"filter": {"name": names.manager}}}},
            "patch": {"operation": "MERGE", "value": {"typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "access_log": [logger],
            }}},
        })
    };
    json!({
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
        "metadata": metadata(&place.namespace, names::GLOBAL_SIDECAR_ACCESS_LOG, json!({})),
        "spec": {
            "workloadSelector": {"labels": {"app": names::GLOBAL_SIDECAR}},
            "configPatches": filters.iter().map(patch).collect::<Vec<_>>(),
        },
    })
}

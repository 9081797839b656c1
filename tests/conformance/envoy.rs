//! The reference: Envoy with its original-destination cluster, as close to what Istio configures as a static file allows, and with the options
//! of HTTP/1.1 that are off by default (HTTP/1.0, trailers).

use serde_json::{Value, json};

/// A bootstrap with one listener on loopback.
pub fn config(port: u16) -> Value {
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "conformance",
        "server_header_transformation": "PASS_THROUGH",
        "generate_request_id": false,
        "use_remote_address": false,
        "skip_xff_append": true,
        "stream_idle_timeout": "0s",
        "http_protocol_options": {"accept_http_10": true, "enable_trailers": true},
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {"virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "destination", "timeout": "0s"}}],
        }]},
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                "suppress_envoy_headers": true,
            },
        }],
    });
    json!({"static_resources": {
        "listeners": [{
            "name": "conformance",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
            "filter_chains": [{"filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": manager,
            }]}],
        }],
        "clusters": [{
            "name": "destination",
            "type": "ORIGINAL_DST",
            "lb_policy": "CLUSTER_PROVIDED",
            "connect_timeout": "5s",
            "original_dst_lb_config": {"use_http_header": true, "http_header_name": "slime-orig-dest"},
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": upstream(),
            },
        }],
    }})
}

/// In the protocol of the client. The header is needed to choose the host: it can go only after that.
fn upstream() -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "use_downstream_protocol_config": {"http_protocol_options": {"enable_trailers": true}, "http2_protocol_options": {}},
        "http_filters": [
            {
                "name": "envoy.filters.http.header_mutation",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
                    "mutations": {"request_mutations": [{"remove": "slime-orig-dest"}, {"remove": "slime-source-ns"}]},
                },
            },
            {
                "name": "envoy.filters.http.upstream_codec",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec",
                },
            },
        ],
    })
}

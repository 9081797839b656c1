//! The EnvoyFilter `to-global-sidecar`: what no route of a proxy matches goes to the global-sidecar. Source: contract 4.5; B37, B38.
//!
//! istiod merges route configurations first and then goes through the virtual hosts, each with all patches in the order written here. So in
//! the global-sidecar's own proxy Istio's catch-all is renamed before the removal that is meant for everyone else could match: it keeps what
//! Istio gave it, pass through or block, and the removal of the fallback leaves it the only one.

use lazyload_api::names;
use serde_json::{Value, json};

use super::meta::metadata;
use super::{GlobalSidecar, Installation};
use crate::settings::{Dispatch, Settings};

/// The EnvoyFilter, in the root namespace: it reaches every proxy.
pub(super) fn envoy_filter(installation: &Installation, sidecar: &GlobalSidecar) -> Value {
    let settings = &installation.settings;
    let patches: Vec<Value> = sidecar.ports.iter().flat_map(|port| port_patches(settings, sidecar, *port)).collect();
    json!({
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
        "metadata": metadata(&installation.istio_namespace, names::TO_GLOBAL_SIDECAR, json!({})),
        "spec": {"configPatches": patches},
    })
}

fn port_patches(settings: &Settings, sidecar: &GlobalSidecar, port: u16) -> Vec<Value> {
    let own = json!({"metadata": {names::SLIME_APP_METADATA: names::SLIME_APP_VALUE}});
    let everyone = settings.proxy_version.as_ref().map_or(Value::Null, |version| json!({"proxyVersion": version}));
    let rename = |from: &str, to: &str| patch("VIRTUAL_HOST", "MERGE", &own, port, Some(from), json!({"name": to}));
    let remove = |proxy: &Value, name: &str| patch("VIRTUAL_HOST", "REMOVE", proxy, port, Some(name), Value::Null);

    let mut patches = vec![
        rename(names::ISTIO_ALLOW_ANY, names::KEPT_ALLOW_ANY),
        rename(names::ISTIO_BLOCK_ALL, names::KEPT_BLOCK_ALL),
        remove(&own, names::FALLBACK_VIRTUAL_HOST),
    ];
    let dispatches: Vec<&Dispatch> =
        settings.dispatches.iter().filter(|dispatch| !dispatch.domains.is_empty()).collect();
    patches.extend(dispatches.iter().map(|dispatch| remove(&own, &dispatch.name)));
    patches.push(remove(&everyone, names::ISTIO_ALLOW_ANY));
    patches.push(remove(&everyone, names::ISTIO_BLOCK_ALL));

    let cluster = global_sidecar_cluster(settings, sidecar.fallback_port.unwrap_or(port));
    let mut virtual_hosts: Vec<Value> = dispatches
        .iter()
        .map(|dispatch| {
            let domains: Vec<String> = dispatch.domains.iter().flat_map(|domain| with_port(domain, port)).collect();
            let route = if dispatch.cluster == names::DISPATCH_TO_GLOBAL_SIDECAR {
                route_to_global_sidecar(&cluster)
            } else {
                route_to(&dispatch.cluster)
            };
            virtual_host(&dispatch.name, &domains, route)
        })
        .collect();
    let owns_the_rest = dispatches.iter().any(|dispatch| dispatch.domains.iter().any(|domain| domain == "*"));
    if !owns_the_rest {
        let route = if settings.passthrough_by_default {
            route_to(names::PASSTHROUGH_CLUSTER)
        } else {
            route_to_global_sidecar(&cluster)
        };
        virtual_hosts.push(virtual_host(names::FALLBACK_VIRTUAL_HOST, &["*".to_owned()], route));
    }
    patches.push(patch("ROUTE_CONFIGURATION", "MERGE", &everyone, port, None, json!({"virtual_hosts": virtual_hosts})));
    patches
}

fn global_sidecar_cluster(settings: &Settings, port: u16) -> String {
    let (name, namespace) = (names::GLOBAL_SIDECAR, settings.global_sidecar_namespace());
    format!("outbound|{port}||{name}.{namespace}{}", names::SERVICE_DOMAIN_SUFFIX)
}

/// A patch of the outbound route configuration of one port.
fn patch(apply_to: &str, operation: &str, proxy: &Value, port: u16, virtual_host: Option<&str>, value: Value) -> Value {
    let mut route_configuration = json!({"name": port.to_string()});
    if let Some(name) = virtual_host {
        route_configuration["vhost"] = json!({"name": name});
    }
    let mut patch = json!({
        "applyTo": apply_to,
        "match": {"context": "SIDECAR_OUTBOUND", "routeConfiguration": route_configuration},
        "patch": {"operation": operation},
    });
    if !proxy.is_null() {
        patch["match"]["proxy"] = proxy.clone();
    }
    if !value.is_null() {
        patch["patch"]["value"] = value;
    }
    patch
}

fn virtual_host(name: &str, domains: &[String], route: Value) -> Value {
    json!({"name": name, "domains": domains, "routes": [route]})
}

fn route_to(cluster: &str) -> Value {
    // No limit of time: neither had the request one before.
    json!({"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}})
}

fn route_to_global_sidecar(cluster: &str) -> Value {
    let mut route = route_to(cluster);
    // Only what has not reached the global-sidecar is sent again, so that nothing is done twice.
    route["route"]["retry_policy"] = json!({"retry_on": "connect-failure,refused-stream", "num_retries": 2});
    route["request_headers_to_add"] = json!([
        header(names::ORIG_DEST_HEADER, "%DOWNSTREAM_LOCAL_ADDRESS%"),
        header(names::SOURCE_NS_HEADER, "%ENVIRONMENT(POD_NAMESPACE)%"),
    ]);
    route
}

fn header(key: &str, value: &str) -> Value {
    json!({"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"})
}

/// An exact name is also matched with its port, which older proxies do not ignore.
fn with_port(domain: &str, port: u16) -> Vec<String> {
    let exact = !domain.contains(['*', ':']);
    let more = exact.then(|| format!("{domain}:{port}"));
    [domain.to_owned()].into_iter().chain(more).collect()
}

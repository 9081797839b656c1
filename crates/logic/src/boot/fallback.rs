//! The EnvoyFilters of the fallback: what no route of a proxy matches goes to the global-sidecar. Source: contract 4.5; B37, B38.
//!
//! `to-global-sidecar` reaches every proxy of the mesh, or of its namespace, also the global-sidecar's own, which must not fall back to itself. There istiod applies both
//! filters: it merges route configurations first and then goes through the virtual hosts, each with all patches by priority. So Istio's
//! catch-all is renamed before the removal that is meant for everyone else could match: it keeps what Istio gave it, pass through or
//! block, and the removal of the fallback leaves it the only one.
//!
//! Two filters and not one, because istiod shares a cached route configuration between proxies that see the same services and the same
//! filters by name, whatever proxy a filter's patches match: in one filter, a workload beside the global-sidecar would share its routes.

use lazyload_api::names;
use serde_json::{Value, json};

use super::dispatch::{Dispatch, Target, with_port};
use super::meta::{merged, metadata, set, set_if_any};
use super::place::Place;
use super::{GlobalSidecar, Installation, lua};

/// Before filters without a priority.
const EARLY: i32 = -10;

/// The EnvoyFilter `global-sidecar-routes`, for the global-sidecar's own proxy.
pub(super) fn own_routes(installation: &Installation, sidecar: &GlobalSidecar, place: &Place) -> Value {
    let patches: Vec<Value> = sidecar.ports.iter().flat_map(|port| own_patches(installation, sidecar, *port)).collect();
    json!({
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
        "metadata": metadata(&place.namespace, names::GLOBAL_SIDECAR_ROUTES, json!({})),
        "spec": {
            "priority": EARLY,
            "workloadSelector": {"labels": {"app": names::GLOBAL_SIDECAR}},
            "configPatches": patches,
        },
    })
}

/// The EnvoyFilter `to-global-sidecar`: in the root namespace it reaches every proxy, elsewhere those of its namespace.
pub(super) fn envoy_filter(installation: &Installation, sidecar: &GlobalSidecar, place: &Place) -> Value {
    let patches: Vec<Value> =
        sidecar.ports.iter().flat_map(|port| everyones_patches(installation, sidecar, place, *port)).collect();
    json!({
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
        "metadata": metadata(&place.filter_namespace, names::TO_GLOBAL_SIDECAR, json!({})),
        "spec": {"configPatches": patches},
    })
}

fn own_patches(installation: &Installation, sidecar: &GlobalSidecar, port: u16) -> Vec<Value> {
    let rename = |from: &str, to: &str| patch("VIRTUAL_HOST", "MERGE", None, port, Some(from), &json!({"name": to}));
    let remove = |name: &str| patch("VIRTUAL_HOST", "REMOVE", None, port, Some(name), &Value::Null);
    let mut patches = vec![
        rename(names::ISTIO_ALLOW_ANY, names::KEPT_ALLOW_ANY),
        rename(names::ISTIO_BLOCK_ALL, names::KEPT_BLOCK_ALL),
        remove(names::FALLBACK_VIRTUAL_HOST),
    ];
    let names: Vec<&str> = with_domains(installation).map(|dispatch| dispatch.name.as_str()).collect();
    let old = sidecar.old_virtual_hosts.iter().map(String::as_str);
    let old = old.filter(|name| *name != names::FALLBACK_VIRTUAL_HOST && !names.contains(name));
    patches.extend(names.iter().copied().chain(old).map(remove));
    patches
}

fn everyones_patches(installation: &Installation, sidecar: &GlobalSidecar, place: &Place, port: u16) -> Vec<Value> {
    let settings = &installation.settings;
    let version = settings.proxy_version.as_deref();
    let remove = |name: &str| patch("VIRTUAL_HOST", "REMOVE", version, port, Some(name), &Value::Null);
    let cluster = global_sidecar_cluster(place, sidecar.fallback_port.unwrap_or(port));
    let by_lua = lua::is_wanted(settings, place);
    let route = |target: &Target| match target {
        Target::GlobalSidecar => route_to_global_sidecar(&cluster, place, by_lua),
        Target::Cluster(name) => route_to(name),
    };
    let mut virtual_hosts: Vec<Value> = with_domains(installation)
        .map(|dispatch| {
            let domains: Vec<String> = dispatch.domains.iter().flat_map(|domain| with_port(domain, port)).collect();
            virtual_host(&dispatch.name, &domains, &[route(&dispatch.target)])
        })
        .collect();
    // One virtual host has `*`, whoever it is for: Envoy refuses a second one.
    let mut routes: Vec<Value> = installation
        .dispatches
        .iter()
        .filter_map(|dispatch| Some(matching(&route(&dispatch.target), dispatch.domain_regex.as_deref()?)))
        .collect();
    let owner = installation.dispatches.iter().find(|dispatch| dispatch.gets_the_rest);
    routes.push(match owner {
        Some(dispatch) => route(&dispatch.target),
        None if settings.passthrough_by_default => route_to(names::PASSTHROUGH_CLUSTER),
        None => route(&Target::GlobalSidecar),
    });
    virtual_hosts.push(virtual_host(names::FALLBACK_VIRTUAL_HOST, &["*".to_owned()], &routes));
    let mut patches = vec![
        remove(names::ISTIO_ALLOW_ANY),
        remove(names::ISTIO_BLOCK_ALL),
        patch("ROUTE_CONFIGURATION", "MERGE", version, port, None, &json!({"virtual_hosts": virtual_hosts})),
    ];
    if by_lua {
        patches.push(lua::filter(sidecar.filters, version, port));
    }
    patches
}

fn with_domains(installation: &Installation) -> impl Iterator<Item = &Dispatch> {
    installation.dispatches.iter().filter(|dispatch| !dispatch.domains.is_empty())
}

fn global_sidecar_cluster(place: &Place, port: u16) -> String {
    let (name, namespace) = (names::GLOBAL_SIDECAR, &place.namespace);
    format!("outbound|{port}||{name}.{namespace}{}", names::SERVICE_DOMAIN_SUFFIX)
}

/// A patch of the outbound route configuration of one port.
fn patch(
    apply_to: &str,
    operation: &str,
    proxy_version: Option<&str>,
    port: u16,
    virtual_host: Option<&str>,
    value: &Value,
) -> Value {
    let vhost = virtual_host.map(|name| json!({"name": name})).unwrap_or_default();
    let proxy = proxy_version.map(|version| json!({"proxyVersion": version})).unwrap_or_default();
    let mut route_configuration = json!({"name": port.to_string()});
    set_if_any(&mut route_configuration, "vhost", &vhost);
    let mut wanted = json!({"context": "SIDECAR_OUTBOUND", "routeConfiguration": route_configuration});
    set_if_any(&mut wanted, "proxy", &proxy);
    let mut patch = json!({"operation": operation});
    set_if_any(&mut patch, "value", value);
    json!({"applyTo": apply_to, "match": wanted, "patch": patch})
}

fn virtual_host(name: &str, domains: &[String], routes: &[Value]) -> Value {
    json!({"name": name, "domains": domains, "routes": routes})
}

/// No limit of time: neither had the request one before.
const NO_TIMEOUT: &str = "0s";

fn route_to(cluster: &str) -> Value {
    json!({"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": NO_TIMEOUT}})
}

/// A route for authorities that match as a whole.
fn matching(route: &Value, regex: &str) -> Value {
    let authority = json!({"name": ":authority", "string_match": {"safe_regex": {"regex": regex}}});
    merged(route, json!({"match": {"prefix": "/", "headers": [authority]}}))
}

fn route_to_global_sidecar(cluster: &str, place: &Place, by_lua: bool) -> Value {
    let source = place.callers.as_deref().unwrap_or("%ENVIRONMENT(POD_NAMESPACE)%");
    // Only what has not reached the global-sidecar is sent again, so that nothing is done twice.
    let retry = json!({"retry_on": "connect-failure,refused-stream", "num_retries": 2});
    let mut headers = vec![header(names::ORIG_DEST_HEADER, "%DOWNSTREAM_LOCAL_ADDRESS%")];
    let mut route = json!({
        "match": {"prefix": "/"},
        "route": {"cluster": cluster, "timeout": NO_TIMEOUT, "retry_policy": retry},
    });
    if by_lua {
        set(&mut route, "typed_per_filter_config", lua::for_this_route());
    } else {
        headers.push(header(names::SOURCE_NS_HEADER, source));
    }
    set(&mut route, "request_headers_to_add", headers.into());
    route
}

fn header(key: &str, value: &str) -> Value {
    json!({"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"})
}

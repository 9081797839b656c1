//! The EnvoyFilters of the fallback: what no route of a proxy matches goes to the global-sidecar. Source: contract 4.5; B37, B38.
//!
//! `to-global-sidecar` replaces Istio's catch-all virtual host by ours, in its place: a table has one catch-all whatever happens, and no domain
//! of ours can clash with one that istiod puts into some proxy's table (Envoy refuses a table in which a domain occurs twice). So dispatches
//! are routes of the catch-all: they are about hosts that no virtual host of the proxy has.
//!
//! It reaches every proxy of the mesh, or of its namespace, also the global-sidecar's own, which must not fall back to itself. There istiod
//! applies both filters, by priority: Istio's catch-all is renamed before the replacement that is meant for everyone else could match, so it
//! keeps what Istio gave it, pass through or block.
//!
//! Two filters and not one, because istiod shares a cached route configuration between proxies that see the same services and the same
//! filters by name, whatever proxy a filter's patches match: in one filter, a workload beside the global-sidecar would share its routes.

use lazyload_api::names;
use serde_json::{Value, json};

use super::dispatch::{self, Dispatch, Target};
use super::meta::{merged, metadata, set, set_if_any};
use super::place::Place;
use super::{GlobalSidecar, Installation, lua};

/// Before filters without a priority.
const EARLY: i32 = -10;

/// Link-local addresses and the usual name of one: a cloud's metadata service, which answers for the node that asks. From the
/// global-sidecar's node it would tell the wrong one, or hand out the wrong identity.
const LINK_LOCAL: &str =
    r"(?i)(169\.254\.\d+\.\d+|\[(fd00:ec2::254|fe80:[0-9a-f:]*(%.*)?)\]|metadata\.google\.internal\.?)(:\d+)?";

/// The EnvoyFilter `global-sidecar-routes`, for the global-sidecar's own proxy.
pub(super) fn own_routes(sidecar: &GlobalSidecar, place: &Place) -> Value {
    let patches: Vec<Value> = sidecar
        .ports
        .iter()
        .flat_map(|port| {
            names::ISTIO_CATCH_ALLS.map(|name| {
                let kept = json!({"name": format!("{name}{}", names::KEPT_SUFFIX)});
                patch("VIRTUAL_HOST", "MERGE", None, *port, Some(name), &kept)
            })
        })
        .collect();
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

fn everyones_patches(installation: &Installation, sidecar: &GlobalSidecar, place: &Place, port: u16) -> Vec<Value> {
    let settings = &installation.settings;
    let version = settings.proxy_version.as_deref();
    let cluster = global_sidecar_cluster(place, sidecar.fallback_port.unwrap_or(port));
    let by_lua = lua::is_wanted(settings, place);
    let route = |target: &Target| match target {
        Target::GlobalSidecar => route_to_global_sidecar(&cluster, place, by_lua),
        Target::Cluster(name) => route_to(name),
    };
    let mut routes: Vec<Value> = dispatch::by_precedence(&installation.dispatches)
        .map(|(dispatch, regex)| named(matching(&route(&dispatch.target), &regex), dispatch))
        .collect();
    let owner = installation.dispatches.iter().find(|dispatch| dispatch.gets_the_rest);
    routes.push(match owner {
        Some(dispatch) => named(route(&dispatch.target), dispatch),
        None if settings.passthrough_by_default => route_to(names::PASSTHROUGH_CLUSTER),
        None => route(&Target::GlobalSidecar),
    });
    // Each replacement begins the one virtual host that the last patch completes, so that the routes are written once.
    let mut patches: Vec<Value> = names::ISTIO_CATCH_ALLS
        .iter()
        .map(|name| {
            // Where only registered destinations are allowed, these are not.
            let first =
                (*name != names::ISTIO_BLOCK_ALL).then(|| matching(&route_to(names::PASSTHROUGH_CLUSTER), LINK_LOCAL));
            let begun =
                json!({"name": names::FALLBACK_VIRTUAL_HOST, "domains": ["*"], "routes": Vec::from_iter(first)});
            patch("VIRTUAL_HOST", "REPLACE", version, port, Some(name), &begun)
        })
        .collect();
    let fallback = Some(names::FALLBACK_VIRTUAL_HOST);
    patches.push(patch("VIRTUAL_HOST", "MERGE", version, port, fallback, &json!({"routes": routes})));
    if by_lua {
        patches.push(lua::filter(sidecar.filters, version, port));
    }
    patches
}

/// A dispatch's route: its name is in access logs.
fn named(route: Value, dispatch: &Dispatch) -> Value {
    merged(&route, json!({"name": dispatch.name}))
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

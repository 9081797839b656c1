//! The EnvoyFilters of the fallback: what no route of a proxy matches goes to the global-sidecar. Source: contract 4.5; B37, B38; ADR 0021.
//!
//! `to-global-sidecar` widens the virtual host that a proxy has for the Service `global-sidecar`, so that it gets every host that none other
//! gets. A proxy that does not see the global-sidecar, because of a Sidecar of its user's, has no such virtual host and stays as it is: a
//! route to a cluster that it lacks would be a 503. Istio's own catch-all stays what it is, in each outbound mode, and no domain of ours can
//! be one that istiod writes (Envoy refuses a table in which a domain occurs twice). Dispatches are routes in there.
//!
//! It reaches every proxy of the mesh, or of its namespace, also the global-sidecar's own, which must not fall back to itself. There istiod
//! applies both filters, by priority: the virtual host is renamed before the replacement could match.
//!
//! Two filters and not one, because istiod shares a cached route configuration between proxies that see the same services and the same
//! filters by name, whatever proxy a filter's patches match: in one filter, a workload beside the global-sidecar would share its routes.

use lazyload_api::names;
use serde_json::{Value, json};

use super::dispatch::{self, Dispatch, Target};
use super::istio_version::{self, IstioVersion};
use super::meta::{merged, metadata, set};
use super::place::Place;
use super::{GlobalSidecar, Installation, lua};

/// Before filters without a priority.
const EARLY: i32 = -10;

/// What hosts end with. As domains `*a`, `*b` and so on these are all hosts of two characters and more, less specific than anything that
/// istiod writes but its `*`.
const LAST_CHARACTERS: &str = "abcdefghijklmnopqrstuvwxyz0123456789.-_]";

/// Metadata services of clouds, which answer for the node that asks: from the global-sidecar's they would tell the wrong identity. They are
/// Istio's catch-all's, to pass or to be blocked. Written so that a ServiceEntry of theirs is another domain, and the more specific one.
const OF_THE_NODE: [&str; 5] = ["*.254.169.254", "*.254.170.2", "*.254.170.23", "*d00:ec2::254]", "*oogle.internal"];

/// The header that is the requested host.
const AUTHORITY: &str = ":authority";
/// Methods that change nothing: twice is as good as once (RFC 9110, 9.2.1).
const READING: &str = "GET|HEAD|OPTIONS";
/// When Envoy knows that nothing of a request has arrived. Envoys that do not know one of the words pass it over.
const NOT_ARRIVED: &str = "connect-failure,refused-stream,reset-before-request";
/// Envoy's way not to try the same one again.
const PREVIOUS_HOSTS: &str = "envoy.retry_host_predicates.previous_hosts";
const PREVIOUS_HOSTS_TYPE: &str =
    "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";

/// The EnvoyFilter `global-sidecar-routes`, for the global-sidecar's own proxy.
pub(super) fn own_routes(sidecar: &GlobalSidecar, place: &Place) -> Value {
    let mut patches: Vec<Value> = sidecar
        .ports
        .iter()
        .map(|port| {
            let kept = json!({"name": format!("{}_{port}", names::GLOBAL_SIDECAR_ROUTES)});
            patch("MERGE", None, *port, &virtual_host(place, *port), &kept)
        })
        .collect();
    patches.push(waiting_for_the_forwarder());
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
    let cluster = format!("outbound|{}||{}", sidecar.fallback_port.unwrap_or(port), host(place));
    let by_lua = lua::is_wanted(settings, installation.istio, place);
    let to = |target: &Target| match target {
        Target::GlobalSidecar => routes_to_global_sidecar(&cluster, place, by_lua, installation.istio),
        Target::Cluster(name) => vec![route_to(name)],
    };
    let mut routes: Vec<Value> = dispatch::by_precedence(&installation.dispatches)
        .flat_map(|(dispatch, regex)| {
            to(&dispatch.target).into_iter().map(move |route| named(&matching(&route, AUTHORITY, &regex), dispatch))
        })
        .collect();
    let owner = installation.dispatches.iter().find(|dispatch| dispatch.gets_the_rest);
    routes.extend(match owner {
        Some(dispatch) => to(&dispatch.target).iter().map(|route| named(route, dispatch)).collect(),
        None if settings.passthrough_by_default => vec![route_to(names::PASSTHROUGH_CLUSTER)],
        None => to(&Target::GlobalSidecar),
    });
    let domains: Vec<String> = LAST_CHARACTERS.chars().map(|last| format!("*{last}")).collect();
    let widened = json!({"name": names::FALLBACK_VIRTUAL_HOST, "domains": domains, "routes": routes});
    let of_the_node = json!({"domains": OF_THE_NODE});
    let mut patches: Vec<Value> = names::ISTIO_CATCH_ALLS
        .iter()
        .map(|catch_all| patch("MERGE", version, port, catch_all, &of_the_node))
        .collect();
    patches.push(patch("REPLACE", version, port, &virtual_host(place, port), &widened));
    if by_lua {
        patches.extend(sidecar.filters.iter().map(|names| lua::filter(*names, version, port)));
    }
    patches
}

/// A dispatch's route: its name is in access logs.
fn named(route: &Value, dispatch: &Dispatch) -> Value {
    merged(route, json!({"name": dispatch.name}))
}

fn host(place: &Place) -> String {
    format!("{}.{}{}", names::GLOBAL_SIDECAR, place.namespace, names::SERVICE_DOMAIN_SUFFIX)
}

/// What istiod calls the Service's virtual host in the table of this port.
fn virtual_host(place: &Place, port: u16) -> String {
    format!("{}:{port}", host(place))
}

/// A patch of a virtual host in the outbound table of one port.
fn patch(operation: &str, proxy_version: Option<&str>, port: u16, virtual_host: &str, value: &Value) -> Value {
    let table = json!({"name": port.to_string(), "vhost": {"name": virtual_host}});
    let mut wanted = json!({"context": "SIDECAR_OUTBOUND", "routeConfiguration": table});
    if let Some(version) = proxy_version {
        set(&mut wanted, "proxy", json!({"proxyVersion": version}));
    }
    json!({"applyTo": "VIRTUAL_HOST", "match": wanted, "patch": {"operation": operation, "value": value}})
}

/// No limit of time: neither had the request one before.
const NO_TIMEOUT: &str = "0s";

fn route_to(cluster: &str) -> Value {
    json!({"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": NO_TIMEOUT}})
}

/// The same for requests of which this header matches as a whole, too.
fn matching(route: &Value, header: &str, regex: &str) -> Value {
    let mut headers = route.pointer("/match/headers").and_then(Value::as_array).cloned().unwrap_or_default();
    headers.push(json!({"name": header, "string_match": {"safe_regex": {"regex": regex}}}));
    merged(route, json!({"match": {"prefix": "/", "headers": headers}}))
}

/// One for requests that only read, which may be sent again also if they have reached a global-sidecar that then died; and one for the others.
fn routes_to_global_sidecar(cluster: &str, place: &Place, by_lua: bool, istio: Option<IstioVersion>) -> Vec<Value> {
    let others = route_to_global_sidecar(cluster, place, by_lua, istio);
    let mut reading = matching(&others, ":method", READING);
    if let Some(retry_on) = reading.pointer_mut("/route/retry_policy/retry_on") {
        *retry_on = format!("{NOT_ARRIVED},reset").into();
    }
    vec![reading, others]
}

fn route_to_global_sidecar(cluster: &str, place: &Place, by_lua: bool, istio: Option<IstioVersion>) -> Value {
    let source = place.callers.as_deref().unwrap_or("%ENVIRONMENT(POD_NAMESPACE)%");
    // To another one, where there are several: the one that is gone is known for a while yet.
    let mut retry = sent_again(3);
    set(
        &mut retry,
        "retry_host_predicate",
        json!([{"name": PREVIOUS_HOSTS, "typed_config": {"@type": PREVIOUS_HOSTS_TYPE}}]),
    );
    set(&mut retry, "host_selection_retry_max_attempts", json!(5));
    let mut headers = vec![header(names::ORIG_DEST_HEADER, "%DOWNSTREAM_LOCAL_ADDRESS%", istio)];
    let mut route = json!({
        "match": {"prefix": "/"},
        "route": {"cluster": cluster, "timeout": NO_TIMEOUT, "retry_policy": retry},
    });
    if by_lua {
        set(&mut route, "typed_per_filter_config", lua::for_this_route());
    } else {
        headers.push(header(names::SOURCE_NS_HEADER, source, istio));
    }
    set(&mut route, "request_headers_to_add", headers.into());
    route
}

/// Only what has not reached its destination is sent again, so that nothing is done twice.
fn sent_again(times: u32) -> Value {
    json!({"retry_on": NOT_ARRIVED, "num_retries": times})
}

/// Where the process beside the global-sidecar's proxy has died, its requests wait for the next one: some seconds, and no longer.
fn waiting_for_the_forwarder() -> Value {
    let mut retry = sent_again(20);
    set(&mut retry, "retry_back_off", json!({"base_interval": "0.05s", "max_interval": "0.5s"}));
    let route = json!({"route": {"retry_policy": retry}});
    json!({
        "applyTo": "HTTP_ROUTE", "match": {"context": "SIDECAR_INBOUND"}, "patch": {"operation": "MERGE", "value": route},
    })
}

/// A header that replaces the client's.
fn header(key: &str, value: &str, istio: Option<IstioVersion>) -> Value {
    let header = json!({"header": {"key": key, "value": value}});
    let action = if istio_version::knows_append_action(istio) {
        json!({"append_action": "OVERWRITE_IF_EXISTS_OR_ADD"})
    } else {
        json!({"append": false})
    };
    merged(&header, action)
}

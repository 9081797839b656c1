//! The caller's namespace by Lua, for proxies that do not know `%ENVIRONMENT(…)%` (before Envoy 1.22). Source: contract 4.5 rows 3 and 4; B4.

use lazyload_api::names;
use serde_json::{Value, json};

use super::FilterNames;
use super::istio_version::{self, IstioVersion};
use super::meta::set;
use super::place::Place;
use crate::settings::Settings;

/// Old proxies look a route's configuration up by this name, whatever the filter is called.
const FILTER: &str = "envoy.filters.http.lua";
const SCRIPT: &str = "add.lua";

/// Where every caller is in one namespace it is written into the route, and no script is needed.
pub(super) fn is_wanted(settings: &Settings, istio: Option<IstioVersion>, place: &Place) -> bool {
    let needed = settings.add_env_header_via_lua || !istio_version::knows_environment(istio);
    needed && place.callers.is_none()
}

/// The patch that adds the filter to the listener of a port; alone it does nothing.
pub(super) fn filter(names: FilterNames, proxy_version: Option<&str>, port: u16) -> Value {
    let within = json!({"name": names.manager, "subFilter": {"name": names.router}});
    let listener = json!({"name": format!("0.0.0.0_{port}"), "filterChain": {"filter": within}});
    let mut wanted = json!({"context": "SIDECAR_OUTBOUND", "listener": listener});
    if let Some(version) = proxy_version {
        set(&mut wanted, "proxy", json!({"proxyVersion": version}));
    }
    let typed_config = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
        // Must not be empty in those versions.
        "inline_code": "-- nothing, unless the route says otherwise\n",
        "source_codes": {SCRIPT: {"inline_string": script()}},
    });
    json!({
        "applyTo": "HTTP_FILTER", "match": wanted,
        "patch": {"operation": "INSERT_BEFORE", "value": {"name": FILTER, "typed_config": typed_config}},
    })
}

/// What a route to the global-sidecar has, so that the script runs there.
pub(super) fn for_this_route() -> Value {
    let chosen =
        json!({"@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.LuaPerRoute", "name": SCRIPT});
    json!({FILTER: chosen})
}

fn script() -> String {
    let header = names::SOURCE_NS_HEADER;
    format!(
        "function envoy_on_request(handle)\n  local namespace = os.getenv(\"POD_NAMESPACE\")\n  if namespace then\n    \
         handle:headers():replace(\"{header}\", namespace)\n  end\nend\n"
    )
}

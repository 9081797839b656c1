//! The EnvoyFilters by which proxies tell what they call. They have our label; others are left alone.

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client, ResourceExt as _};
use lazyload_api::names;
use lazyload_logic::operator::Scope;

use super::gone;

/// EnvoyFilters of a namespace, or of all.
pub(super) fn envoy_filters(client: &Client, namespace: Option<&str>) -> Api<DynamicObject> {
    let (group, version) = names::ENVOY_FILTER_API_VERSION.split_once('/').unwrap_or_default();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, "EnvoyFilter"));
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

/// Removes one, if it is there and ours.
pub(super) async fn remove_caller_log(api: &Api<DynamicObject>, name: &str) -> kube::Result<()> {
    let Some(found) = api.get_opt(name).await? else { return Ok(()) };
    if !found.labels().contains_key(names::CALLER_LOG_LABEL) {
        return Ok(());
    }
    gone::delete(api, name, &found.uid().unwrap_or_default()).await.map(drop)
}

/// Removes all that a scope covers. Returns how many.
pub(super) async fn remove_caller_logs(client: &Client, scope: &Scope) -> kube::Result<usize> {
    let ours = ListParams::default().labels(names::CALLER_LOG_LABEL);
    let listed = match envoy_filters(client, scope.namespace.as_deref()).list(&ours).await {
        // No Istio, so nothing of ours in it.
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(0),
        listed => listed?,
    };
    let mut removed = 0;
    for filter in listed {
        let namespace = filter.namespace().unwrap_or_default();
        if scope.covers(&namespace, filter.labels()) {
            remove_caller_log(&envoy_filters(client, Some(&namespace)), &filter.name_any()).await?;
            removed += 1;
        }
    }
    Ok(removed)
}

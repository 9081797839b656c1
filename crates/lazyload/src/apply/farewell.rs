//! Takes the Sidecars of fences away without losing a request: every proxy gets every cluster first, and only then the routes. Needs that
//! nobody writes them meanwhile. The fences stay: what the user wrote, and what was learned.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use lazyload_api::istio::Sidecar;
use lazyload_api::names;
use lazyload_logic::fence::switch::{Farewell, Form, Moment, farewell, inert_port, next_port};
use lazyload_logic::operator::Scope;
use serde_json::json;

use super::caller_logs::remove_caller_logs;
use super::gone;

/// Sidecars that are held at once; one may be a megabyte.
const PAGE: u32 = 100;
/// Writes at once.
const AT_ONCE: usize = 8;

/// Makes the Sidecars of fences import every service; what they route stays. Returns how many changed: to be done again until none does,
/// because somebody may have changed or made one meanwhile.
pub async fn widen_sidecars(client: &Client, scope: &Scope) -> kube::Result<usize> {
    each(client, scope, widen).await
}

/// Removes the Sidecars of fences, and what has their proxies tell what they call; returns how many Sidecars.
pub async fn remove_sidecars(client: &Client, scope: &Scope) -> kube::Result<usize> {
    let silenced = remove_caller_logs(client, scope).await?;
    if silenced > 0 {
        tracing::info!(silenced, "EnvoyFilters by which proxies told what they call are removed");
    }
    each(client, scope, remove).await
}

/// Does something to each; returns to how many it was done.
async fn each<F>(client: &Client, scope: &Scope, act: fn(Api<Sidecar>, Sidecar) -> F) -> kube::Result<usize>
where
    F: Future<Output = kube::Result<bool>>,
{
    let all: Api<Sidecar> = match &scope.namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let mut page = ListParams::default().limit(PAGE);
    let mut changed = 0;
    loop {
        let listed = match all.list(&page).await {
            // No Istio, so nothing of ours in it.
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(0),
            listed => listed?,
        };
        let ours = listed.items.into_iter().filter(|sidecar| {
            is_of_a_fence(sidecar) && scope.covers(&sidecar.namespace().unwrap_or_default(), sidecar.labels())
        });
        let acts = ours.map(|sidecar| {
            let api = Api::namespaced(client.clone(), &sidecar.namespace().unwrap_or_default());
            act(api, sidecar)
        });
        let done: Vec<bool> = stream::iter(acts).buffer_unordered(AT_ONCE).try_collect().await?;
        changed += done.into_iter().filter(|done| *done).count();
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page.continue_token = Some(token),
            None => return Ok(changed),
        }
    }
}

/// Whether a fence owns it, or it outlived one.
fn is_of_a_fence(sidecar: &Sidecar) -> bool {
    let owned = sidecar
        .owner_references()
        .iter()
        .any(|owner| owner.kind == names::FENCE_KIND && owner.api_version == names::FENCE_API_VERSION);
    owned || sidecar.labels().contains_key(names::LEAVING_LABEL)
}

async fn widen(api: Api<Sidecar>, sidecar: Sidecar) -> kube::Result<bool> {
    let start = Moment { now: Duration::ZERO, ready: Duration::ZERO, over: Duration::ZERO };
    let form = Form::of(&sidecar.spec);
    let Farewell::To(wide) = farewell(&form, &start) else { return Ok(false) };
    let name = sidecar.name_any();
    // Of this version only: what a user changes meanwhile is looked at again.
    let body = json!({
        "metadata": {"uid": sidecar.uid(), "resourceVersion": sidecar.resource_version()},
        "spec": {"egress": wide.egress(next_port(inert_port(&sidecar.spec)))},
    });
    let params = PatchParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch(&name, &params, &Patch::Merge(&body)).await {
        Ok(_) => Ok(true),
        // It is another one now: look again.
        Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(true),
        Err(kube::Error::Api(status)) if [400, 413, 422].contains(&status.code) => {
            let sidecar = format!("{}/{name}", sidecar.namespace().unwrap_or_default());
            tracing::warn!(sidecar, error = status.message, "goes in one step: it cannot be widened before");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

async fn remove(api: Api<Sidecar>, sidecar: Sidecar) -> kube::Result<bool> {
    gone::delete(&api, &sidecar.name_any(), &sidecar.uid().unwrap_or_default()).await
}

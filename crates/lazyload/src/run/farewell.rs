//! Takes the Sidecars of fences away without losing a request: every proxy gets every cluster first, and only then the routes. Needs that
//! nobody writes them meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};
use lazyload_api::istio::Sidecar;
use lazyload_api::names;
use lazyload_logic::fence::switch::{Farewell, Form, Moment, farewell};
use lazyload_logic::operator::SETTLE;
use serde_json::json;

/// Removes the Sidecars of fences; returns when proxies have followed. The fences stay: what the user wrote, and what was learned.
pub(super) async fn remove_sidecars(client: &Client) -> anyhow::Result<()> {
    let mut left_as_they_are = BTreeSet::new();
    let mut widened = 0;
    // Again, because somebody may have changed or made one meanwhile.
    loop {
        let mut changed = 0;
        for sidecar in sidecars(client).await? {
            if left_as_they_are.contains(&sidecar.uid()) {
                continue;
            }
            match widen(client, &sidecar).await? {
                Widened::Not => {}
                Widened::Refused => drop(left_as_they_are.insert(sidecar.uid())),
                Widened::Now | Widened::ChangedMeanwhile => changed += 1,
            }
        }
        if changed == 0 {
            break;
        }
        widened += changed;
    }
    if widened > 0 {
        tracing::info!(
            widened,
            "Sidecars of fences import every service; proxies get {} s to follow",
            SETTLE.as_secs()
        );
        tokio::time::sleep(SETTLE).await;
    }
    let all = sidecars(client).await?;
    for sidecar in &all {
        let (namespace, name) = (sidecar.namespace().unwrap_or_default(), sidecar.name_any());
        let preconditions = Preconditions { uid: sidecar.uid(), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let api: Api<Sidecar> = Api::namespaced(client.clone(), &namespace);
        absent_is_fine(api.delete(&name, &params).await)
            .with_context(|| format!("failed to delete Sidecar {namespace}/{name}"))?;
    }
    tracing::info!(removed = all.len(), "Sidecars of fences removed");
    if !all.is_empty() {
        tokio::time::sleep(SETTLE).await;
    }
    Ok(())
}

/// What became of one Sidecar.
enum Widened {
    /// It imports everything already.
    Not,
    Now,
    /// It is another one now: look again.
    ChangedMeanwhile,
    /// It goes as it is.
    Refused,
}

async fn widen(client: &Client, sidecar: &Sidecar) -> anyhow::Result<Widened> {
    let start = Moment { now: Duration::ZERO, ready: Duration::ZERO, over: Duration::ZERO };
    let form = Form::of(&sidecar.spec);
    let Farewell::To(wide) = farewell(&form, &start) else { return Ok(Widened::Not) };
    let (namespace, name) = (sidecar.namespace().unwrap_or_default(), sidecar.name_any());
    // Of this version only: what a user changes meanwhile is looked at again.
    let body = json!({
        "metadata": {"uid": sidecar.uid(), "resourceVersion": sidecar.resource_version()},
        "spec": {"egress": wide.egress()},
    });
    let params = PatchParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let api: Api<Sidecar> = Api::namespaced(client.clone(), &namespace);
    match api.patch(&name, &params, &Patch::Merge(&body)).await {
        Ok(_) => Ok(Widened::Now),
        Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(Widened::ChangedMeanwhile),
        Err(kube::Error::Api(status)) if [400, 413, 422].contains(&status.code) => {
            let sidecar = format!("{namespace}/{name}");
            tracing::warn!(sidecar, error = status.message, "goes in one step: it cannot be widened before");
            Ok(Widened::Refused)
        }
        Err(error) => Err(error).with_context(|| format!("failed to widen Sidecar {namespace}/{name}")),
    }
}

/// Those of fences.
async fn sidecars(client: &Client) -> anyhow::Result<Vec<Sidecar>> {
    let all: Api<Sidecar> = Api::all(client.clone());
    let listed = match all.list(&ListParams::default()).await {
        // No Istio, so nothing of ours in it.
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Vec::new()),
        listed => listed.context("failed to list Sidecars")?,
    };
    Ok(listed.items.into_iter().filter(is_of_a_fence).collect())
}

/// Whether a fence owns it, or it outlived one.
fn is_of_a_fence(sidecar: &Sidecar) -> bool {
    let owned = sidecar
        .owner_references()
        .iter()
        .any(|owner| owner.kind == names::FENCE_KIND && owner.api_version == names::FENCE_API_VERSION);
    owned || sidecar.labels().contains_key(names::LEAVING_LABEL)
}

/// A deletion of what is gone, or of another one of its name.
pub(super) fn absent_is_fine<T>(result: kube::Result<T>) -> kube::Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        other => other.map(|_| ()),
    }
}

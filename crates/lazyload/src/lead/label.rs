//! The label of the leader's pod, by which the original's Service of the leader finds it. Nothing of ours depends on it.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use lazyload_api::names;
use serde_json::json;

use super::Lead;

/// Between two attempts. Source: contract 6.4.
const RETRY: Duration = Duration::from_secs(1);
/// Longest wait for one answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Takes the label off our own pod, which may have led in an earlier life; once we lead, puts it there and takes it off the others.
pub(crate) async fn keep(client: Client, namespace: String, module: String, pod: String, mut lead: Lead) {
    let pods = Api::<Pod>::namespaced(client, &namespace);
    until_done("remove", || mark(&pods, &pod, false)).await;
    lead.begins().await;
    until_done("set", || mark(&pods, &pod, true)).await;
    until_done("remove", || unmark_others(&pods, &module, &pod)).await;
}

async fn until_done<F: Future<Output = kube::Result<()>>>(what: &'static str, mut attempt: impl FnMut() -> F) {
    loop {
        match tokio::time::timeout(CALL_TIMEOUT, attempt()).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => tracing::warn!(%error, what, label = names::LEADER_LABEL, "the leader's label"),
            Err(_) => tracing::warn!(what, label = names::LEADER_LABEL, "the leader's label: no answer"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn unmark_others(pods: &Api<Pod>, module: &str, own: &str) -> kube::Result<()> {
    let marked = ListParams::default().labels(&format!("app={module},{}=true", names::LEADER_LABEL));
    for other in pods.list(&marked).await?.iter().map(ResourceExt::name_any).filter(|name| name != own) {
        mark(pods, &other, false).await?;
    }
    Ok(())
}

/// Sets or removes the label; a pod that is gone needs none.
async fn mark(pods: &Api<Pod>, name: &str, leads: bool) -> kube::Result<()> {
    let value = leads.then_some("true");
    let patch = json!({"metadata": {"labels": {names::LEADER_LABEL: value}}});
    match pods.patch_metadata(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}

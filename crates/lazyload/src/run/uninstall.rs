//! `lazyload uninstall`: takes lazyload out of the mesh, what hides services first, and leaves CRDs, fences and operator.
//!
//! What hides services goes while unknown hosts are still served by the global-sidecar: first whoever would put it back, then the
//! Sidecars (in stages, see `apply/farewell`), then, by the operator, what the SlimeBoots stand for. Deployments and Sidecars are those that carry our names; see contract 5.8.

use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use lazyload_api::names;
use lazyload_logic::operator::{BOOT_KIND, SETTLE, Scope};
use serde_json::json;

use crate::apply::boot::resource;
use crate::apply::farewell::{remove_sidecars, widen_sidecars};
use crate::cli::UninstallArgs;
use crate::process::api_server;
use crate::process::exit::BadInput;
use crate::process::logging;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Removes every SlimeBoot of the cluster.
///
/// # Errors
/// The API server cannot be reached or refuses, or it takes longer than the arguments allow.
pub async fn run(args: UninstallArgs) -> anyhow::Result<()> {
    let level = std::env::var("LOG_LEVEL").unwrap_or_else(|_| "info".to_owned());
    logging::start(&level).map_err(|error| BadInput(error.to_string()))?;
    let client = api_server::client().await?;
    let leaving = Leaving { client, namespace: args.namespace };
    let limit = Duration::from_secs(args.timeout);
    let operator = leaving.operator().await?;
    let done = tokio::time::timeout(limit, leaving.stop_and_bare(operator.is_some())).await;
    // Whatever came of it: without the operator no SlimeBoot can go, and nobody repairs anything.
    if let Some(replicas) = operator {
        leaving.scale(&leaving.namespace, names::SLIME_BOOT_OPERATOR, replicas.max(1)).await?;
    }
    done.map_err(|_| late(limit))??;
    tokio::time::timeout(limit, leaving.slime_boots_are_gone()).await.map_err(|_| late(limit))?
}

fn late(limit: Duration) -> anyhow::Error {
    anyhow::anyhow!("not done within {} s (--timeout); the log says what was awaited", limit.as_secs())
}

struct Leaving {
    client: Client,
    namespace: String,
}

impl Leaving {
    /// How many replicas the operator has; `None` if there is no operator.
    async fn operator(&self) -> anyhow::Result<Option<i32>> {
        let found = self.deployments(&self.namespace).get_opt(names::SLIME_BOOT_OPERATOR).await;
        let found = found.context("failed to read the operator's Deployment")?;
        Ok(found.map(|deployment| deployment.spec.and_then(|spec| spec.replicas).unwrap_or(1)))
    }

    /// Stops who writes Sidecars, and who would start him again; removes the Sidecars; marks the SlimeBoots.
    async fn stop_and_bare(&self, has_operator: bool) -> anyhow::Result<()> {
        if has_operator {
            self.stop(&self.namespace, names::SLIME_BOOT_OPERATOR).await?;
        }
        let made = ListParams::default().labels(names::SLIME_BOOT_LABEL);
        let deployments: Api<Deployment> = Api::all(self.client.clone());
        for deployment in deployments.list(&made).await.context("failed to list Deployments")? {
            if deployment.name_any() != names::GLOBAL_SIDECAR {
                self.stop(&deployment.namespace().unwrap_or_default(), &deployment.name_any()).await?;
            }
        }
        self.bare().await?;
        for boot in self.slime_boots().await? {
            let (namespace, name) = (boot.namespace().unwrap_or_default(), boot.name_any());
            tracing::info!(slime_boot = %format!("{namespace}/{name}"), "deleting");
            let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &namespace, &resource(BOOT_KIND));
            match api.delete(&name, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                other => drop(other.with_context(|| format!("failed to delete SlimeBoot {namespace}/{name}"))?),
            }
        }
        Ok(())
    }

    /// Removes the Sidecars of fences, whoever installed their controller; returns when proxies have followed.
    async fn bare(&self) -> anyhow::Result<()> {
        let every = Scope::default();
        let mut widened = 0;
        loop {
            let changed =
                widen_sidecars(&self.client, &every).await.context("failed to widen the Sidecars of fences")?;
            if changed == 0 {
                break;
            }
            widened += changed;
        }
        if widened > 0 {
            let settle = SETTLE.as_secs();
            tracing::info!(widened, settle, "Sidecars of fences import every service; proxies get time to follow");
            tokio::time::sleep(SETTLE).await;
        }
        let removed = remove_sidecars(&self.client, &every)
            .await
            .context("failed to remove what fences made: Sidecars, and the EnvoyFilters of callerLogs")?;
        tracing::info!(removed, "Sidecars of fences removed");
        if removed > 0 {
            tokio::time::sleep(SETTLE).await;
        }
        Ok(())
    }

    /// Scales a Deployment to nothing and waits until its pods have ended: a pod that is ending still writes.
    async fn stop(&self, namespace: &str, name: &str) -> anyhow::Result<()> {
        let deployment = self.scale(namespace, name, 0).await?;
        let Some(labels) = deployment.spec.and_then(|spec| spec.selector.match_labels) else { return Ok(()) };
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let of_it = ListParams::default().labels(&labels.join(","));
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        loop {
            let left =
                pods.list(&of_it).await.with_context(|| format!("failed to list the pods of {namespace}/{name}"))?;
            if left.items.is_empty() {
                return Ok(());
            }
            tracing::info!(deployment = %format!("{namespace}/{name}"), pods = left.items.len(), "waiting for its pods to end");
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn scale(&self, namespace: &str, name: &str, replicas: i32) -> anyhow::Result<Deployment> {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        tracing::info!(deployment = %format!("{namespace}/{name}"), replicas, "scaling");
        self.deployments(namespace)
            .patch(name, &PatchParams::default(), &patch)
            .await
            .with_context(|| format!("failed to scale Deployment {namespace}/{name}"))
    }

    async fn slime_boots(&self) -> anyhow::Result<Vec<DynamicObject>> {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource(BOOT_KIND));
        match api.list(&ListParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
            listed => Ok(listed.context("failed to list SlimeBoots")?.items),
        }
    }

    async fn slime_boots_are_gone(&self) -> anyhow::Result<()> {
        loop {
            let left = self.slime_boots().await?;
            if left.is_empty() {
                tracing::info!("no SlimeBoot is left");
                return Ok(());
            }
            if let Some(boot) = left.iter().find(|boot| boot.metadata.deletion_timestamp.is_none()) {
                bail!("SlimeBoot {}/{} was made meanwhile", boot.namespace().unwrap_or_default(), boot.name_any());
            }
            tracing::info!(left = left.len(), "waiting for the operator to remove what they stand for");
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn deployments(&self, namespace: &str) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

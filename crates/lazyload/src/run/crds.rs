//! `lazyload crds`.

use std::io::Write;

use anyhow::Context as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{Patch, PatchParams};
use lazyload_api::names;

use crate::documents;
use crate::process::api_server;

/// Prints the CRDs as YAML.
///
/// # Errors
/// Standard output cannot be written.
pub fn run() -> anyhow::Result<()> {
    let text = documents::write(&lazyload_logic::boot::crds()?)?;
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

/// Brings the CRDs of the cluster up to date: Helm makes the CRDs of a chart once and never changes them.
///
/// # Errors
/// The API server cannot be reached or refuses.
pub async fn apply() -> anyhow::Result<()> {
    let client = api_server::client().await?;
    let api: Api<CustomResourceDefinition> = Api::all(client);
    for crd in lazyload_logic::boot::crds()? {
        let name = crd.pointer("/metadata/name").and_then(serde_json::Value::as_str).unwrap_or_default();
        let params = PatchParams::apply(names::BOOT_FIELD_MANAGER).force();
        api.patch(name, &params, &Patch::Apply(&crd)).await.with_context(|| format!("failed to apply CRD {name}"))?;
        writeln!(std::io::stdout(), "applied {name}")?;
    }
    Ok(())
}

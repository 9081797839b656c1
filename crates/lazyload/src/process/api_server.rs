//! The way to the API server.

use std::error::Error as _;

use anyhow::{Context as _, anyhow};
use kube::Client;

/// A client of the API server that `KUBECONFIG` names, or the pod's service account.
///
/// # Errors
/// Neither is there, or it cannot be used.
pub async fn client() -> anyhow::Result<Client> {
    let told = match Client::try_default().await {
        // Its own words tell this twice, and of the variables of a pod that no user sets.
        Err(kube::Error::InferConfig(neither)) => {
            let why = neither.source().map(ToString::to_string).unwrap_or_default();
            Err(anyhow!("{why}, and this is no pod of a cluster; KUBECONFIG or ~/.kube/config tells where one is"))
        }
        other => other.map_err(Into::into),
    };
    told.context("failed to find the API server")
}

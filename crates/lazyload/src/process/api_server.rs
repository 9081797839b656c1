//! The way to the API server.

use anyhow::Context as _;
use kube::Client;

/// A client of the API server that `KUBECONFIG` names, or the pod's service account.
///
/// # Errors
/// Neither is there, or it cannot be used.
pub async fn client() -> anyhow::Result<Client> {
    Client::try_default().await.context("failed to find the API server (KUBECONFIG or in-cluster)")
}

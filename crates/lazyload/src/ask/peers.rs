//! What says which pods take mutual TLS alone.

use std::io::Write as _;

use anyhow::Context as _;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use lazyload_logic::state::analyze::PeerAuthentications;

use crate::process::api_server;

/// The PeerAuthentications of the cluster; none where Istio's CRD is not there. Who may not list them gets the other findings all the same, and
/// is told so.
///
/// # Errors
/// The API server cannot be reached, or fails.
pub async fn peer_authentications() -> anyhow::Result<PeerAuthentications> {
    let kind = GroupVersionKind::gvk("security.istio.io", "v1beta1", "PeerAuthentication");
    let resource = ApiResource::from_gvk(&kind);
    let api: Api<DynamicObject> = Api::all_with(api_server::client().await?, &resource);
    match api.list(&ListParams::default()).await {
        Ok(list) => {
            let objects: Result<Vec<_>, _> = list.items.iter().map(serde_json::to_value).collect();
            Ok(PeerAuthentications::of(&objects?))
        }
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(PeerAuthentications::default()),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            writeln!(
                std::io::stderr(),
                "lazyload: you may not list peerauthentications: where mutual TLS is STRICT is not known"
            )?;
            Ok(PeerAuthentications::default())
        }
        Err(error) => Err(error).context("failed to list peerauthentications"),
    }
}

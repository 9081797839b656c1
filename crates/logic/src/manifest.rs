//! The Kubernetes objects that changes are written as: bodies for the API server, and for files.

use lazyload_api::istio::SidecarSpec;
use lazyload_api::names;
use serde_json::{Value, json};

use crate::state::Change;
use crate::types::{Labels, ObjectRef};

/// The body of a change's write; `None` for deletions.
#[must_use]
pub fn body(change: &Change) -> Option<Value> {
    match change {
        Change::CreateFence { id, labels, spec } => Some(json!({
            "apiVersion": names::FENCE_API_VERSION,
            "kind": names::FENCE_KIND,
            "metadata": {"namespace": &*id.namespace, "name": &*id.name, "labels": labels},
            "spec": spec,
        })),
        Change::WriteStatus { id, status } => Some(json!({
            "apiVersion": names::FENCE_API_VERSION,
            "kind": names::FENCE_KIND,
            "metadata": {"namespace": &*id.namespace, "name": &*id.name},
            "status": status,
        })),
        Change::ApplySidecar { id, owner_uid, labels, spec, uid, .. } => {
            Some(sidecar(id, owner_uid.as_deref(), labels, spec, uid.as_deref()))
        }
        Change::AdoptSidecar { id, owner_uid, labels, spec, uid } => {
            Some(sidecar(id, Some(owner_uid), labels, spec, Some(uid)))
        }
        Change::ApplyCallerLog { id, name, owner_uid, labels, spec } => {
            let ours = [(names::CALLER_LOG_LABEL, "true"), (names::PART_OF_LABEL, names::PART_OF)];
            let ours = ours.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
            let labels: Labels = labels.clone().into_iter().chain(ours).collect();
            Some(json!({
                "apiVersion": names::ENVOY_FILTER_API_VERSION,
                "kind": "EnvoyFilter",
                "metadata": {
                    "namespace": &*id.namespace, "name": name, "labels": labels, "ownerReferences": [owner(id, owner_uid)],
                },
                "spec": spec,
            }))
        }
        Change::DeleteFence { .. } | Change::DeleteSidecar { .. } | Change::RemoveCallerLog { .. } => None,
    }
}

/// A Sidecar of this name; with its identity, it is that one alone.
#[must_use]
pub fn sidecar(
    id: &ObjectRef,
    owner_uid: Option<&str>,
    labels: &Labels,
    spec: &SidecarSpec,
    uid: Option<&str>,
) -> Value {
    let mut metadata = json!({
        "namespace": &*id.namespace,
        "name": &*id.name,
    });
    if let (Some(metadata), Some(owner_uid)) = (metadata.as_object_mut(), owner_uid) {
        metadata.insert("ownerReferences".to_owned(), json!([owner(id, owner_uid)]));
    }
    if let Some(metadata) = metadata.as_object_mut().filter(|_| !labels.is_empty()) {
        metadata.insert("labels".to_owned(), json!(labels));
    }
    // The API server takes it as a precondition: a Sidecar that somebody put in its place is not ours to change.
    if let (Some(metadata), Some(uid)) = (metadata.as_object_mut(), uid) {
        metadata.insert("uid".to_owned(), json!(uid));
    }
    json!({
        "apiVersion": names::SIDECAR_API_VERSION,
        "kind": "Sidecar",
        "metadata": metadata,
        "spec": spec,
    })
}

fn owner(id: &ObjectRef, uid: &str) -> Value {
    json!({
        "apiVersion": names::FENCE_API_VERSION,
        "blockOwnerDeletion": true,
        "controller": true,
        "kind": names::FENCE_KIND,
        "name": &*id.name,
        "uid": uid,
    })
}

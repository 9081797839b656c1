//! Deleting an object with a certain identity, and what it means that the API server did not.

use std::fmt::Debug;

use kube::api::{DeleteParams, Preconditions};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

/// Deletes the object with this identity; one that is gone already, or another one of its name, is fine. Returns whether it was there.
///
/// # Errors
/// The API server refuses, and it is still there.
pub async fn delete<K>(api: &Api<K>, name: &str, uid: &str) -> kube::Result<bool>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match api.delete(name, &params).await {
        Ok(_) => Ok(true),
        Err(refusal) => is_gone(api, name, uid, refusal).await.map(|()| false),
    }
}

/// Whether after this refusal an object of this identity is gone, or another one has its name; a conflict has other reasons too, and then it is still there.
///
/// # Errors
/// Every other refusal, and that of a conflict over an object that is still there: the deletion is to be tried again.
pub async fn is_gone<K>(api: &Api<K>, name: &str, uid: &str, refusal: kube::Error) -> kube::Result<()>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    match &refusal {
        kube::Error::Api(status) if status.code == 404 => Ok(()),
        kube::Error::Api(status) if status.code == 409 => match api.get_metadata_opt(name).await? {
            Some(found) if found.metadata.uid.as_deref() == Some(uid) => Err(refusal),
            _ => Ok(()),
        },
        _ => Err(refusal),
    }
}

//! What it means that the API server did not delete an object with a certain identity.

use std::fmt::Debug;

use kube::{Api, Resource};
use serde::de::DeserializeOwned;

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

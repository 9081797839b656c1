//! The CustomResourceDefinitions, as they are applied.

use kube::CustomResourceExt;
use lazyload_api::names;
use lazyload_api::service_fence::ServiceFence;
use lazyload_api::slime_boot::SlimeBoot;
use serde_json::{Value, json};

use super::meta::set;

/// Both CRDs, in the order of their names.
///
/// # Errors
/// A CRD cannot be written as JSON: a defect of the types, found by the golden test.
pub fn crds() -> Result<Vec<Value>, serde_json::Error> {
    let mut fence = serde_json::to_value(ServiceFence::crd())?;
    // A fence that has learned nothing yet prints `status: {}`, as the seed shows it.
    if let Some(status) = fence.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/status") {
        set(status, "default", json!({}));
    }
    let mut all = [fence, serde_json::to_value(SlimeBoot::crd())?];
    for crd in &mut all {
        if let Some(metadata) = crd.get_mut("metadata") {
            set(metadata, "labels", json!({ names::PART_OF_LABEL: names::PART_OF }));
        }
    }
    Ok(all.into())
}

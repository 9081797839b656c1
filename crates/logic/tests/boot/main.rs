//! Owns what is expected of a SlimeBoot: golden files, refusals, and the order of the objects for any settings.
//! Never touches a cluster.
//! Next: `golden/CLAIM/given.yaml` and `expect.yaml`; UPDATE_GOLDEN=1 rewrites the latter.

mod golden;
mod order;
mod refusals;

use lazyload_api::slime_boot::SlimeBoot;
use lazyload_logic::boot::{BootError, Reading, desired_objects, read};
use serde_json::Value;

fn reading(yaml: &str) -> Result<Reading, BootError> {
    let boot: SlimeBoot = serde_saphyr::from_str(yaml).expect("a SlimeBoot");
    read(&boot.spec)
}

fn objects(reading: &Reading) -> Vec<Value> {
    reading.installation.as_ref().map(desired_objects).unwrap_or_default()
}

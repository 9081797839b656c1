use lazyload_api::slime_boot::SlimeBoot;
use lazyload_logic::boot::{BootError, Reading, desired_objects, read};
use serde_json::Value;

pub fn reading(yaml: &str) -> Result<Reading, BootError> {
    let boot: SlimeBoot = serde_saphyr::from_str(yaml).expect("a SlimeBoot");
    read(&boot.spec)
}

pub fn objects(reading: &Reading) -> Vec<Value> {
    reading.installation.as_ref().map(desired_objects).unwrap_or_default()
}

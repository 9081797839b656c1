//! A SlimeBoot as it is stored.

use std::collections::BTreeMap;

use lazyload_api::names;
use lazyload_api::slime_boot::SlimeBootSpec;
use serde_json::{Value, json};

use super::Key;
use crate::boot::{BootError, Installation, Reading, read};
use crate::types::ObjectRef;

/// What the operator needs of a SlimeBoot.
#[derive(Clone, Debug)]
pub(super) struct Boot {
    pub uid: String,
    pub generation: i64,
    /// When it was made; RFC 3339, which sorts as text.
    pub created: String,
    /// It is being deleted.
    pub leaving: bool,
    pub has_finalizer: bool,
    pub reading: Result<Reading, BootError>,
    pub status: Value,
}

impl Boot {
    pub(super) fn of(object: &Value) -> Option<(ObjectRef, Self)> {
        let metadata = object.get("metadata")?;
        let text = |field: &str| metadata.get(field).and_then(Value::as_str).unwrap_or_default();
        let finalizers = metadata.get("finalizers").and_then(Value::as_array);
        let id = ObjectRef::new(text("namespace"), text("name"));
        let boot = Self {
            uid: text("uid").to_owned(),
            generation: metadata.get("generation").and_then(Value::as_i64).unwrap_or(0),
            created: text("creationTimestamp").to_owned(),
            leaving: metadata.get("deletionTimestamp").is_some(),
            has_finalizer: finalizers.is_some_and(|all| all.iter().any(|one| one == names::SLIME_BOOT_FINALIZER)),
            reading: reading(&id, object.get("spec")),
            status: object.get("status").cloned().unwrap_or_else(|| json!({})),
        };
        Some((id, boot))
    }

    /// What is to be there: nothing for one that is being deleted or says nothing that can be understood.
    pub(super) fn installation(&self) -> Option<&Installation> {
        if self.leaving {
            return None;
        }
        self.reading.as_ref().ok()?.installation.as_ref()
    }

    /// What its status says was made for it.
    pub(super) fn inventory(&self) -> BTreeMap<Key, String> {
        let entries = self.status.get("objects").and_then(Value::as_array);
        let entry = |entry: &Value| {
            let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default();
            Some((Key::new(text("kind"), text("namespace"), text("name"))?, text("uid").to_owned()))
        };
        entries.into_iter().flatten().filter_map(entry).collect()
    }
}

fn reading(id: &ObjectRef, spec: Option<&Value>) -> Result<Reading, BootError> {
    // Its name is the value of a label.
    if id.name.len() > 63 {
        return Err(BootError::new("metadata.name", "expected at most 63 characters; choose a shorter name"));
    }
    match spec {
        Some(Value::Object(fields)) => read(&SlimeBootSpec { fields: fields.clone() }),
        _ => Err(BootError::new("spec", "expected a map with image and module, got nothing")),
    }
}

//! Changes, carried out as an API server would: with a look at who owns what. The file first, then the memory.

use std::path::PathBuf;

use lazyload_logic::manifest;
use lazyload_logic::state::Change;
use lazyload_logic::types::{Kind, Object, ObjectRef};
use serde_json::{Value, json};

use super::Keeping;
use super::layout::{remove_file, write_file};
use super::scan::Origin;
use super::store::{Store, Stored, lean, status};
use crate::documents;

/// A change that was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The object is there already, and was not expected to be.
    #[error("failed to {change} {id}: it exists already")]
    Exists {
        /// What was to be done.
        change: &'static str,
        /// To which object.
        id: ObjectRef,
    },
    /// The object is gone.
    #[error("failed to {change} {id}: it is gone")]
    Gone {
        /// What was to be done.
        change: &'static str,
        /// To which object.
        id: ObjectRef,
    },
    /// The object is in a file of the user's.
    #[error("failed to {change} {id}: it is in a file of yours, which is not ours to change")]
    Users {
        /// What was to be done.
        change: &'static str,
        /// To which object.
        id: ObjectRef,
    },
    /// The object cannot be written as YAML.
    #[error("failed to write {id} as YAML")]
    Yaml {
        /// Which object.
        id: ObjectRef,
        /// Why.
        source: serde_saphyr::ser::Error,
    },
    /// Its file cannot be written.
    #[error("failed to write {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl FolderError {
    /// Whether the same change can succeed later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Gone { .. })
    }
}

impl Store {
    pub(super) fn write(&mut self, change: &Change) -> Result<Option<Object>, FolderError> {
        let id = change.id();
        match (change, manifest::body(change)) {
            (Change::CreateFence { .. }, Some(body)) => self.create_fence(change.name(), id, body),
            (Change::WriteStatus { .. }, Some(body)) => self.write_status(change.name(), id, &body),
            (Change::ApplySidecar { uid, .. }, Some(body)) => {
                self.apply_sidecar(change.name(), id, body, uid.is_some())
            }
            (Change::AdoptSidecar { .. }, Some(_)) => Err(FolderError::Users { change: change.name(), id: id.clone() }),
            (Change::DeleteFence { uid, .. }, _) => self.delete(change.name(), Kind::Fence, id, uid),
            (Change::DeleteSidecar { uid, .. }, _) => self.delete(change.name(), Kind::Sidecar, id, uid),
            // Nobody's proxy reads a folder.
            (Change::ApplyCallerLog { .. } | Change::RemoveCallerLog { .. }, _) | (_, None) => Ok(None),
        }
    }

    fn find(&self, kind: Kind, id: &ObjectRef) -> Option<Stored> {
        self.objects.get(&(kind, id.clone())).cloned()
    }

    fn create_fence(
        &mut self,
        change: &'static str,
        id: &ObjectRef,
        mut body: Value,
    ) -> Result<Option<Object>, FolderError> {
        if self.find(Kind::Fence, id).is_some() {
            return Err(FolderError::Exists { change, id: id.clone() });
        }
        set(&mut body, "status", json!({}));
        self.store_generated(Kind::Fence, id, body)
    }

    fn write_status(
        &mut self,
        change: &'static str,
        id: &ObjectRef,
        body: &Value,
    ) -> Result<Option<Object>, FolderError> {
        let Some(fence) = self.find(Kind::Fence, id) else {
            return Err(FolderError::Gone { change, id: id.clone() });
        };
        let mut value = fence.value.clone();
        set(&mut value, "status", status(body));
        if value == fence.value {
            return Ok(lean(&value));
        }
        if fence.origin == Origin::Generated {
            return self.store_generated(Kind::Fence, id, value);
        }
        let value = self.next(Kind::Fence, id, value);
        self.save(&self.layout.status_file(id), id, body)?;
        let mut source = fence.source;
        set(&mut source, "status", status(body));
        self.put(Kind::Fence, id.clone(), Stored { value: value.clone(), source, origin: Origin::User });
        Ok(lean(&value))
    }

    fn apply_sidecar(
        &mut self,
        change: &'static str,
        id: &ObjectRef,
        mut body: Value,
        exists: bool,
    ) -> Result<Option<Object>, FolderError> {
        let old = self.find(Kind::Sidecar, id);
        if old.is_some() && !exists {
            return Err(FolderError::Exists { change, id: id.clone() });
        }
        let uid = |value: &Value| value.pointer("/metadata/uid").cloned();
        if let Some(wanted) = uid(&body) {
            let found = old.as_ref().and_then(|old| uid(&old.value));
            match found {
                None => return Err(FolderError::Gone { change, id: id.clone() }),
                Some(found) if found != wanted => return Err(FolderError::Exists { change, id: id.clone() }),
                Some(_) => {}
            }
        }
        if let (Some(old), Some(spec)) = (&old, body.get_mut("spec").and_then(Value::as_object_mut)) {
            // Fields that are not ours stay.
            for (key, value) in old.value.get("spec").and_then(Value::as_object).into_iter().flatten() {
                spec.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        self.store_generated(Kind::Sidecar, id, body)
    }

    fn delete(
        &mut self,
        change: &'static str,
        kind: Kind,
        id: &ObjectRef,
        uid: &str,
    ) -> Result<Option<Object>, FolderError> {
        let Some(object) = self.find(kind, id) else { return Ok(None) };
        if object.value.pointer("/metadata/uid").and_then(Value::as_str) != Some(uid) {
            return Ok(None);
        }
        if object.origin == Origin::User {
            return Err(FolderError::Users { change, id: id.clone() });
        }
        if self.keeping == Keeping::Files {
            let path = self.layout.object_file(kind, id);
            remove_file(&path).map_err(|source| FolderError::File { path, source })?;
        }
        self.forget(kind, id);
        self.collect_garbage();
        Ok(None)
    }

    fn store_generated(&mut self, kind: Kind, id: &ObjectRef, value: Value) -> Result<Option<Object>, FolderError> {
        let value = self.next(kind, id, value);
        self.save(&self.layout.object_file(kind, id), id, &value)?;
        self.put(kind, id.clone(), Stored { value: value.clone(), source: value.clone(), origin: Origin::Generated });
        Ok(lean(&value))
    }

    fn save(&self, path: &std::path::Path, id: &ObjectRef, value: &Value) -> Result<(), FolderError> {
        if self.keeping == Keeping::Memory {
            return Ok(());
        }
        let text = documents::write_like_kubectl(std::slice::from_ref(value))
            .map_err(|source| FolderError::Yaml { id: id.clone(), source })?;
        write_file(path, &text).map_err(|source| FolderError::File { path: path.to_owned(), source })
    }
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(key.to_owned(), value);
    }
}

//! Owns the cluster in a folder: which files there are, what is wrong with them, and every object in its current form.
//! Never decides what to write, and never writes to a file of the user's: what is produced goes to `generated/`.
//! Next: `store` for the objects; `watch::folder` and `apply::folder` for the two ends that the controller sees.

mod identity;
mod layout;
mod problem;
mod reading;
mod scan;
mod store;
mod typed;
mod writing;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lazyload_logic::state::{Change, Event};
use lazyload_logic::types::{Kind, Object, ObjectRef};
use serde_json::Value;
use tokio::sync::watch;

use layout::Layout;
pub use problem::Problem;
use problem::refuse;
use store::Store;
pub use writing::FolderError;

/// A cluster in a folder. Clones share it.
#[derive(Clone, Debug)]
pub struct Folder {
    store: Arc<Mutex<Store>>,
    revision: Arc<watch::Sender<u64>>,
}

/// Whether what is produced is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// In files, below `generated/`.
    Files,
    /// In memory only: nothing in the folder changes.
    Memory,
}

impl Folder {
    /// An empty cluster; [`Folder::rescan`] reads the files.
    #[must_use]
    pub fn new(directory: &Path, keeping: Keeping) -> Self {
        let store = Store::new(Layout::new(directory), keeping);
        Self { store: Arc::new(Mutex::new(store)), revision: Arc::new(watch::Sender::new(0)) }
    }

    /// A cluster as the files say.
    ///
    /// # Errors
    /// Some of them cannot be read.
    pub fn open(directory: &Path, keeping: Keeping) -> anyhow::Result<Self> {
        let folder = Self::new(directory, keeping);
        refuse(directory, &folder.rescan())?;
        Ok(folder)
    }

    /// Reads the folder again. What cannot be read stays as it was known. Returns the problems that are new since the last time.
    pub fn rescan(&self) -> Vec<Problem> {
        self.locked(Store::rescan)
    }

    /// Carries out a change. Returns the object as stored, where there is one.
    ///
    /// # Errors
    /// The object is the user's, or another one than was meant, or its file cannot be written.
    pub fn write(&self, change: &Change) -> Result<Option<Object>, FolderError> {
        self.locked(|store| store.write(change))
    }

    /// What happened since the last call, in order.
    pub fn take_events(&self) -> Vec<Event> {
        self.lock().take_events()
    }

    /// The object, as `kubectl get -o yaml` would show it.
    #[must_use]
    pub fn manifest(&self, kind: Kind, id: &ObjectRef) -> Option<Value> {
        self.lock().manifest(kind, id)
    }

    /// Every object of a kind, in order of namespace and name.
    #[must_use]
    pub fn objects(&self, kind: Kind) -> Vec<Object> {
        self.lock().objects(kind)
    }

    /// Every object of a kind as a manifest, in order of namespace and name.
    #[must_use]
    pub fn manifests(&self, kind: Kind) -> Vec<Value> {
        self.lock().manifests(kind)
    }

    /// The first SlimeBoot of the folder, if there is one.
    #[must_use]
    pub fn slime_boot(&self) -> Option<Value> {
        self.lock().slime_boot()
    }

    /// Changes its value whenever an object changed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Where the files are.
    #[must_use]
    pub fn directory(&self) -> std::path::PathBuf {
        self.lock().directory().to_owned()
    }

    fn locked<T>(&self, act: impl FnOnce(&mut Store) -> T) -> T {
        let mut store = self.lock();
        let result = act(&mut store);
        let revision = store.revision();
        drop(store);
        self.revision.send_if_modified(|known| std::mem::replace(known, revision) != revision);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

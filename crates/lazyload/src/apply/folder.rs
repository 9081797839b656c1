//! Writes into a folder of YAML.

use lazyload_logic::state::{Change, Outcome};

use super::Writer;
use crate::folder::Folder;

/// Writes to a cluster in a folder.
#[derive(Clone)]
pub struct FolderWriter {
    folder: Folder,
}

impl FolderWriter {
    /// A writer to this folder.
    #[must_use]
    pub fn new(folder: Folder) -> Self {
        Self { folder }
    }

    /// Carries out one change at once.
    #[must_use]
    pub fn write(&self, change: &Change) -> Outcome {
        match self.folder.write(change) {
            Ok(stored) => {
                tracing::info!(change = change.name(), fence = %change.id(), "written");
                Outcome::Stored(stored.map(Box::new))
            }
            Err(error) => {
                let again = error.is_passing();
                tracing::warn!(error = &error as &dyn std::error::Error, again, "not written");
                if again { Outcome::Failed } else { Outcome::Rejected(error.to_string()) }
            }
        }
    }
}

impl Writer for FolderWriter {
    async fn apply_change(&self, change: &Change) -> Outcome {
        self.write(change)
    }
}

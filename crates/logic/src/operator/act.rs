//! What the operator can do, and what may come of it.

use serde_json::Value;

use super::{Key, Scope};
use crate::types::ObjectRef;

/// One act, for one SlimeBoot.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// Whom it is for.
    pub boot: ObjectRef,
    /// What to do.
    pub act: Act,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Adds the finalizer to the SlimeBoot, or takes it away.
    Finalizer {
        /// Of the SlimeBoot.
        uid: String,
        /// Whether it is to be there.
        present: bool,
    },
    /// Makes an object that must not be there yet; one that is there is taken only if it is ours.
    Create {
        /// Which.
        key: Key,
        /// By what it is known to be ours, if it was made before and lost its label.
        uid: Option<String>,
        /// The object.
        body: Value,
    },
    /// Changes an object of ours, and no other one of its name.
    Apply {
        /// Which.
        key: Key,
        /// Its identity.
        uid: String,
        /// The object.
        body: Value,
    },
    /// Deletes an object of ours, and no other one of its name. A controller's Deployment is there, being deleted, until its pods have ended.
    Delete {
        /// Which.
        key: Key,
        /// Its identity.
        uid: String,
    },
    /// Gives every cluster to the workloads of fences, and changes no route.
    WidenSidecars {
        /// Whose.
        scope: Scope,
    },
    /// Deletes the Sidecars of fences.
    RemoveSidecars {
        /// Whose.
        scope: Scope,
    },
    /// Writes the SlimeBoot's status, and an Event if there is news.
    Status {
        /// Of the SlimeBoot.
        uid: String,
        /// The whole status.
        status: Value,
        /// What changed for its user.
        news: Option<News>,
    },
}

impl Act {
    /// The object that it is about, if it is not the SlimeBoot.
    #[must_use]
    pub fn key(&self) -> Option<&Key> {
        match self {
            Self::Create { key, .. } | Self::Apply { key, .. } | Self::Delete { key, .. } => Some(key),
            Self::Finalizer { .. } | Self::WidenSidecars { .. } | Self::RemoveSidecars { .. } | Self::Status { .. } => {
                None
            }
        }
    }

    /// For the log.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Finalizer { present: true, .. } => "add the finalizer",
            Self::Finalizer { present: false, .. } => "remove the finalizer",
            Self::Create { .. } => "create",
            Self::Apply { .. } => "apply",
            Self::Delete { .. } => "delete",
            Self::WidenSidecars { .. } => "widen the Sidecars of fences",
            Self::RemoveSidecars { .. } => "remove the Sidecars of fences",
            Self::Status { .. } => "write the status",
        }
    }
}

/// An Event for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// Whether something is wrong.
    pub warning: bool,
    /// One word.
    pub reason: String,
    /// One sentence.
    pub message: String,
}

/// What came of an act.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The object as it is stored now.
    Stored(Box<Value>),
    /// It is gone.
    Done,
    /// So many objects changed.
    Changed(usize),
    /// There is an object of that name that is not ours; whose, as far as it says so.
    Occupied(Option<String>),
    /// Not done, in the API server's words; worth another try.
    Failed(String),
}

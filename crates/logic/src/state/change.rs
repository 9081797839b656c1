//! The words between the decisions and the world: what happened, what to write, what became of it.

use std::collections::BTreeMap;

use lazyload_api::istio::SidecarSpec;
use lazyload_api::service_fence::{ServiceFenceSpec, ServiceFenceStatus};
use serde_json::Value;

use crate::observation::Call;
use crate::prometheus::Round;
use crate::settings::Settings;
use crate::types::{Kind, Labels, Object, ObjectRef};

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// An object is there, in this form.
    Applied(Box<Object>),
    /// An object is gone.
    Deleted(Kind, ObjectRef),
    /// The first full list of a kind has been delivered.
    Listed(Kind),
    /// Calls were seen.
    Called(Vec<Call>),
    /// Pairs were seen so often since the last time: for who asks what is called, nothing is learned from it.
    Counted(Vec<Call>),
    /// The proxies of pods have told calls of their own so often since the last time.
    CountedByCallers(Vec<Call>),
    /// Prometheus was asked.
    Measured(Box<Round>),
    /// A planned change was carried out, or not.
    Finished {
        /// The fence that it was for.
        id: ObjectRef,
        /// What became of it.
        outcome: Outcome,
    },
    /// What the proxies say of a Sidecar that was written.
    Proxies {
        /// The fence.
        id: ObjectRef,
        /// The Sidecar's version as it was stored.
        version: u64,
        /// What they say.
        word: Word,
    },
    /// Look at everything again, in case a message was lost.
    Heal,
    /// The settings are different from now on.
    Settings(Box<Settings>),
}

/// What proxies say of a form of their Sidecar that announces something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// They are being asked: until they have it, nothing goes on.
    Asked,
    /// All of them have it.
    Arrived,
    /// They do not say: it is estimated.
    Silent,
}

impl Word {
    /// What they say, in a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Arrived => "arrived",
            Self::Silent => "silent",
        }
    }
}

/// What became of a change.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Done. The object as stored, where there is one.
    Stored(Option<Box<Object>>),
    /// Refused for what it is, in these words: not tried again until something changes.
    Rejected(String),
    /// Failed for now: tried again later.
    Failed,
}

impl Outcome {
    /// What became of it, in a word.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Stored(_) => "stored",
            Self::Rejected(_) => "rejected",
            Self::Failed => "failed",
        }
    }
}

/// One write to be made. Writes of one fence are planned one after the other, each on the result of the one before.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Make an automatic fence.
    CreateFence {
        /// Its name.
        id: ObjectRef,
        /// Its labels.
        labels: Labels,
        /// Its spec.
        spec: Box<ServiceFenceSpec>,
    },
    /// Delete an automatic fence.
    DeleteFence {
        /// Its name.
        id: ObjectRef,
        /// Its identity: another fence of this name stays.
        uid: String,
    },
    /// Write what is known into a fence.
    WriteStatus {
        /// Its name.
        id: ObjectRef,
        /// The status.
        status: Box<ServiceFenceStatus>,
    },
    /// Create or change the Sidecar of a fence.
    ApplySidecar {
        /// Name of the fence and of the Sidecar.
        id: ObjectRef,
        /// Identity of the fence that owns it; `None` for one that outlives its fence for a moment.
        owner_uid: Option<String>,
        /// Labels of the Sidecar.
        labels: Labels,
        /// Its spec.
        spec: Box<SidecarSpec>,
        /// Identity of the Sidecar of ours that is there, which alone may be changed; `None` where there is none: what somebody else made
        /// meanwhile must not be overwritten.
        uid: Option<String>,
        /// Whether a switch begins with it; the later stages of one do not count for the pace of writes.
        begins: bool,
    },
    /// Take over a Sidecar that its user hands over.
    AdoptSidecar {
        /// Name of the fence and of the Sidecar.
        id: ObjectRef,
        /// Identity of the fence that will own it.
        owner_uid: String,
        /// Labels that it gets.
        labels: Labels,
        /// What of its spec is replaced.
        spec: Box<SidecarSpec>,
        /// Its identity: another Sidecar of this name stays.
        uid: String,
    },
    /// Create or change the EnvoyFilter by which the proxies of a fence's pods tell what they call.
    ApplyCallerLog {
        /// The fence.
        id: ObjectRef,
        /// Name of the EnvoyFilter.
        name: String,
        /// Identity of the fence that owns it.
        owner_uid: String,
        /// Labels of the EnvoyFilter, besides ours.
        labels: Labels,
        /// Its spec.
        spec: Box<Value>,
    },
    /// Delete it.
    RemoveCallerLog {
        /// The fence.
        id: ObjectRef,
        /// Name of the EnvoyFilter.
        name: String,
    },
    /// Delete the Sidecar of a fence that is not enabled, or whose pods another fence rules.
    DeleteSidecar {
        /// Its name.
        id: ObjectRef,
        /// Its identity: another Sidecar of this name stays.
        uid: String,
    },
}

impl Change {
    /// The fence that the change is for.
    #[must_use]
    pub fn id(&self) -> &ObjectRef {
        match self {
            Self::CreateFence { id, .. }
            | Self::DeleteFence { id, .. }
            | Self::WriteStatus { id, .. }
            | Self::ApplySidecar { id, .. }
            | Self::AdoptSidecar { id, .. }
            | Self::ApplyCallerLog { id, .. }
            | Self::RemoveCallerLog { id, .. }
            | Self::DeleteSidecar { id, .. } => id,
        }
    }

    /// What is done, for logs and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::CreateFence { .. } => "create_fence",
            Self::DeleteFence { .. } => "delete_fence",
            Self::WriteStatus { .. } => "write_status",
            Self::ApplySidecar { uid: None, .. } => "create_sidecar",
            Self::ApplySidecar { uid: Some(_), .. } => "update_sidecar",
            Self::AdoptSidecar { .. } => "adopt_sidecar",
            Self::ApplyCallerLog { .. } => "apply_caller_log",
            Self::RemoveCallerLog { .. } => "remove_caller_log",
            Self::DeleteSidecar { .. } => "delete_sidecar",
        }
    }
}

/// Counts by name, for metrics.
pub type CountsByName = BTreeMap<&'static str, u64>;

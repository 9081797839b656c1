//! Owns the ways in which changes are carried out: at a Kubernetes API server, or in a folder of YAML; and Events.
//! Never decides what to write; the plan does.
//! Next: `kube` for the real thing, `boot` for what the operator does, `farewell` for the end of Sidecars, `folder` for the cluster in a folder.

pub mod boot;
mod caller_logs;
mod events;
pub mod farewell;
pub mod folder;
mod gone;
pub mod kube;
mod takeover;

use std::future::Future;

use lazyload_logic::state::{Change, Notice, Outcome};

/// Carries out changes.
pub trait Writer: Clone + Send + Sync + 'static {
    /// Carries out one change. What went wrong is logged here; the outcome says whether to try again.
    fn apply_change(&self, change: &Change) -> impl Future<Output = Outcome> + Send;

    /// Tells a notice where users look, at some time, if that is possible.
    fn tell(&self, notice: Notice);
}

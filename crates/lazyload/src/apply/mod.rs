//! Owns the ways in which changes are carried out: at a Kubernetes API server, or in a folder of YAML.
//! Never decides what to write; the plan does.
//! Next: `kube` for the real thing, `boot` for what the operator does, `folder` for the cluster in a folder.

pub mod boot;
pub mod folder;
pub mod kube;
mod takeover;

use std::future::Future;

use lazyload_logic::state::{Change, Outcome};

/// Carries out changes.
pub trait Writer: Clone + Send + Sync + 'static {
    /// Carries out one change. What went wrong is logged here; the outcome says whether to try again.
    fn apply_change(&self, change: &Change) -> impl Future<Output = Outcome> + Send;
}

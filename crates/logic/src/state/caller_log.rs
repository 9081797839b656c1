//! What fences without a Sidecar learn from, and those whose hosts expire: their pods' own proxies tell what they call, by an EnvoyFilter for each fence. That there is one is
//! told in the fence's status before it is made, and until it is gone: so nobody has to watch EnvoyFilters. Reasons: docs/adr/0033.

use lazyload_api::names;
use serde_json::Value;

use super::State;
use super::change::Change;
use crate::boot;
use crate::fence::revision::revision_label;
use crate::fence::sidecar::workload_labels;
use crate::types::{Fence, ObjectRef};

/// What this process knows of the EnvoyFilter of a fence.
#[derive(Debug, Default)]
pub(super) enum CallerLog {
    /// Nothing: what the status says counts.
    #[default]
    Unknown,
    /// It was written, with this spec.
    Written(Box<Value>),
    /// It was removed.
    Removed,
}

/// The name of a fence's EnvoyFilter.
#[must_use]
pub fn name(fence: &ObjectRef) -> String {
    format!("{}.{}", names::CALLER_LOG, fence.name)
}

impl State {
    /// The EnvoyFilter's spec that a fence should have.
    fn desired_caller_log(&self, fence: &Fence) -> Option<Value> {
        let port = self.settings.caller_log_port()?;
        let mode = self.mode(fence);
        // In an emergency nothing is added to any proxy.
        let is_heard = !mode.is_enforced() || self.lease(fence).is_some();
        if !fence.spec.enable || !is_heard || mode.glass.is_some() {
            return None;
        }
        let workload = workload_labels(&self.settings, fence, &self.index)?;
        Some(boot::caller_log(&name(&fence.id), &self.settings, port, &workload))
    }

    /// What the status says of it.
    pub(super) fn shown_caller_log(&self, fence: &Fence) -> Option<Box<str>> {
        let removed = || matches!(self.caller_log(&fence.id), Some(CallerLog::Removed));
        match &fence.status.caller_log {
            None => self.desired_caller_log(fence).map(|_| name(&fence.id).into()),
            Some(_) if removed() && self.desired_caller_log(fence).is_none() => None,
            known => known.clone(),
        }
    }

    /// A sentence about one that this controller may not remove.
    pub(super) fn caller_log_problem(&self, fence: &Fence) -> Option<String> {
        let left = fence.status.caller_log.as_ref().filter(|_| self.settings.caller_log_port().is_none())?;
        let namespace = &fence.id.namespace;
        Some(format!(
            "EnvoyFilter {left} was made while general.callerLogs was on, and may be there still: kubectl -n {namespace} delete envoyfilter {left}"
        ))
    }

    /// The write that is due, once the status tells of it.
    pub(super) fn caller_log_change(&self, fence: &Fence) -> Option<Change> {
        fence.status.caller_log.as_ref().filter(|_| self.settings.caller_log_port().is_some())?;
        let id = fence.id.clone();
        let known = self.caller_log(&id);
        match self.desired_caller_log(fence) {
            Some(spec) if matches!(known, Some(CallerLog::Written(written)) if **written == spec) => None,
            Some(spec) => {
                let labels = revision_label(&fence.labels);
                let owner_uid = fence.uid.clone();
                Some(Change::ApplyCallerLog { name: name(&id), id, owner_uid, labels, spec: Box::new(spec) })
            }
            None if matches!(known, Some(CallerLog::Removed)) => None,
            None => Some(Change::RemoveCallerLog { name: name(&id), id }),
        }
    }

    fn caller_log(&self, id: &ObjectRef) -> Option<&CallerLog> {
        self.by_fence.get(id).map(|work| &work.caller_log)
    }
}

impl CallerLog {
    /// After a change was made.
    pub(super) fn after(self, change: &Change) -> Self {
        match change {
            Change::ApplyCallerLog { spec, .. } => Self::Written(spec.clone()),
            Change::RemoveCallerLog { .. } => Self::Removed,
            _ => self,
        }
    }
}

//! What is worth an Event at a fence: told once, when it becomes so, and not again after a restart.

use lazyload_api::service_fence::ServiceFenceStatus;

use super::{Change, State};
use crate::fence::conditions::{CONFLICT, Condition, FIRST_CALLS_DENIED, SIDECAR_APPLIED, SPEC_VALID};
use crate::ledger::host_of_evidence;
use crate::types::{Fence, ObjectRef};

/// Something to be told at a fence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The fence.
    pub fence: ObjectRef,
    /// Its identity.
    pub uid: String,
    /// What happened, in one word.
    pub reason: &'static str,
    /// Whether somebody should look at it.
    pub is_warning: bool,
    /// What happened.
    pub message: String,
}

impl State {
    /// What there is to tell since the last time. No more than the events taken in since then.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// What there will be to tell once a change is made.
    pub(super) fn notices_of(&self, change: &Change) -> Vec<Notice> {
        let Some(fence) = self.index.find_fence(change.id()) else { return Vec::new() };
        let id = &fence.id;
        let notice = |reason, is_warning, message| Notice {
            fence: id.clone(),
            uid: fence.uid.clone(),
            reason,
            is_warning,
            message,
        };
        match change {
            Change::ApplySidecar { uid: None, .. } => {
                vec![notice("SidecarCreated", false, format!("Sidecar {id} was created"))]
            }
            Change::AdoptSidecar { .. } => {
                vec![notice("SidecarAdopted", false, format!("Sidecar {id} was taken over, as its annotation asks"))]
            }
            Change::DeleteSidecar { .. } => {
                vec![notice("SidecarDeleted", false, format!("Sidecar {id} was deleted"))]
            }
            Change::WriteStatus { status, .. } => {
                let mut notices = Vec::new();
                if let Some(message) = first_learned(fence, status) {
                    notices.push(notice("HostLearned", false, message));
                }
                for (kind, problem, reason) in [
                    (CONFLICT, "True", "Conflict"),
                    (SIDECAR_APPLIED, "False", "Refused"),
                    (SIDECAR_APPLIED, "False", "WithoutFallback"),
                    (SIDECAR_APPLIED, "False", "BreakGlass"),
                    (SPEC_VALID, "False", "SpecInvalid"),
                    (FIRST_CALLS_DENIED, "True", "FirstCallsDenied"),
                ] {
                    let condition = |all: &[Condition]| all.iter().find(|condition| condition.type_ == kind).cloned();
                    let Some(now) = condition(&status.conditions).filter(|now| now.status == problem) else { continue };
                    let before = condition(&fence.status.conditions);
                    let same = before.is_some_and(|before| before.status == now.status && before.reason == now.reason);
                    let is_meant = kind != SIDECAR_APPLIED || now.reason == reason;
                    if !same && is_meant {
                        notices.push(notice(reason, true, now.message));
                    }
                }
                notices
            }
            Change::ApplySidecar { .. }
            | Change::CreateFence { .. }
            | Change::DeleteFence { .. }
            | Change::ApplyCallerLog { .. }
            | Change::RemoveCallerLog { .. } => Vec::new(),
        }
    }
}

/// The first hosts that were learned for a fence: later ones are in its status, and would be a flood of Events.
fn first_learned(fence: &Fence, status: &ServiceFenceStatus) -> Option<String> {
    if !fence.status.metric_status.is_empty() {
        return None;
    }
    let hosts: Vec<&str> = status.metric_status.keys().filter_map(|key| host_of_evidence(key)).collect();
    let (first, more) = hosts.split_first()?;
    let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    Some(format!("learned its first hosts: {first}{more}; the others are told in status.metricStatus only"))
}

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
                let [quarantined, returned] = expiry(fence, status);
                notices.extend(quarantined.map(|message| notice("HostsQuarantined", false, message)));
                notices.extend(returned.map(|message| notice("HostsReturned", false, message)));
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
    let hosts = some_of(&hosts)?;
    Some(format!("learned its first hosts: {hosts}; the others are told in status.metricStatus only"))
}

/// What a status tells of hosts that go into quarantine, and of those that come back from it: of each the first one by name, and how many more.
fn expiry(fence: &Fence, status: &ServiceFenceStatus) -> [Option<String>; 2] {
    let is_out = |of: &ServiceFenceStatus, host: &str| {
        of.unused.get(host).is_some_and(|unused| unused.quarantined_since.is_some())
    };
    let before = &fence.status;
    let went = status.unused.keys().filter(|host| is_out(status, host) && !is_out(before, host));
    let came = before.unused.keys().filter(|host| is_out(before, host) && !is_out(status, host));
    let went = some_of(&went.map(String::as_str).collect::<Vec<_>>());
    let came = some_of(&came.map(String::as_str).collect::<Vec<_>>());
    [
        went.map(|hosts| {
            format!("not called for their lease, these leave the Sidecar until their first call: {hosts}")
        }),
        came.map(|hosts| format!("back from quarantine: {hosts}")),
    ]
}

/// The first one, and how many more.
fn some_of(hosts: &[&str]) -> Option<String> {
    let (first, more) = hosts.split_first()?;
    Some(if more.is_empty() { (*first).to_owned() } else { format!("{first} and {} more", more.len()) })
}

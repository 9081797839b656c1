//! What to write into the status of a fence: what is known before its Sidecar follows from it, how it is doing after that.

use std::collections::BTreeMap;

use lazyload_api::service_fence::{Destinations, ServiceFenceStatus};

use super::Futile;
use crate::fence::conditions::{self, Facts, SidecarState, conditions};
use crate::fence::sidecar::workload_labels;
use crate::state::{Change, State};
use crate::types::{Fence, Now};

/// What a look at a fence has found out.
pub(super) struct Found<'a> {
    /// What `status.domains` should be.
    pub(super) domains: &'a BTreeMap<String, Destinations>,
    /// What cannot be used of the spec and the settings.
    pub(super) problems: &'a [String],
}

impl State {
    /// The write of a fence's status that its Sidecar has to wait for, if there is any. A status that is refused keeps nothing out of
    /// the Sidecar.
    pub(super) fn look_at_status(
        &self,
        fence: &Fence,
        found: &Found<'_>,
        futile: &mut Futile,
        now: Now,
    ) -> Option<Change> {
        let mut status = self.learned_status(fence, found);
        if is_as_known(&status, fence) {
            return None;
        }
        status.conditions = self.conditions(fence, found, None, None, now);
        status.observed_generation = fence.status.observed_generation;
        let change = Change::WriteStatus { id: fence.id.clone(), status: Box::new(status) };
        futile.allows(&change).then_some(change)
    }

    /// The write that tells how a fence is doing, once nothing is left to do for it.
    pub(super) fn look_at_conditions(
        &self,
        fence: &Fence,
        found: &Found<'_>,
        futile: &mut Futile,
        now: Now,
    ) -> Option<Change> {
        let sidecar = self.sidecar_state(fence, futile)?;
        let mut status = self.learned_status(fence, found);
        let mut refused = None;
        if !is_as_known(&status, fence) {
            // It was written in vain a moment ago: the conditions at least can be told.
            status.domains.clone_from(&fence.status.domains);
            status.metric_status.clone_from(&fence.status.metric_status);
            refused =
                Some(self.by_fence.get(&fence.id)?.refused_status.as_deref().unwrap_or("it comes back different"));
        }
        status.conditions = self.conditions(fence, found, Some(&sidecar), refused, now);
        status.observed_generation = Some(fence.generation).filter(|generation| *generation > 0);
        let same = conditions::ours(&fence.status.conditions).eq(&status.conditions);
        if same && status.observed_generation == fence.status.observed_generation {
            return None;
        }
        let change = Change::WriteStatus { id: fence.id.clone(), status: Box::new(status) };
        futile.allows(&change).then_some(change)
    }

    /// What is known of a fence's dependencies, without conditions.
    fn learned_status(&self, fence: &Fence, found: &Found<'_>) -> ServiceFenceStatus {
        let mut metric_status = fence.status.metric_status.clone();
        metric_status.retain(|key, _| !self.ledger.is_expired(&fence.id, key));
        if let Some(evidence) = self.ledger.evidence(&fence.id) {
            metric_status.extend(evidence.iter().map(|(key, count)| (key.clone(), count.clone())));
        }
        ServiceFenceStatus { domains: found.domains.clone(), metric_status, ..ServiceFenceStatus::default() }
    }

    fn conditions(
        &self,
        fence: &Fence,
        found: &Found<'_>,
        sidecar: Option<&SidecarState>,
        refused_status: Option<&str>,
        now: Now,
    ) -> Vec<conditions::Condition> {
        let attempted = self.by_fence.get(&fence.id).map(|work| work.attempted.as_slice()).unwrap_or_default();
        let facts = Facts { fence, sidecar, problems: found.problems, refused_status, attempted };
        conditions(facts, now.unix_seconds)
    }

    /// How it stands with the Sidecar, after nothing was left to do about it; `None` if that cannot be said.
    fn sidecar_state(&self, fence: &Fence, futile: &Futile) -> Option<SidecarState> {
        let sidecar = self.index.find_sidecar(&fence.id);
        if sidecar.is_some_and(|sidecar| sidecar.owner_uid.is_none()) {
            return Some(SidecarState::Foreign);
        }
        if !fence.spec.enable {
            return Some(SidecarState::Disabled);
        }
        if futile.wanted.iter().any(|change| matches!(change, Change::ApplySidecar { .. })) {
            let refused = self.by_fence.get(&fence.id).and_then(|work| work.refused_sidecar.clone());
            return Some(refused.map_or(SidecarState::Overruled, SidecarState::Refused));
        }
        if workload_labels(&self.settings, fence, &self.index).is_none() {
            let service = self.index.find_service(&fence.id);
            return Some(service.map_or(SidecarState::ServiceMissing, |_| SidecarState::ServiceWithoutSelector));
        }
        sidecar.map(|_| SidecarState::Applied)
    }
}

fn is_as_known(status: &ServiceFenceStatus, fence: &Fence) -> bool {
    status.domains == fence.status.domains && status.metric_status == fence.status.metric_status
}

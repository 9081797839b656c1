//! What to write into the status of a fence: what is known before its Sidecar follows from it, how it is doing after that.

use std::collections::BTreeMap;
use std::time::Duration;

use lazyload_api::service_fence::{Destinations, ServiceFenceStatus};

use super::{Futile, Verdict};
use crate::fence::budget::fit_status;
use crate::fence::conditions::{self, Facts, SidecarState, Truncated, conditions};
use crate::fence::scope::may_hide;
use crate::fence::sidecar::workload_labels;
use crate::state::{Change, State};
use crate::types::{Fence, Now};

/// What a look at a fence has found out.
pub(super) struct Found<'a> {
    /// What the status should be, without conditions.
    pub(super) status: ServiceFenceStatus,
    /// What of the dependencies does not fit, in a sentence.
    pub(super) truncated: Option<String>,
    /// Which first calls may be denied, in a sentence.
    pub(super) denied: Option<String>,
    /// What the fence's Sidecar carries.
    pub(super) carried: &'a BTreeMap<String, Destinations>,
    /// What cannot be used of the spec and the settings.
    pub(super) problems: &'a [String],
}

impl State {
    /// The write of a fence's status that its Sidecar has to wait for, if there is any. A status that is refused keeps nothing out of
    /// the Sidecar.
    pub(super) fn look_at_status(&self, fence: &Fence, found: &Found<'_>, futile: &mut Futile, now: Now) -> Verdict {
        if is_as_known(&found.status, fence) {
            return Verdict::Nothing;
        }
        let mut status = found.status.clone();
        status.conditions = self.conditions(fence, found, None, None, now);
        status.observed_generation = fence.status.observed_generation;
        let change = Change::WriteStatus { id: fence.id.clone(), status: Box::new(status) };
        // A fence without a Sidecar does not wait for one.
        let is_urgent = self.is_enforced(fence) && self.index.find_sidecar(&fence.id).is_none();
        self.paced(change, futile, if is_urgent { Duration::MAX } else { now.monotonic })
    }

    /// A write of the status, at its time.
    fn paced(&self, change: Change, futile: &mut Futile, now: Duration) -> Verdict {
        if !futile.allows(&change) {
            return Verdict::Nothing;
        }
        let due = self.by_fence.get(change.id()).map(|work| work.status_pace.due()).unwrap_or_default();
        if due > now { Verdict::Wait(due) } else { Verdict::Write(change) }
    }

    /// The write that tells how a fence is doing, once nothing is left to do for it.
    pub(super) fn look_at_conditions(
        &self,
        fence: &Fence,
        found: &Found<'_>,
        futile: &mut Futile,
        now: Now,
    ) -> Verdict {
        let Some(sidecar) = self.sidecar_state(fence, found, futile) else { return Verdict::Nothing };
        let mut status = found.status.clone();
        let mut refused = None;
        if !is_as_known(&status, fence) {
            // It was written in vain a moment ago: the conditions at least can be told.
            status.domains.clone_from(&fence.status.domains);
            status.metric_status.clone_from(&fence.status.metric_status);
            status.caller_log.clone_from(&fence.status.caller_log);
            status.unused.clone_from(&fence.status.unused);
            let words = self.by_fence.get(&fence.id).and_then(|work| work.refused_status.as_deref());
            refused = Some(words.unwrap_or("it comes back different"));
        }
        status.conditions = self.conditions(fence, found, Some(&sidecar), refused, now);
        status.observed_generation = Some(fence.generation).filter(|generation| *generation > 0);
        let same = conditions::ours(&fence.status.conditions).eq(&status.conditions)
            && status.mode == fence.status.mode
            && status.observed_generation == fence.status.observed_generation;
        let later = self.coverage_waits(fence, status.coverage.as_deref(), now.monotonic);
        if same && (later.is_some() || status.coverage == fence.status.coverage) {
            return later.map_or(Verdict::Nothing, Verdict::Wait);
        }
        let change = Change::WriteStatus { id: fence.id.clone(), status: Box::new(status) };
        self.paced(change, futile, now.monotonic)
    }

    /// What is known of a fence's dependencies, without conditions; and what of it does not fit, in a sentence. Of the dependencies
    /// `not_carried` are not in the Sidecar.
    pub(super) fn learned_status(
        &self,
        fence: &Fence,
        domains: &BTreeMap<String, Destinations>,
        not_carried: usize,
    ) -> (ServiceFenceStatus, Option<String>) {
        let mut metric_status = fence.status.metric_status.clone();
        metric_status.retain(|key, _| !self.ledger.is_expired(&fence.id, key));
        if let Some(evidence) = self.ledger.evidence(&fence.id) {
            metric_status.extend(evidence.iter().map(|(key, count)| (key.clone(), count.clone())));
        }
        let unused = self.shown_unused(fence);
        let shown = fit_status(domains.clone(), &metric_status, &unused, &fence.spec);
        let truncated = Truncated {
            shortened: shown.shortened,
            not_shown: shown.left_out,
            not_carried,
            is_full: self.ledger.is_full(&fence.id),
        };
        let mode = self.mode(fence).shown().map(Into::into);
        let status = ServiceFenceStatus {
            domains: shown.domains,
            metric_status,
            mode,
            caller_log: self.shown_caller_log(fence),
            coverage: self.shown_coverage(fence),
            unused: Box::new(unused),
            ..ServiceFenceStatus::default()
        };
        (status, truncated.sentence(domains.len()))
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
        let truncated = found.truncated.as_deref();
        let denied = found.denied.as_deref();
        let facts = Facts { fence, sidecar, problems: found.problems, truncated, denied, refused_status, attempted };
        conditions(facts, now.unix_seconds)
    }

    /// How it stands with the Sidecar, after nothing was left to do about it; `None` if that cannot be said.
    fn sidecar_state(&self, fence: &Fence, found: &Found<'_>, futile: &Futile) -> Option<SidecarState> {
        if !fence.spec.enable {
            return Some(SidecarState::Disabled);
        }
        let mode = self.mode(fence);
        if let Some(reason) = mode.reason() {
            return Some(SidecarState::Held { reason, message: mode.sentence(&self.settings, fence) });
        }
        if !may_hide(&self.settings, fence) {
            return Some(SidecarState::WithoutFallback);
        }
        let sidecar = self.index.find_sidecar(&fence.id);
        if sidecar.is_some_and(|sidecar| sidecar.owner_uid.is_none() && !sidecar.adopt) {
            return Some(SidecarState::Foreign);
        }
        if let Some(ruler) = self.claims.ruler(&fence.id) {
            let is_served = self.is_served_by(ruler, fence, found.carried);
            return Some(SidecarState::Ruled { by: ruler.clone(), is_served });
        }
        let is_write = |change: &Change| matches!(change, Change::ApplySidecar { .. } | Change::AdoptSidecar { .. });
        if futile.wanted.iter().any(is_write) {
            let refused = self.by_fence.get(&fence.id).and_then(|work| work.refused_sidecar.clone());
            return Some(refused.map_or(SidecarState::Overruled, SidecarState::Refused));
        }
        if workload_labels(&self.settings, fence, &self.index).is_none() {
            let service = self.index.find_service(&fence.id);
            return Some(service.map_or(SidecarState::ServiceMissing, |_| SidecarState::ServiceWithoutSelector));
        }
        let rules = self.claims.ruled(&fence.id).into_iter().cloned().collect();
        sidecar.map(|_| SidecarState::Applied { rules })
    }
}

fn is_as_known(status: &ServiceFenceStatus, fence: &Fence) -> bool {
    let (wanted, known) = (status, &fence.status);
    wanted.domains == known.domains
        && wanted.metric_status == known.metric_status
        && wanted.caller_log == known.caller_log
        && wanted.unused == known.unused
}

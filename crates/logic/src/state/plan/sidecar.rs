//! What to do about the Sidecar of a fence.

use std::collections::BTreeMap;

use lazyload_api::istio::SidecarSpec;
use lazyload_api::names;
use lazyload_api::service_fence::Destinations;

use super::{Futile, Verdict};
use crate::fence::revision::{is_in_scope, revision};
use crate::fence::sidecar::{desired_sidecar, workload_labels};
use crate::state::{Change, State};
use crate::types::{Fence, Labels, Now, Sidecar};

impl State {
    pub(super) fn look_at_sidecar(
        &self,
        fence: &Fence,
        domains: &BTreeMap<String, Destinations>,
        futile: &mut Futile,
        now: Now,
    ) -> Verdict {
        let sidecar = self.index.find_sidecar(&fence.id);
        let is_ours =
            |sidecar: &Sidecar| sidecar.owner_uid.is_some() && is_in_scope(&self.settings.revisions, &sidecar.labels);
        if !sidecar.is_none_or(is_ours) {
            // Somebody else's, or another revision's: it rules, and it is not ours to change.
            return Verdict::Nothing;
        }
        if !fence.spec.enable {
            return sidecar.map_or(Verdict::Nothing, |sidecar| {
                futile.write(Change::DeleteSidecar { id: fence.id.clone(), uid: sidecar.uid.clone() })
            });
        }
        let Some(workload) = workload_labels(&self.settings, fence, &self.index) else { return Verdict::Nothing };
        let spec = desired_sidecar(&self.settings, &fence.id, domains, &workload);
        let labels = sidecar_labels(fence);
        if sidecar.is_some_and(|sidecar| is_as_desired(sidecar, fence, &spec, &labels)) {
            return Verdict::Nothing;
        }
        let change = Change::ApplySidecar {
            id: fence.id.clone(),
            owner_uid: fence.uid.clone(),
            labels,
            spec: Box::new(spec),
            uid: sidecar.map(|sidecar| sidecar.uid.clone()),
        };
        if !futile.allows(&change) {
            return Verdict::Nothing;
        }
        let pace = self.by_fence.get(&fence.id).map(|work| work.pace).unwrap_or_default();
        if sidecar.is_some() && pace.due() > now.monotonic {
            return Verdict::Wait(pace.due());
        }
        Verdict::Write(change)
    }
}

/// Fields that are not ours (a user's `outboundTrafficPolicy`, say) make no difference.
fn is_as_desired(sidecar: &Sidecar, fence: &Fence, spec: &SidecarSpec, labels: &Labels) -> bool {
    sidecar.owner_uid.as_deref() == Some(&fence.uid)
        && sidecar.spec.egress == spec.egress
        && sidecar.spec.workload_selector == spec.workload_selector
        && revision(&sidecar.labels) == revision(labels)
}

fn sidecar_labels(fence: &Fence) -> Labels {
    let revision = fence.labels.get_key_value(names::REVISION_LABEL);
    revision.map(|(key, value)| (key.clone(), value.clone())).into_iter().collect()
}

//! What to do about the Sidecar of a fence.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lazyload_api::service_fence::Destinations;

use super::{Futile, Verdict};
use crate::fence::revision::{is_in_scope, revision, revision_label};
use crate::fence::sidecar::{desired_hosts, sidecar_spec, workload_labels};
use crate::fence::switch::{Farewell, Form, Step, farewell, towards};
use crate::settings::Switching;
use crate::state::{Change, State};
use crate::types::{Fence, Labels, Now, Sidecar};

/// What a Sidecar should be next.
struct Next<'a> {
    form: Form<'a>,
    workload: Labels,
    /// Whether a new switch begins with it; only that counts for the pace of writes.
    begins: bool,
    /// When to look again, if this is what it is already.
    wait: Option<Duration>,
}

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
        if !self.is_enforced(fence) {
            return self.see_off(fence, futile, now).unwrap_or_else(|| {
                sidecar.map_or(Verdict::Nothing, |sidecar| {
                    futile.write(Change::DeleteSidecar { id: fence.id.clone(), uid: sidecar.uid.clone() })
                })
            });
        }
        let Some(workload) = workload_labels(&self.settings, fence, &self.index) else { return Verdict::Nothing };
        let hosts = desired_hosts(&self.settings, &fence.id, domains);
        let wanted: BTreeSet<&str> = hosts.iter().map(String::as_str).collect();
        let next = self.next(fence, sidecar, &wanted, &workload, now);
        let change = self.apply_sidecar(fence, sidecar, &next.form, &next.workload, next.begins);
        if is_as_desired(sidecar, fence, &change) {
            return next.wait.map_or(Verdict::Nothing, Verdict::Wait);
        }
        let pace = self.by_fence.get(&fence.id).map(|work| work.pace).unwrap_or_default();
        if sidecar.is_some() && next.begins && pace.due() > now.monotonic {
            return Verdict::Wait(pace.due());
        }
        if futile.allows(&change) {
            return Verdict::Write(change);
        }
        // A stage that is refused or rewritten by somebody: better in one step than never.
        let change = self.apply_sidecar(fence, sidecar, &Form::settled(wanted), &workload, true);
        if is_as_desired(sidecar, fence, &change) { Verdict::Nothing } else { futile.write(change) }
    }

    fn next<'a>(
        &'a self,
        fence: &Fence,
        sidecar: Option<&'a Sidecar>,
        wanted: &BTreeSet<&'a str>,
        workload: &Labels,
        now: Now,
    ) -> Next<'a> {
        let next = |form, begins| Next { form, workload: workload.clone(), begins, wait: None };
        if self.settings.switching == Switching::Fastest {
            return next(Form::settled(wanted.clone()), true);
        }
        let Some(sidecar) = sidecar else {
            // Where one was removed a moment ago it is put back: the proxies may still have that one's clusters and no others.
            let removed = self.find_removed(&fence.id, now.monotonic).map(|removed| Form::of(&removed.spec).routed);
            return next(Form::first(removed.unwrap_or_else(|| wanted.clone())), true);
        };
        let form = Form::of(&sidecar.spec);
        let at = self.moment(&fence.id, now.monotonic);
        let selected = sidecar.spec.workload_selector.as_ref().map(|selector| &selector.labels);
        if selected != Some(workload) {
            // Pods that leave it need every cluster before, pods that enter it keep every cluster for now.
            let Some(selected) = selected.filter(|labels| !labels.is_empty()) else {
                return next(Form::first(wanted.clone()), true);
            };
            let workload = selected.clone();
            return match farewell(&form, &at) {
                Farewell::Go => next(Form::first(wanted.clone()), true),
                Farewell::Wait(at) => Next { form, workload, begins: false, wait: Some(at) },
                Farewell::To(form) => Next { form, workload, begins: true, wait: None },
            };
        }
        let pace = self.by_fence.get(&fence.id).map(|work| work.pace).unwrap_or_default();
        let full = towards(&form, wanted, &at);
        let under_way = towards(&form, &form.under_way(wanted), &at);
        let begins = full != under_way;
        let held = begins && pace.due() > now.monotonic;
        let held_until = held.then(|| pace.due());
        let (form, wait) = match if held { under_way } else { full } {
            Step::To(form) => return next(form, begins && !held),
            Step::Stay => (form, held_until),
            Step::Wait(at) => (form, Some(held_until.map_or(at, |held| held.min(at)))),
        };
        // If more than the form differs, that counts like a switch.
        Next { form, workload: workload.clone(), begins: true, wait }
    }

    fn apply_sidecar(
        &self,
        fence: &Fence,
        sidecar: Option<&Sidecar>,
        form: &Form<'_>,
        workload: &Labels,
        begins: bool,
    ) -> Change {
        Change::ApplySidecar {
            id: fence.id.clone(),
            owner_uid: Some(fence.uid.clone()),
            labels: revision_label(&fence.labels),
            spec: Box::new(sidecar_spec(form, self.inert_port(&fence.id, form), workload)),
            uid: sidecar.map(|sidecar| sidecar.uid.clone()),
            begins,
        }
    }
}

/// Fields that are not ours (a user's `outboundTrafficPolicy`, say) make no difference.
fn is_as_desired(sidecar: Option<&Sidecar>, fence: &Fence, change: &Change) -> bool {
    let (Some(sidecar), Change::ApplySidecar { spec, labels, .. }) = (sidecar, change) else { return false };
    sidecar.owner_uid.as_deref() == Some(&fence.uid)
        && !sidecar.is_leaving()
        && sidecar.spec.egress == spec.egress
        && sidecar.spec.workload_selector == spec.workload_selector
        && revision(&sidecar.labels) == revision(labels)
}

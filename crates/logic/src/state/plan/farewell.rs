//! Sidecars that are to go, because their fence is gone, going, switched off or no longer wanted: every cluster first, then the end.

use super::{Futile, Verdict};
use crate::fence::sidecar::sidecar_spec;
use crate::fence::switch::{Farewell, Form, farewell};
use crate::settings::Switching;
use crate::state::{Change, State};
use crate::types::{Fence, Labels, Now, ObjectRef, Sidecar};
use lazyload_api::names;

impl State {
    /// What is to be done before the Sidecar of a fence can go; `None` if there is nothing: no Sidecar of ours, or one whose end nobody
    /// would notice.
    pub(super) fn see_off(&self, fence: &Fence, futile: &mut Futile, now: Now) -> Option<Verdict> {
        let Some(sidecar) = self.index.find_sidecar(&fence.id) else {
            // It went with a fence of this name that was here before: every cluster was still on its way.
            let removed = self.find_removed(&fence.id, now.monotonic).filter(|_| self.goes_in_stages())?;
            let form = Form::first(Form::of(&removed.spec).routed);
            let change = self.widened(removed, &form, our_labels(removed), Some(fence.uid.clone()), None);
            return futile.allows(&change).then_some(Verdict::Write(change));
        };
        sidecar.owner_uid.as_ref()?;
        match self.farewell(sidecar, now) {
            Farewell::Go => None,
            Farewell::Wait(at) => Some(Verdict::Wait(at)),
            Farewell::To(form) => {
                let labels = our_labels(sidecar);
                let owner = sidecar.owner_uid.clone().filter(|uid| !uid.is_empty());
                let change = self.widened(sidecar, &form, labels, owner, Some(sidecar.uid.clone()));
                // Refused: then it goes as it is.
                futile.allows(&change).then_some(Verdict::Write(change))
            }
        }
    }

    /// A name whose fence is gone or going. Kubernetes removes the Sidecar with it; it is kept, without an owner, until every cluster is
    /// there, and put back for that time if Kubernetes was faster: istiod collects changes for longer than this takes.
    pub(super) fn look_at_leftover(&self, id: &ObjectRef, futile: &mut Futile, now: Now) -> Verdict {
        if !self.goes_in_stages() && !self.index.find_sidecar(id).is_some_and(Sidecar::is_leaving) {
            return Verdict::Nothing;
        }
        let going = self.index.find_fence(id).is_some();
        let standing = self.by_fence.get(id).map(|work| &work.standing);
        let remembered = standing.and_then(|standing| standing.remembers_until(now.monotonic));
        let later = remembered.map_or(Verdict::Nothing, Verdict::Wait);
        // Where a fence was gone before we came, or cannot be read, it is Kubernetes that knows.
        let outlives = |sidecar: &Sidecar| {
            let bereaved = |owner: &String| standing.is_some_and(|standing| standing.is_bereaved_of(owner));
            sidecar.is_leaving() || going || sidecar.owner_uid.as_ref().is_some_and(bereaved)
        };
        let Some(sidecar) = self.index.find_sidecar(id) else {
            let removed = self.find_removed(id, now.monotonic).filter(|sidecar| outlives(sidecar));
            let Some(removed) = removed else { return later };
            let form = Form::first(Form::of(&removed.spec).routed);
            let change = self.widened(removed, &form, leaving_labels(removed), None, None);
            return if futile.allows(&change) { Verdict::Write(change) } else { later };
        };
        if sidecar.owner_uid.is_none() || !outlives(sidecar) {
            return later;
        }
        let step = self.farewell(sidecar, now);
        let form = match step {
            Farewell::Go if sidecar.is_leaving() => {
                return futile.write(Change::DeleteSidecar { id: id.clone(), uid: sidecar.uid.clone() });
            }
            Farewell::Go => return later,
            Farewell::Wait(at) if sidecar.is_leaving() => return Verdict::Wait(at),
            Farewell::Wait(_) => Form::of(&sidecar.spec),
            Farewell::To(form) => form,
        };
        let change = self.widened(sidecar, &form, leaving_labels(sidecar), None, Some(sidecar.uid.clone()));
        if futile.allows(&change) { Verdict::Write(change) } else { later }
    }

    fn goes_in_stages(&self) -> bool {
        self.settings.switching == Switching::Lossless
    }

    fn farewell<'a>(&self, sidecar: &'a Sidecar, now: Now) -> Farewell<'a> {
        match self.settings.switching {
            Switching::Fastest => Farewell::Go,
            Switching::Lossless => farewell(&Form::of(&sidecar.spec), &self.moment(&sidecar.id, now.monotonic)),
        }
    }

    /// The Sidecar as it is, in another form.
    fn widened(
        &self,
        sidecar: &Sidecar,
        form: &Form<'_>,
        labels: Labels,
        owner_uid: Option<String>,
        uid: Option<String>,
    ) -> Change {
        let workload = sidecar.spec.workload_selector.clone().unwrap_or_default();
        Change::ApplySidecar {
            id: sidecar.id.clone(),
            owner_uid,
            labels,
            spec: Box::new(sidecar_spec(form, self.inert_port(&sidecar.id, form), &workload.labels)),
            uid,
            begins: false,
        }
    }
}

fn our_labels(sidecar: &Sidecar) -> Labels {
    let ours = [names::REVISION_LABEL, names::LEAVING_LABEL];
    let labels = ours.into_iter().filter_map(|key| sidecar.labels.get_key_value(key));
    labels.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn leaving_labels(sidecar: &Sidecar) -> Labels {
    let mut labels = our_labels(sidecar);
    labels.insert(names::LEAVING_LABEL.to_owned(), "true".to_owned());
    labels
}

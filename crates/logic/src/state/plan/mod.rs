//! What to write next for each fence that needs a look. One write at a time for a fence, in an order that makes a kill at any moment
//! harmless: the fence, then what is known in its status, then the Sidecar that follows from it, then how the fence is doing.
//! Next: `leaving` for domains on their way out, `status` for what is known, `sidecar` for the Sidecar, `farewell` for its end.

mod farewell;
mod leaving;
mod sidecar;
mod status;

use std::time::Duration;

use status::Found;

use lazyload_api::names;
use lazyload_api::service_fence::{ServiceFenceSpec, WorkloadSelector};

use super::{Change, State};
use crate::fence::dependencies::desired_dependencies;
use crate::fence::enrollment::{is_automatic, is_enrolled};
use crate::fence::validity::{leave_out, spec_problems};
use crate::types::{Fence, Labels, Now, ObjectRef};

/// What a look at one fence comes to.
enum Verdict {
    Nothing,
    Wait(Duration),
    Write(Change),
}

/// Changes that have no effect, and those of them that are still wanted.
#[derive(Default)]
struct Futile {
    known: Vec<Change>,
    wanted: Vec<Change>,
}

impl Futile {
    /// Whether a change is worth making.
    fn allows(&mut self, change: &Change) -> bool {
        let futile = self.known.contains(change);
        if futile {
            self.wanted.push(change.clone());
        }
        !futile
    }

    fn write(&mut self, change: Change) -> Verdict {
        if self.allows(&change) { Verdict::Write(change) } else { Verdict::Nothing }
    }
}

impl State {
    /// What to write now. Each change must be reported back with [`super::Event::Finished`]; until then its fence is left alone.
    pub fn plan(&mut self, now: Now) -> Vec<Change> {
        if !self.unlisted.is_empty() {
            return Vec::new();
        }
        self.give_up_waiting(now);
        while let Some((at, _)) = self.alarms.first() {
            if *at > now.monotonic {
                break;
            }
            if let Some((_, id)) = self.alarms.pop_first() {
                self.dirty.insert(id);
            }
        }
        let mut changes = Vec::new();
        for id in std::mem::take(&mut self.dirty) {
            let work = self.by_fence.entry(id.clone()).or_default();
            if work.in_flight.is_some() {
                // Its result marks it again.
                continue;
            }
            if let Some(at) = work.not_before.filter(|at| *at > now.monotonic) {
                self.set_alarm(&id, Some(at));
                continue;
            }
            work.not_before = None;
            let mut futile = Futile { known: std::mem::take(&mut work.futile), wanted: Vec::new() };
            let verdict = self.look(&id, &mut futile, now);
            self.set_alarm(&id, if let Verdict::Wait(at) = verdict { Some(at) } else { None });
            let work = self.by_fence.entry(id.clone()).or_default();
            if let Verdict::Write(change) = verdict {
                // What comes after this change was not looked at: it stays as futile as it was.
                let Futile { mut known, wanted } = futile;
                known.retain(|known| known.name() != change.name() || wanted.contains(known));
                work.futile = known;
                if let Change::WriteStatus { status, .. } = &change {
                    work.attempted.clone_from(&status.conditions);
                }
                work.in_flight = Some(change.clone());
                if matches!(change, Change::ApplySidecar { begins: true, .. }) {
                    work.pace.departed();
                }
                changes.push(change);
            } else {
                work.futile = futile.wanted;
                self.tidy(&id, now.monotonic);
            }
        }
        changes
    }

    /// Keeps nothing for a name that means nothing any more.
    fn tidy(&mut self, id: &ObjectRef, now: Duration) {
        let ours = self.index.find_sidecar(id).is_some_and(|sidecar| sidecar.owner_uid.is_some());
        let known = ours || self.index.find_fence(id).is_some() || self.index.find_service(id).is_some();
        let remembered = self.by_fence.get(id).is_some_and(|work| work.standing.remembers_until(now).is_some());
        if !known && !remembered {
            self.set_alarm(id, None);
            self.by_fence.remove(id);
        }
    }

    fn look(&mut self, id: &ObjectRef, futile: &mut Futile, now: Now) -> Verdict {
        let service = self.index.find_service(id);
        let namespace = self.index.find_namespace(&id.namespace);
        let enrolled = service.is_some_and(|service| is_enrolled(&self.settings, service, namespace));
        let Some(fence) = self.index.find_fence(id).filter(|fence| !fence.deleting) else {
            let change = automatic_fence(id);
            let made = enrolled && self.index.find_fence(id).is_none() && futile.allows(&change);
            return if made { Verdict::Write(change) } else { self.look_at_leftover(id, futile, now) };
        };
        // A Service in a Namespace that was not heard of yet: the Namespace has no say yet, so nothing is deleted in its name.
        let decided = service.is_none() || namespace.is_some();
        if self.settings.auto_fence && decided && !enrolled && is_automatic(&fence.labels) {
            return self
                .see_off(fence, futile, now)
                .unwrap_or_else(|| futile.write(Change::DeleteFence { id: id.clone(), uid: fence.uid.clone() }));
        }
        let fence = fence.clone();
        self.look_at_fence(&fence, futile, now)
    }

    fn look_at_fence(&mut self, fence: &Fence, futile: &mut Futile, now: Now) -> Verdict {
        let learned = self.ledger.hosts(&fence.id);
        let dependencies =
            desired_dependencies(&fence.id, &fence.spec, &learned, &self.index, &self.aliases, now.unix_seconds);
        self.interests.set(&fence.id, dependencies.interest);
        let mut domains = dependencies.domains;
        let mut alarm = self.keep_leaving(fence, &mut domains, now.monotonic);
        if let Some(second) = dependencies.next_expiry {
            let wait = u64::try_from(second.saturating_sub(now.unix_seconds)).unwrap_or(0);
            let at = now.monotonic.saturating_add(Duration::from_secs(wait));
            alarm = Some(alarm.map_or(at, |alarm| alarm.min(at)));
        }

        let mut problems = spec_problems(&fence.id, &fence.spec, &self.index);
        let is_told = |host: &str| learned.contains(host) || fence.spec.host.contains_key(host);
        problems.extend(leave_out(&mut domains, is_told));
        problems.extend(self.problems.iter().cloned());
        let found = Found { domains: &domains, problems: &problems };
        if let Some(change) = self.look_at_status(fence, &found, futile, now) {
            return Verdict::Write(change);
        }
        match self.look_at_sidecar(fence, &domains, futile, now) {
            Verdict::Nothing => {
                if let Some(change) = self.look_at_conditions(fence, &found, futile, now) {
                    return Verdict::Write(change);
                }
                alarm.map_or(Verdict::Nothing, Verdict::Wait)
            }
            Verdict::Wait(at) => Verdict::Wait(alarm.map_or(at, |alarm| alarm.min(at))),
            write @ Verdict::Write(_) => write,
        }
    }
}

fn automatic_fence(id: &ObjectRef) -> Change {
    let spec = ServiceFenceSpec {
        enable: true,
        workload_selector: Some(WorkloadSelector { labels: Labels::new(), from_service: true }),
        ..ServiceFenceSpec::default()
    };
    Change::CreateFence {
        id: id.clone(),
        labels: Labels::from([(names::CREATED_BY_LABEL.to_owned(), names::FENCE_CONTROLLER.to_owned())]),
        spec: Box::new(spec),
    }
}

//! What to write next for each fence that needs a look. One write at a time for a fence, in an order that makes a kill at any moment
//! harmless: the fence, then what is known in its status, then the Sidecar that follows from it, then how the fence is doing.
//! Next: `automatic` for whether a fence is wanted at all, `policies` for those that name its workload, `leaving` for domains on their way out, `status` for what is known, `overlap`
//! for the fence that rules shared pods, `sidecar` for the Sidecar, `farewell` for its end.

mod automatic;
mod farewell;
mod leaving;
mod overlap;
mod policies;
mod sidecar;
mod status;

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Change, State};
use crate::fence::dependencies::{Dependencies, desired_dependencies};
use crate::fence::enrollment::is_automatic;
use crate::fence::revision::is_in_scope;
use crate::fence::scope::is_anothers;
use crate::fence::validity::{leave_out, spec_problems};
use crate::types::{Fence, Now, ObjectRef};
use automatic::Automatic;
use status::Found;

/// What a look at one fence comes to.
enum Verdict {
    Nothing,
    Wait(Duration),
    Write(Change),
}

impl Verdict {
    /// The same, and another look at `at` if nothing else happens before.
    fn at_latest(self, at: Duration) -> Self {
        match self {
            Self::Nothing => Self::Wait(at),
            Self::Wait(other) => Self::Wait(other.min(at)),
            write @ Self::Write(_) => write,
        }
    }
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
        self.unix_seconds = now.unix_seconds;
        self.give_up_waiting(now);
        while let Some((at, _)) = self.alarms.first() {
            if *at > now.monotonic {
                break;
            }
            if let Some((_, id)) = self.alarms.pop_first() {
                self.dirty.insert(id);
            }
        }
        self.refresh_waits();
        let mut changes = Vec::new();
        for id in self.dirty.take() {
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
                let notices = self.notices_of(&change);
                let work = self.by_fence.entry(id.clone()).or_default();
                work.notices = notices;
                work.in_flight = Some(change.clone());
                if matches!(change, Change::ApplySidecar { begins: true, .. }) {
                    let waited = work.pace.departed(now.monotonic);
                    self.waited.extend(waited.map(|waited| (id.clone(), waited)));
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
    pub(super) fn tidy(&mut self, id: &ObjectRef, now: Duration) {
        let ours = self.index.find_sidecar(id).is_some_and(|sidecar| sidecar.owner_uid.is_some());
        let known = ours || !self.means_nothing(id);
        let remembered = self.by_fence.get(id).is_some_and(|work| work.standing.remembers_until(now).is_some());
        if !known && !remembered {
            self.set_alarm(id, None);
            self.by_fence.remove(id);
        }
    }

    fn look(&mut self, id: &ObjectRef, futile: &mut Futile, now: Now) -> Verdict {
        if is_anothers(&self.settings, &id.namespace, &self.index) {
            return Verdict::Nothing;
        }
        let automatic = self.automatic(id, now.monotonic);
        let in_scope = |labels| is_in_scope(&self.settings.revisions, labels);
        let known = self.index.find_fence(id);
        let of_another = known.is_some_and(|fence| !in_scope(&fence.labels));
        if of_another || (known.is_none() && self.index.find_sidecar(id).is_some_and(|left| !in_scope(&left.labels))) {
            return Verdict::Nothing;
        }
        let Some(fence) = known.filter(|fence| !fence.deleting) else {
            return match automatic {
                Automatic::Wanted(change) if known.is_none() && futile.allows(&change) => Verdict::Write(*change),
                _ => self.look_at_leftover(id, futile, now),
            };
        };
        if matches!(automatic, Automatic::Unwanted) && is_automatic(&fence.labels) {
            return self
                .see_off(fence, futile, now)
                .unwrap_or_else(|| futile.write(Change::DeleteFence { id: id.clone(), uid: fence.uid.clone() }));
        }
        let fence = fence.clone();
        let verdict = self.look_at_fence(&fence, futile, now);
        match automatic {
            Automatic::WantedUntil(until) if is_automatic(&fence.labels) => verdict.at_latest(until),
            _ => verdict,
        }
    }

    /// What a fence depends on that has learned these hosts, and which of its first calls may be denied, in a sentence.
    pub(in crate::state) fn dependencies(
        &self,
        fence: &Fence,
        learned: &BTreeSet<String>,
        unix_seconds: i64,
    ) -> (Dependencies, Option<String>) {
        let (identities, named) = self.named(fence);
        let (index, aliases) = (&self.index, &self.aliases);
        let by_policies = &named.dependencies;
        let mut dependencies =
            desired_dependencies(&fence.id, &fence.spec, learned, by_policies, index, aliases, unix_seconds);
        let denied = self.denied(fence, &dependencies, &identities, &named);
        dependencies.interest.extend(named.interest);
        (dependencies, denied)
    }

    fn look_at_fence(&mut self, fence: &Fence, futile: &mut Futile, now: Now) -> Verdict {
        let waits_until = self.look_at_coverage(fence, now);
        let next_look = self.look_at_unused(fence, now);
        let learned = self.in_use(&fence.id);
        let (dependencies, denied) = self.dependencies(fence, &learned, now.unix_seconds);
        self.interests.set(&fence.id, dependencies.interest);
        let mut domains = dependencies.domains;
        let leaves = self.keep_leaving(fence, &mut domains, now.monotonic);
        self.list_quarantined(&fence.id, &mut domains);
        let mut alarm = next_look.into_iter().chain(waits_until).chain(leaves).min();
        if let Some(second) = dependencies.next_expiry {
            let wait = u64::try_from(second.saturating_sub(now.unix_seconds)).unwrap_or(0);
            let at = now.monotonic.saturating_add(Duration::from_secs(wait));
            alarm = Some(alarm.map_or(at, |alarm| alarm.min(at)));
        }

        let mut problems = spec_problems(&fence.id, &fence.spec, &self.index);
        let is_told = |host: &str| learned.contains(host) || fence.spec.host.contains_key(host);
        problems.extend(leave_out(&mut domains, is_told));
        problems.extend(self.mode_problems(fence));
        problems.extend(self.caller_log_problem(fence));
        problems.extend(self.problems.iter().cloned());
        let (carried, not_carried) = self.carried(fence, &domains);
        let (status, truncated) = self.learned_status(fence, &domains, not_carried);
        let found = Found { status, truncated, denied, carried: &carried, problems: &problems };
        let mut verdict = self.look_at_status(fence, &found, futile, now);
        match verdict {
            Verdict::Nothing => {
                verdict = self.look_at_workload(fence, &carried, futile, now);
                if matches!(verdict, Verdict::Nothing)
                    && let Some(change) = self.caller_log_change(fence)
                {
                    verdict = futile.write(change);
                }
                if matches!(verdict, Verdict::Nothing) {
                    verdict = self.look_at_conditions(fence, &found, futile, now);
                }
            }
            Verdict::Wait(at) => {
                // What the status tells already, or the Sidecar has, does not wait for later news.
                let told = self.told(fence, &domains);
                let (carried, _) = self.carried(fence, &told);
                verdict = self.look_at_workload(fence, &carried, futile, now).at_latest(at);
            }
            Verdict::Write(_) => {}
        }
        self.coverage_is_awaited(&fence.id, matches!(verdict, Verdict::Wait(_)));
        match alarm {
            Some(alarm) => verdict.at_latest(alarm),
            None => verdict,
        }
    }
}

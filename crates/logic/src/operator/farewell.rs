//! The end of an installation, before its fallback goes. A fenced workload knows a part of the mesh and the global-sidecar serves the
//! rest, so its Sidecar must not outlive the fallback: first the controller ends, who would write it again, then every Sidecar of a fence
//! gets every cluster, and then it goes. Proxies get time to follow after each. The fences stay, and what was learned in them. The same for
//! one namespace that leaves `general.namespace` while its controller stays, who has read by then that it is not his any more. ADR 0022.

use std::collections::BTreeMap;
use std::time::Duration;

use super::assess::{Assessment, Bodies, View};
use super::memory::{self, SETTLE};
use super::object::Actual;
use super::realm::{Realm, Scope};
use super::{Act, Key, Outcome};
use crate::fence::scope::has_fallback;
use crate::types::ObjectRef;

/// Rounds of widening, of which the last should find nothing to do. Somebody may still write Sidecars whom we cannot end.
const ROUNDS: u32 = 5;

/// How far it is.
#[derive(Clone, Debug)]
pub(super) struct Farewell {
    stage: Stage,
    /// When Sidecars changed last, as far as is known.
    changed_at: Duration,
    failures: u32,
    /// Why the last act was not done, and when it is tried again.
    problem: Option<(String, Duration)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// They get every cluster, in this many rounds more.
    Widening(u32),
    Removing,
    Over,
}

impl Farewell {
    /// Nothing was done since this time; what somebody did a moment before it nobody remembers.
    pub(super) fn new(now: Duration) -> Self {
        Self { stage: Stage::Widening(ROUNDS), changed_at: now, failures: 0, problem: None }
    }

    /// There is a controller, who writes Sidecars.
    pub(super) fn begin_anew(&mut self) {
        self.stage = Stage::Widening(ROUNDS);
    }

    /// Takes in what came of widening or removing: how many Sidecars changed.
    pub(super) fn on_finished(&mut self, outcome: Outcome, now: Duration) {
        let changed = match outcome {
            Outcome::Changed(changed) => changed,
            Outcome::Failed(reason) => return self.failed(&reason, now),
            _ => return self.failed("the API server gave no number", now),
        };
        (self.failures, self.problem) = (0, None);
        if changed > 0 {
            self.changed_at = now;
        }
        self.stage = match self.stage {
            Stage::Widening(rounds) if changed > 0 && rounds > 1 => Stage::Widening(rounds - 1),
            Stage::Widening(_) => Stage::Removing,
            Stage::Removing | Stage::Over => Stage::Over,
        };
    }

    fn failed(&mut self, reason: &str, now: Duration) {
        self.failures = self.failures.saturating_add(1);
        self.problem = Some((format!("Sidecars of fences: {reason}"), now + memory::wait(self.failures)));
    }
}

impl View<'_> {
    /// Lets the Sidecars of fences go if no controller is wanted any more; returns whether that is over.
    pub(super) fn see_off(&self, standing: &Bodies, seen: &mut Assessment) -> bool {
        // Its settings go long after it: while they are there, it may have been there.
        let had_controller = self.memory.inventory.keys().any(Key::is_settings);
        if !had_controller || standing.iter().any(|(key, _)| key.is_controller()) {
            return true;
        }
        if !self.end_controllers(None, seen) {
            return false;
        }
        self.sidecars_are_gone(&self.memory.farewell, None, seen)
    }

    /// Whether nobody depends on a redirection that is not wanted any more. A SlimeBoot that wants no global-sidecar at all is obeyed: it may be
    /// somebody else's from now on.
    pub(super) fn is_free(&self, redirection: &Key, seen: &mut Assessment) -> bool {
        let namespace = &redirection.namespace;
        if self.boot.installation().is_none_or(|installation| has_fallback(&installation.settings, namespace)) {
            return true;
        }
        let begins = Farewell::new(self.now);
        let farewell = self.memory.departures.get(namespace).unwrap_or(&begins);
        self.sidecars_are_gone(farewell, Some(namespace.clone()), seen)
    }

    /// Lets Sidecars of fences go; returns whether that is over.
    fn sidecars_are_gone(&self, farewell: &Farewell, namespace: Option<String>, seen: &mut Assessment) -> bool {
        if let Some((problem, retry_at)) = &farewell.problem {
            seen.problems.push(problem.clone());
            if self.now < *retry_at {
                seen.wake(*retry_at);
                return false;
            }
        }
        let settled_at = farewell.changed_at + SETTLE;
        match farewell.stage {
            Stage::Widening(_) => seen.act = Some(Act::WidenSidecars { scope: self.scope(namespace) }),
            Stage::Removing | Stage::Over if self.now < settled_at => {
                seen.waiting.push("the proxies follow before the fallback is removed".to_owned());
                seen.wake(settled_at);
            }
            Stage::Removing => seen.act = Some(Act::RemoveSidecars { scope: self.scope(namespace) }),
            Stage::Over => return true,
        }
        false
    }

    /// Whether no other controller of this SlimeBoot runs, one that was named otherwise: it is ended before this one writes too.
    pub(super) fn is_alone(&self, controller: &Key, seen: &mut Assessment) -> bool {
        self.end_controllers(Some(controller), seen)
    }

    /// Ends every controller but one; returns whether they are gone.
    fn end_controllers(&self, but: Option<&Key>, seen: &mut Assessment) -> bool {
        let other = self.memory.inventory.keys().find(|key| key.is_controller() && Some(*key) != but);
        if let Some(key) = other {
            self.delete(key, seen);
        }
        other.is_none()
    }

    fn scope(&self, namespace: Option<String>) -> Scope {
        let said = || Some(Realm::of(&self.boot.reading.as_ref().ok()?.installation.as_ref()?.settings));
        let but = controllers(self.objects).filter(|(owner, _)| *owner != self.id);
        let mut of = self.looked_after().or_else(said).unwrap_or_default();
        if let Some(leaving) = &namespace {
            of.namespaces = Some(vec![leaving.clone()]);
        } else if let Some(namespaces) = &mut of.namespaces {
            // One that was about to leave has its redirection still.
            let redirected = self.mine().filter(|(key, _)| key.is_redirection());
            namespaces.extend(redirected.map(|(key, _)| key.namespace.clone()));
        }
        Scope { of, but: but.map(|(_, realm)| realm.clone()).collect(), namespace }
    }

    /// What the controller that stands, or stood, looks after, by its own settings: the SlimeBoot may say something else by now.
    fn looked_after(&self) -> Option<Realm> {
        self.mine().find_map(|(_, actual)| actual.looks_after.clone())
    }
}

/// Controllers that run: each with whose it is, and what it looks after.
fn controllers(objects: &BTreeMap<Key, (ObjectRef, Actual)>) -> impl Iterator<Item = (&ObjectRef, &Realm)> {
    let runs = |wanted: &ObjectRef| {
        objects.iter().any(|(key, (owner, actual))| owner == wanted && key.is_controller() && !actual.leaving)
    };
    let settings = objects.values().filter_map(|(owner, actual)| Some((owner, actual.looks_after.as_ref()?)));
    settings.filter(move |(owner, _)| runs(owner))
}

//! Owns what is known of SlimeBoots and of the objects made for them, and decides the one next thing to do for each.
//! Never touches a cluster: an act is carried out elsewhere, and its outcome is an event like any other.
//! Next: `assess` for the order of things, `farewell` for the end of them, `realm` for whose fence is whose,
//! `rivals` for SlimeBoots that would fight, `ports` for found ones, `injection` for the labels of namespaces, `status` for what users are told.

mod act;
mod assess;
mod farewell;
mod injection;
mod kinds;
mod memory;
mod object;
mod ports;
mod realm;
mod rivals;
mod slime_boot;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

pub use act::{Act, Action, News, Outcome};
pub use injection::Injection;
pub use kinds::{BOOT_KIND, DECLARING, ISTIOD, KINDS, KindOf, NAMESPACE_KIND};
pub use memory::SETTLE;
pub use object::Key;
pub use realm::{Realm, Scope};

use crate::boot::{Declared, Found, Installation, IstioVersion};
use crate::types::{Now, ObjectRef};
use assess::{Assessment, Stop};
use injection::Namespaces;
use memory::Memory;
use object::Actual;
use ports::Declarations;
use slime_boot::Boot;

/// What the operator hears of.
#[derive(Clone, Debug)]
pub enum Event {
    /// An object as it is stored: a SlimeBoot, or one that carries the label of one.
    Applied(Box<Value>),
    /// A SlimeBoot is gone.
    BootGone(ObjectRef),
    /// An object is gone, or carries the label no more.
    Gone(Key),
    /// All objects of a kind were heard of.
    Listed(&'static str),
    /// What an object of one of the kinds `DECLARING` says of its ports; nothing if it is gone.
    Declares(&'static str, ObjectRef, Declared),
    /// All objects of a kind of `DECLARING` were heard of.
    DeclaringListed(&'static str),
    /// Declarations are not heard any more, until they are all told anew.
    NotDeclaring,
    /// The version of the istiod that this Deployment is; nothing if it is gone or does not tell.
    Istiod(ObjectRef, Option<IstioVersion>),
    /// What the labels of a Namespace say about injection; nothing if it is gone.
    Namespace(Arc<str>, Option<Injection>),
    /// All Namespaces were heard of.
    NamespacesListed,
    /// Namespaces are not heard of any more, until they are all told anew.
    NotWatchingNamespaces,
    /// Rights that the operator lacks, and what does not work without them; nothing if it lacks none.
    Lacks(Option<String>),
    /// An act was carried out, or not.
    Finished(Box<Action>, Outcome),
}

/// The operator's knowledge.
#[derive(Debug)]
pub struct Operator {
    unlisted: BTreeSet<&'static str>,
    boots: BTreeMap<ObjectRef, Boot>,
    /// Objects with the label, and whose they are.
    objects: BTreeMap<Key, (ObjectRef, Actual)>,
    declarations: Declarations,
    namespaces: Namespaces,
    istiods: BTreeMap<ObjectRef, IstioVersion>,
    memories: BTreeMap<ObjectRef, Memory>,
    /// What the operator may not do.
    lacks: Option<String>,
}

impl Default for Operator {
    fn default() -> Self {
        let kinds = KINDS.iter().map(|kind| kind.kind).chain([BOOT_KIND.kind, ISTIOD]);
        Self {
            unlisted: kinds.collect(),
            boots: BTreeMap::new(),
            objects: BTreeMap::new(),
            declarations: Declarations::default(),
            namespaces: Namespaces::default(),
            istiods: BTreeMap::new(),
            memories: BTreeMap::new(),
            lacks: None,
        }
    }
}

impl Operator {
    /// Kinds whose first list is awaited; nothing is done before.
    #[must_use]
    pub fn unlisted(&self) -> &BTreeSet<&'static str> {
        &self.unlisted
    }

    /// Whether some SlimeBoot wants to know which ports are declared.
    #[must_use]
    pub fn finds_ports(&self) -> bool {
        self.boots.values().any(|boot| boot.installation().is_some_and(Installation::finds_ports))
    }

    /// Whether some SlimeBoot wants to know how Namespaces are labelled.
    #[must_use]
    pub fn watches_namespaces(&self) -> bool {
        self.boots.values().any(|boot| boot.installation().is_some_and(Installation::needs_injected_namespaces))
    }

    /// Takes news in.
    pub fn on(&mut self, event: Event, now: Now) {
        match event {
            Event::Applied(object) if object.get("kind").is_some_and(|kind| kind == BOOT_KIND.kind) => {
                self.on_boot(&object, now);
            }
            Event::Applied(object) => self.on_object(&object, now),
            Event::BootGone(id) => {
                self.boots.remove(&id);
                self.memories.remove(&id);
            }
            Event::Gone(key) => self.on_gone(&key, now),
            Event::Listed(kind) => {
                self.unlisted.remove(kind);
            }
            Event::Declares(kind, object, declared) => self.declarations.declares(kind, &object, declared),
            Event::DeclaringListed(kind) => self.declarations.listed(kind),
            Event::NotDeclaring => self.declarations = Declarations::default(),
            Event::Istiod(deployment, Some(version)) => drop(self.istiods.insert(deployment, version)),
            Event::Istiod(deployment, None) => drop(self.istiods.remove(&deployment)),
            Event::Namespace(name, injection) => self.namespaces.says(name, injection),
            Event::NamespacesListed => self.namespaces.listed(),
            Event::NotWatchingNamespaces => self.namespaces = Namespaces::default(),
            Event::Lacks(rights) => self.lacks = rights,
            Event::Finished(action, outcome) => self.on_finished(*action, outcome, now),
        }
    }

    /// The next thing to do, if there is one now. Nothing changes until its outcome is told.
    #[must_use]
    pub fn next(&self, now: Now) -> Option<Action> {
        if !self.unlisted.is_empty() {
            return self.say_what_it_lacks(now);
        }
        self.boots.keys().find_map(|id| {
            let assessment = self.assess(id, now)?;
            let act = assessment.act.clone().or_else(|| self.status_act(id, &assessment, now))?;
            Some(Action { boot: id.clone(), act })
        })
    }

    /// Without the right to list some kind nothing is ever done, and users should know why.
    fn say_what_it_lacks(&self, now: Now) -> Option<Action> {
        let lacks = self.lacks.clone().filter(|_| !self.unlisted.contains(BOOT_KIND.kind))?;
        self.boots.keys().find_map(|id| {
            let mut assessment = self.assess(id, now)?;
            (assessment.act, assessment.stopped) = (None, Some(Stop::Blind(lacks.clone())));
            let act = self.status_act(id, &assessment, now)?;
            Some(Action { boot: id.clone(), act })
        })
    }

    /// When to look again though nothing was heard, in monotonic time.
    #[must_use]
    pub fn next_alarm(&self, now: Now) -> Option<Duration> {
        let status = |id: &ObjectRef| self.memories.get(id)?.status_retry_at.filter(|at| *at > now.monotonic);
        self.boots.keys().flat_map(|id| [self.assess(id, now).and_then(|seen| seen.alarm), status(id)]).flatten().min()
    }

    fn assess(&self, id: &ObjectRef, now: Now) -> Option<Assessment> {
        let boot = self.boots.get(id)?;
        let memory = self.memories.get(id)?;
        let rival = boot.installation().and_then(|installation| self.rival(id, boot, installation));
        let found = boot.installation().and_then(|installation| self.found(id, installation));
        let undeclared = found.as_ref().and_then(|_| self.declarations.awaited());
        let istio = boot.installation().and_then(|installation| self.istio(installation));
        let view = assess::View { id, boot, memory, objects: &self.objects, found, istio, now: now.monotonic };
        let mut warnings = Vec::new();
        if let Some(installation) = boot.installation() {
            warnings.extend(status::without_fallback(installation));
            warnings.extend(self.namespaces.warnings(installation));
        }
        Some(Assessment { lacks: self.lacks.clone(), warnings, ..view.assess(rival, undeclared) })
    }

    /// The oldest Istio that is found for an installation, unless its user says which it is; several are several revisions.
    fn istio(&self, installation: &Installation) -> Option<(&ObjectRef, IstioVersion)> {
        let of_mesh =
            |(deployment, _): &(&ObjectRef, &IstioVersion)| *deployment.namespace == *installation.istio_namespace;
        let found = self.istiods.iter().filter(of_mesh).min_by_key(|(_, version)| **version);
        found.filter(|_| installation.istio.is_none()).map(|(deployment, version)| (deployment, *version))
    }

    /// The ports beyond those that are written; nothing if they are not to be found.
    fn found(&self, id: &ObjectRef, installation: &Installation) -> Option<Found> {
        if !installation.finds_ports() {
            return None;
        }
        let mine = self.objects.values().filter(|(owner, _)| owner == id);
        let standing: BTreeSet<u16> = mine.flat_map(|(_, actual)| actual.ports.iter().copied()).collect();
        Some(self.declarations.found(installation, &standing))
    }

    fn status_act(&self, id: &ObjectRef, assessment: &Assessment, now: Now) -> Option<Act> {
        let boot = self.boots.get(id).filter(|boot| boot.has_finalizer || !boot.leaving)?;
        let memory = self.memories.get(id)?;
        if memory.status_retry_at.is_some_and(|at| at > now.monotonic) {
            return None;
        }
        let (status, news) = status::status(boot, memory, assessment, now.unix_seconds)?;
        Some(Act::Status { uid: boot.uid.clone(), status, news })
    }

    fn on_boot(&mut self, object: &Value, now: Now) {
        let Some((id, boot)) = Boot::of(object) else { return };
        let known = self.memories.entry(id.clone()).or_insert_with(|| Memory::new(&boot, now.monotonic));
        if known.uid != boot.uid {
            *known = Memory::new(&boot, now.monotonic);
        }
        if self.boots.get(&id).is_some_and(|before| before.generation != boot.generation) {
            known.problems.clear();
            known.departures.clear();
        }
        self.boots.insert(id, boot);
    }

    fn on_gone(&mut self, key: &Key, now: Now) {
        let Some((owner, before)) = self.objects.remove(key) else { return };
        if let Some(memory) = self.memories.get_mut(&owner) {
            memory.problems.remove(key);
            if before.leaving {
                memory.inventory.remove(key);
            }
            memory.redirected(&before.routes, now.monotonic);
        }
    }

    fn on_object(&mut self, object: &Value, now: Now) {
        let Some((key, owner, actual)) = Actual::of(object) else { return };
        for (id, memory) in &mut self.memories {
            if *id == owner {
                memory.found(&key, &actual.uid);
            } else {
                memory.inventory.remove(&key);
            }
        }
        let routes = actual.routes.clone();
        let before = self.objects.insert(key, (owner, actual));
        if let Some((owner, before)) = before.filter(|(_, before)| before.routes != routes)
            && let Some(memory) = self.memories.get_mut(&owner)
        {
            memory.redirected(&before.routes, now.monotonic);
        }
    }

    fn on_finished(&mut self, action: Action, outcome: Outcome, now: Now) {
        let Action { boot: id, act } = action;
        let Some(memory) = self.memories.get_mut(&id) else { return };
        match (act, outcome) {
            (Act::Finalizer { .. } | Act::Status { .. }, outcome) => {
                memory.told(&outcome, now.monotonic);
                if let Outcome::Stored(object) = outcome {
                    self.on_boot(&object, now);
                }
            }
            (Act::Create { key, body, .. } | Act::Apply { key, body, .. }, Outcome::Stored(object)) => {
                let Some((_, _, actual)) = Actual::of(&object) else { return };
                memory.wrote(key, &body, &actual.fingerprint, now.monotonic);
                self.on_object(&object, now);
            }
            (Act::Create { key, body, .. } | Act::Apply { key, body, .. }, outcome) => {
                memory.failed(key, Some(&body), outcome, now.monotonic);
            }
            // It is there until somebody's finalizer is off it.
            (Act::Delete { key, .. }, Outcome::Stored(object)) => {
                memory.problems.remove(&key);
                self.on_object(&object, now);
            }
            (Act::Delete { key, .. }, Outcome::Done) => {
                memory.inventory.remove(&key);
                memory.problems.remove(&key);
                memory.written.remove(&key);
                self.on_gone(&key, now);
            }
            (Act::Delete { key, .. }, outcome) => memory.failed(key, None, outcome, now.monotonic),
            (Act::WidenSidecars { scope } | Act::RemoveSidecars { scope }, outcome) => {
                memory.farewell_of(scope.namespace, now.monotonic).on_finished(outcome, now.monotonic);
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! Since when each Sidecar of ours stands as it does, and what outlives a fence for a moment. In memory alone: after a restart a wait
//! simply begins anew.

use std::net::IpAddr;
use std::time::Duration;

use super::history::What;
use super::{Change, State, Word};
use crate::fence::delivery::LINGER;
use crate::fence::sidecar::workload_labels;
use crate::fence::switch::{EVERYTHING, Farewell, Form, Moment, farewell, inert_port, next_port};
use crate::types::{Kind, Now, Object, ObjectRef, Sidecar};

/// How long it is remembered that a fence was deleted, while nothing else is known of it: its Sidecar may be heard of later.
const REMEMBERED: Duration = Duration::from_secs(5);

/// Proxies that say whether they have a new form are believed for this long, and the estimate after that: one may hang.
const PATIENCE: Duration = Duration::from_secs(30);
/// Proxies of a fence that are asked. istiod pushes to many at once; those beyond are as far as these, or nearly.
const ASKED_AT_MOST: usize = 64;

/// A change of a Sidecar.
#[derive(Clone, Copy, Debug, Default)]
struct Changed {
    at: Duration,
    /// The version that had it first.
    version: u64,
}

/// What proxies said last: when they have a version, at the latest while they are asked.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    version: u64,
    at: Duration,
}

/// What is known of a Sidecar beside its form. Times are monotonic.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// When something that it imports was imported last.
    gained: Changed,
    /// When something left its routes last.
    lost: Changed,
    said: Said,
    /// The port of its last inert listener.
    inert_port: Option<u16>,
    /// Identity of its fence, if that was deleted, and until when this is remembered.
    bereaved: Option<(String, Duration)>,
    /// What it was when it was removed before its farewell was over, and when that was.
    removed: Option<(Box<Sidecar>, Duration)>,
}

impl Standing {
    /// Whether the fence of this identity was deleted while we watched.
    pub(super) fn is_bereaved_of(&self, fence_uid: &str) -> bool {
        self.bereaved.as_ref().is_some_and(|(uid, _)| uid == fence_uid)
    }

    /// Until when there is something to remember.
    pub(super) fn remembers_until(&self, now: Duration) -> Option<Duration> {
        self.bereaved.as_ref().map(|(_, until)| *until).filter(|until| *until > now)
    }
}

impl State {
    /// Takes an object into the index, and with it the time at which istiod and the proxies have it. Tells whether anything is different.
    pub(super) fn take_in(&mut self, object: Object, at: Now) -> bool {
        let now = at.monotonic;
        let (change, told) = match &object {
            Object::Sidecar(sidecar) => (self.difference(sidecar), self.difference_told(sidecar)),
            _ => (Difference::default(), None),
        };
        let (kind, id) = (object.kind(), object.id());
        let written = match &object {
            Object::Sidecar(sidecar) => (sidecar.version, inert_port(&sidecar.spec)),
            _ => (0, None),
        };
        let makes_fence = matches!(&object, Object::Fence(fence) if !fence.deleting);
        let is_ours = matches!(&object, Object::Sidecar(sidecar) if sidecar.owner_uid.is_some());
        if !self.index.apply(object) {
            return false;
        }
        self.note_news(kind, &id);
        if kind == Kind::Fence {
            self.adopt_unused(&id, at);
        }
        if let Some(told) = told {
            self.history.add(&id, at.unix_seconds, told);
        }
        let is_push = match kind {
            Kind::Sidecar => change.gains || change.loses,
            Kind::Service
            | Kind::EndpointSlice
            | Kind::VirtualService
            | Kind::ServiceEntry
            | Kind::HttpRoute
            | Kind::GrpcRoute => true,
            // A policy is pushed to those whom it protects, not to their callers: no cluster of ours waits for it, but it joins the pushes.
            Kind::AuthorizationPolicy => true,
            Kind::Namespace | Kind::Pod | Kind::Fence => false,
        };
        if is_push {
            self.delivery.changed(now);
        }
        if makes_fence && let Some(work) = self.by_fence.get_mut(&id) {
            work.standing.bereaved = None;
        }
        if kind == Kind::Sidecar && is_ours {
            let standing = &mut self.by_fence.entry(id).or_default().standing;
            standing.removed = None;
            let (version, port) = written;
            standing.inert_port = port.or(standing.inert_port);
            if change.gains {
                standing.gained = Changed { at: now, version };
            }
            if change.loses {
                standing.lost = Changed { at: now, version };
            }
        }
        true
    }

    /// Takes an object out of the index.
    pub(super) fn take_out(&mut self, kind: Kind, id: &ObjectRef, at: Now) {
        let now = at.monotonic;
        self.note_news(kind, id);
        match kind {
            Kind::Fence => {
                if let Some(fence) = self.index.find_fence(id) {
                    let bereaved = Some((fence.uid.clone(), now + REMEMBERED));
                    self.by_fence.entry(id.clone()).or_default().standing.bereaved = bereaved;
                }
            }
            Kind::Sidecar => {
                let known = self.index.find_sidecar(id).filter(|sidecar| sidecar.owner_uid.is_some());
                if known.is_some() {
                    self.history.add(id, at.unix_seconds, What::SidecarGone);
                }
                let early =
                    known.filter(|sidecar| farewell(&Form::of(&sidecar.spec), &self.moment(id, now)) != Farewell::Go);
                let removed = early.map(|sidecar| (Box::new(sidecar.clone()), now));
                if removed.is_some() {
                    self.by_fence.entry(id.clone()).or_default().standing.removed = removed;
                }
            }
            _ => {}
        }
        if !matches!(kind, Kind::Namespace | Kind::Pod | Kind::Fence) {
            self.delivery.changed(now);
        }
        self.index.delete(kind, id);
    }

    /// The Sidecar that was removed a moment ago, so that the proxies may not know of it yet.
    pub(super) fn find_removed(&self, id: &ObjectRef, now: Duration) -> Option<&Sidecar> {
        let (sidecar, at) = self.by_fence.get(id)?.standing.removed.as_ref()?;
        (self.delivery.of(*at) > now).then_some(sidecar)
    }

    /// The present for the Sidecar of this name.
    pub(super) fn moment(&self, id: &ObjectRef, now: Duration) -> Moment {
        let standing = self.by_fence.get(id).map(|work| &work.standing);
        let Some(standing) = standing else { return self.moment_of(&Standing::default(), now) };
        self.moment_of(standing, now)
    }

    fn moment_of(&self, standing: &Standing, now: Duration) -> Moment {
        let said = standing.said;
        // What was changed after what they were asked about comes no sooner.
        let estimate = |changed: Changed| self.delivery.of(changed.at).max(said.at);
        let arrival = |changed: Changed| if said.version >= changed.version { said.at } else { estimate(changed) };
        Moment { now, ready: arrival(standing.gained), over: arrival(standing.lost) + LINGER }
    }

    /// Takes in what the proxies say of a version of a Sidecar.
    pub(super) fn proxies_say(&mut self, id: ObjectRef, version: u64, word: Word, now: Duration) {
        let Some(work) = self.by_fence.get_mut(&id) else { return };
        if version < work.standing.said.version {
            return;
        }
        work.standing.said = match word {
            Word::Asked => Said { version, at: now + PATIENCE },
            Word::Arrived => Said { version, at: now },
            Word::Silent => Said::default(),
        };
        self.dirty.insert(id);
    }

    /// Addresses of the pods whose proxies say when they have what a change writes; to be asked before it, and until they have it.
    #[must_use]
    pub fn proxies_of(&self, change: &Change) -> Vec<IpAddr> {
        let (Change::ApplySidecar { id, spec, .. } | Change::AdoptSidecar { id, spec, .. }) = change else {
            return Vec::new();
        };
        let there = self.index.find_sidecar(id).and_then(|sidecar| inert_port(&sidecar.spec));
        let brings_a_listener = inert_port(spec).is_some_and(|port| there != Some(port));
        let workload = spec.workload_selector.as_ref().filter(|workload| !workload.labels.is_empty());
        let Some(workload) = workload.filter(|_| brings_a_listener) else { return Vec::new() };
        self.index.addresses(&id.namespace, &workload.labels).take(ASKED_AT_MOST).collect()
    }

    /// One pod of each fence that has some, with an address: who is asked where one speaks for the others.
    pub fn one_pod_of_each_fence(&self) -> impl Iterator<Item = ObjectRef> {
        self.index.fences().filter_map(|fence| {
            let labels = workload_labels(&self.settings, fence, &self.index)?;
            self.index.pod_with(&fence.id.namespace, &labels)
        })
    }

    /// The port of the inert listener of a Sidecar in this form: another one than before if something has to be waited for, because
    /// something else is announced or a route leaves.
    pub(super) fn inert_port(&self, id: &ObjectRef, form: &Form<'_>) -> u16 {
        let there = self.index.find_sidecar(id);
        let port = there.and_then(|sidecar| inert_port(&sidecar.spec));
        let is_the_same = there.is_some_and(|sidecar| {
            let before = Form::of(&sidecar.spec);
            before.announced == form.announced && !loses(&before, form)
        });
        match port.filter(|_| is_the_same) {
            Some(port) => port,
            None => next_port(port.or(self.by_fence.get(id).and_then(|work| work.standing.inert_port))),
        }
    }

    fn difference(&self, sidecar: &Sidecar) -> Difference {
        let Some(known) = self.index.find_sidecar(&sidecar.id) else { return Difference::WHOLE };
        if known.uid != sidecar.uid || known.spec.workload_selector != sidecar.spec.workload_selector {
            return Difference::WHOLE;
        }
        if known.spec.egress == sidecar.spec.egress {
            return Difference::default();
        }
        let (before, after) = (Form::of(&known.spec), Form::of(&sidecar.spec));
        let imported = after.routed.union(&after.announced);
        Difference { gains: imported.into_iter().any(|host| !before.imports(host)), loses: loses(&before, &after) }
    }
}

/// Whether something that had a route has none any more.
fn loses(before: &Form<'_>, after: &Form<'_>) -> bool {
    !after.routed.contains(EVERYTHING) && !before.routed.is_subset(&after.routed)
}

/// What a Sidecar's new form is to the proxies.
#[derive(Clone, Copy, Default)]
struct Difference {
    /// Something is imported that was not.
    gains: bool,
    /// Something has no route any more that had one.
    loses: bool,
}

impl Difference {
    const WHOLE: Self = Self { gains: true, loses: true };
}

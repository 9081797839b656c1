//! Since when each Sidecar of ours stands as it does, and what outlives a fence for a moment. In memory alone: after a restart a wait
//! simply begins anew.

use std::time::Duration;

use super::State;
use crate::fence::delivery::LINGER;
use crate::fence::switch::{EVERYTHING, Farewell, Form, Moment, farewell};
use crate::types::{Kind, Object, ObjectRef, Sidecar};

/// How long it is remembered that a fence was deleted, while nothing else is known of it: its Sidecar may be heard of later.
const REMEMBERED: Duration = Duration::from_secs(5);

/// What is known of a Sidecar beside its form. Times are monotonic.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// When something that it imports was imported last.
    gained: Duration,
    /// When something left its routes last.
    lost: Duration,
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
    pub(super) fn take_in(&mut self, object: Object, now: Duration) -> bool {
        let change = match &object {
            Object::Sidecar(sidecar) => self.difference(sidecar),
            _ => Difference::default(),
        };
        let (kind, id) = (object.kind(), object.id());
        let makes_fence = matches!(&object, Object::Fence(fence) if !fence.deleting);
        let is_ours = matches!(&object, Object::Sidecar(sidecar) if sidecar.owner_uid.is_some());
        if !self.index.apply(object) {
            return false;
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
            if change.gains {
                standing.gained = now;
            }
            if change.loses {
                standing.lost = now;
            }
        }
        true
    }

    /// Takes an object out of the index.
    pub(super) fn take_out(&mut self, kind: Kind, id: &ObjectRef, now: Duration) {
        match kind {
            Kind::Fence => {
                if let Some(fence) = self.index.find_fence(id) {
                    let bereaved = Some((fence.uid.clone(), now + REMEMBERED));
                    self.by_fence.entry(id.clone()).or_default().standing.bereaved = bereaved;
                }
            }
            Kind::Sidecar => {
                let known = self.index.find_sidecar(id).filter(|sidecar| sidecar.owner_uid.is_some());
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
        let (gained, lost) = standing.map_or_else(Default::default, |standing| (standing.gained, standing.lost));
        Moment { now, ready: self.delivery.of(gained), over: self.delivery.of(lost) + LINGER }
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
        Difference {
            gains: imported.into_iter().any(|host| !before.imports(host)),
            loses: !after.routed.contains(EVERYTHING) && !before.routed.is_subset(&after.routed),
        }
    }
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

//! Owns everything the controller knows: the index of the cluster, the ledger of calls, and which fences need another look.
//! Never touches the world: `on` takes in what happened, `plan` says what to write, the caller writes it and reports back.
//! Next: `learn` for calls, `plan` for what is written, `change` for the words between here and the writer.

mod change;
mod learn;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

pub use change::{Change, CountsByName, Event, Outcome};
pub use learn::Learned;

use crate::fence::alias::Aliases;
use crate::fence::pace::Pace;
use crate::index::Index;
use crate::ledger::Ledger;
use crate::observation::Call;
use crate::settings::Settings;
use crate::types::{Kind, Now, Object, ObjectRef};

/// Shortest and longest wait before a failed write is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// The one owner of the controller's knowledge.
#[derive(Debug)]
pub struct State {
    settings: Settings,
    aliases: Aliases,
    index: Index,
    ledger: Ledger,
    learned: Learned,
    /// Kinds whose first full list has not come yet; until then nothing is planned, because what is missing may only be late.
    unlisted: BTreeSet<Kind>,
    dirty: BTreeSet<ObjectRef>,
    by_fence: BTreeMap<ObjectRef, Work>,
    /// When a fence needs another look by itself.
    alarms: BTreeSet<(Duration, ObjectRef)>,
    /// Calls from addresses that nobody has yet: a pod's first calls can be faster than the news of the pod.
    waiting_calls: BTreeMap<IpAddr, Vec<(Duration, Call)>>,
}

/// What is going on with one fence.
#[derive(Debug, Default)]
struct Work {
    in_flight: bool,
    /// The fence or its Sidecar was deleted while a write was on its way: the write's answer is old news.
    deleted_meanwhile: bool,
    failures: u32,
    not_before: Option<Duration>,
    /// The write that changed nothing, so that it is not repeated until something else changes.
    futile: Option<Change>,
    /// The last change that was handed out.
    last: Option<Change>,
    pace: Pace,
    /// Domains on their way out, and when they go.
    leaving: BTreeMap<String, Duration>,
}

impl State {
    /// Knows nothing yet. The second value names settings that cannot be used and were left out.
    #[must_use]
    pub fn new(settings: Settings) -> (Self, Vec<String>) {
        let (aliases, problems) = Aliases::compile(&settings.domain_aliases);
        let state = Self {
            settings,
            aliases,
            index: Index::default(),
            ledger: Ledger::default(),
            learned: Learned::default(),
            unlisted: Kind::ALL.into(),
            dirty: BTreeSet::new(),
            by_fence: BTreeMap::new(),
            alarms: BTreeSet::new(),
            waiting_calls: BTreeMap::new(),
        };
        (state, problems)
    }

    /// Takes in what happened.
    pub fn on(&mut self, event: Event, now: Now) {
        match event {
            Event::Applied(object) => self.applied(*object, now),
            Event::Deleted(kind, id) => self.deleted(kind, &id),
            Event::Listed(kind) => {
                self.unlisted.remove(&kind);
            }
            Event::Called(calls) => self.called(calls, now),
            Event::Finished { id, outcome } => self.finished(id, outcome, now),
            Event::Heal => self.mark_all(),
        }
    }

    /// Kinds whose first full list is still awaited.
    #[must_use]
    pub fn unlisted(&self) -> &BTreeSet<Kind> {
        &self.unlisted
    }

    /// When [`State::plan`] should be asked again although nothing happened.
    #[must_use]
    pub fn next_alarm(&self) -> Option<Duration> {
        self.alarms.first().map(|(at, _)| *at)
    }

    /// Counters of what became of the calls that were seen.
    #[must_use]
    pub fn learned(&self) -> &Learned {
        &self.learned
    }

    /// What exists.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn applied(&mut self, object: Object, now: Now) {
        let kind = object.kind();
        let id = object.id();
        let addresses = match &object {
            Object::Pod(pod) => pod.addresses.clone(),
            Object::EndpointSlice(slice) => slice.addresses.clone(),
            Object::Fence(fence) => {
                self.ledger.seed(&fence.id, &fence.status.metric_status);
                Vec::new()
            }
            _ => Vec::new(),
        };
        if matches!(kind, Kind::Fence | Kind::Sidecar) && !self.is_known(&object) {
            // Somebody changed it: a write that was refused, or changed nothing, may be the right one now.
            if let Some(work) = self.by_fence.get_mut(&id) {
                work.futile = None;
            }
        }
        self.index.apply(object);
        self.mark_affected(kind, &id);
        for address in addresses {
            self.retry_waiting(address, now);
        }
    }

    fn deleted(&mut self, kind: Kind, id: &ObjectRef) {
        self.index.delete(kind, id);
        if matches!(kind, Kind::Fence | Kind::Sidecar) {
            if let Some(work) = self.by_fence.get_mut(id) {
                work.deleted_meanwhile |= work.in_flight;
                work.futile = None;
            }
        }
        let gone = self.index.find_fence(id).is_none() && self.index.find_service(id).is_none();
        if matches!(kind, Kind::Fence | Kind::Service) && gone {
            self.ledger.forget(id);
        }
        self.mark_affected(kind, id);
    }

    /// Marks the fences that an object can matter to.
    fn mark_affected(&mut self, kind: Kind, id: &ObjectRef) {
        match kind {
            Kind::Pod | Kind::EndpointSlice => {}
            Kind::Fence | Kind::Sidecar => {
                self.dirty.insert(id.clone());
            }
            Kind::Service => {
                self.dirty.insert(id.clone());
                let dependents = self.index.fences().filter(|fence| {
                    let spec = &fence.spec;
                    !spec.label_selector.is_empty() || !spec.namespace_selector.is_empty() || !spec.host.is_empty()
                });
                self.dirty.extend(dependents.map(|fence| fence.id.clone()));
            }
            Kind::Namespace => {
                let services = self.index.services_in(&id.name).map(|service| service.id.clone());
                self.dirty.extend(services);
            }
            Kind::VirtualService => self.dirty.extend(self.index.fences().map(|fence| fence.id.clone())),
        }
    }

    fn mark_all(&mut self) {
        self.dirty.extend(self.index.fences().map(|fence| fence.id.clone()));
        self.dirty.extend(self.index.services().map(|service| service.id.clone()));
    }

    fn finished(&mut self, id: ObjectRef, outcome: Outcome, now: Now) {
        let work = self.by_fence.entry(id.clone()).or_default();
        work.in_flight = false;
        let outdated = std::mem::take(&mut work.deleted_meanwhile);
        let change = work.last.take();
        match outcome {
            Outcome::Stored(stored) => {
                work.failures = 0;
                if matches!(change, Some(Change::ApplySidecar { .. })) {
                    work.pace.written(now.monotonic);
                }
                let unchanged = stored.as_deref().is_some_and(|object| self.is_known(object));
                if let Some(object) = stored.filter(|_| !outdated) {
                    self.index.apply(*object);
                }
                match &change {
                    Some(Change::DeleteFence { .. }) => self.index.delete(Kind::Fence, &id),
                    Some(Change::DeleteSidecar { .. }) => self.index.delete(Kind::Sidecar, &id),
                    _ => {}
                }
                if unchanged {
                    self.by_fence.entry(id.clone()).or_default().futile = change;
                }
            }
            Outcome::Rejected => {
                work.failures = 0;
                work.futile = change;
            }
            Outcome::Failed => {
                let wait = RETRY.0.saturating_mul(1 << work.failures.min(16)).min(RETRY.1);
                work.failures = work.failures.saturating_add(1);
                work.not_before = Some(now.monotonic + wait);
            }
        }
        self.dirty.insert(id);
    }

    /// Whether an object is stored just as it was known: the write that returned it changed nothing.
    fn is_known(&self, object: &Object) -> bool {
        match object {
            Object::Fence(fence) => self.index.find_fence(&fence.id) == Some(fence),
            Object::Sidecar(sidecar) => self.index.find_sidecar(&sidecar.id) == Some(sidecar),
            _ => false,
        }
    }
}

//! Owns everything the controller knows: the index of the cluster, the ledger of calls, and which fences need another look.
//! Never touches the world: `on` takes in what happened, `plan` says what to write, the caller writes it and reports back.
//! Next: `learn` for calls, `measure` for Prometheus' answers, `affected` for which fences need a look, `standing` for how long a Sidecar is
//! as it is, `mode` for how far fences go, `caller_log` for what those learn from that have no Sidecar, `coverage` for how well these are known, `plan` for what is written, `takeover` for one replica of several, `change` for the words between here and the writer, `pods`
//! for fences of a pod label, `reload` for settings that change; `forget` for what users want forgotten; `traffic` for what goes on
//! through the global-sidecar, `unused` for what is not called any more; `census` for how many fences there are; `explain`, `analyze` and `savings` for those who ask, `view`
//! and `history` for those who look.

mod affected;
pub mod analyze;
mod caller_log;
pub mod census;
mod change;
mod coverage;
pub mod explain;
pub mod forget;
pub mod history;
mod interests;
mod learn;
mod marks;
mod measure;
mod mode;
mod notice;
mod plan;
mod pods;
mod recommend;
mod reload;
pub mod savings;
mod standing;
mod takeover;
pub mod traffic;
mod unused;
pub mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use caller_log::CallerLog;
use census::Counted;
pub use change::{Change, CountsByName, Event, Outcome, Word};
use coverage::Heard;
use history::History;
use interests::Interests;
pub use learn::Learned;
use learn::WaitingCalls;
use marks::Marks;
pub use measure::InterestSet;
pub use notice::Notice;
use pods::PodFences;
use standing::Standing;
use traffic::Traffic;

use crate::fence::alias::Aliases;
use crate::fence::conditions::Condition;
use crate::fence::delivery::Delivery;
use crate::fence::overlap::Claims;
use crate::fence::pace::Pace;
use crate::fence::revision::is_in_scope;
use crate::index::Index;
use crate::ledger::{Hearing, Ledger, Usages, Windows};
use crate::settings::Settings;
use crate::types::{Kind, Now, Object, ObjectRef};

/// Shortest and longest wait before a failed write is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// The one owner of the controller's knowledge.
#[derive(Debug)]
pub struct State {
    settings: Settings,
    aliases: Aliases,
    /// Settings that cannot be used and were left out.
    problems: Vec<String>,
    index: Index,
    ledger: Ledger,
    /// Which pods the fences want.
    claims: Claims,
    /// What there is to tell.
    notices: Vec<Notice>,
    /// Of fences whose writes have set out since it was taken: how long hosts have waited for that.
    waited: Vec<(ObjectRef, Duration)>,
    learned: Learned,
    /// Kinds whose first full list has not come yet; until then nothing is planned, because what is missing may only be late.
    unlisted: BTreeSet<Kind>,
    /// Another replica wrote until a moment ago.
    taking_over: bool,
    /// The time of the last event, or plan (Unix seconds).
    unix_seconds: i64,
    dirty: Marks,
    counted: Counted,
    interests: Interests,
    by_fence: BTreeMap<ObjectRef, Work>,
    /// When a fence needs another look by itself: at most one entry for each, the one that its `Work` names.
    alarms: BTreeSet<(Duration, ObjectRef)>,
    waiting_calls: WaitingCalls,
    traffic: Traffic,
    pod_fences: PodFences,
    windows: Windows,
    usages: Usages,
    hearing: Hearing,
    delivery: Delivery,
    history: History,
    /// Fences that are different since somebody looked; nothing while nobody does.
    news: Option<BTreeSet<ObjectRef>>,
}

/// What is going on with one fence.
#[derive(Debug, Default)]
struct Work {
    /// The change that was handed out and not reported back yet.
    in_flight: Option<Change>,
    /// The fence or its Sidecar was deleted while a write was on its way: the write's answer is old news.
    deleted_meanwhile: bool,
    /// There was news of the fence, its Sidecar or its Service while a write was on its way: a refusal may not hold any more.
    changed_meanwhile: bool,
    failures: u32,
    not_before: Option<Duration>,
    alarm: Option<Duration>,
    /// Changes that were made or refused already. One that is still wanted after that has no effect: it is not repeated until there
    /// is news of the fence, its Sidecar or its Service.
    futile: Vec<Change>,
    pace: Pace,
    /// The rhythm of the status: as that of the Sidecar, but nothing is gathered.
    status_pace: Pace,
    /// What there is to tell once the write on its way is made.
    notices: Vec<Notice>,
    /// Since when no pod has the label of the fence.
    without_pods_since: Option<Duration>,
    standing: Standing,
    /// Why the last write of the Sidecar, and of the status, was refused; `None` if it was not.
    refused_sidecar: Option<String>,
    refused_status: Option<String>,
    /// What was forgotten last, as it was asked.
    forgotten: Option<Box<str>>,
    /// The conditions of the last write of the status.
    attempted: Vec<Condition>,
    /// What is known of its EnvoyFilter.
    caller_log: CallerLog,
    /// How well it is known what its pods call, while it learns only.
    heard: Heard,
    /// Domains on their way out, and when they go.
    leaving: BTreeMap<String, Duration>,
}

impl Work {
    /// Something of the fence is different now: what was futile may not be any more.
    fn heard(&mut self) {
        self.futile.clear();
        self.changed_meanwhile |= self.in_flight.is_some();
    }
}

impl State {
    /// Knows nothing yet. The second value names settings that cannot be used and were left out.
    #[must_use]
    pub fn new(settings: Settings) -> (Self, Vec<String>) {
        let (aliases, problems) = reload::usable(&settings);
        let mut index = Index::default();
        index.set_root_namespace(&settings.istio_namespace);
        let state = Self {
            settings,
            aliases,
            problems: problems.clone(),
            index,
            ledger: Ledger::default(),
            claims: Claims::default(),
            notices: Vec::new(),
            waited: Vec::new(),
            learned: Learned::default(),
            unlisted: Kind::ALL.into(),
            taking_over: false,
            unix_seconds: 0,
            dirty: Marks::default(),
            counted: Counted::default(),
            interests: Interests::default(),
            by_fence: BTreeMap::new(),
            alarms: BTreeSet::new(),
            waiting_calls: WaitingCalls::default(),
            traffic: Traffic::default(),
            pod_fences: PodFences::default(),
            windows: Windows::default(),
            usages: Usages::default(),
            hearing: Hearing::default(),
            delivery: Delivery::default(),
            history: History::default(),
            news: None,
        };
        (state, problems)
    }

    /// Takes in what happened.
    pub fn on(&mut self, event: Event, now: Now) {
        self.index.forget_gone(now.monotonic);
        self.unix_seconds = now.unix_seconds;
        match event {
            Event::Applied(object) => self.applied(*object, now),
            Event::Deleted(kind, id) => self.deleted(kind, &id, now),
            Event::Listed(kind) => {
                if self.unlisted.remove(&kind) && self.unlisted.is_empty() {
                    self.all_listed(now);
                }
            }
            Event::Called(calls) => self.called(calls, now),
            Event::Counted(calls) => self.counted(&calls, now),
            Event::CountedByCallers(calls) => self.counted_by_callers(&calls),
            Event::Measured(round) => self.measured(&round, now),
            Event::Finished { id, outcome } => self.finished(id, outcome, now),
            Event::Proxies { id, version, word } => self.proxies_say(id, version, word, now.monotonic),
            Event::Heal => self.heal(),
            Event::Settings(settings) => self.changed(*settings, now),
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
        let waiting = self.waiting_calls.alarm.filter(|_| self.unlisted.is_empty());
        self.alarms.first().map(|(at, _)| *at).into_iter().chain(waiting).min()
    }

    /// Counters of what became of the calls that were seen.
    #[must_use]
    pub fn learned(&self) -> &Learned {
        &self.learned
    }

    /// For each write of a Sidecar that has set out with learned hosts: its fence, and how long the first of them has waited.
    pub fn take_waited(&mut self) -> Vec<(ObjectRef, Duration)> {
        std::mem::take(&mut self.waited)
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
        let labels = match &object {
            Object::VirtualService(virtual_service) => Some(&virtual_service.labels),
            Object::AuthorizationPolicy(policy) => Some(&policy.labels),
            _ => None,
        };
        if labels.is_some_and(|labels| !is_in_scope(&self.settings.revisions, labels)) {
            return self.deleted(kind, &id, now);
        }
        let mut addresses = Vec::new();
        let mut may_claim_callers = kind == Kind::Service;
        match &object {
            Object::Pod(pod) => {
                addresses.clone_from(&pod.addresses);
                if addresses.is_empty() {
                    self.pod_leaves(&id, now.monotonic);
                }
                self.fence_pod(pod);
            }
            Object::EndpointSlice(slice) => addresses.clone_from(&slice.addresses),
            Object::Fence(fence) => {
                self.ledger.seed(&fence.id, &fence.status.metric_status);
                self.forget_as_asked(fence, now.unix_seconds);
                may_claim_callers = self.index.find_fence(&id).is_none_or(|known| known.spec != fence.spec);
            }
            _ => {}
        }
        let before = self.index.reach(kind, &id);
        let said = self.said_of_modes(kind, &id);
        if !self.take_in(object, now) {
            return;
        }
        self.heard(kind, &id);
        self.hear_of_modes(kind, &id, &said);
        self.mark_affected(kind, &id, &before);
        self.refresh_claim(kind, &id);
        for address in addresses {
            self.retry_waiting(address, now);
        }
        if may_claim_callers {
            self.retry_waiting_in(&id.namespace, now);
        }
    }

    /// Something is different: writes that it can matter to are no longer futile.
    fn heard(&mut self, kind: Kind, id: &ObjectRef) {
        for id in self.namesakes(kind, id) {
            if let Some(work) = self.by_fence.get_mut(&id) {
                work.heard();
            }
        }
    }

    fn deleted(&mut self, kind: Kind, id: &ObjectRef, now: Now) {
        if kind == Kind::Pod {
            self.pod_leaves(id, now.monotonic);
            self.unfence_pod(id);
        }
        let before = self.index.reach(kind, id);
        let said = self.said_of_modes(kind, id);
        self.take_out(kind, id, now);
        self.heard(kind, id);
        self.hear_of_modes(kind, id, &said);
        if matches!(kind, Kind::Fence | Kind::Sidecar)
            && let Some(work) = self.by_fence.get_mut(id)
        {
            work.deleted_meanwhile |= work.in_flight.is_some();
        }
        if matches!(kind, Kind::Fence | Kind::Service) && self.means_nothing(id) {
            self.ledger.forget(id);
            self.windows.forget(id);
            self.usages.forget(id);
        }
        if kind == Kind::Fence {
            self.interests.forget(id);
            if let Some(work) = self.by_fence.get_mut(id) {
                work.heard = Heard::default();
            }
        }
        self.mark_affected(kind, id, &before);
        self.refresh_claim(kind, id);
    }

    /// Looks at everything, and tries once more what was refused: the reason may be gone without a word.
    fn heal(&mut self) {
        for work in self.by_fence.values_mut() {
            work.futile.clear();
        }
        self.dirty.extend(self.index.fences().map(|fence| fence.id.clone()));
        self.dirty.extend(self.index.services().map(|service| service.id.clone()));
        self.dirty.extend(self.pod_fences.ids().cloned());
        let ours = self.index.sidecars().filter(|sidecar| sidecar.owner_uid.is_some());
        self.dirty.extend(ours.map(|sidecar| sidecar.id.clone()));
    }

    fn finished(&mut self, id: ObjectRef, outcome: Outcome, now: Now) {
        let work = self.by_fence.entry(id.clone()).or_default();
        let change = work.in_flight.take();
        let deleted = std::mem::take(&mut work.deleted_meanwhile);
        let changed = std::mem::take(&mut work.changed_meanwhile);
        if !matches!(outcome, Outcome::Failed) {
            work.failures = 0;
        }
        let notices = std::mem::take(&mut work.notices);
        let refusal = match &change {
            Some(Change::ApplySidecar { .. } | Change::AdoptSidecar { .. }) => Some(&mut work.refused_sidecar),
            Some(Change::WriteStatus { .. }) => Some(&mut work.refused_status),
            _ => None,
        };
        if let Some(refusal) = refusal {
            *refusal = if let Outcome::Rejected(words) = &outcome { Some(words.clone()) } else { None };
        }
        // Whether nothing has happened since: then there is no use in making the same change again.
        let settled = match outcome {
            Outcome::Stored(stored) => {
                self.notices.extend(notices);
                match &change {
                    Some(Change::ApplySidecar { begins: true, .. }) => work.pace.written(now.monotonic),
                    Some(Change::WriteStatus { .. }) => {
                        work.status_pace.written(now.monotonic);
                        work.heard.told = Some(now);
                    }
                    Some(change) => work.caller_log = std::mem::take(&mut work.caller_log).after(change),
                    None => {}
                }
                match stored {
                    Some(object) if !deleted => {
                        if self.take_in((*object).clone(), now) {
                            self.refresh_claim(object.kind(), &id);
                        }
                        self.is_known(&object)
                    }
                    Some(_) => false,
                    None => !changed,
                }
            }
            Outcome::Rejected(_) => !changed,
            Outcome::Failed => {
                let wait = RETRY.0.saturating_mul(1 << work.failures.min(16)).min(RETRY.1);
                work.failures = work.failures.saturating_add(1);
                work.not_before = Some(now.monotonic + wait);
                false
            }
        };
        if settled && let Some(work) = self.by_fence.get_mut(&id) {
            work.futile.extend(change);
        }
        self.dirty.insert(id);
    }

    fn set_alarm(&mut self, id: &ObjectRef, at: Option<Duration>) {
        let work = self.by_fence.entry(id.clone()).or_default();
        if let Some(old) = std::mem::replace(&mut work.alarm, at) {
            self.alarms.remove(&(old, id.clone()));
        }
        if let Some(at) = at {
            self.alarms.insert((at, id.clone()));
        }
    }

    /// Whether an object is known just as it was stored: nothing newer was heard.
    fn is_known(&self, object: &Object) -> bool {
        match object {
            Object::Fence(fence) => self.index.find_fence(&fence.id) == Some(fence),
            Object::Sidecar(sidecar) => self.index.find_sidecar(&sidecar.id) == Some(sidecar),
            _ => false,
        }
    }
}

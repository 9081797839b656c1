//! From Prometheus' answers to dependencies, and back: what is new, and what was not called for a window. Source: contract 2.10, 3.3.

use std::collections::{BTreeMap, BTreeSet};

use super::State;
use super::history::What;
use crate::fence::completion::complete_called;
use crate::ledger::{Recorded, ToldOfFence, host_of_evidence};
use crate::observation::authority;
use crate::prometheus::Round;
use crate::types::{Now, ObjectRef};

/// The fences that Prometheus is asked about, each with what is different when it should be asked again soon: the fence's identity and
/// its Sidecar's version.
pub type InterestSet = BTreeMap<ObjectRef, (String, Option<u64>)>;

impl State {
    /// Every enabled fence; none before everything is listed.
    #[must_use]
    pub fn interest_set(&self) -> InterestSet {
        if !self.unlisted.is_empty() {
            return InterestSet::new();
        }
        let enabled = self.index.fences().filter(|fence| fence.spec.enable);
        let sidecar = |id: &ObjectRef| self.index.find_sidecar(id).map(|sidecar| sidecar.version);
        enabled.map(|fence| (fence.id.clone(), (fence.uid.clone(), sidecar(&fence.id)))).collect()
    }

    pub(super) fn measured(&mut self, round: &Round, now: Now) {
        let Some(settings) = &self.settings.prometheus else { return };
        let (handlers, interval, window) = (settings.handlers.len(), settings.interval, settings.window);
        if !self.unlisted.is_empty() {
            return;
        }
        let telling = self.windows.is_telling(round, handlers);
        let mut by_fence: BTreeMap<&ObjectRef, Vec<ToldOfFence<'_>>> = BTreeMap::new();
        for told in &round.told {
            for (fence, samples) in &told.fences {
                by_fence.entry(fence).or_default().push((&told.handler, told.reading, samples));
            }
        }
        for (id, told) in by_fence {
            if !self.index.find_fence(id).is_some_and(|fence| fence.spec.enable) {
                continue;
            }
            let complete = telling && told.len() == handlers;
            if complete {
                self.windows.of(id).pass(now.monotonic, interval);
            }
            let mut changed = self.take_samples(id, &told, now);
            if complete && let Some(length) = window {
                let known: BTreeSet<&String> = self.ledger.evidence(id).into_iter().flat_map(BTreeMap::keys).collect();
                let unseen = self.windows.of(id).unseen(&known, length);
                self.learned.expired += u64::try_from(unseen.len()).unwrap_or(u64::MAX);
                changed |= !unseen.is_empty();
                for key in unseen {
                    self.ledger.expire(id, &key);
                    self.history.add(id, now.unix_seconds, What::Forgotten { key, asked: false });
                }
            }
            if changed {
                // A status that is written anyway has the numbers of this moment.
                self.refresh(id, &told);
                self.dirty.insert(id.clone());
            }
        }
    }

    /// Records samples; says whether there was a new host.
    fn take_samples(&mut self, id: &ObjectRef, told: &[ToldOfFence<'_>], now: Now) -> bool {
        let mut new = false;
        for (handler, reading, samples) in told {
            for (key, sample) in *samples {
                let Some(key) = self.completed(id, key) else {
                    self.learned.skip("global_sidecar");
                    continue;
                };
                // A series that stands still is no reason to learn again what has just left.
                if !self.windows.of(id).note(&key, handler, *reading, sample) {
                    continue;
                }
                match self.ledger.observe(id, &key, sample) {
                    Recorded::New => {
                        self.learned.hosts += 1;
                        self.by_fence.entry(id.clone()).or_default().pace.learned(now.monotonic);
                        if let Some(host) = host_of_evidence(&key) {
                            self.measured_new(id, host, now);
                        }
                        let what = What::Measured { key, handler: handler.to_string() };
                        self.history.add(id, now.unix_seconds, what);
                        new = true;
                    }
                    Recorded::Known => self.learned.known += 1,
                    Recorded::Full | Recorded::StillFull => self.learned.skip("too_many_hosts"),
                }
            }
        }
        new
    }

    fn refresh(&mut self, id: &ObjectRef, told: &[ToldOfFence<'_>]) {
        // The first handler's number stays where several tell of one host.
        for (_, _, samples) in told.iter().rev() {
            for (key, sample) in *samples {
                if let Some(key) = self.completed(id, key) {
                    self.ledger.refresh(id, &key, sample);
                }
            }
        }
    }

    /// The key with its host as the mesh knows it: a caller's `details` is its namespace's. Unchanged where there is nothing to complete;
    /// nothing for the global-sidecar itself.
    fn completed(&self, id: &ObjectRef, key: &str) -> Option<String> {
        let Some(written) = host_of_evidence(key) else { return Some(key.to_owned()) };
        let Ok(host) = authority::parse(written) else { return Some(key.to_owned()) };
        let completed = complete_called(host.as_str(), &id.namespace, &self.index);
        if self.is_global_sidecar(&completed) {
            return None;
        }
        Some(if completed == written {
            key.to_owned()
        } else {
            key.replacen(&format!("\"{written}"), &format!("\"{completed}"), 1)
        })
    }
}

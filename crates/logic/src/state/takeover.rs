//! One replica of several: what it does while another one writes, and how it takes over.

use std::collections::BTreeMap;

use super::State;
use crate::types::{Fence, Kind, Now, ObjectRef};

impl State {
    /// Instead of [`State::plan`], now and then, while another replica writes: keeps nothing for names that mean nothing any more.
    pub fn stand_by(&mut self, now: Now) {
        if !self.unlisted.is_empty() {
            return;
        }
        self.give_up_waiting(now);
        let heard: Vec<Fence> = self.index.fences().filter(|fence| self.lease(fence).is_some()).cloned().collect();
        for fence in heard {
            self.listen(&fence, now.monotonic);
        }
        let ids: Vec<ObjectRef> = self.by_fence.keys().chain(self.dirty.iter()).cloned().collect();
        for id in ids {
            self.tidy(&id, now.monotonic);
            if !self.by_fence.contains_key(&id) && self.means_nothing(&id) {
                self.dirty.remove(&id);
            }
        }
    }

    /// This replica writes from now on. What it writes must be listed anew first: our news of it may be older than the last writes of the
    /// replica before. The next [`super::Event::Listed`] of fences and of Sidecars must be of lists that began after this.
    pub fn take_over(&mut self) {
        self.unlisted.extend([Kind::Fence, Kind::Sidecar]);
        self.taking_over = true;
    }

    /// Everything is listed. After a takeover everything is looked at, and the numbers that the replica before wrote stay: another replica
    /// may have counted the same calls differently.
    pub(super) fn all_listed(&mut self, now: Now) {
        if std::mem::take(&mut self.taking_over) {
            let written: Vec<(ObjectRef, BTreeMap<String, String>)> =
                self.index.fences().map(|fence| (fence.id.clone(), fence.status.metric_status.clone())).collect();
            for (id, evidence) in written {
                for (key, value) in evidence {
                    self.ledger.refresh(&id, &key, &value);
                }
            }
            self.heal();
        }
        self.retry_all_waiting(now);
    }
}

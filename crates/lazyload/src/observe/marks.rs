//! Who of those that speak for themselves was heard, and of whom something was lost: told in order with what they told.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use lazyload_logic::observation::{Call, Identity, Pair};

/// How often it is told that somebody is heard.
const BEAT: Duration = Duration::from_secs(10);

/// What is to be told.
#[derive(Debug, Default)]
pub(super) struct Marks {
    by_caller: BTreeMap<IpAddr, Call>,
    /// When something was told last.
    told: Option<Instant>,
}

impl Marks {
    /// Whether it is time to tell who is heard.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.told.is_none_or(|told| now.saturating_duration_since(told) >= BEAT)
    }

    /// Of whom something was lost is not heard until that is told.
    pub(super) fn add(&mut self, mark: Call) {
        if mark.is_heard() == Some(true) {
            self.by_caller.entry(mark.caller).or_insert(mark);
        } else {
            self.by_caller.insert(mark.caller, mark);
        }
    }

    /// A pair was not passed on.
    pub(super) fn lose(&mut self, pair: &Pair<'_>) {
        self.add(Call::lost(pair.caller, pair.peer.as_ref().map(Identity::to_owned)));
    }

    /// There is nothing to tell.
    pub(super) fn is_empty(&self) -> bool {
        self.by_caller.is_empty()
    }

    /// Nothing can be told now. That something was lost must be, later.
    pub(super) fn put_off(&mut self) {
        self.by_caller.retain(|_, mark| mark.is_heard() == Some(false));
    }

    /// Everything, to be told now.
    pub(super) fn take(&mut self, now: Instant) -> Vec<Call> {
        self.told = Some(now);
        std::mem::take(&mut self.by_caller).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_something_was_lost_outranks_that_one_was_heard_and_is_told_for_sure() {
        let (mut marks, now) = (Marks::default(), Instant::now());
        let (one, other): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        assert!(marks.is_due(now) && marks.is_empty());
        for mark in [Call::heard(one, None), Call::lost(one, None), Call::heard(one, None), Call::heard(other, None)] {
            marks.add(mark);
        }
        marks.put_off();
        assert_eq!(marks.take(now), [Call::lost(one, None)]);
        assert!(marks.is_empty() && !marks.is_due(now + BEAT / 2) && marks.is_due(now + BEAT));
    }
}

//! When each host was last seen called, in time during which somebody looked: what a Prometheus that is away, restarting or empty does
//! not tell makes no host older.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::MAX_HOSTS_PER_FENCE;
use crate::prometheus::{Reading, Round, Samples};
use crate::types::ObjectRef;

/// More rounds than this without a complete answer, and the time between counts as if nobody had looked.
const MISSED_ROUNDS: u32 = 3;
/// Keys remembered for one fence: those that it has, and as many that it had.
const MAX_SIGHTINGS: usize = 2 * MAX_HOSTS_PER_FENCE;

/// What one handler told of one fence.
pub type ToldOfFence<'a> = (&'a Arc<str>, Reading, &'a Samples);

/// The windows of all fences.
#[derive(Debug, Default)]
pub struct Windows {
    by_fence: BTreeMap<ObjectRef, Window>,
    /// Handlers that had samples at least once: if they have none at all for anybody, something is broken.
    with_data: BTreeMap<Arc<str>, bool>,
}

/// One fence's hosts.
#[derive(Debug, Default)]
pub struct Window {
    /// Time during which all handlers answered.
    watched: Duration,
    /// When they did last.
    answered: Option<Duration>,
    seen: BTreeMap<String, Sighting>,
}

#[derive(Debug, Default)]
struct Sighting {
    /// When it was last seen called, in watched time.
    at: Duration,
    /// When there was last a sample of it, called or not, in watched time.
    met: Duration,
    /// The last sample of each handler.
    samples: BTreeMap<Arc<str>, String>,
}

impl Windows {
    /// Whether a round can tell that something was *not* called: it is about all fences, no handler is missing, none that had samples
    /// before has lost all of them, and there is any sample at all.
    pub fn is_telling(&mut self, round: &Round, handlers: usize) -> bool {
        let mut telling = round.full && round.told.len() == handlers;
        let mut any = false;
        for told in &round.told {
            let has_data = told.fences.values().any(|samples| !samples.is_empty());
            let had_data = self.with_data.entry(told.handler.clone()).or_default();
            telling &= has_data || !*had_data;
            *had_data |= has_data;
            any |= has_data;
        }
        telling && any
    }

    /// The window of one fence.
    pub fn of(&mut self, fence: &ObjectRef) -> &mut Window {
        self.by_fence.entry(fence.clone()).or_default()
    }

    /// Forgets a fence.
    pub fn forget(&mut self, fence: &ObjectRef) {
        self.by_fence.remove(fence);
    }
}

impl Window {
    /// Lets the time pass that was watched: between two complete answers that are not far apart.
    pub fn pass(&mut self, now: Duration, interval: Duration) {
        let since = self.answered.map_or(Duration::ZERO, |answered| now.saturating_sub(answered));
        self.watched += since.min(interval.saturating_mul(MISSED_ROUNDS));
        self.answered = Some(now);
    }

    /// Notes a sample of a key and says whether it tells of a call. It does if its handler has another number than before; where the
    /// number says nothing of that, the sample itself is enough. A number that falls (a callee's pod is gone, or counts anew) is taken for
    /// a call too: a host may then stay for another window, and without calls there are only so many pods to go.
    pub fn note(&mut self, key: &str, handler: &Arc<str>, reading: Reading, sample: &str) -> bool {
        if !self.seen.contains_key(key) && self.seen.len() >= MAX_SIGHTINGS {
            return true;
        }
        let seen = self.seen.entry(key.to_owned()).or_default();
        seen.met = self.watched;
        let known = seen.samples.get(handler).is_some_and(|last| last == sample);
        let called = reading == Reading::Presence || !known;
        if called {
            seen.at = self.watched;
        }
        if !known {
            seen.samples.insert(handler.clone(), sample.to_owned());
        }
        called
    }

    /// The keys among those that are known which were not seen called for `length`. Those that are met for the first time begin their
    /// window now. What is neither known nor told of any more is forgotten.
    pub fn unseen(&mut self, known: &BTreeSet<&String>, length: Duration) -> Vec<String> {
        let watched = self.watched;
        let old = |since: Duration| watched.saturating_sub(since) >= length;
        self.seen.retain(|key, seen| known.contains(key) || !old(seen.met));
        for key in known {
            if !self.seen.contains_key(*key) {
                self.seen.insert((*key).clone(), Sighting { at: watched, met: watched, samples: BTreeMap::new() });
            }
        }
        let unseen = known.iter().filter(|key| self.seen.get(**key).is_some_and(|seen| old(seen.at)));
        unseen.map(|key| (*key).clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3600);

    fn key() -> String {
        "{destination_service=\"a.b\"}".to_owned()
    }

    /// Looks each minute until `end` minutes; `sample` is the counter at a minute, if there is one. Returns when the key went.
    fn gone_at(end: u32, reading: Reading, sample: impl Fn(u32) -> Option<u32>) -> Option<u32> {
        let (mut window, handler) = (Window::default(), Arc::from("destination"));
        (0..end).find(|minute| {
            window.pass(MINUTE * *minute, MINUTE);
            if let Some(sample) = sample(*minute) {
                window.note(&key(), &handler, reading, &sample.to_string());
            }
            !window.unseen(&BTreeSet::from([&key()]), HOUR).is_empty()
        })
    }

    #[test]
    fn a_host_goes_one_window_after_its_counter_stood_still() {
        assert_eq!(gone_at(200, Reading::Counter, |minute| Some(minute.min(100))), Some(160));
        assert_eq!(gone_at(200, Reading::Counter, |_| Some(7)), Some(60));
        assert_eq!(gone_at(200, Reading::Counter, |minute| (minute < 10).then_some(minute)), Some(69));
    }

    #[test]
    fn a_counter_that_starts_anew_or_is_missing_for_a_while_goes_on() {
        assert_eq!(gone_at(200, Reading::Counter, |minute| Some(minute % 50)), None);
        assert_eq!(gone_at(100, Reading::Counter, |minute| (!(20..=70).contains(&minute)).then_some(minute)), None);
    }

    #[test]
    fn a_missing_series_that_comes_back_with_its_old_number_was_not_called() {
        assert_eq!(gone_at(200, Reading::Counter, |minute| (minute / 10 % 2 == 0).then_some(5)), Some(60));
    }

    #[test]
    fn where_the_number_says_nothing_the_sample_is_enough() {
        assert_eq!(gone_at(300, Reading::Presence, |_| Some(1)), None);
        assert_eq!(gone_at(300, Reading::Presence, |minute| (minute < 10).then_some(1)), Some(69));
    }

    #[test]
    fn time_in_which_nobody_looked_makes_nothing_older() {
        let mut window = Window::default();
        window.pass(Duration::ZERO, MINUTE);
        assert!(window.unseen(&BTreeSet::from([&key()]), HOUR).is_empty());
        window.pass(HOUR * 1000, MINUTE);
        assert!(window.unseen(&BTreeSet::from([&key()]), HOUR).is_empty());
    }
}

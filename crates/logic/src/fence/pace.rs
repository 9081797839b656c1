//! When a learned host is written into the Sidecar: soon, but together with the hosts that the same request brings along, because each
//! write costs istiod a push; and at a steady, slower rate while new hosts keep coming.

use std::time::Duration;

/// A host waits this long for others; each of them starts the wait anew. One page view calls its services within this of one another.
const GATHER: Duration = Duration::from_millis(25);
/// No host waits longer than this for others.
const GATHER_AT_MOST: Duration = Duration::from_millis(100);
/// Writes of a quiet fence that need keep no distance from one another.
const BURST: u32 = 10;
/// The distance that they keep after that.
const DISTANCE: Duration = Duration::from_secs(1);

/// The rhythm of one fence's Sidecar writes. Times are monotonic.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    waiting_since: Option<Duration>,
    last_learned: Duration,
    /// When all writes so far would have been made, had each kept its distance; in the past if the fence is quiet.
    paid_until: Duration,
}

impl Pace {
    /// A host was learned.
    pub fn learned(&mut self, now: Duration) {
        self.waiting_since.get_or_insert(now);
        self.last_learned = now;
    }

    /// A write of the Sidecar sets out, with every host that was waiting: returns how long the first of them has. What is learned from now on
    /// waits for the next one.
    pub fn departed(&mut self, now: Duration) -> Option<Duration> {
        self.waiting_since.take().map(|since| now.saturating_sub(since))
    }

    /// The Sidecar was written.
    pub fn written(&mut self, now: Duration) {
        self.paid_until = self.paid_until.max(now) + DISTANCE;
    }

    /// When to write; a time in the past means at once. Changes that were not learned (a rule, a Service, a foreign edit) do not wait
    /// for others, but keep the distance too.
    #[must_use]
    pub fn due(&self) -> Duration {
        let gathered = self.waiting_since.map(|since| (self.last_learned + GATHER).min(since + GATHER_AT_MOST));
        let spaced = self.paid_until.saturating_sub(DISTANCE * (BURST - 1));
        gathered.unwrap_or_default().max(spaced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn the_first_host_of_a_quiet_fence_waits_only_for_its_siblings() {
        let mut pace = Pace::default();
        assert_eq!(pace.due(), ms(0));
        pace.learned(ms(1000));
        assert_eq!(pace.due(), ms(1025));
        pace.learned(ms(1020));
        assert_eq!(pace.due(), ms(1045));
        for at in [1040, 1060, 1080, 1099] {
            pace.learned(ms(at));
        }
        assert_eq!(pace.due(), ms(1100));
    }

    #[test]
    fn a_fence_that_keeps_learning_is_written_once_a_second_and_recovers_when_quiet() {
        let mut pace = Pace::default();
        let mut now = ms(10_000);
        let mut waits = Vec::new();
        for _ in 0..13 {
            pace.learned(now);
            let due = pace.due();
            waits.push((due - now).as_millis());
            now = due;
            assert_eq!(pace.departed(now).map(|waited| waited.as_millis()), waits.last().copied());
            assert_eq!(pace.departed(now), None);
            pace.written(now);
        }
        let burst = [25; BURST as usize];
        // The eleventh waits for what the ten took less than their distance.
        assert_eq!(waits[..BURST as usize], burst);
        assert_eq!(waits[BURST as usize..], [775, 1000, 1000]);
        now += DISTANCE * BURST;
        pace.learned(now);
        assert_eq!(pace.due(), now + GATHER);
    }

    #[test]
    fn a_change_that_was_not_learned_goes_at_once_but_keeps_the_distance() {
        let mut pace = Pace::default();
        for _ in 0..BURST {
            assert!(pace.due() <= ms(10_000));
            pace.written(ms(10_000));
        }
        assert_eq!(pace.due(), ms(11_000));
    }
}

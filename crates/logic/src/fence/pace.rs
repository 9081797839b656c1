//! When a learned host is written into the Sidecar: soon, but together with the hosts that the same request brings along, because each
//! write costs istiod a push; and ever less often while new hosts keep coming.

use std::time::Duration;

/// A host waits this long for others; each of them starts the wait anew. One page view calls its services within this of one another.
const GATHER: Duration = Duration::from_millis(25);
/// No host waits longer than this for others in a quiet fence.
const GATHER_AT_MOST: Duration = Duration::from_millis(100);
/// Longest wait of a fence that keeps learning.
const SLOWEST: Duration = Duration::from_secs(1);
/// A fence is quiet if nothing was written for this long.
const QUIET: Duration = Duration::from_secs(10);

/// The rhythm of one fence's Sidecar writes. Times are monotonic.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    waiting_since: Option<Duration>,
    last_learned: Duration,
    last_written: Option<Duration>,
    /// Grows with each write that follows another one soon.
    spacing: Duration,
}

impl Pace {
    /// A host was learned.
    pub fn learned(&mut self, now: Duration) {
        self.waiting_since.get_or_insert(now);
        self.last_learned = now;
    }

    /// A write of the Sidecar sets out, with every host that was waiting. What is learned from now on waits for the next one.
    pub fn departed(&mut self) {
        self.waiting_since = None;
    }

    /// The Sidecar was written.
    pub fn written(&mut self, now: Duration) {
        let busy = self.last_written.is_some_and(|last| now.saturating_sub(last) < QUIET);
        self.spacing = if busy { (self.spacing * 2).clamp(GATHER, SLOWEST) } else { Duration::ZERO };
        self.last_written = Some(now);
    }

    /// When to write; `None` means at once: no learned host is waiting and nothing was written yet. Changes that were not learned (a
    /// rule, a Service, a foreign edit) do not wait for others, but keep the distance to the last write.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        let gathered = self.waiting_since.map(|since| (self.last_learned + GATHER).min(since + GATHER_AT_MOST));
        let spaced = self.last_written.map(|last| last + self.spacing);
        gathered.max(spaced)
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
        assert_eq!(pace.due(), None);
        pace.learned(ms(1000));
        assert_eq!(pace.due(), Some(ms(1025)));
        pace.learned(ms(1020));
        assert_eq!(pace.due(), Some(ms(1045)));
        for at in [1040, 1060, 1080, 1099] {
            pace.learned(ms(at));
        }
        assert_eq!(pace.due(), Some(ms(1100)));
    }

    #[test]
    fn a_fence_that_keeps_learning_is_written_ever_less_often_and_recovers_when_quiet() {
        let mut pace = Pace::default();
        let mut now = ms(0);
        let mut waits = Vec::new();
        for _ in 0..9 {
            pace.learned(now);
            let due = pace.due().unwrap();
            waits.push((due - now).as_millis());
            now = due;
            pace.departed();
            pace.written(now);
        }
        assert_eq!(waits, [25, 25, 25, 50, 100, 200, 400, 800, 1000]);
        now += QUIET;
        pace.written(now);
        pace.learned(now);
        assert_eq!(pace.due(), Some(now + GATHER));
    }
}

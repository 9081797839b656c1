//! One line for a failed request, but not thousands: what fails alike is told a few times and then counted.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::failure::{Failure, Side};

/// Lines for failures of one side and status within [`PERIOD`].
const LINES: u32 = 10;
const PERIOD: Duration = Duration::from_secs(10);

/// What was told lately, by side and status: a small set.
#[derive(Debug, Default)]
pub(super) struct FailureLog {
    told: Mutex<BTreeMap<(Side, u16), Told>>,
}

#[derive(Debug)]
struct Told {
    since: Instant,
    lines: u32,
    untold: u64,
}

impl FailureLog {
    pub(super) fn tell(&self, failure: &Failure, port: u16) {
        let (side, status) = (failure.side(), failure.status().as_u16());
        if let Some(untold) = self.admit(side, status, Instant::now()) {
            let reason = failure.reason();
            tracing::warn!(side = side.as_str(), status, port, reason, untold, "request failed");
        }
    }

    /// Whether to tell one, and how many were not told before it.
    fn admit(&self, side: Side, status: u16, now: Instant) -> Option<u64> {
        let mut all = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let told = all.entry((side, status)).or_insert(Told { since: now, lines: 0, untold: 0 });
        if now.duration_since(told.since) >= PERIOD {
            (told.since, told.lines) = (now, 0);
        }
        if told.lines == LINES {
            told.untold += 1;
            return None;
        }
        told.lines += 1;
        Some(std::mem::take(&mut told.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_alike_is_told_a_few_times_and_counted_and_hides_nothing_else() {
        let (log, start) = (FailureLog::default(), Instant::now());
        let told = |at: Duration, status| log.admit(Side::Upstream, status, start + at);
        for _ in 0..LINES {
            assert_eq!(told(Duration::ZERO, 502), Some(0));
        }
        assert_eq!([told(Duration::ZERO, 502), told(PERIOD / 2, 502)], [None, None]);
        assert_eq!(told(PERIOD / 2, 504), Some(0));
        assert_eq!(told(PERIOD, 502), Some(2));
    }
}

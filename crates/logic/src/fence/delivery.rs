//! When a change of Istio's configuration has reached the proxies, as far as it can be told without asking: istiod collects changes and
//! pushes once there was none for a while. Every change counts, whoever made it: many fences that learn at once put off each other's pushes.
//! Where proxies tell, what they say counts (`proxy`).

use std::time::Duration;

/// istiod pushes once there was no change for this long (`PILOT_DEBOUNCE_AFTER`).
const QUIET: Duration = Duration::from_millis(100);
/// istiod pushes after this long although there were changes all the time (`PILOT_DEBOUNCE_MAX`).
const AT_MOST: Duration = Duration::from_secs(10);
/// How much later istiod may hear of one change than of another, compared with us. Warming needs no time of its own: the next stage's push
/// comes no sooner than `QUIET` after its write.
const MARGIN: Duration = Duration::from_millis(50);
/// What left a proxy's routes may be used this long after its push: by requests that were routed before, and by a proxy that is slow.
pub const LINGER: Duration = Duration::from_millis(850);

/// The changes that istiod heard of lately. Times are monotonic.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delivery {
    /// The first and the last change of those that are pushed together.
    first: Duration,
    last: Duration,
    /// When those before them were pushed.
    pushed: Duration,
}

impl Delivery {
    /// Something changed that istiod hears of too.
    pub fn changed(&mut self, now: Duration) {
        let push = self.push();
        if now >= push {
            self.pushed = push;
            self.first = now;
        }
        self.last = now;
    }

    /// When a change of this time is in force; the estimate moves while changes keep coming.
    #[must_use]
    pub fn of(&self, changed: Duration) -> Duration {
        let push = if changed < self.first { self.pushed } else { self.push() };
        push + MARGIN
    }

    fn push(&self) -> Duration {
        (self.last + QUIET).min(self.first + AT_MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_single_change_is_pushed_after_the_quiet_time() {
        let mut delivery = Delivery::default();
        delivery.changed(ms(5_000));
        assert_eq!(delivery.of(ms(5_000)), ms(5_150));
    }

    #[test]
    fn changes_put_off_the_push_of_those_before_them_but_not_of_those_already_pushed() {
        let mut delivery = Delivery::default();
        delivery.changed(ms(5_000));
        delivery.changed(ms(5_090));
        assert_eq!(delivery.of(ms(5_000)), ms(5_240));
        delivery.changed(ms(5_300));
        assert_eq!(delivery.of(ms(5_000)), ms(5_240));
        assert_eq!(delivery.of(ms(5_300)), ms(5_450));
    }

    #[test]
    fn changes_that_never_pause_are_pushed_all_the_same() {
        let mut delivery = Delivery::default();
        for step in 0..1_000 {
            delivery.changed(ms(5_000 + 50 * step));
        }
        assert_eq!(delivery.of(ms(5_010)), ms(45_050), "an upper bound for what was pushed long ago");
        assert_eq!(delivery.of(ms(54_950)), ms(55_050));
    }
}

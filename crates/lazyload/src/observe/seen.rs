//! Which pairs of a stream were passed on a moment ago. Repeated pairs end here, before any shared state.
//!
//! Two generations: a pair enters the current one, which becomes the previous one after a period, and is forgotten after
//! another. So a pair that goes on is passed on again once in one to two periods: its receiver gets another chance when
//! it could not use the first one (a fence that came later, for example).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;
use hashbrown::{Equivalent, HashSet};

/// Bounds of what is remembered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How long a pair is remembered, at least; at most twice as long.
    pub(super) period: Duration,
    /// Pairs in a generation.
    pub(super) pairs: usize,
    /// Bytes of the pairs' hosts in a generation.
    pub(super) bytes: usize,
}

impl Default for Limits {
    /// One second; half a megabyte or so of memory for each generation of a stream.
    fn default() -> Self {
        Self { period: Duration::from_secs(1), pairs: 4096, bytes: 256 * 1024 }
    }
}

/// The pairs passed on a moment ago.
#[derive(Debug)]
pub(super) struct Seen {
    limits: Limits,
    turned: Instant,
    current: Generation,
    previous: Generation,
}

#[derive(Debug, Default)]
struct Generation {
    pairs: HashSet<Pair, RandomState>,
    bytes: usize,
}

/// Must hash as [`PairRef`] does.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Pair {
    caller: IpAddr,
    host: Box<str>,
}

#[derive(Hash)]
struct PairRef<'a> {
    caller: IpAddr,
    host: &'a str,
}

impl Equivalent<Pair> for PairRef<'_> {
    fn equivalent(&self, pair: &Pair) -> bool {
        self.caller == pair.caller && *self.host == *pair.host
    }
}

impl Generation {
    fn clear(&mut self) {
        self.pairs.clear();
        self.bytes = 0;
    }
}

impl Seen {
    /// Nothing seen yet.
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        Self { limits, turned: now, current: Generation::default(), previous: Generation::default() }
    }

    /// Forgets what is old.
    pub(super) fn turn(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.turned);
        if age >= self.limits.period {
            self.next_generation(now);
        }
        if age >= self.limits.period * 2 {
            self.previous.clear();
        }
    }

    /// Whether the pair was passed on a moment ago.
    pub(super) fn contains(&self, caller: IpAddr, host: &str) -> bool {
        let pair = PairRef { caller, host };
        self.current.pairs.contains(&pair) || self.previous.pairs.contains(&pair)
    }

    /// Remembers a pair that was passed on. Returns false if others had to be forgotten early to make room.
    pub(super) fn insert(&mut self, caller: IpAddr, host: &str, now: Instant) -> bool {
        let full = self.current.pairs.len() >= self.limits.pairs || self.current.bytes + host.len() > self.limits.bytes;
        if full {
            self.next_generation(now);
        }
        if self.current.pairs.insert(Pair { caller, host: host.into() }) {
            self.current.bytes += host.len();
        }
        !full
    }

    /// Keeps the memory of the generation that is forgotten, for the new one.
    fn next_generation(&mut self, now: Instant) {
        std::mem::swap(&mut self.current, &mut self.previous);
        self.current.clear();
        self.turned = now;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CALLER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(172, 17, 0, 11));

    fn mk_seen(pairs: usize, bytes: usize) -> (Seen, Instant) {
        let start = Instant::now();
        (Seen::new(Limits { period: Duration::from_secs(1), pairs, bytes }, start), start)
    }

    fn after(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn a_pair_is_its_caller_and_its_host() {
        let (mut seen, start) = mk_seen(10, 1000);
        assert!(seen.insert(CALLER, "details", start));
        assert!(seen.contains(CALLER, "details"));
        assert!(!seen.contains(CALLER, "reviews"));
        assert!(!seen.contains(IpAddr::from([172, 17, 0, 12]), "details"));
    }

    #[test]
    fn a_pair_is_remembered_for_one_to_two_periods() {
        let (mut seen, start) = mk_seen(10, 1000);
        seen.insert(CALLER, "details", start);
        seen.turn(after(start, 999));
        seen.insert(CALLER, "reviews", after(start, 999));
        seen.turn(after(start, 1000));
        assert!(seen.contains(CALLER, "details") && seen.contains(CALLER, "reviews"));
        seen.turn(after(start, 1999));
        assert!(seen.contains(CALLER, "details"));
        seen.turn(after(start, 2000));
        assert!(!seen.contains(CALLER, "details") && !seen.contains(CALLER, "reviews"));
    }

    #[test]
    fn a_pair_that_goes_on_is_not_kept_alive_by_that() {
        let (mut seen, start) = mk_seen(10, 1000);
        let mut passed = 0;
        for millis in (0..10_000).step_by(10) {
            let now = after(start, millis);
            seen.turn(now);
            if !seen.contains(CALLER, "details") {
                seen.insert(CALLER, "details", now);
                passed += 1;
            }
        }
        assert_eq!(passed, 5, "once in two periods, as it enters right after a turn each time");
    }

    #[test]
    fn after_a_long_silence_nothing_is_remembered() {
        let (mut seen, start) = mk_seen(10, 1000);
        seen.insert(CALLER, "details", start);
        seen.turn(after(start, 60_000));
        assert!(!seen.contains(CALLER, "details"));
    }

    #[test]
    fn what_does_not_fit_makes_the_oldest_forgotten_early() {
        let (mut seen, start) = mk_seen(2, 1000);
        assert!(seen.insert(CALLER, "a", start));
        assert!(seen.insert(CALLER, "b", start));
        assert!(!seen.insert(CALLER, "c", start));
        assert!(["a", "b", "c"].into_iter().all(|host| seen.contains(CALLER, host)));
        assert!(seen.insert(CALLER, "d", start));
        assert!(!seen.insert(CALLER, "e", start));
        assert!(!seen.contains(CALLER, "a") && !seen.contains(CALLER, "b"));

        let (mut seen, start) = mk_seen(100, 10);
        assert!(seen.insert(CALLER, "details", start));
        assert!(!seen.insert(CALLER, "reviews", start));
    }

    proptest! {
        #[test]
        fn memory_stays_bounded_and_the_newest_pair_is_remembered(
            steps in prop::collection::vec((0u8..4, "[a-z]{1,12}", 0u64..700), 1..200)
        ) {
            let (mut seen, start) = mk_seen(5, 40);
            let mut millis = 0;
            for (caller, host, wait) in steps {
                millis += wait;
                let caller = IpAddr::from([10, 0, 0, caller]);
                seen.turn(after(start, millis));
                if !seen.contains(caller, &host) {
                    seen.insert(caller, &host, after(start, millis));
                }
                prop_assert!(seen.contains(caller, &host));
                for generation in [&seen.current, &seen.previous] {
                    prop_assert!(generation.pairs.len() <= 5 && generation.bytes <= 40);
                    prop_assert_eq!(generation.bytes, generation.pairs.iter().map(|pair| pair.host.len()).sum::<usize>());
                }
            }
        }
    }
}

//! Which pairs of a stream were passed on a moment ago. Repeated pairs end here, before any shared state.
//!
//! Two generations: a pair enters the current one, which becomes the previous one after a period, and is forgotten after
//! another. So a pair that goes on is passed on again once in one to two periods: its receiver gets another chance when
//! it could not use the first one (a fence that came later, for example).

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;
use hashbrown::{Equivalent, HashMap};
use lazyload_logic::observation::{Call, Identity, Pair};

use super::busy::Busy;
use super::same::Same;
use super::scan::Said;

/// Bounds of what is remembered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How long a pair is remembered, at least; at most twice as long.
    pub(super) period: Duration,
    /// Pairs in a generation.
    pub(super) pairs: usize,
    /// Bytes of the pairs' hosts and identities in a generation.
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
    /// Entries of these pairs that need not be judged again; all are forgotten at each turn.
    same: Same,
    /// Who wants to know how often pairs were seen, once they are forgotten.
    busy: Option<Arc<Busy>>,
}

#[derive(Debug, Default)]
struct Generation {
    /// How often each was seen.
    pairs: HashMap<SeenPair, u64, RandomState>,
    bytes: usize,
}

/// A pair, owned. A forged entry has another identity, or none: it must not absorb the true one, so the identity is a part of it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct SeenPair {
    caller: IpAddr,
    peer: Option<Identity<Box<str>>>,
    host: Box<str>,
}

/// A pair, borrowed; must hash as [`SeenPair`] does.
#[derive(Hash)]
struct PairRef<'a> {
    caller: IpAddr,
    peer: Option<Identity<&'a str>>,
    host: &'a str,
}

impl Equivalent<SeenPair> for PairRef<'_> {
    fn equivalent(&self, pair: &SeenPair) -> bool {
        let same_peer = match (&self.peer, &pair.peer) {
            (None, None) => true,
            (Some(peer), Some(seen)) => seen.is(peer.namespace, peer.account),
            _ => false,
        };
        self.caller == pair.caller && *self.host == *pair.host && same_peer
    }
}

impl SeenPair {
    pub(super) fn of(call: &Call) -> Self {
        Self { caller: call.caller, peer: call.peer.clone(), host: call.authority.as_str().into() }
    }

    fn owned(pair: &Pair<'_>) -> Self {
        let peer = pair.peer.as_ref().map(Identity::to_owned);
        Self { caller: pair.caller, peer, host: pair.host.as_str().into() }
    }

    /// That it was seen so often.
    pub(super) fn into_call(self, count: u64) -> Call {
        Call { caller: self.caller, peer: self.peer, authority: self.host.into_string(), count }
    }

    fn bytes(&self) -> usize {
        self.host.len() + self.peer.as_ref().map_or(0, |peer| peer.namespace.len() + peer.account.len())
    }
}

impl Generation {
    /// Counts a pair, if it is here.
    fn count(&mut self, pair: &(impl Hash + Equivalent<SeenPair>), more: u64) -> bool {
        self.pairs.get_mut(pair).map(|count| *count += more).is_some()
    }

    /// Keeps its memory.
    fn clear(&mut self, busy: Option<&Busy>) {
        match busy.filter(|_| !self.pairs.is_empty()) {
            Some(busy) => busy.add(self.pairs.drain()),
            None => self.pairs.clear(),
        }
        self.bytes = 0;
    }
}

impl Seen {
    /// Nothing seen yet.
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        let (current, previous) = (Generation::default(), Generation::default());
        Self { limits, turned: now, current, previous, same: Same::default(), busy: None }
    }

    /// Tells how often pairs were seen.
    pub(super) fn count(&mut self, busy: Option<Arc<Busy>>) {
        self.busy = busy;
    }

    /// Forgets what is old.
    pub(super) fn turn(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.turned);
        if age >= self.limits.period {
            self.next_generation(now);
        }
        if age >= self.limits.period * 2 {
            self.previous.clear(self.busy.as_deref());
        }
    }

    /// Whether the same was said a moment ago, byte for byte, of a pair that was passed on; then it is counted, once more.
    pub(super) fn absorb_same(&mut self, said: &Said<'_>) -> bool {
        self.same.again(said)
    }

    /// Whether the pair was passed on a moment ago; then it is counted, once more, and what was said of it is known the next time.
    pub(super) fn absorb(&mut self, pair: &Pair<'_>, said: &Said<'_>) -> bool {
        let known = PairRef { caller: pair.caller, peer: pair.peer, host: pair.host.as_str() };
        let known = self.current.count(&known, 1) || self.previous.count(&known, 1);
        if known {
            self.same.remember(said, || SeenPair::owned(pair));
        }
        known
    }

    /// Remembers a pair that was passed on. Returns false if others had to be forgotten early to make room.
    pub(super) fn insert(&mut self, call: &Call, now: Instant) -> bool {
        let pair = SeenPair::of(call);
        let bytes = pair.bytes();
        let full = self.current.pairs.len() >= self.limits.pairs || self.current.bytes + bytes > self.limits.bytes;
        if full {
            self.next_generation(now);
        }
        let mut is_new = false;
        *self.current.pairs.entry(pair).or_insert_with(|| {
            is_new = true;
            0
        }) += call.count;
        if is_new {
            self.current.bytes += bytes;
        }
        !full
    }

    /// Every pair that is remembered, as one call each.
    pub(super) fn calls(&self) -> Vec<Call> {
        let repeated = |pair: &&SeenPair| self.current.pairs.contains_key(*pair);
        let before = self.previous.pairs.keys().filter(|pair| !repeated(pair));
        let call = |pair: &SeenPair| Call {
            caller: pair.caller,
            peer: pair.peer.clone(),
            authority: pair.host.to_string(),
            count: 1,
        };
        before.chain(self.current.pairs.keys()).map(call).collect()
    }

    /// Keeps the memory of the generation that is forgotten, for the new one.
    fn next_generation(&mut self, now: Instant) {
        self.settle();
        std::mem::swap(&mut self.current, &mut self.previous);
        self.current.clear(self.busy.as_deref());
        self.turned = now;
    }

    /// Adds what was counted of entries to their pairs.
    fn settle(&mut self) {
        for (pair, count) in self.same.drain() {
            // Its pair is remembered: nothing is forgotten before this.
            let _counted = self.current.count(&pair, count) || self.previous.count(&pair, count);
        }
    }
}

/// The stream has ended: what it counted is told.
impl Drop for Seen {
    fn drop(&mut self) {
        self.settle();
        let busy = self.busy.as_deref();
        self.current.clear(busy);
        self.previous.clear(busy);
    }
}

#[cfg(test)]
mod tests {
    use lazyload_logic::observation::authority;
    use proptest::prelude::*;

    use super::super::scan::SaidCaller;
    use super::*;

    const CALLER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(172, 17, 0, 11));

    fn mk_pair<'a>(caller: IpAddr, peer: Option<Identity<&'a str>>, host: &'a str) -> Pair<'a> {
        Pair { caller, peer, host: authority::parse(host).unwrap() }
    }

    fn mk_call(pair: &Pair<'_>) -> Call {
        let peer = pair.peer.as_ref().map(Identity::to_owned);
        Call { caller: pair.caller, peer, authority: pair.host.as_str().to_owned(), count: 1 }
    }

    impl Seen {
        /// Without identity.
        fn has(&mut self, caller: IpAddr, host: &str) -> bool {
            self.absorb(&mk_pair(caller, None, host), &Said::default())
        }

        fn put(&mut self, caller: IpAddr, host: &str, now: Instant) -> bool {
            self.insert(&mk_call(&mk_pair(caller, None, host)), now)
        }
    }

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
        assert!(seen.put(CALLER, "details", start));
        assert!(seen.has(CALLER, "details"));
        assert!(!seen.has(CALLER, "reviews"));
        assert!(!seen.has(IpAddr::from([172, 17, 0, 12]), "details"));
    }

    #[test]
    fn a_pair_of_another_identity_is_another_pair() {
        let (mut seen, start) = mk_seen(10, 1000);
        let pair = |peer: Option<(&'static str, &'static str)>| {
            mk_pair(CALLER, peer.map(|(namespace, account)| Identity { namespace, account }), "details")
        };
        let all = [None, Some(("default", "a")), Some(("default", "b")), Some(("test", "a")), Some(("defaulta", "a"))];
        for (at, peer) in all.into_iter().enumerate() {
            assert!(!seen.absorb(&pair(peer), &Said::default()), "{peer:?}");
            assert!(seen.insert(&mk_call(&pair(peer)), start));
            assert!(all[..=at].iter().all(|seen_before| seen.absorb(&pair(*seen_before), &Said::default())));
        }
    }

    #[test]
    fn a_pair_is_remembered_for_one_to_two_periods() {
        let (mut seen, start) = mk_seen(10, 1000);
        seen.put(CALLER, "details", start);
        seen.turn(after(start, 999));
        seen.put(CALLER, "reviews", after(start, 999));
        seen.turn(after(start, 1000));
        assert!(seen.has(CALLER, "details") && seen.has(CALLER, "reviews"));
        seen.turn(after(start, 1999));
        assert!(seen.has(CALLER, "details"));
        seen.turn(after(start, 2000));
        assert!(!seen.has(CALLER, "details") && !seen.has(CALLER, "reviews"));
    }

    #[test]
    fn a_pair_that_goes_on_is_not_kept_alive_by_that() {
        let (mut seen, start) = mk_seen(10, 1000);
        let mut passed = 0;
        for millis in (0..10_000).step_by(10) {
            let now = after(start, millis);
            seen.turn(now);
            if !seen.has(CALLER, "details") {
                seen.put(CALLER, "details", now);
                passed += 1;
            }
        }
        assert_eq!(passed, 5, "once in two periods, as it enters right after a turn each time");
    }

    #[test]
    fn how_often_a_pair_was_seen_is_told_once_it_is_forgotten_or_the_stream_ends() {
        let busy = Arc::new(Busy::default());
        let told = || busy.take().0.into_iter().map(|call| (call.authority, call.count)).collect::<Vec<_>>();
        let (mut seen, start) = mk_seen(10, 1000);
        seen.count(Some(busy.clone()));
        seen.put(CALLER, "details", start);
        assert!(seen.has(CALLER, "details") && seen.has(CALLER, "details"));
        seen.turn(after(start, 1000));
        seen.put(CALLER, "reviews", after(start, 1000));
        assert_eq!(told(), []);
        seen.turn(after(start, 2000));
        assert_eq!(told(), [("details".to_owned(), 3)]);
        drop(seen);
        assert_eq!(told(), [("reviews".to_owned(), 1)]);
    }

    #[test]
    fn the_same_bytes_are_absorbed_as_long_as_their_pair_is_remembered_and_counted_for_it() {
        let busy = Arc::new(Busy::default());
        let (mut seen, start) = mk_seen(10, 1000);
        seen.count(Some(busy.clone()));
        let said = Said { caller: SaidCaller::Socket(b"172.17.0.11"), authority: b"details:80", ..Said::default() };
        let pair = mk_pair(CALLER, None, "details");
        assert!(!seen.absorb_same(&said) && !seen.absorb(&pair, &said));
        assert!(!seen.absorb_same(&said), "its pair was not passed on");
        seen.put(CALLER, "details", start);
        assert!(seen.absorb(&pair, &said) && seen.absorb_same(&said) && seen.absorb_same(&said));
        seen.turn(after(start, 1000));
        assert!(!seen.absorb_same(&said), "it is judged anew once in a period");
        assert!(seen.absorb(&pair, &said) && seen.absorb_same(&said));
        seen.turn(after(start, 2000));
        assert!(!seen.absorb_same(&said) && !seen.absorb(&pair, &said));
        let told: Vec<_> = busy.take().0.into_iter().map(|call| (call.authority, call.count)).collect();
        assert_eq!(told, [("details".to_owned(), 6)]);
    }

    #[test]
    fn after_a_long_silence_nothing_is_remembered() {
        let (mut seen, start) = mk_seen(10, 1000);
        seen.put(CALLER, "details", start);
        seen.turn(after(start, 60_000));
        assert!(!seen.has(CALLER, "details"));
    }

    #[test]
    fn what_does_not_fit_makes_the_oldest_forgotten_early() {
        let (mut seen, start) = mk_seen(2, 1000);
        assert!(seen.put(CALLER, "a", start));
        assert!(seen.put(CALLER, "b", start));
        assert!(!seen.put(CALLER, "c", start));
        assert!(["a", "b", "c"].into_iter().all(|host| seen.has(CALLER, host)));
        assert!(seen.put(CALLER, "d", start));
        assert!(!seen.put(CALLER, "e", start));
        assert!(!seen.has(CALLER, "a") && !seen.has(CALLER, "b"));

        let (mut seen, start) = mk_seen(100, 10);
        assert!(seen.put(CALLER, "details", start));
        assert!(!seen.put(CALLER, "reviews", start));
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
                if !seen.has(caller, &host) {
                    seen.put(caller, &host, after(start, millis));
                }
                prop_assert!(seen.has(caller, &host));
                for generation in [&seen.current, &seen.previous] {
                    prop_assert!(generation.pairs.len() <= 5 && generation.bytes <= 40);
                    prop_assert_eq!(generation.bytes, generation.pairs.keys().map(SeenPair::bytes).sum::<usize>());
                }
            }
        }
    }
}

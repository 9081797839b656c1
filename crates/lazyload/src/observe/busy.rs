//! How often each pair was seen, brought together from what streams counted for themselves: each of them comes here once in a period, and
//! never for a single entry. Who takes it takes all.

use std::sync::{Mutex, PoisonError};

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use lazyload_logic::observation::Call;

use super::seen::SeenPair;

/// Pairs kept when there are twice as many: the busiest. The calls of the others are known as a sum.
const KEPT: usize = 1024;

/// What was counted since it was taken last.
#[derive(Debug, Default)]
pub(crate) struct Busy(Mutex<Counted>);

/// How often pairs were seen.
#[derive(Debug, Default)]
struct Counted {
    pairs: HashMap<SeenPair, u64, RandomState>,
    /// Calls of pairs that are not kept.
    others: u64,
}

impl Busy {
    /// Adds what a stream has counted.
    pub(super) fn add(&self, counted: impl Iterator<Item = (SeenPair, u64)>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (pair, count) in counted.filter(|(_, count)| *count > 0) {
            *all.pairs.entry(pair).or_default() += count;
            if all.pairs.len() >= KEPT * 2 {
                all.keep_the_busiest();
            }
        }
    }

    /// Takes every pair with its calls, and the calls of pairs that were not kept.
    pub(crate) fn take(&self) -> (Vec<Call>, u64) {
        let counted = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let calls = counted.pairs.into_iter().map(|(pair, count)| pair.into_call(count));
        (calls.collect(), counted.others)
    }
}

impl Counted {
    fn keep_the_busiest(&mut self) {
        let mut pairs: Vec<(SeenPair, u64)> = self.pairs.drain().collect();
        pairs.sort_unstable_by_key(|(_, count)| std::cmp::Reverse(*count));
        self.others += pairs.split_off(KEPT.min(pairs.len())).into_iter().map(|(_, count)| count).sum::<u64>();
        self.pairs.extend(pairs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(host: usize) -> SeenPair {
        let authority = format!("host-{host}");
        SeenPair::of(&Call { caller: [10, 0, 0, 1].into(), peer: None, authority, count: 1 })
    }

    #[test]
    fn calls_add_up_until_they_are_taken() {
        let busy = Busy::default();
        busy.add([(pair(1), 2), (pair(2), 0)].into_iter());
        busy.add([(pair(1), 3)].into_iter());
        let (calls, others) = busy.take();
        assert_eq!((calls.len(), calls[0].authority.as_str(), calls[0].count, others), (1, "host-1", 5, 0));
        assert_eq!(busy.take(), (Vec::new(), 0));
    }

    #[test]
    fn of_more_pairs_than_are_kept_the_busiest_stay_and_no_call_is_lost() {
        let busy = Busy::default();
        busy.add(std::iter::once((pair(0), 1_000)));
        busy.add((1..10_000).map(|host| (pair(host), 1)));
        let (calls, others) = busy.take();
        assert!(calls.len() < 2 * KEPT);
        assert_eq!(calls.iter().map(|call| call.count).max(), Some(1_000));
        assert_eq!(calls.iter().map(|call| call.count).sum::<u64>() + others, 1_000 + 9_999);
    }
}

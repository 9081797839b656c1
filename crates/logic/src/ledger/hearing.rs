//! Whose own proxies are heard, and since when without a gap.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::types::{ObjectRef, Pod};

/// Who says nothing for so long may have lost what it would have said.
pub const SILENCE: Duration = Duration::from_secs(30);
/// So much of the last time does not count yet: a connection that is dead is found to be only after it (`observe::server`).
const DOUBTFUL: Duration = Duration::from_secs(30);

/// The pods whose proxies are heard.
#[derive(Debug, Default)]
pub struct Hearing {
    /// A pod of the same name that was made anew is another one.
    by_pod: BTreeMap<(ObjectRef, i64), Heard>,
    tidied: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    since: Duration,
    last: Duration,
}

impl Heard {
    fn is_silent(self, now: Duration) -> bool {
        now.saturating_sub(self.last) > SILENCE
    }
}

impl Hearing {
    /// A pod's proxy says that it is there, and that all it has told was passed on.
    pub fn hear(&mut self, pod: &Pod, now: Duration) {
        self.tidy(now);
        let heard = self.by_pod.entry((pod.id.clone(), pod.created)).or_insert(Heard { since: now, last: now });
        if heard.is_silent(now) {
            heard.since = now;
        }
        heard.last = now;
    }

    /// Something that a pod's proxy told was not passed on.
    pub fn lose(&mut self, pod: &Pod) {
        self.by_pod.remove(&(pod.id.clone(), pod.created));
    }

    /// From when to when a pod was heard without a gap; `None` if it is not heard now.
    #[must_use]
    pub fn span(&self, pod: &Pod, now: Duration) -> Option<(Duration, Duration)> {
        let heard = self.by_pod.get(&(pod.id.clone(), pod.created)).filter(|heard| !heard.is_silent(now))?;
        Some((heard.since, heard.last.saturating_sub(DOUBTFUL)))
    }

    /// Forgets who is silent, now and then.
    fn tidy(&mut self, now: Duration) {
        if now.saturating_sub(self.tidied) > SILENCE {
            self.tidied = now;
            self.by_pod.retain(|_, heard| !heard.is_silent(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pod(created: i64) -> Pod {
        let id = ObjectRef::new("default", "a-0");
        Pod { id, labels: BTreeMap::new(), account: "a".into(), addresses: Vec::new(), created }
    }

    #[test]
    fn who_is_heard_again_in_time_was_heard_all_the_time_but_for_what_is_doubtful() {
        let mut hearing = Hearing::default();
        for second in [100, 110, 140] {
            hearing.hear(&pod(1), SECOND * second);
        }
        assert_eq!(hearing.span(&pod(1), SECOND * 150), Some((SECOND * 100, SECOND * 110)));
        assert_eq!(hearing.span(&pod(1), SECOND * 171), None);
    }

    #[test]
    fn a_gap_a_loss_and_another_pod_of_the_name_begin_anew() {
        let mut hearing = Hearing::default();
        hearing.hear(&pod(1), SECOND * 100);
        hearing.hear(&pod(1), SECOND * 131);
        assert_eq!(hearing.span(&pod(1), SECOND * 131), Some((SECOND * 131, SECOND * 101)));
        hearing.hear(&pod(1), SECOND * 135);
        hearing.lose(&pod(1));
        assert_eq!(hearing.span(&pod(1), SECOND * 135), None);
        hearing.hear(&pod(1), SECOND * 140);
        assert_eq!(hearing.span(&pod(1), SECOND * 140), Some((SECOND * 140, SECOND * 110)));
        assert_eq!(hearing.span(&pod(2), SECOND * 140), None);
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let mut hearing = Hearing::default();
        (0..100).for_each(|created| hearing.hear(&pod(created), SECOND));
        hearing.hear(&pod(1000), SECOND * 100);
        assert_eq!(hearing.by_pod.len(), 1);
    }
}

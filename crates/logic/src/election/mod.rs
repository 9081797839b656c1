//! Owns who of several controllers writes: what a replica does about the lease that it sees. The rules are client-go's.
//! Never asks the API server and never reads a clock: the binary's `lead` does both.
//! Next: `Candidate::look`.

use std::time::Duration;

/// How long a lease holds that is not renewed. Source: contract 6.4.
pub const LEASE: Duration = Duration::from_secs(15);
/// A leader that could not renew for so long stops: a good while before another may start. Source: contract 6.4.
pub const RENEW_WITHIN: Duration = Duration::from_secs(10);
/// Between two renewals. Source: contract 6.4.
pub const RENEW_EVERY: Duration = Duration::from_secs(2);
/// Between two looks of a replica that stands by: a lease that is given up is taken over within a second.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What a lease says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; `None` if it was given up.
    pub holder: Option<String>,
    /// How long it holds, as its holder wrote; `None` if it does not say.
    pub duration: Option<Duration>,
    /// When it was renewed, by its holder's clock. Never compared with ours: only whether it is another text than before.
    pub renewed: String,
    /// How often it went from one holder to another.
    pub transitions: i32,
}

impl Record {
    /// Whether a lease that has stood like this since then holds no more.
    fn is_over(&self, since: Duration, now: Duration) -> bool {
        now.saturating_sub(since) > self.duration.unwrap_or(LEASE)
    }
}

/// What to do about a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is none: make it.
    Create,
    /// Write us into it, provided that nobody has written meanwhile; with so many transitions.
    Take(i32),
    /// Somebody else holds it.
    Wait,
}

/// A replica that wants the lease.
#[derive(Debug)]
pub struct Candidate {
    identity: String,
    /// The lease as it was seen, and since when it is so, by our own clock.
    seen: Option<(Record, Duration)>,
}

impl Candidate {
    /// A replica of this identity, which no other process ever has.
    #[must_use]
    pub fn new(identity: String) -> Self {
        Self { identity, seen: None }
    }

    /// Looks at the lease as it is now. `now` is monotonic.
    #[must_use]
    pub fn look(&mut self, record: Option<&Record>, now: Duration) -> Step {
        let Some(record) = record else {
            // Somebody deleted it under its holder, who may not know yet.
            let held =
                self.seen.as_ref().is_some_and(|(seen, since)| seen.holder.is_some() && !seen.is_over(*since, now));
            return if held { Step::Wait } else { Step::Create };
        };
        if self.seen.as_ref().is_none_or(|(seen, _)| seen != record) {
            self.seen = Some((record.clone(), now));
        }
        let since = self.seen.as_ref().map_or(now, |(_, since)| *since);
        match record.holder.as_deref() {
            None => Step::Take(record.transitions.saturating_add(1)),
            // Our own write, whose answer was lost.
            Some(holder) if holder == self.identity => Step::Take(record.transitions),
            Some(_) if record.is_over(since, now) => Step::Take(record.transitions.saturating_add(1)),
            Some(_) => Step::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(holder: Option<&str>, renewed: &str) -> Record {
        Record {
            holder: holder.map(str::to_owned),
            duration: Some(Duration::from_secs(15)),
            renewed: renewed.into(),
            transitions: 4,
        }
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_lease_that_is_not_there_is_made_and_one_that_was_given_up_is_taken() {
        let mut candidate = Candidate::new("b".into());
        assert_eq!(candidate.look(None, secs(0)), Step::Create);
        assert_eq!(candidate.look(Some(&record(None, "1")), secs(1)), Step::Take(5));
    }

    #[test]
    fn a_lease_is_taken_only_after_it_stood_still_for_its_duration_by_our_own_clock() {
        let mut candidate = Candidate::new("b".into());
        // Whatever the holder's clock says: it counts from when we saw it.
        assert_eq!(candidate.look(Some(&record(Some("a"), "1970")), secs(100)), Step::Wait);
        assert_eq!(candidate.look(Some(&record(Some("a"), "1970")), secs(114)), Step::Wait);
        assert_eq!(candidate.look(Some(&record(Some("a"), "2026")), secs(115)), Step::Wait);
        assert_eq!(candidate.look(Some(&record(Some("a"), "2026")), secs(130)), Step::Wait);
        assert_eq!(candidate.look(Some(&record(Some("a"), "2026")), secs(131)), Step::Take(5));
    }

    #[test]
    fn a_write_of_ours_whose_answer_was_lost_is_renewed_and_counts_as_no_transition() {
        let mut candidate = Candidate::new("b".into());
        assert_eq!(candidate.look(Some(&record(Some("b"), "1")), secs(0)), Step::Take(4));
    }

    #[test]
    fn a_lease_that_somebody_deleted_is_its_holders_until_it_would_have_ended() {
        let mut candidate = Candidate::new("b".into());
        assert_eq!(candidate.look(Some(&record(Some("a"), "1")), secs(0)), Step::Wait);
        assert_eq!(candidate.look(None, secs(10)), Step::Wait);
        assert_eq!(candidate.look(None, secs(16)), Step::Create);
    }

    #[test]
    fn a_leader_stops_well_before_another_may_start() {
        assert!(RENEW_WITHIN + secs(4) < LEASE);
    }
}

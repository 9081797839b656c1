//! What the operator remembers of its own acts for one SlimeBoot.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::farewell::Farewell;
use super::slime_boot::Boot;
use super::{Key, Outcome};
use crate::boot::Routes;
use crate::checksum::checksum;

/// First and longest wait before an act that failed is tried again.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// After a redirection or a Sidecar changed, proxies get this long to follow before what the old one needed goes. istiod gathers changes for at most
/// 10 s while more of them come, and pushes within a second if not.
pub const SETTLE: Duration = Duration::from_secs(5);
/// Between two repairs of one object, so that somebody who changes it all the time costs little.
pub(super) const REPAIR_PAUSE: Duration = Duration::from_secs(2);

/// For one SlimeBoot.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    pub uid: String,
    /// Everything that was made and is not known to be gone, by identity.
    pub inventory: BTreeMap<Key, String>,
    pub written: BTreeMap<Key, Written>,
    pub problems: BTreeMap<Key, Problem>,
    pub redirected_at: Duration,
    pub farewell: Farewell,
    /// Namespaces that leave, since the SlimeBoot changed last.
    pub departures: BTreeMap<String, Farewell>,
    /// What redirections used before they changed.
    held: Routes,
    pub status_retry_at: Option<Duration>,
    status_failures: u32,
}

/// The last write of an object.
#[derive(Clone, Debug)]
pub(super) struct Written {
    /// Of what was written.
    pub wanted: String,
    /// Of what was stored.
    pub stored: String,
    pub at: Duration,
}

/// Why an object is not as it should be.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub text: String,
    /// Somebody else's object is in the way.
    pub occupied: bool,
    wanted: String,
    failures: u32,
    pub retry_at: Duration,
}

impl Memory {
    pub(super) fn new(boot: &Boot, now: Duration) -> Self {
        Self {
            uid: boot.uid.clone(),
            inventory: boot.inventory(),
            written: BTreeMap::new(),
            problems: BTreeMap::new(),
            redirected_at: now,
            farewell: Farewell::new(now),
            departures: BTreeMap::new(),
            held: Routes::default(),
            status_retry_at: None,
            status_failures: 0,
        }
    }

    /// Of all, or of a namespace that leaves.
    pub(super) fn farewell_of(&mut self, namespace: Option<String>, now: Duration) -> &mut Farewell {
        match namespace {
            Some(namespace) => self.departures.entry(namespace).or_insert_with(|| Farewell::new(now)),
            None => &mut self.farewell,
        }
    }

    /// What must be served though no redirection says so any more.
    pub(super) fn held(&self, now: Duration) -> Option<&Routes> {
        (now < self.redirected_at + SETTLE && !self.held.is_empty()).then_some(&self.held)
    }

    /// A redirection is not what it was; nothing happens where it was none.
    pub(super) fn redirected(&mut self, before: &Routes, now: Duration) {
        if before.is_empty() {
            return;
        }
        let mut held = self.held(now).cloned().unwrap_or_default();
        held.add(before);
        self.held = held;
        self.redirected_at = now;
    }

    pub(super) fn wrote(&mut self, key: Key, body: &Value, stored: &str, now: Duration) {
        self.problems.remove(&key);
        let wanted = checksum(&body.to_string());
        self.written.insert(key, Written { wanted, stored: stored.to_owned(), at: now });
    }

    pub(super) fn failed(&mut self, key: Key, body: Option<&Value>, outcome: Outcome, now: Duration) {
        let wanted = body.map(|body| checksum(&body.to_string())).unwrap_or_default();
        let before = self.problems.get(&key).filter(|problem| problem.wanted == wanted);
        let failures = before.map_or(0, |problem| problem.failures).saturating_add(1);
        let (text, occupied) = match outcome {
            Outcome::Occupied(whose) => {
                let whose = whose.map(|whose| format!(" ({whose})")).unwrap_or_default();
                (
                    format!(
                        "{key} is there already and not ours{whose}: rename or delete it, or hand it over by its labels"
                    ),
                    true,
                )
            }
            Outcome::Failed(reason) => (format!("{key}: {reason}"), false),
            Outcome::Done | Outcome::Changed(_) | Outcome::Stored(_) => {
                (format!("{key}: the API server answered without the object"), false)
            }
        };
        self.problems.insert(key, Problem { text, occupied, wanted, failures, retry_at: now + wait(failures) });
    }

    /// An object of ours was seen.
    pub(super) fn found(&mut self, key: &Key, uid: &str) {
        self.inventory.insert(key.clone(), uid.to_owned());
        if key.is_controller() {
            self.farewell.begin_anew();
        }
        if self.problems.get(key).is_some_and(|problem| problem.occupied) {
            self.problems.remove(key);
        }
    }

    /// The problem of writing this body, or of deleting.
    pub(super) fn problem(&self, key: &Key, body: Option<&str>) -> Option<&Problem> {
        self.problems.get(key).filter(|problem| problem.wanted == body.unwrap_or_default())
    }

    pub(super) fn told(&mut self, outcome: &Outcome, now: Duration) {
        self.status_failures =
            if matches!(outcome, Outcome::Stored(_)) { 0 } else { self.status_failures.saturating_add(1) };
        self.status_retry_at = (self.status_failures > 0).then(|| now + wait(self.status_failures));
    }
}

/// How long to wait after so many failures.
pub(super) fn wait(failures: u32) -> Duration {
    let (first, longest) = RETRY;
    first.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(longest)
}

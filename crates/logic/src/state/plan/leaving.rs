//! Domains on their way out: no longer wanted, and kept in the Sidecar until their grace is over.

use std::collections::BTreeMap;
use std::time::Duration;

use lazyload_api::service_fence::{Destinations, DomainStatus};

use crate::fence::budget::hosts_of;
use crate::state::State;
use crate::types::Fence;

/// A domain that is no longer wanted stays in the Sidecar this long (`EXPIREWAIT`): a rule that flaps, or is being replaced, hurts nobody.
const GRACE: Duration = Duration::from_secs(30);

impl State {
    /// Adds domains of the known status that are no longer wanted, until their grace is over. Returns when the next one goes.
    pub(super) fn keep_leaving(
        &mut self,
        fence: &Fence,
        domains: &mut BTreeMap<String, Destinations>,
        now: Duration,
    ) -> Option<Duration> {
        let work = self.by_fence.entry(fence.id.clone()).or_default();
        work.leaving.retain(|host, _| !domains.contains_key(host));
        let mut next: Option<Duration> = None;
        for (host, known) in &fence.status.domains {
            if domains.contains_key(host) || known.status == DomainStatus::Expire {
                continue;
            }
            let until = *work.leaving.entry(host.clone()).or_insert(now + GRACE);
            if until > now {
                let hosts = hosts_of(host, known).into_owned();
                let leaving = Destinations { hosts, status: DomainStatus::ExpireWait };
                domains.insert(host.clone(), leaving);
                next = Some(next.map_or(until, |next| next.min(until)));
            }
        }
        // One whose grace is over is remembered until the status is written without it.
        work.leaving.retain(|host, _| fence.status.domains.contains_key(host));
        next
    }
}

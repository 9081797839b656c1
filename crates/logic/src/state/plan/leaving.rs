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
    /// Adds domains of the known status that are no longer wanted, or that the mesh does not know any more, until their grace is over.
    /// Returns when the next one goes.
    pub(super) fn keep_leaving(
        &mut self,
        fence: &Fence,
        domains: &mut BTreeMap<String, Destinations>,
        now: Duration,
    ) -> Option<Duration> {
        let work = self.by_fence.entry(fence.id.clone()).or_default();
        let is_wanted = |wanted: Option<&Destinations>| wanted.is_some_and(|wanted| !wanted.external);
        work.leaving.retain(|host, _| !is_wanted(domains.get(host)));
        let mut next: Option<Duration> = None;
        for (host, known) in &fence.status.domains {
            if is_wanted(domains.get(host)) || known.status == DomainStatus::Expire || known.external {
                continue;
            }
            let until = *work.leaving.entry(host.clone()).or_insert(now + GRACE);
            if until > now {
                let hosts = hosts_of(host, known).into_owned();
                let leaving = Destinations { hosts, status: DomainStatus::ExpireWait, ..Destinations::default() };
                domains.insert(host.clone(), leaving);
                next = Some(next.map_or(until, |next| next.min(until)));
            }
        }
        // One whose grace is over is remembered until the status is written without it.
        work.leaving.retain(|host, _| fence.status.domains.get(host).is_some_and(|known| !known.external));
        next
    }
}

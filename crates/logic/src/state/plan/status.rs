//! What to write into the status of a fence.

use std::collections::BTreeMap;

use lazyload_api::service_fence::{Destinations, ServiceFenceStatus};

use super::Futile;
use crate::state::{Change, State};
use crate::types::Fence;

impl State {
    /// The write of a fence's status, if there is anything new. A status that is refused keeps nothing out of the Sidecar.
    pub(super) fn look_at_status(
        &self,
        fence: &Fence,
        domains: &BTreeMap<String, Destinations>,
        futile: &mut Futile,
    ) -> Option<Change> {
        let mut metric_status = fence.status.metric_status.clone();
        metric_status.retain(|key, _| !self.ledger.is_expired(&fence.id, key));
        if let Some(evidence) = self.ledger.evidence(&fence.id) {
            metric_status.extend(evidence.iter().map(|(key, count)| (key.clone(), count.clone())));
        }
        if *domains == fence.status.domains && metric_status == fence.status.metric_status {
            return None;
        }
        let status = ServiceFenceStatus { domains: domains.clone(), metric_status, visitor: BTreeMap::new() };
        let change = Change::WriteStatus { id: fence.id.clone(), status: Box::new(status) };
        futile.allows(&change).then_some(change)
    }
}

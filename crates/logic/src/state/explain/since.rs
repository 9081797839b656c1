//! Since when a host is in scope, and by which request: what is remembered of its fence, and what the fence itself says of times. Nothing is guessed:
//! of what was learned before the controller began, that is all that is said.

use serde::Serialize;

use super::covers::covers;
use crate::fence::completion::complete_called;
use crate::ledger::host_of_evidence;
use crate::state::State;
use crate::state::history::What;
use crate::types::{Fence, ObjectRef};

/// Since when something is so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Since {
    /// When (Unix seconds); nothing: before the controller began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<i64>,
    /// What happened then.
    pub what: String,
}

impl State {
    /// Of a host that was learned, as its evidence has it: the request that taught it. `None` where nobody was asked who could remember.
    pub(super) fn learned_since(&self, id: &ObjectRef, written: &str) -> Option<Since> {
        let host = complete_called(written, &id.namespace, &self.index);
        let is_of = |key: &str| {
            let of = host_of_evidence(key);
            of.is_some_and(|of| of == written || complete_called(of, &id.namespace, &self.index) == host)
        };
        let taught = self.newest_moments(id).find_map(|moment| match &moment.what {
            What::Called { host: called, written: as_written, caller, verified }
                if [host.as_str(), written].contains(&called.as_str()) =>
            {
                let by = if *verified { "its certificate" } else { "its address" };
                Some(Since { at: moment.at, what: format!("{caller} called it as {as_written}, by {by}") })
            }
            What::Measured { key, handler } if is_of(key) => {
                Some(Since { at: moment.at, what: format!("Prometheus told of it, handler {handler}") })
            }
            _ => None,
        });
        let before = || Since { at: None, what: "it was learned before the controller began".to_owned() };
        taught.or_else(|| self.is_recalled(id).then(before))
    }

    /// Of what the fence itself declares: it is no older than the fence.
    pub(super) fn declared_since(fence: &Fence) -> Option<Since> {
        let what = "its ServiceFence was made: its spec has had it from then on, or later".to_owned();
        Some(Since { at: Some(fence.created), what }).filter(|_| fence.created != 0)
    }

    /// When a Sidecar got the route of a host that it has; `None` if that is not remembered.
    pub(super) fn routed_since(&self, sidecar: &ObjectRef, host: &str) -> Option<i64> {
        let covers = |entry: &String| covers(entry, host, &sidecar.namespace);
        self.newest_moments(sidecar).find_map(|moment| match &moment.what {
            What::Sidecar { routed, .. } if routed.first.iter().any(covers) => moment.at,
            _ => None,
        })
    }
}

//! What the console shows of fences: a row with its arrows for each of them, and one with all that is known of it. The numbers are those of the other
//! reports.

use std::collections::BTreeSet;

use lazyload_api::names;
use serde::Serialize;
use serde_json::{Value, json};

use super::fence::{Condition, FenceReport, Origin, Reason, Standing, reports};
use super::graph::edges;
use crate::ledger::host_of_evidence;
use crate::manifest;
use crate::state::history::{Moment, Names, What};
use crate::state::view::{Closeup, Page};
use crate::types::{Fence, Sidecar};

/// One fence in a list, with its arrows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Of the fence.
    pub namespace: String,
    /// Of the fence.
    pub name: String,
    /// Who made it.
    pub origin: Origin,
    /// Whether it wants a Sidecar.
    pub enabled: bool,
    /// `enforce`, `recommend`, `observe`, `waiting` or `break-glass`.
    pub mode: String,
    /// How its Sidecar stands.
    pub sidecar: Standing,
    /// Entries of the Sidecar that have routes.
    pub routed: usize,
    /// Entries whose routes come or went.
    pub announced: usize,
    /// Hosts that were learned, and nothing else asks for.
    pub learned: usize,
    /// Hosts that go on through the global-sidecar.
    pub external: usize,
    /// Its condition `Ready`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<Condition>,
    /// When it was made (Unix seconds).
    pub created: i64,
    /// What it depends on.
    pub arrows: Vec<Arrow>,
}

/// One dependency, without the fence that it is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Arrow {
    /// A Service as `NAMESPACE/NAME`, a whole namespace as `NAMESPACE/*`, any other host as it is.
    pub to: String,
    /// Why it is there.
    pub reason: Reason,
    /// How it is taken: `direct`, `fallback`, `leaving` or `expired`.
    pub way: &'static str,
    /// Calls that told it first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

/// All that is known of one fence.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Detail {
    /// How it is doing.
    pub report: FenceReport,
    /// Its arrows, in the order of its dependencies.
    pub arrows: Vec<Arrow>,
    /// What happened to it, the oldest first.
    pub timeline: Vec<Moment>,
}

/// A row for each fence of a page.
#[must_use]
pub fn rows(page: &Page) -> Vec<Row> {
    reports(&page.fences, &page.sidecars).iter().map(row).collect()
}

/// All of one fence.
#[must_use]
pub fn detail(closeup: &Closeup) -> Option<Detail> {
    let sidecars: Vec<Sidecar> = closeup.sidecar.iter().cloned().collect();
    let report = reports(std::slice::from_ref(&closeup.fence), &sidecars).pop()?;
    Some(Detail { arrows: arrows(&report), timeline: timeline(&closeup.fence, &closeup.history), report })
}

/// The fence as `kubectl get` shows it, without what the API server adds.
#[must_use]
pub fn fence_document(fence: &Fence) -> Value {
    let mut metadata = json!({"namespace": &*fence.id.namespace, "name": &*fence.id.name});
    if let Some(metadata) = metadata.as_object_mut().filter(|_| !fence.labels.is_empty()) {
        metadata.insert("labels".to_owned(), json!(fence.labels));
    }
    json!({
        "apiVersion": names::FENCE_API_VERSION, "kind": names::FENCE_KIND,
        "metadata": metadata, "spec": fence.spec, "status": fence.status,
    })
}

/// The Sidecar likewise.
#[must_use]
pub fn sidecar_document(sidecar: &Sidecar) -> Value {
    let owner = sidecar.owner_uid.as_deref().filter(|owner| !owner.is_empty());
    manifest::sidecar(&sidecar.id, owner, &sidecar.labels, &sidecar.spec, None)
}

fn row(report: &FenceReport) -> Row {
    Row {
        namespace: report.namespace.clone(),
        name: report.name.clone(),
        origin: report.origin,
        enabled: report.enabled,
        mode: report.mode.clone(),
        sidecar: report.sidecar,
        routed: report.routed.len(),
        announced: report.announced.len(),
        learned: report.learned(),
        external: report.external(),
        ready: report.find_condition("Ready").cloned(),
        created: report.created,
        arrows: arrows(report),
    }
}

fn arrows(report: &FenceReport) -> Vec<Arrow> {
    let edges = edges(std::slice::from_ref(report)).into_iter().zip(&report.dependencies);
    let arrow = edges.map(|(edge, dependency)| Arrow {
        to: edge.to,
        reason: edge.reason,
        way: edge.way,
        evidence: dependency.evidence.clone(),
    });
    arrow.collect()
}

/// What is remembered, with what the fence itself says of times. What is not dated comes first.
fn timeline(fence: &Fence, history: &[Moment]) -> Vec<Moment> {
    let told: BTreeSet<&str> = history
        .iter()
        .filter_map(|moment| match &moment.what {
            What::Called { host, .. } => Some(host.as_str()),
            What::Measured { key, .. } => host_of_evidence(key),
            _ => None,
        })
        .collect();
    let evidence = fence.status.metric_status.keys().filter_map(|key| host_of_evidence(key));
    let known = Names::of(evidence.filter(|host| !told.contains(host)));
    let known = Some(known).filter(|known| known.count > 0);
    let known = known.map(|hosts| Moment { at: None, what: What::Known { hosts } });
    let made = Some(fence.created).filter(|created| *created != 0);
    let made = made.map(|created| Moment { at: Some(created), what: What::Made });
    let conditions = fence.status.conditions.iter().map(|condition| Moment {
        at: Some(condition.last_transition_time.0.as_second()),
        what: What::Condition {
            kind: condition.type_.clone(),
            status: condition.status.clone(),
            reason: condition.reason.clone(),
            message: condition.message.clone(),
        },
    });
    let mut moments: Vec<Moment> =
        known.into_iter().chain(made).chain(history.iter().cloned()).chain(conditions).collect();
    moments.sort_by_key(|moment| moment.at);
    moments
}

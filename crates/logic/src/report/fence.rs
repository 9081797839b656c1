//! One fence, as it is.

use std::collections::{BTreeMap, BTreeSet};

use lazyload_api::names;
use lazyload_api::service_fence::{Coverage, DomainStatus, ServiceFenceStatus, Unused};
use serde::Serialize;

use crate::fence::switch::{EVERYTHING, Form};
use crate::ledger::host_of_evidence;
use crate::settings::Mode;
use crate::types::{Fence, ObjectRef, Sidecar};

/// A fence and its Sidecar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FenceReport {
    /// Of the fence.
    pub namespace: String,
    /// Of the fence.
    pub name: String,
    /// Who made it.
    pub origin: Origin,
    /// Whether it wants a Sidecar.
    pub enabled: bool,
    /// How far it goes: `enforce`, `recommend`, `observe`, `waiting` or `break-glass`, as the controller has told.
    pub mode: String,
    /// How well it is known, while it learns only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Box<Coverage>>,
    /// How its Sidecar stands.
    pub sidecar: Standing,
    /// Entries of the Sidecar that have routes.
    pub routed: Vec<String>,
    /// Entries whose clusters are there and whose routes come or went: a switch is under way.
    pub announced: Vec<String>,
    /// What it depends on, in order of the hosts.
    pub dependencies: Vec<Dependency>,
    /// Its conditions, as they are stored.
    pub conditions: Vec<Condition>,
    /// When it was made (Unix seconds).
    pub created: i64,
}

/// Who made a fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The controller, for a label or the default.
    Automatic,
    /// A user.
    Manual,
}

/// How a fence's Sidecar stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// There is none.
    None,
    /// There is one of that name, which is not the fence's.
    Foreign,
    /// It has its routes, and nothing is under way.
    Settled,
    /// Clusters are there whose routes come next, or have gone.
    Switching,
    /// Every cluster is there: the fence begins, or ends.
    Wide,
    /// It outlives its fence for a moment.
    Leaving,
}

/// One entry of `status.domains`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// The host, or `NAMESPACE/*`.
    pub host: String,
    /// Why it is there.
    pub reason: Reason,
    /// Calls that told it first; nothing if it was not learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// Learned, but unknown to the mesh: calls go on through the global-sidecar.
    pub external: bool,
    /// Whether it is in the Sidecar, on its way out, or out.
    pub status: DomainStatus,
    /// What it brings into the Sidecar.
    pub brings: Vec<String>,
    /// How long it was not called, and what became of it, where that is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unused: Option<Unused>,
}

impl Dependency {
    /// How it stands, for people.
    #[must_use]
    pub fn state(&self) -> String {
        if let Some(sentence) = self.unused.as_ref().and_then(quarantine) {
            return sentence;
        }
        if self.external {
            return "unknown to the mesh".to_owned();
        }
        let status = format!("{:?}", self.status).to_lowercase();
        let idle = self.unused.as_ref().map_or(0, |unused| unused.for_seconds);
        if idle > 0 { format!("{status}, not called for {}", period(idle)) } else { status }
    }
}

/// Since when a host is in quarantine and why, for people; `None` if it is not.
#[must_use]
pub fn quarantine(unused: &Unused) -> Option<String> {
    let since = unused.quarantined_since.as_ref()?;
    let before = match unused.false_expiries {
        0 => String::new(),
        1 => ", came back once before".to_owned(),
        more => format!(", came back {more} times before"),
    };
    Some(format!("quarantined since {}, not called for {}{before}", since.0, period(unused.lease_seconds)))
}

/// A time in the largest unit that it is a whole number of.
fn period(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    let unit = units.into_iter().find(|(unit, _)| seconds.is_multiple_of(*unit));
    let (unit, name) = unit.unwrap_or((1, "s"));
    format!("{}{name}", seconds / unit)
}

/// Why a host is a dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// The fence's `spec.host` names it.
    Static,
    /// A call taught it.
    Learned,
    /// An AuthorizationPolicy names the fence's workload as a caller.
    Policy,
    /// A selector of the fence, an alias of the settings or another declaration brings it in.
    Derived,
}

impl Reason {
    /// One word, for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Learned => "learned",
            Self::Policy => "policy",
            Self::Derived => "derived",
        }
    }
}

/// A condition of the fence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word.
    pub reason: String,
    /// What was expected, and what to do.
    pub message: String,
}

/// One report for each fence, in order of namespace and name.
#[must_use]
pub fn reports(fences: &[Fence], sidecars: &[Sidecar]) -> Vec<FenceReport> {
    let by_id: BTreeMap<&ObjectRef, &Sidecar> = sidecars.iter().map(|sidecar| (&sidecar.id, sidecar)).collect();
    let mut reports: Vec<FenceReport> =
        fences.iter().map(|fence| report(fence, by_id.get(&fence.id).copied())).collect();
    reports.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    reports
}

fn report(fence: &Fence, sidecar: Option<&Sidecar>) -> FenceReport {
    let own = sidecar.filter(|sidecar| is_of(fence, sidecar));
    let form = own.map(|sidecar| Form::of(&sidecar.spec)).unwrap_or_default();
    let owned = |hosts: &BTreeSet<&str>| hosts.iter().map(|host| (*host).to_owned()).collect();
    let created_by = fence.labels.get(names::CREATED_BY_LABEL);
    FenceReport {
        namespace: fence.id.namespace.to_string(),
        name: fence.id.name.to_string(),
        origin: match created_by {
            Some(who) if who == names::FENCE_CONTROLLER => Origin::Automatic,
            _ => Origin::Manual,
        },
        enabled: fence.spec.enable,
        mode: fence.status.mode.as_deref().unwrap_or(Mode::Enforce.name()).to_owned(),
        coverage: fence.status.coverage.clone(),
        sidecar: standing(sidecar, own, &form),
        routed: owned(&form.routed),
        announced: owned(&form.announced),
        dependencies: dependencies(fence),
        conditions: conditions(&fence.status),
        created: fence.created,
    }
}

fn is_of(fence: &Fence, sidecar: &Sidecar) -> bool {
    // A folder's objects have no identity.
    sidecar.owner_uid.as_ref().is_some_and(|uid| *uid == fence.uid || fence.uid.is_empty())
}

fn standing(sidecar: Option<&Sidecar>, own: Option<&Sidecar>, form: &Form<'_>) -> Standing {
    match (sidecar, own) {
        (None, _) => Standing::None,
        (Some(sidecar), None) if sidecar.is_leaving() => Standing::Leaving,
        (Some(_), None) => Standing::Foreign,
        (Some(_), Some(own)) if own.is_leaving() => Standing::Leaving,
        _ if form.announced.contains(EVERYTHING) => Standing::Wide,
        _ if !form.announced.is_empty() => Standing::Switching,
        _ => Standing::Settled,
    }
}

/// What a fence depends on, in order of the hosts.
pub(super) fn dependencies(fence: &Fence) -> Vec<Dependency> {
    let evidence: BTreeMap<String, &String> =
        fence.status.metric_status.iter().filter_map(|(key, count)| Some((learned_as(fence, key)?, count))).collect();
    let declared: BTreeSet<String> = fence.spec.host.keys().map(|host| completed(fence, host)).collect();
    let entries = fence.status.domains.iter().map(|(host, domain)| {
        let evidence = evidence.get(host).map(|count| (*count).clone());
        let reason = match (declared.contains(host), &evidence) {
            (true, _) => Reason::Static,
            (false, Some(_)) => Reason::Learned,
            (false, None) if !domain.policies.is_empty() => Reason::Policy,
            (false, None) => Reason::Derived,
        };
        let (external, status) = (domain.external, domain.status);
        let (brings, unused) = (domain.hosts.clone(), fence.status.unused.get(host).cloned());
        Dependency { host: host.clone(), reason, evidence, external, status, brings, unused }
    });
    entries.collect()
}

fn learned_as(fence: &Fence, key: &str) -> Option<String> {
    host_of_evidence(key).map(|host| completed(fence, host))
}

/// The entry of `status.domains` that a host as it was written became: itself, or a Service's full name.
fn completed(fence: &Fence, host: &str) -> String {
    let has = |name: &String| fence.status.domains.contains_key(name);
    let host = host.to_owned();
    let of_namespace = format!("{host}.{}.svc.cluster.local", fence.id.namespace);
    let candidates = [of_namespace, format!("{host}.svc.cluster.local"), format!("{host}.cluster.local")];
    if has(&host) {
        return host;
    }
    candidates.into_iter().find(has).unwrap_or(host)
}

fn conditions(status: &ServiceFenceStatus) -> Vec<Condition> {
    let conditions = status.conditions.iter().map(|condition| Condition {
        kind: condition.type_.clone(),
        status: condition.status.clone(),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
    });
    conditions.collect()
}

impl FenceReport {
    /// A condition by its type.
    #[must_use]
    pub fn find_condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }

    /// Dependencies that were learned, and nothing else asks for.
    #[must_use]
    pub fn learned(&self) -> usize {
        self.dependencies.iter().filter(|dependency| dependency.reason == Reason::Learned).count()
    }

    /// Dependencies that go on through the global-sidecar.
    #[must_use]
    pub fn external(&self) -> usize {
        self.dependencies.iter().filter(|dependency| dependency.external).count()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::convert;
    use crate::types::Object;

    #[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
    fn fence(spec: Value, status: Value) -> Fence {
        let fence = json!({
            "apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence",
            "metadata": {"namespace": "default", "name": "a", "uid": "u"}, "spec": spec, "status": status,
        });
        match convert::object(&fence).unwrap() {
            Some(Object::Fence(fence)) => fence,
            other => panic!("{other:?}"),
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
    fn sidecar(owner: &str, egress: Value) -> Sidecar {
        let owners = json!([{"apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence", "name": "a", "uid": owner, "controller": true}]);
        let sidecar = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Sidecar",
            "metadata": {"namespace": "default", "name": "a", "ownerReferences": owners}, "spec": {"egress": egress},
        });
        match convert::object(&sidecar).unwrap() {
            Some(Object::Sidecar(sidecar)) => sidecar,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_dependency_says_why_it_is_there() {
        let status = json!({
            "domains": {
                "b.default.svc.cluster.local": {"hosts": ["b.default.svc.cluster.local"]},
                "c.default.svc.cluster.local": {"hosts": ["c.default.svc.cluster.local"], "status": "EXPIRE"},
                "d.test.svc.cluster.local": {"hosts": ["d.test.svc.cluster.local"]},
                "e.example": {"external": true},
                "f.test.svc.cluster.local": {"hosts": ["f.test.svc.cluster.local"], "policies": ["test/f"]},
                "test/*": {},
            },
            "metricStatus": {
                "{destination_service=\"b\"}": "1", "{destination_service=\"e.example\"}": "3", "{other=\"d\"}": "1",
            },
        });
        let fence = fence(json!({"enable": true, "host": {"c": null, "test/*": {}}}), status);
        let report = &reports(&[fence], &[])[0];
        let told: Vec<_> = report.dependencies.iter().map(|it| (it.host.as_str(), it.reason, it.external)).collect();
        assert_eq!(
            told,
            [
                ("b.default.svc.cluster.local", Reason::Learned, false),
                ("c.default.svc.cluster.local", Reason::Static, false),
                ("d.test.svc.cluster.local", Reason::Derived, false),
                ("e.example", Reason::Learned, true),
                ("f.test.svc.cluster.local", Reason::Policy, false),
                ("test/*", Reason::Static, false),
            ]
        );
        assert_eq!(report.dependencies[3].evidence.as_deref(), Some("3"));
        assert_eq!((report.learned(), report.external(), report.sidecar), (2, 1, Standing::None));
    }

    #[test]
    fn a_host_in_quarantine_says_since_when_and_why() {
        let host = "b.default.svc.cluster.local";
        for (unused, expected) in [
            (json!({}), "active"),
            (json!({"leaseSeconds": 2_592_000, "forSeconds": 162_000}), "active, not called for 45h"),
            (
                json!({"leaseSeconds": 2_592_000, "quarantinedSince": "2026-11-28T00:00:00Z"}),
                "quarantined since 2026-11-28T00:00:00Z, not called for 30d",
            ),
            (
                json!({"leaseSeconds": 90, "quarantinedSince": "2026-11-28T00:00:00Z", "falseExpiries": 2}),
                "quarantined since 2026-11-28T00:00:00Z, not called for 90s, came back 2 times before",
            ),
        ] {
            let status = json!({"domains": {host: {"hosts": [host]}}, "unused": {host: unused}});
            let report = &reports(&[fence(json!({"enable": true}), status)], &[])[0];
            assert_eq!(report.dependencies[0].state(), expected);
        }
    }

    #[test]
    fn the_stage_of_a_switch_is_read_off_the_sidecar() {
        let inert = json!({"bind": "127.0.0.1", "captureMode": "NONE", "hosts": ["*/b"],
            "port": {"number": 15999, "protocol": "HTTP_PROXY", "name": "lazyload-clusters"}});
        let mut wide = inert.clone();
        wide["hosts"] = json!(["*/*"]);
        let default = json!({"hosts": ["a/*"]});
        let cases = [
            (sidecar("u", json!([default])), Standing::Settled),
            (sidecar("u", json!([inert, default])), Standing::Switching),
            (sidecar("u", json!([wide, default])), Standing::Wide),
            (sidecar("another", json!([default])), Standing::Foreign),
        ];
        for (sidecar, expected) in cases {
            let report = &reports(&[fence(json!({"enable": true}), json!({}))], &[sidecar])[0];
            assert_eq!(report.sidecar, expected);
            assert_eq!(report.routed.is_empty(), expected == Standing::Foreign);
        }
    }
}

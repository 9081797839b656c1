//! `ServiceFence`: which workload is fenced, what it depends on, what was learned.
//! Source: seed "Support for adding static service dependencies", contract 1.9–1.11.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// What the user wants of one fence.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "microservice.slime.io",
    version = "v1alpha1",
    kind = "ServiceFence",
    plural = "servicefences",
    singular = "servicefence",
    shortname = "svf",
    doc = "A workload that is fenced: what it depends on, and what was learned of it",
    namespaced,
    status = "ServiceFenceStatus",
    printcolumn = r#"{"name": "Enabled", "type": "boolean", "jsonPath": ".spec.enable", "priority": 1}"#,
    printcolumn = r#"{"name": "Mode", "type": "string", "jsonPath": ".status.mode", "priority": 1}"#,
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status", "priority": 1}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].reason", "priority": 1}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct ServiceFenceSpec {
    /// Only `true` produces a Sidecar.
    #[serde(default)]
    pub enable: bool,
    /// Static dependencies: a host name (FQDN, short or external) or `NAMESPACE/*`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 20_000, "x-kubernetes-validations" = host_rules()))]
    pub host: BTreeMap<String, Option<Strategy>>,
    /// Services with these labels, in every namespace; entries are OR-ed, pairs within one entry AND-ed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub label_selector: Vec<ServiceSelector>,
    /// All services of these namespaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespace_selector: Vec<String>,
    /// Which workload the fence applies to; default: pods labelled `app: FENCE-NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_selector: Option<WorkloadSelector>,
}

/// How long a static dependency lasts. Nothing set, or `stable`, means forever.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Strategy {
    /// Never expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<Stable>,
    /// Expires at a point in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Deadline>,
    /// Deprecated: expires some time after `RecentlyCalled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto: Option<Auto>,
    /// Deprecated: the last call, for `auto`. The capital R is the original's spelling.
    #[serde(default, rename = "RecentlyCalled", skip_serializing_if = "Option::is_none")]
    pub recently_called: Option<Timestamp>,
}

/// Marks a dependency that never expires.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stable {}

/// A fixed end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Deadline {
    /// The dependency is expired once the clock has passed this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire: Option<Timestamp>,
}

/// An end relative to the last call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Auto {
    /// The dependency is expired once this much time has passed since `RecentlyCalled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Timestamp>,
}

/// Seconds since the Unix epoch, or a duration in seconds. The original writes 64-bit integers as JSON strings: both forms are read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Timestamp {
    /// Whole seconds.
    #[serde(default, deserialize_with = "integer_or_text")]
    #[schemars(schema_with = "seconds")]
    pub seconds: i64,
    /// Nanoseconds; ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nanos: Option<i32>,
}

/// One alternative of `labelSelector`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceSelector {
    /// Labels that a Service must all carry; an empty map selects nothing.
    #[serde(default)]
    pub selector: BTreeMap<String, String>,
}

/// Which pods the fence's Sidecar applies to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadSelector {
    /// Pod labels; if not empty they rule.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Take the selector of the Service with the fence's name.
    #[serde(default, skip_serializing_if = "is_false")]
    pub from_service: bool,
}

/// What the controller knows about one fence.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceFenceStatus {
    /// Dependency host (or `NAMESPACE/*`) to the hosts that it brings into the Sidecar.
    // Atomic: with a field manager's entry for each host, 5,000 hosts would not fit into the object.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub domains: BTreeMap<String, Destinations>,
    /// Evidence as learned: `{destination_service="HOST"}` to a count.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub metric_status: BTreeMap<String, String>,
    /// Deprecated reverse index of the original; read, never written.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub visitor: BTreeMap<String, bool>,
    /// How far the fence goes: `observe`, `recommend`, `waiting` until it is known well enough or, for now, `break-glass`. Absent: all the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Box<str>>,
    /// The EnvoyFilter by which the proxies of its pods tell what they call, without being rerouted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller_log: Option<Box<str>>,
    /// How well it is known what the pods of the fence call. Absent once nothing but its Sidecar is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Box<Coverage>>,
    /// Learned hosts that are not called, or were not once: as `domains` names them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub unused: Box<BTreeMap<String, Unused>>,
    /// How the fence is doing, one entry for each type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::condition::conditions")]
    pub conditions: Vec<Condition>,
    /// The `metadata.generation` that the controller has acted upon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// How well it is known what a workload calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    /// Since when it is observed.
    #[schemars(schema_with = "date_time")]
    pub since: Time,
    /// When the last host was learned that was new, and that the mesh knows. Absent: none since it is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub newest_host: Option<Time>,
    /// Pods that were seen calling since then: at least so many.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(schema_with = "count")]
    pub pods: u64,
    /// The CronJobs whose pods were seen calling: the first sixteen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cron_jobs: Vec<String>,
    /// Calls that its pods' own proxies told.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(schema_with = "count")]
    pub calls: u64,
    /// Those of them that would have gone through the global-sidecar, had the Sidecar been there that was recommended at that moment.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(schema_with = "count")]
    pub calls_to_fallback: u64,
}

/// How long a learned host was not called, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Unused {
    /// Since when it is out of the Sidecar, until its first call. Absent: it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub quarantined_since: Option<Time>,
    /// So many seconds without a call take it out. Time counts in which every proxy of the workload was heard.
    #[serde(default)]
    #[schemars(schema_with = "count")]
    pub lease_seconds: u64,
    /// So many of them have passed, in coarse steps.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(schema_with = "count")]
    pub for_seconds: u64,
    /// How often it was called after all, once it was out: each time doubles the lease, to sixteen times the first one.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(schema_with = "count")]
    pub false_expiries: u64,
}

/// What one dependency stands for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Destinations {
    /// The dependency itself, or the wildcard by which the mesh knows it, and what lies behind it; for `NAMESPACE/*` only the latter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Absent means active. The original has written names and numbers: both are read, names are written.
    #[serde(default, skip_serializing_if = "DomainStatus::is_active", deserialize_with = "domain_status")]
    #[schemars(schema_with = "int_or_string")]
    pub status: DomainStatus,
    /// The mesh does not know this learned host: it is not in the Sidecar, and calls go on through the global-sidecar.
    #[serde(default, skip_serializing_if = "is_false")]
    pub external: bool,
    /// The AuthorizationPolicies (`NAMESPACE/NAME`, the first eight) that allow this fence's workload by its name: imported before any call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
}

/// Life of a dependency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum DomainStatus {
    /// In the Sidecar.
    #[default]
    Active,
    /// Listed, but out of the Sidecar.
    Expire,
    /// No longer wanted; in the Sidecar for a grace time.
    ExpireWait,
}

impl DomainStatus {
    /// The zero value, which is not written.
    #[must_use]
    pub fn is_active(&self) -> bool {
        *self == Self::Active
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// What can never be a host. What Istio refuses besides is left out by the controller and told in a condition: an old entry of that kind
/// must not keep its user from adding a good one.
fn host_rules() -> serde_json::Value {
    serde_json::json!([
        {
            "rule": "self.all(host, size(host) > 0 && size(host) <= 317)",
            "message": "expected host names, or NAMESPACE/*, of 1 to 317 bytes: remove the empty or overlong key",
        },
        {
            "rule": "self.all(host, !host.contains(' '))",
            "message": "expected host names, or NAMESPACE/*, without spaces: remove the space from the key",
        },
    ])
}

/// Seconds as a number or as text, as the original writes 64-bit integers; never negative.
fn seconds(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-int-or-string": true, "minimum": 0, "pattern": "^[0-9]{1,18}$" })
}

fn date_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time" })
}

fn count(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int64", "minimum": 0 })
}

fn int_or_string(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-int-or-string": true })
}

#[derive(Deserialize)]
#[serde(untagged)]
enum IntegerOrText {
    Integer(i64),
    Text(String),
}

fn integer_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    match IntegerOrText::deserialize(deserializer)? {
        IntegerOrText::Integer(value) => Ok(value),
        IntegerOrText::Text(text) => {
            text.parse().map_err(|_| serde::de::Error::custom(format!("expected whole seconds, got {text:?}")))
        }
    }
}

fn domain_status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DomainStatus, D::Error> {
    let expected = "expected one of ACTIVE (0), EXPIRE (1), EXPIREWAIT (2)";
    let value = IntegerOrText::deserialize(deserializer)?;
    match value {
        IntegerOrText::Integer(0) => Ok(DomainStatus::Active),
        IntegerOrText::Integer(1) => Ok(DomainStatus::Expire),
        IntegerOrText::Integer(2) => Ok(DomainStatus::ExpireWait),
        IntegerOrText::Text(text) => match text.as_str() {
            "ACTIVE" | "" => Ok(DomainStatus::Active),
            "EXPIRE" => Ok(DomainStatus::Expire),
            "EXPIREWAIT" => Ok(DomainStatus::ExpireWait),
            other => Err(serde::de::Error::custom(format!("{expected}, got {other:?}"))),
        },
        IntegerOrText::Integer(other) => Err(serde::de::Error::custom(format!("{expected}, got {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_null_strategy_and_namespace_entries_are_read() {
        let spec: ServiceFenceSpec = serde_json::from_value(serde_json::json!({
            "enable": true,
            "host": {"reviews.default.svc.cluster.local": {"stable": null}, "test/*": {}, "x": null},
            "labelSelector": [{"selector": {"app": "details"}}],
        }))
        .unwrap();
        assert_eq!(spec.host.len(), 3);
        assert_eq!(spec.host["x"], None);
        assert_eq!(spec.label_selector[0].selector["app"], "details");
    }

    #[test]
    fn seconds_are_read_as_number_and_as_text() {
        for value in [serde_json::json!({"seconds": 7}), serde_json::json!({"seconds": "7"})] {
            assert_eq!(serde_json::from_value::<Timestamp>(value).unwrap().seconds, 7);
        }
        assert!(serde_json::from_value::<Timestamp>(serde_json::json!({"seconds": "soon"})).is_err());
    }

    #[test]
    fn an_active_domain_is_written_without_status_and_others_by_name() {
        let active = Destinations { hosts: vec!["a".into()], ..Destinations::default() };
        assert_eq!(serde_json::to_value(&active).unwrap(), serde_json::json!({"hosts": ["a"]}));
        let waiting = Destinations { status: DomainStatus::ExpireWait, ..Destinations::default() };
        assert_eq!(serde_json::to_value(&waiting).unwrap(), serde_json::json!({"status": "EXPIREWAIT"}));
    }

    #[test]
    fn a_domain_status_is_read_by_name_and_by_number() {
        for (value, expected) in [
            (serde_json::json!({"status": "EXPIREWAIT"}), DomainStatus::ExpireWait),
            (serde_json::json!({"status": 1}), DomainStatus::Expire),
            (serde_json::json!({}), DomainStatus::Active),
        ] {
            assert_eq!(serde_json::from_value::<Destinations>(value).unwrap().status, expected);
        }
        assert!(serde_json::from_value::<Destinations>(serde_json::json!({"status": 9})).is_err());
    }
}

//! The slice of Istio's AuthorizationPolicy that Lazyload reads: who may call which workloads.
//! Source: Istio API reference (security.istio.io).

use std::collections::BTreeMap;

use kube::CustomResource;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which callers a policy is about, and at which workloads.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "security.istio.io",
    version = "v1beta1",
    kind = "AuthorizationPolicy",
    plural = "authorizationpolicies",
    namespaced,
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizationPolicySpec {
    /// Workloads by their labels; without it, all of the namespace.
    #[serde(default)]
    pub selector: Option<PolicySelector>,
    /// What a gateway or a waypoint is attached to: such a policy is none of a sidecar's.
    #[serde(default)]
    pub target_ref: Option<Value>,
    /// The same, several.
    #[serde(default)]
    pub target_refs: Vec<Value>,
    /// `ALLOW` where it is empty.
    #[serde(default)]
    pub action: String,
    /// A request that one of them fits; none fits nothing.
    #[serde(default)]
    pub rules: Vec<PolicyRule>,
}

/// Workloads by their labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicySelector {
    /// Labels that a pod must all carry.
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
}

/// Callers, operations and conditions that must all fit; what is not there fits everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicyRule {
    /// Alternatives of callers.
    #[serde(default)]
    pub from: Vec<PolicyFrom>,
    /// Alternatives of operations.
    #[serde(default)]
    pub to: Vec<PolicyTo>,
    /// Conditions, all of them.
    #[serde(default)]
    pub when: Vec<PolicyCondition>,
}

/// One alternative of callers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicyFrom {
    /// The callers.
    #[serde(default)]
    pub source: PolicySource,
}

/// Callers; everything that is set must fit. What is not about a workload's identity (addresses, tokens) is not read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicySource {
    /// `TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT`, `*` at one end.
    #[serde(default)]
    pub principals: Vec<String>,
    /// Not these.
    #[serde(default)]
    pub not_principals: Vec<String>,
    /// `NAMESPACE/ACCOUNT`, or `ACCOUNT` of the policy's own namespace.
    #[serde(default)]
    pub service_accounts: Vec<String>,
    /// Not these.
    #[serde(default)]
    pub not_service_accounts: Vec<String>,
    /// Namespaces, with `*` for any letters.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// Not these.
    #[serde(default)]
    pub not_namespaces: Vec<String>,
}

/// One alternative of operations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicyTo {
    /// The operation.
    #[serde(default)]
    pub operation: PolicyOperation,
}

/// What is called; everything that is set must fit. Methods and paths are not read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicyOperation {
    /// Host headers, `*` at one end.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Ports of the workload.
    #[serde(default)]
    pub ports: Vec<String>,
}

/// A condition on one attribute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyCondition {
    /// The attribute, `source.principal` for example.
    #[serde(default)]
    pub key: String,
    /// One of these.
    #[serde(default)]
    pub values: Vec<String>,
    /// None of these.
    #[serde(default)]
    pub not_values: Vec<String>,
}

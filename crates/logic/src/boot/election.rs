//! What several controllers need besides: rights on their lease and on their pods' labels, and the original's Service of the leader.
//! Source: contract 5.2, 6.4.

use lazyload_api::names;
use serde_json::{Value, json};

use super::Installation;
use super::meta::{binding, merged, metadata, rule, set};

/// Rights in the controller's own namespace, on this lease; whoever gives them has them on any. Creation cannot be restricted to a name, nor
/// the pods to those of the Deployment.
pub(super) fn rules(lease: Option<&str>) -> Vec<Value> {
    let group = "coordination.k8s.io";
    let names = lease.map_or_else(|| json!({}), |lease| json!({"resourceNames": [lease]}));
    vec![
        rule(group, &["leases"], &["create"]),
        merged(&rule(group, &["leases"], &["get", "update"]), names),
        rule("", &["pods"], &["patch"]),
    ]
}

/// The role and its binding, where several controllers may run.
pub(super) fn role(installation: &Installation) -> Vec<Value> {
    let Some(lease) = &installation.settings.lease else { return Vec::new() };
    let name = &installation.settings.module_name;
    let metadata = metadata(&installation.namespace, name, json!({"app": name}));
    vec![
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": rules(Some(lease)),
        }),
        binding("Role", &metadata, &installation.namespace, name),
    ]
}

/// The controller's Service once more, for the leader's pod alone. Nothing of ours uses it: every replica takes access logs.
pub(super) fn leader_service(installation: &Installation, mut service: Value) -> Option<Value> {
    installation.settings.lease.as_ref()?;
    let name = &installation.settings.module_name;
    set(service.get_mut("metadata")?, "name", json!(format!("{name}-leader")));
    set(service.get_mut("spec")?, "selector", json!({"app": name, names::LEADER_LABEL: "true"}));
    Some(service)
}

//! Parts that several objects share.

use lazyload_api::names;
use serde_json::{Value, json};

/// Metadata of a namespaced object; `labels` is a map.
pub(super) fn metadata(namespace: &str, name: &str, labels: Value) -> Value {
    let labels = merged(&json!({names::PART_OF_LABEL: names::PART_OF}), labels);
    json!({"namespace": namespace, "name": name, "labels": labels})
}

/// Metadata of an object of the whole cluster.
pub(super) fn cluster_metadata(name: &str) -> Value {
    json!({"name": name, "labels": {names::PART_OF_LABEL: names::PART_OF}})
}

/// An object with the labels that tell whose it is.
pub(crate) fn labelled(mut object: Value, namespace: &str, name: &str) -> Value {
    let owner = json!({names::SLIME_BOOT_LABEL: name, names::SLIME_BOOT_NAMESPACE_LABEL: namespace});
    if let Some(metadata) = object.get_mut("metadata") {
        let labels = merged(metadata.get("labels").unwrap_or(&json!({})), owner);
        set(metadata, "labels", labels);
    }
    object
}

/// Two maps in one; on a key of both, `above` wins.
pub(super) fn merged(below: &Value, above: Value) -> Value {
    let mut merged = below.clone();
    if let (Value::Object(merged), Value::Object(above)) = (&mut merged, above) {
        merged.extend(above);
    }
    merged
}

/// Sets a field of a map.
pub(super) fn set(object: &mut Value, key: &str, value: Value) {
    if let Value::Object(map) = object {
        map.insert(key.to_owned(), value);
    }
}

/// Sets a field unless the value says nothing.
pub(super) fn set_if_any(object: &mut Value, key: &str, value: &Value) {
    let says_nothing = match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    if !says_nothing {
        set(object, key, value.clone());
    }
}

/// A binding of a role to one ServiceAccount. `kind` is `Role` or `ClusterRole`, and names the binding's kind too.
pub(super) fn binding(kind: &str, metadata: &Value, account_namespace: &str, account: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": format!("{kind}Binding"),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": metadata.get("name")},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": account_namespace}],
        "metadata": metadata,
    })
}

/// A rule on resources of one API group.
pub(super) fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": resources, "verbs": verbs})
}

/// An environment variable from a field of the pod.
pub(super) fn env_from_field(name: &str, field: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": field}}})
}

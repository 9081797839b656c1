//! The operator's own objects: what a user applies once, before the first SlimeBoot. Source: contract 5.1, 5.4.
//!
//! The operator has no right to grant more than it has: it holds the rights that it gives, built from the same lists, and neither
//! `escalate` nor `bind`.

use lazyload_api::names;
use serde_json::{Value, json};

use super::meta::{binding, cluster_metadata, merged, metadata, rule};
use super::{controller, crds, election, global_sidecar};

const NAME: &str = names::SLIME_BOOT_OPERATOR;
/// Any user but root.
const USER: u32 = 65532;
const OWN: &[&str] = &["create", "delete", "get", "list", "patch", "watch"];

/// The CRDs, the namespace, and the operator in it.
///
/// # Errors
/// A CRD cannot be written as JSON: a defect of the types, found by the golden test.
pub fn install_objects(namespace: &str, image: &str) -> Result<Vec<Value>, serde_json::Error> {
    let mut objects = crds()?;
    let labels = json!({"name": NAME});
    objects.extend([
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": cluster_metadata(namespace)}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(namespace, NAME, labels.clone())}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": cluster_metadata(NAME), "rules": rules(),
        }),
        binding("ClusterRole", &cluster_metadata(NAME), namespace, NAME),
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(namespace, NAME, labels.clone()),
            "spec": {
                "replicas": 1,
                // Two at once would do everything twice.
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": merged(&labels, json!({names::INJECT_LABEL: "false"}))},
                    "spec": {"serviceAccountName": NAME, "containers": [container(image)]},
                },
            },
        }),
    ]);
    Ok(objects)
}

fn container(image: &str) -> Value {
    let probe =
        |path: &str| json!({"httpGet": {"path": path, "port": "health"}, "periodSeconds": 5, "timeoutSeconds": 5});
    json!({
        "name": NAME,
        "image": image,
        "command": ["/lazyload", "boot"],
        "ports": [{"name": "health", "containerPort": 8081, "protocol": "TCP"}],
        "readinessProbe": probe("/modules/readyz"),
        "livenessProbe": probe("/modules/livez"),
        "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"cpu": "500m", "memory": "128Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true,
            "runAsGroup": USER, "runAsNonRoot": true, "runAsUser": USER, "seccompProfile": {"type": "RuntimeDefault"},
        },
    })
}

/// What the operator may do.
pub(super) fn rules() -> Vec<Value> {
    let mut rules = vec![
        rule("config.netease.com", &["slimeboots"], &["get", "list", "patch", "watch"]),
        rule("config.netease.com", &["slimeboots/status"], &["get", "patch"]),
        rule("", &["configmaps", "serviceaccounts", "services"], OWN),
        rule("apps", &["deployments"], OWN),
        rule("rbac.authorization.k8s.io", &["clusterrolebindings", "clusterroles", "rolebindings", "roles"], OWN),
        rule("networking.istio.io", &["destinationrules", "envoyfilters", "sidecars"], OWN),
        rule("networking.k8s.io", &["networkpolicies"], OWN),
        rule("events.k8s.io", &["events"], &["create", "patch"]),
    ];
    rules.extend(controller::base_rules());
    rules.extend(global_sidecar::rules());
    rules.extend(election::rules(None));
    rules
}

//! What the controller's pod may do on its node: what the Pod Security Standard `restricted` asks for, unless the user says otherwise.

use serde_json::{Value, json};

use super::Controller;
use super::meta::merged;

/// Any user but root.
const USER: u32 = 65532;

/// Of the pod; what the user says of it wins key by key. Volumes belong to the process' group, so that log files can be written.
pub(super) fn of_pod(controller: &Controller) -> Value {
    let mut security = json!({
        "fsGroup": USER, "fsGroupChangePolicy": "OnRootMismatch", "runAsGroup": USER, "runAsUser": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    // A user who asks for root must not be stopped by our default.
    let root = |context: &Value| context.get("runAsUser").is_some_and(|user| user == 0);
    if !root(&controller.pod_security_context) && !root(&controller.container_security_context) {
        security = merged(&security, json!({"runAsNonRoot": true}));
    }
    merged(&security, controller.pod_security_context.clone())
}

/// Of the container; likewise.
pub(super) fn of_container(controller: &Controller) -> Value {
    let security =
        json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true});
    merged(&security, controller.container_security_context.clone())
}

//! Which pods take mutual TLS alone, by Istio's PeerAuthentications. No decision depends on them and nobody watches them: who wants findings asks for
//! them once. Source: Istio, reference of PeerAuthentication.

use serde_json::Value;

use crate::index::selects;
use crate::types::Labels;

/// The PeerAuthentications of a mesh.
#[derive(Clone, Debug, Default)]
pub struct PeerAuthentications(Vec<Policy>);

#[derive(Clone, Debug)]
struct Policy {
    namespace: String,
    /// Empty for every pod of the namespace, or of the mesh.
    selector: Labels,
    /// Nothing where what is wider decides.
    strict: Option<bool>,
}

impl PeerAuthentications {
    /// Reads them as they are stored; what is malformed says nothing.
    #[must_use]
    pub fn of(objects: &[Value]) -> Self {
        Self(objects.iter().map(Policy::of).collect())
    }

    /// Whether pods of a namespace with these labels refuse plaintext. The narrowest that says anything decides.
    pub(super) fn are_strict(&self, namespace: &str, labels: &Labels, root_namespace: &str) -> bool {
        let of = |namespace: &str, selects: &dyn Fn(&Labels) -> bool| {
            let mut policies =
                self.0.iter().filter(|policy| policy.namespace == namespace && selects(&policy.selector));
            policies.find_map(|policy| policy.strict)
        };
        of(namespace, &|selector| selects(selector, labels))
            .or_else(|| of(namespace, &Labels::is_empty))
            .or_else(|| of(root_namespace, &Labels::is_empty))
            .unwrap_or(false)
    }
}

impl Policy {
    fn of(object: &Value) -> Self {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let pairs = object.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
        let pairs =
            pairs.into_iter().flatten().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
        // A port may be an exception, and which port of the pod a call arrives on is not looked at.
        let has_exceptions = object.pointer("/spec/portLevelMtls").is_some();
        let mode = text("/spec/mtls/mode").filter(|mode| *mode != "UNSET");
        Self {
            namespace: text("/metadata/namespace").unwrap_or_default().to_owned(),
            selector: pairs.collect(),
            strict: mode.map(|mode| mode == "STRICT" && !has_exceptions),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(namespace: &str, spec: &Value) -> Value {
        json!({"metadata": {"namespace": namespace, "name": "x"}, "spec": spec})
    }

    #[test]
    fn the_narrowest_policy_that_says_anything_decides() {
        let mesh = policy("istio-system", &json!({"mtls": {"mode": "STRICT"}}));
        let open = policy("open", &json!({"mtls": {"mode": "PERMISSIVE"}}));
        let of_db = policy("open", &json!({"selector": {"matchLabels": {"app": "db"}}, "mtls": {"mode": "STRICT"}}));
        let silent = policy("silent", &json!({"mtls": {"mode": "UNSET"}}));
        let ports = json!({"mtls": {"mode": "STRICT"}, "portLevelMtls": {"80": {"mode": "DISABLE"}}});
        let all = PeerAuthentications::of(&[mesh, open, of_db, silent, policy("ports", &ports)]);
        let strict = |namespace: &str, app: &str| {
            all.are_strict(namespace, &Labels::from([("app".to_owned(), app.to_owned())]), "istio-system")
        };
        assert!(strict("elsewhere", "a") && strict("silent", "a") && strict("open", "db"));
        assert!(!strict("open", "a") && !strict("ports", "a"));
        assert!(!PeerAuthentications::default().are_strict("a", &Labels::new(), "istio-system"));
    }
}

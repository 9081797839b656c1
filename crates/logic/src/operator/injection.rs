//! Namespaces whose label must ask for the proxy of their global-sidecar, because its pod does not (`sidecarInject.mode: namespace`).

use std::collections::BTreeMap;
use std::sync::Arc;

use lazyload_api::names;
use serde_json::Value;

use crate::boot::Installation;

/// What the labels of namespaces say about injection, while somebody wants to know; nothing before all were heard of.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    listed: bool,
    by_name: BTreeMap<Arc<str>, Injection>,
}

/// What a namespace's labels say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injection {
    /// Pods get a proxy.
    Wanted,
    /// They get none.
    Refused,
    /// Nothing is said.
    Unsaid,
}

impl Injection {
    /// Reads a Namespace. As in Istio's webhooks, `istio-injection` outranks the revision.
    #[must_use]
    pub fn of(namespace: &Value) -> Self {
        let labels = namespace.pointer("/metadata/labels");
        let label = |name: &str| labels.and_then(|labels| labels.get(name)).and_then(Value::as_str);
        match (label(names::NAMESPACE_INJECTION_LABEL), label(names::REVISION_LABEL)) {
            (Some("enabled"), _) => Self::Wanted,
            (Some("disabled"), _) => Self::Refused,
            (_, Some(revision)) if !revision.is_empty() => Self::Wanted,
            _ => Self::Unsaid,
        }
    }
}

impl Namespaces {
    /// What a namespace says now; nothing if it is gone.
    pub(super) fn says(&mut self, name: Arc<str>, injection: Option<Injection>) {
        match injection {
            Some(injection) => drop(self.by_name.insert(name, injection)),
            None => drop(self.by_name.remove(&name)),
        }
    }

    /// All were heard of.
    pub(super) fn listed(&mut self) {
        self.listed = true;
    }

    /// What the user of an installation should do, one line for each namespace.
    pub(super) fn warnings(&self, installation: &Installation) -> Vec<String> {
        if !self.listed || !installation.needs_injected_namespaces() {
            return Vec::new();
        }
        let warning = |name: &String| {
            let (why, fix) = match self.by_name.get(name.as_str())? {
                Injection::Wanted => return None,
                Injection::Refused => ("has the label istio-injection=disabled", " --overwrite"),
                Injection::Unsaid => ("has neither the label istio-injection=enabled nor istio.io/rev", ""),
            };
            Some(format!(
                "namespace {name} {why}, and sidecarInject.mode is namespace: unless the mesh injects everywhere, its global-sidecar starts \
                 without a proxy and serves nobody. Do: kubectl label namespace {name} istio-injection=enabled{fix} (or \
                 istio.io/rev=REVISION); then kubectl -n {name} rollout restart deployment/{}",
                names::GLOBAL_SIDECAR
            ))
        };
        installation.settings.namespaces.iter().filter_map(warning).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_namespace_asks_for_injection_as_istio_reads_it() {
        use Injection::{Refused, Unsaid, Wanted};
        for (labels, expected) in [
            (json!({}), Unsaid),
            (json!({"istio-injection": "enabled"}), Wanted),
            (json!({"istio-injection": "disabled", "istio.io/rev": "a"}), Refused),
            (json!({"istio.io/rev": "a"}), Wanted),
            (json!({"istio.io/rev": ""}), Unsaid),
            (json!({"istio-injection": "yes"}), Unsaid),
        ] {
            assert_eq!(Injection::of(&json!({"metadata": {"labels": labels}})), expected, "{labels}");
        }
    }
}

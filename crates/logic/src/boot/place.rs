//! Where global-sidecars stand and whose traffic they get. Source: contract 4.3, 4.5; seed S23–S25.

use super::Installation;
use crate::settings::GlobalSidecarMode;

/// One global-sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Namespace of its objects.
    pub namespace: String,
    /// Namespace of the EnvoyFilter that sends to it: Istio's root namespace reaches every proxy of the mesh, another one its own.
    pub filter_namespace: String,
    /// Namespace of every caller, if they share one.
    pub callers: Option<String>,
}

impl Installation {
    /// Whether the namespaces of the global-sidecars must ask for their proxies.
    #[must_use]
    pub fn needs_injected_namespaces(&self) -> bool {
        self.global_sidecar.as_ref().is_some_and(|sidecar| sidecar.injected_by_namespace)
    }
}

/// One for the mesh, or one for each namespace of the list.
pub(super) fn places(installation: &Installation) -> Vec<Place> {
    let settings = &installation.settings;
    match settings.mode {
        GlobalSidecarMode::Cluster => vec![Place {
            namespace: settings.global_sidecar_namespace().to_owned(),
            filter_namespace: installation.istio_namespace.clone(),
            callers: None,
        }],
        GlobalSidecarMode::Namespace => settings
            .namespaces
            .iter()
            .map(|name| Place { namespace: name.clone(), filter_namespace: name.clone(), callers: Some(name.clone()) })
            .collect(),
    }
}

//! In which namespaces there are automatic fences at all, before any label is asked. Source: contract 2.3 (scope gate) and D15.

use lazyload_api::names;

use crate::index::Index;
use crate::settings::{GlobalSidecarMode, Settings};
use crate::types::{Fence, Namespace, ObjectRef};

/// Namespaces of Kubernetes itself, fenced only if a Service asks for it.
const SYSTEM_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// Why a namespace has no automatic fences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmanaged {
    /// `general.blackNamespaceList`
    Black,
    /// `general.whiteNamespaceList`
    NotWhite,
    /// `general.managementSelectors`
    NotSelected,
    /// `general.namespace` in namespace mode.
    WithoutFallback,
}

impl Unmanaged {
    /// What follows the namespace's name in a sentence.
    #[must_use]
    pub fn clause(self) -> &'static str {
        match self {
            Self::Black => "is in general.blackNamespaceList",
            Self::NotWhite => "is not in general.whiteNamespaceList",
            Self::NotSelected => "is selected by none of general.managementSelectors",
            Self::WithoutFallback => "is not in general.namespace, so no global-sidecar serves it",
        }
    }
}

/// Why a namespace may have no automatic fences; nothing if it may: it is not listed black, listed white if there is such a list, selected by a
/// management selector if there are any, and served by a global-sidecar. One that was not heard of yet is selected by none.
#[must_use]
pub fn unmanaged(settings: &Settings, name: &str, namespace: Option<&Namespace>) -> Option<Unmanaged> {
    let listed = |list: &[String]| list.iter().any(|listed| listed == name);
    let selectors = &settings.management_selectors;
    let labels = namespace.map(|namespace| &namespace.labels);
    let selected = || labels.is_some_and(|labels| selectors.iter().any(|selector| selector.selects(labels)));
    if listed(&settings.black_namespaces) {
        Some(Unmanaged::Black)
    } else if settings.white_namespaces.as_deref().is_some_and(|list| !listed(list)) {
        Some(Unmanaged::NotWhite)
    } else if !selectors.is_empty() && !selected() {
        Some(Unmanaged::NotSelected)
    } else {
        (!has_fallback(settings, name)).then_some(Unmanaged::WithoutFallback)
    }
}

/// Whether unknown hosts of a fenced workload in this namespace have a global-sidecar to go to.
#[must_use]
pub fn has_fallback(settings: &Settings, namespace: &str) -> bool {
    settings.mode == GlobalSidecarMode::Cluster || settings.namespaces.iter().any(|listed| listed == namespace)
}

/// Whether somebody else looks after the fences of a namespace: another SlimeBoot's global-sidecar serves it, or one that is leaving, whose
/// operator takes the Sidecars away.
#[must_use]
pub fn is_anothers(settings: &Settings, namespace: &str, index: &Index) -> bool {
    let global_sidecar = || index.find_service(&ObjectRef::new(namespace, names::GLOBAL_SIDECAR));
    !has_fallback(settings, namespace) && global_sidecar().is_some()
}

/// Whether a fence could hide hosts from its pods, if its mode is to: it is switched on, and hosts that are hidden have a global-sidecar to go
/// to.
#[must_use]
pub fn may_hide(settings: &Settings, fence: &Fence) -> bool {
    fence.spec.enable && has_fallback(settings, &fence.id.namespace)
}

/// Whether a namespace belongs to Kubernetes, Istio or Lazyload.
#[must_use]
pub fn is_system(settings: &Settings, namespace: &str) -> bool {
    SYSTEM_NAMESPACES.contains(&namespace)
        || [settings.istio_namespace.as_str(), &settings.slime_namespace, settings.global_sidecar_namespace()]
            .contains(&namespace)
}

//! The kinds of objects that an installation is made of, in the order in which they can be deleted.

use lazyload_api::names;

/// A kind and where the API server has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindOf {
    /// As in a manifest.
    pub kind: &'static str,
    /// API group, empty for the core.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
}

impl KindOf {
    const fn new(kind: &'static str, group: &'static str, version: &'static str) -> Self {
        Self { kind, group, version }
    }
}

/// The SlimeBoot itself.
pub const BOOT_KIND: KindOf = KindOf::new("SlimeBoot", "config.netease.com", "v1alpha1");

const RBAC: &str = "rbac.authorization.k8s.io";
const ISTIO: &str = "networking.istio.io";

/// Everything that is made for a SlimeBoot: what sends traffic first, then what runs, then what it stands on.
pub const KINDS: &[KindOf] = &[
    KindOf::new("EnvoyFilter", ISTIO, "v1alpha3"),
    KindOf::new("Deployment", "apps", "v1"),
    KindOf::new("DestinationRule", ISTIO, "v1beta1"),
    KindOf::new("Sidecar", ISTIO, "v1beta1"),
    KindOf::new("Service", "", "v1"),
    KindOf::new("NetworkPolicy", "networking.k8s.io", "v1"),
    KindOf::new("ConfigMap", "", "v1"),
    KindOf::new("RoleBinding", RBAC, "v1"),
    KindOf::new("ClusterRoleBinding", RBAC, "v1"),
    KindOf::new("Role", RBAC, "v1"),
    KindOf::new("ClusterRole", RBAC, "v1"),
    KindOf::new("ServiceAccount", "", "v1"),
];

/// Kinds that declare ports: watched whole, with or without the label of a SlimeBoot, while ports are to be found.
pub const DECLARING: &[KindOf] = &[KindOf::new("Service", "", "v1"), KindOf::new("ServiceEntry", ISTIO, "v1beta1")];

/// Deployments of Istio's control plane, by the label `app`.
pub const ISTIOD: &str = "istiod";

/// Watched while the labels of some are to be known.
pub const NAMESPACE_KIND: KindOf = KindOf::new("Namespace", "", "v1");

/// Whether the objects of a kind belong to no namespace.
pub(super) fn is_of_the_cluster(kind: &str) -> bool {
    kind.starts_with("Cluster")
}

/// The kind of that name, with its place in the order.
pub(super) fn known(kind: &str) -> Option<(usize, &'static KindOf)> {
    KINDS.iter().enumerate().find(|(_, known)| known.kind == kind)
}

/// The labels by which objects of a SlimeBoot are known.
pub(super) const OWNER_LABELS: [&str; 2] = [names::SLIME_BOOT_LABEL, names::SLIME_BOOT_NAMESPACE_LABEL];

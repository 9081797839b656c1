//! Owns who is believed on the access-log port by its certificate, and when our own certificate is renewed.
//! Never reads a certificate: it gets URIs and times.
//! Next: `observation::identity` for the form of a URI; the binary's `identify` shows and checks certificates.

use std::time::Duration;

use lazyload_api::names;

use crate::observation::identity;
use crate::settings::{GlobalSidecarMode, Settings};

/// Shortest life that is left when a certificate is renewed, where its life allows it.
const NOT_BELOW: Duration = Duration::from_secs(60);

/// Who the other end of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The proxy of a global-sidecar.
    GlobalSidecar(Serves),
    /// A controller of the same account: another replica.
    Replica,
    /// The proxy of some workload, which speaks for that one alone.
    Workload,
}

/// Whose calls a global-sidecar answers, and may tell of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// Those of the whole mesh.
    Mesh,
    /// Those of its own namespace.
    OwnNamespace,
}

/// Whose access logs are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Believed {
    /// Namespaces with a global-sidecar.
    namespaces: Vec<String>,
    /// What each of them is believed about.
    serves: Serves,
    /// Workloads may tell what they call themselves.
    workloads: bool,
}

impl Default for Believed {
    /// Nobody.
    fn default() -> Self {
        Self { namespaces: Vec::new(), serves: Serves::OwnNamespace, workloads: false }
    }
}

impl Believed {
    /// By the settings: the global-sidecars that they stand for.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        let (namespaces, serves) = match settings.mode {
            GlobalSidecarMode::Cluster => (vec![settings.global_sidecar_namespace().to_owned()], Serves::Mesh),
            GlobalSidecarMode::Namespace => (settings.namespaces.clone(), Serves::OwnNamespace),
        };
        Self { namespaces, serves, workloads: settings.caller_logs.is_some() }
    }

    /// Who somebody is whose certificate, which the mesh's authorities have signed, has this SPIFFE URI; `None` if he is nobody to be believed.
    /// `own` is our own URI: a mesh that has authorities in common with ours is another trust domain.
    #[must_use]
    pub fn peer(&self, uri: &str, own: &str) -> Option<Peer> {
        if uri == own {
            return Some(Peer::Replica);
        }
        let (theirs, ours) = (trust_domain(uri)?, trust_domain(own)?);
        let it = identity::parse(uri)?;
        if theirs != ours {
            return None;
        }
        let is_global_sidecar =
            it.account == names::GLOBAL_SIDECAR && self.namespaces.iter().any(|namespace| namespace == it.namespace);
        if is_global_sidecar {
            return Some(Peer::GlobalSidecar(self.serves));
        }
        self.workloads.then_some(Peer::Workload)
    }
}

fn trust_domain(uri: &str) -> Option<&str> {
    uri.strip_prefix("spiffe://")?.split('/').next()
}

/// How long a certificate is used that is valid for so long from now on, and was so for `passed` already: up to half of its life, so that there is
/// as much again for an authority that is away.
#[must_use]
pub fn use_for(passed: Duration, left: Duration) -> Duration {
    let half = (passed + left) / 2;
    half.saturating_sub(passed).max(NOT_BELOW.min(left / 2))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::settings::{Context, resolve};

    const OWN: &str = "spiffe://cluster.local/ns/mesh-operator/sa/lazyload";

    fn believed(entry: &Value) -> Believed {
        Believed::of(&resolve(entry, &Context::default()).unwrap().settings)
    }

    #[test]
    fn in_cluster_mode_the_one_global_sidecar_is_believed_and_ourselves_and_nobody_else() {
        let believed = believed(&json!({}));
        let peer = |uri: &str| believed.peer(uri, OWN);
        assert_eq!(
            peer("spiffe://cluster.local/ns/mesh-operator/sa/global-sidecar"),
            Some(Peer::GlobalSidecar(Serves::Mesh))
        );
        assert_eq!(peer(OWN), Some(Peer::Replica));
        for uri in [
            "spiffe://cluster.local/ns/default/sa/global-sidecar",
            "spiffe://cluster.local/ns/mesh-operator/sa/default",
            "spiffe://cluster.local/ns/mesh-operator/sa/lazyload-2",
            "spiffe://other.mesh/ns/mesh-operator/sa/global-sidecar",
            "spiffe://other.mesh/ns/mesh-operator/sa/lazyload",
            "spiffe://cluster.local/ns/mesh-operator/sa/global-sidecar/more",
            "spiffe://cluster.local.evil/ns/mesh-operator/sa/global-sidecar",
            "https://cluster.local/ns/mesh-operator/sa/global-sidecar",
            "",
        ] {
            assert_eq!(peer(uri), None, "{uri}");
        }
    }

    #[test]
    fn where_callers_tell_what_they_call_every_workload_of_the_mesh_may_speak_for_itself() {
        let believed = believed(&json!({"general": {"callerLogs": "on"}}));
        let peer = |uri: &str| believed.peer(uri, OWN);
        assert_eq!(peer("spiffe://cluster.local/ns/default/sa/web"), Some(Peer::Workload));
        assert_eq!(peer("spiffe://cluster.local/ns/default/sa/global-sidecar"), Some(Peer::Workload));
        assert_eq!(
            peer("spiffe://cluster.local/ns/mesh-operator/sa/global-sidecar"),
            Some(Peer::GlobalSidecar(Serves::Mesh))
        );
        assert_eq!(peer(OWN), Some(Peer::Replica));
        for uri in ["spiffe://other.mesh/ns/default/sa/web", "spiffe://cluster.local/web", ""] {
            assert_eq!(peer(uri), None, "{uri}");
        }
    }

    #[test]
    fn the_global_sidecar_may_be_in_another_namespace_than_the_controller() {
        let believed = believed(&json!({"general": {"clusterGsNamespace": "gateways"}}));
        let peer =
            |namespace: &str| believed.peer(&format!("spiffe://cluster.local/ns/{namespace}/sa/global-sidecar"), OWN);
        assert_eq!((peer("gateways"), peer("mesh-operator")), (Some(Peer::GlobalSidecar(Serves::Mesh)), None));
    }

    #[test]
    fn in_namespace_mode_those_of_the_listed_namespaces_are_believed_each_about_its_own() {
        let believed = believed(&json!({"general": {"globalSidecarMode": "namespace", "namespace": ["a", "b"]}}));
        let peer =
            |namespace: &str| believed.peer(&format!("spiffe://cluster.local/ns/{namespace}/sa/global-sidecar"), OWN);
        assert_eq!(peer("a"), Some(Peer::GlobalSidecar(Serves::OwnNamespace)));
        assert_eq!(peer("b"), Some(Peer::GlobalSidecar(Serves::OwnNamespace)));
        assert_eq!(peer("mesh-operator"), None);
    }

    #[test]
    fn a_certificate_is_used_up_to_half_of_its_life() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        assert_eq!(use_for(hours(0), hours(24)), hours(12));
        assert_eq!(use_for(hours(8), hours(16)), hours(4));
        assert_eq!(use_for(hours(20), hours(4)), Duration::from_secs(60), "at once, but not without a pause");
        assert_eq!(use_for(hours(1), Duration::from_secs(10)), Duration::from_secs(5));
        assert_eq!(use_for(hours(1), Duration::ZERO), Duration::ZERO);
    }
}

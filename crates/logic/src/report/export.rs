//! Fences and Sidecars as files to keep: for Git, or for a cluster without lazyload.

use std::collections::BTreeSet;

use lazyload_api::names;
use lazyload_api::service_fence::{DomainStatus, ServiceFenceSpec};
use serde_json::{Value, json};

use super::fence::{Dependency, dependencies};
use crate::fence::switch::{EVERYTHING, Form, next_port};
use crate::manifest;
use crate::types::{Fence, Labels, ObjectRef, Sidecar};

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exported {
    /// Fences whose `spec.host` holds what was learned too.
    Fences,
    /// Sidecars of fences, owned by nobody.
    Sidecars,
}

/// The objects, in order of namespace and name: what a user would have written, without what the API server adds.
#[must_use]
pub fn export(what: Exported, fences: &[Fence], sidecars: &[Sidecar]) -> Vec<Value> {
    let mut objects: Vec<(&ObjectRef, Value)> = match what {
        Exported::Fences => fences.iter().map(|fence| (&fence.id, self::fence(fence))).collect(),
        Exported::Sidecars => {
            let ours = sidecars.iter().filter(|sidecar| sidecar.owner_uid.is_some() && !sidecar.is_leaving());
            ours.filter_map(|sidecar| Some((&sidecar.id, self::sidecar(sidecar)?))).collect()
        }
    };
    objects.sort_by_key(|(id, _)| *id);
    objects.into_iter().map(|(_, object)| object).collect()
}

fn fence(fence: &Fence) -> Value {
    let mut spec: ServiceFenceSpec = fence.spec.clone();
    // One that the mesh does not know would be refused in a Sidecar, and is learned again if it is called.
    let kept = |it: &Dependency| it.evidence.is_some() && !it.external && it.status == DomainStatus::Active;
    for dependency in dependencies(fence).into_iter().filter(kept) {
        spec.host.entry(dependency.host).or_insert_with(|| Some(Default::default()));
    }
    json!({
        "apiVersion": names::FENCE_API_VERSION, "kind": names::FENCE_KIND,
        "metadata": {"namespace": &*fence.id.namespace, "name": &*fence.id.name},
        "spec": spec,
    })
}

/// With the routes that it has or is about to have; nothing for one that imports everything for a moment.
fn sidecar(sidecar: &Sidecar) -> Option<Value> {
    let form = Form::of(&sidecar.spec);
    let hosts: BTreeSet<&str> =
        form.routed.union(&form.announced).copied().filter(|host| *host != EVERYTHING).collect();
    let hosts = Some(hosts).filter(|hosts| !hosts.is_empty())?;
    let mut spec = sidecar.spec.clone();
    spec.egress = Form::settled(hosts).egress(next_port(None));
    Some(manifest::sidecar(&sidecar.id, None, &Labels::new(), &spec, None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert;
    use crate::types::Object;

    #[test]
    fn what_was_learned_becomes_what_is_declared_and_nothing_of_the_servers_stays() {
        let object = json!({
            "apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence",
            "metadata": {"namespace": "default", "name": "a", "uid": "u", "resourceVersion": "7", "labels": {"app.kubernetes.io/created-by": "fence-controller"}},
            "spec": {"enable": true, "host": {"old.default.svc.cluster.local": {"stable": {}}}},
            "status": {
                "domains": {
                    "b.default.svc.cluster.local": {"hosts": ["b.default.svc.cluster.local"]},
                    "gone.default.svc.cluster.local": {"hosts": ["gone.default.svc.cluster.local"], "status": "EXPIREWAIT"},
                    "e.example": {"external": true},
                },
                "metricStatus": {
                    "{destination_service=\"b\"}": "1", "{destination_service=\"e.example\"}": "1",
                    "{destination_service=\"gone.default.svc.cluster.local\"}": "1",
                },
            },
        });
        let Some(Object::Fence(fence)) = convert::object(&object).unwrap() else { panic!("a fence") };
        assert_eq!(
            export(Exported::Fences, &[fence], &[]),
            [json!({
                "apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence",
                "metadata": {"namespace": "default", "name": "a"},
                "spec": {"enable": true, "host": {"b.default.svc.cluster.local": {}, "old.default.svc.cluster.local": {"stable": {}}}},
            })]
        );
    }

    #[test]
    fn a_sidecar_under_way_is_exported_as_it_will_be_and_foreign_ones_are_not() {
        let sidecar = |name: &str, owner: &str| {
            let object = json!({
                "apiVersion": "networking.istio.io/v1", "kind": "Sidecar",
                "metadata": {"namespace": "default", "name": name, "uid": "s", "ownerReferences": [
                    {"apiVersion": "microservice.slime.io/v1alpha1", "kind": owner, "name": name, "uid": "u", "controller": true},
                ]},
                "spec": {
                    "workloadSelector": {"labels": {"app": name}}, "outboundTrafficPolicy": {"mode": "ALLOW_ANY"},
                    "egress": [
                        {"hosts": ["*/b"], "bind": "127.0.0.1", "captureMode": "NONE",
                            "port": {"number": 15999, "protocol": "HTTP_PROXY", "name": "lazyload-clusters"}},
                        {"hosts": ["istio-system/*"]},
                    ],
                },
            });
            match convert::object(&object).unwrap() {
                Some(Object::Sidecar(sidecar)) => sidecar,
                other => panic!("{other:?}"),
            }
        };
        let exported = export(Exported::Sidecars, &[], &[sidecar("a", "ServiceFence"), sidecar("b", "Deployment")]);
        assert_eq!(
            exported,
            [json!({
                "apiVersion": "networking.istio.io/v1beta1", "kind": "Sidecar", "metadata": {"namespace": "default", "name": "a"},
                "spec": {
                    "workloadSelector": {"labels": {"app": "a"}}, "outboundTrafficPolicy": {"mode": "ALLOW_ANY"},
                    "egress": [{"hosts": ["*/b", "istio-system/*"]}],
                },
            })]
        );
    }
}

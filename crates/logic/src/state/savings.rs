//! What fences save: how much of the mesh their proxies have to keep with their Sidecars, and without. Counted from what is declared; only the
//! memory is an estimate, and a range for that.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::State;
use super::explain::covers::names;
use crate::fence::enrollment::decide;
use crate::fence::scope::may_hide;
use crate::fence::sidecar::{desired_hosts, workload_labels};
use crate::fence::switch::{EVERYTHING, Form};
use crate::index::{Declared, Load};
use crate::types::{Fence, Labels, ObjectRef, Sidecar};

/// Kilobytes of Envoy's memory for one cluster, at least and at most. Source: envoyproxy/envoy#4196, #15231, #18376.
const CLUSTER_KILOBYTES: (u64, u64) = (45, 75);
/// Endpoints that take one kilobyte. Source: envoyproxy/envoy#15231.
const ENDPOINTS_OF_A_KILOBYTE: u64 = 4;

/// What all fences save.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Savings {
    /// Fences, and Services that would have one, in order of their names.
    pub workloads: Vec<Saving>,
    /// Their pods together.
    pub pods: usize,
    /// What is saved in all of these pods.
    pub saved: Kilobytes,
}

impl Savings {
    fn sum(workloads: Vec<Saving>) -> Self {
        let pods = workloads.iter().map(|saving| saving.pods).sum();
        let saved = workloads.iter().fold(Kilobytes::default(), |sum, saving| sum.and(saving.saved));
        Self { workloads, pods, saved }
    }

    /// Those of one namespace.
    #[must_use]
    pub fn of(mut self, namespace: &str) -> Self {
        self.workloads.retain(|saving| saving.namespace == namespace);
        Self::sum(self.workloads)
    }
}

/// What one fence saves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Saving {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What is known of its Sidecar.
    pub basis: Basis,
    /// Pods that it is for.
    pub pods: usize,
    /// What each proxy keeps with the Sidecar.
    pub with: Load,
    /// What each proxy keeps without it.
    pub without: Load,
    /// What is saved in one proxy.
    pub saved_per_proxy: Kilobytes,
    /// What is saved in all of these pods.
    pub saved: Kilobytes,
}

/// What is known of a Sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// It is there.
    Sidecar,
    /// It follows from what the fence depends on so far.
    Fence,
    /// There is no fence yet: it follows from the settings, as before the first call.
    Service,
}

/// An estimate of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Kilobytes {
    /// At least.
    pub low: u64,
    /// At most.
    pub high: u64,
}

impl Kilobytes {
    fn of(load: Load) -> Self {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let endpoints = number(load.endpoints) / ENDPOINTS_OF_A_KILOBYTE;
        let of = |each: u64| number(load.clusters).saturating_mul(each).saturating_add(endpoints);
        Self { low: of(CLUSTER_KILOBYTES.0), high: of(CLUSTER_KILOBYTES.1) }
    }

    fn times(self, count: usize) -> Self {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        Self { low: self.low.saturating_mul(count), high: self.high.saturating_mul(count) }
    }

    fn and(self, other: Self) -> Self {
        Self { low: self.low.saturating_add(other.low), high: self.high.saturating_add(other.high) }
    }
}

/// What is declared, by what entries of Sidecars ask for.
struct Catalogue<'a> {
    all: Vec<&'a Declared<'a>>,
    by_host: BTreeMap<&'a str, Vec<&'a Declared<'a>>>,
    by_namespace: BTreeMap<&'a str, Vec<&'a Declared<'a>>>,
}

impl<'a> Catalogue<'a> {
    fn of(declared: &'a [Declared<'a>]) -> Self {
        let mut catalogue =
            Self { all: declared.iter().collect(), by_host: BTreeMap::new(), by_namespace: BTreeMap::new() };
        for one in declared {
            catalogue.by_host.entry(&one.host).or_default().push(one);
            catalogue.by_namespace.entry(one.namespace).or_default().push(one);
        }
        catalogue
    }

    /// What a proxy of a namespace keeps whose Sidecar has these entries.
    fn load<'b>(&self, entries: impl Iterator<Item = &'b str>, namespace: &str) -> Load {
        let mut seen: BTreeSet<&Declared<'_>> = BTreeSet::new();
        for (of, name) in entries.filter_map(|entry| entry.split_once('/')) {
            let candidates = match (of, name) {
                ("~", _) => None,
                ("*", name) if name.starts_with('*') => Some(&self.all),
                ("*", name) => self.by_host.get(name),
                (".", _) => self.by_namespace.get(namespace),
                (of, _) => self.by_namespace.get(of),
            };
            let candidates = candidates.into_iter().flatten().filter(|one| names(name, &one.host));
            seen.extend(candidates.filter(|one| one.is_exported_to(namespace)));
        }
        seen.into_iter().fold(Load::default(), |sum, one| sum + one.load)
    }
}

impl State {
    /// What fences save, and Services that would have one.
    #[must_use]
    pub fn savings(&self) -> Savings {
        let declared: Vec<Declared<'_>> = self.index.declared().collect();
        let catalogue = Catalogue::of(&declared);
        let mut without: BTreeMap<String, Load> = BTreeMap::new();
        let mut workloads = Vec::new();
        for (id, labels, basis, entries) in self.candidates() {
            let namespace = &*id.namespace;
            let with = catalogue.load(entries.iter().map(String::as_str), namespace);
            let without = *without
                .entry(namespace.to_owned())
                .or_insert_with(|| catalogue.load(self.entries_without(namespace).into_iter(), namespace));
            let less = Load {
                clusters: without.clusters.saturating_sub(with.clusters),
                endpoints: without.endpoints.saturating_sub(with.endpoints),
            };
            let pods = self.index.count_pods(namespace, &labels);
            let saved_per_proxy = Kilobytes::of(less);
            let saved = saved_per_proxy.times(pods);
            let (namespace, name) = (namespace.to_owned(), id.name.to_string());
            workloads.push(Saving { namespace, name, basis, pods, with, without, saved_per_proxy, saved });
        }
        workloads.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        Savings::sum(workloads)
    }

    /// Whose Sidecar there is or would be, for which pods, and its entries.
    fn candidates(&self) -> Vec<(ObjectRef, Labels, Basis, Vec<String>)> {
        let fences = self.index.fences().filter(|fence| !fence.deleting).filter_map(|fence| self.of_fence_now(fence));
        let unfenced = self.index.services().filter(|service| {
            let namespace = self.index.find_namespace(&service.id.namespace);
            self.index.find_fence(&service.id).is_none() && decide(&self.settings, service, namespace).is_enrolled()
        });
        let unfenced = unfenced.map(|service| {
            let entries = desired_hosts(&self.settings, &service.id, &BTreeMap::new());
            (service.id.clone(), service.selector.clone(), Basis::Service, entries.into_iter().collect())
        });
        fences.chain(unfenced).collect()
    }

    /// `None` for a fence that hides nothing.
    fn of_fence_now(&self, fence: &Fence) -> Option<(ObjectRef, Labels, Basis, Vec<String>)> {
        let labels = workload_labels(&self.settings, fence, &self.index)?;
        let (basis, entries) = match self.sidecar_of(fence) {
            Some(sidecar) => (Basis::Sidecar, entries(sidecar).into_iter().map(str::to_owned).collect()),
            None if may_hide(&self.settings, fence) => {
                let entries = desired_hosts(&self.settings, &fence.id, &fence.status.domains);
                (Basis::Fence, entries.into_iter().collect())
            }
            None => return None,
        };
        Some((fence.id.clone(), labels, basis, entries))
    }

    /// What rules the pods of a namespace that no Sidecar selects: a user's for the namespace, or for the mesh, or nothing.
    fn entries_without(&self, namespace: &str) -> BTreeSet<&str> {
        let of = |namespace: &str| {
            self.index.sidecars().find(|sidecar| {
                &*sidecar.id.namespace == namespace
                    && sidecar.spec.workload_selector.as_ref().is_none_or(|selector| selector.labels.is_empty())
            })
        };
        let default = of(namespace).or_else(|| of(&self.settings.istio_namespace));
        default.map_or_else(|| BTreeSet::from([EVERYTHING]), entries)
    }
}

/// Hosts of a Sidecar whose clusters a proxy has, routed or not.
fn entries(sidecar: &Sidecar) -> BTreeSet<&str> {
    let form = Form::of(&sidecar.spec);
    form.routed.union(&form.announced).copied().collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::convert;
    use crate::settings::{Context, resolve};
    use crate::state::Event;
    use crate::types::{Kind, Now};

    fn savings(general: &Value, objects: &[Value]) -> Savings {
        let now = Now { monotonic: Duration::from_secs(1), unix_seconds: 1 };
        let (mut state, _) = State::new(resolve(&json!({"general": general}), &Context::default()).unwrap().settings);
        for object in objects {
            state.on(Event::Applied(Box::new(convert::object(object).unwrap().unwrap())), now);
        }
        for kind in Kind::ALL {
            state.on(Event::Listed(kind), now);
        }
        state.savings()
    }

    fn object(kind: &str, namespace: &str, name: &str, spec: &Value) -> Value {
        let group = match kind {
            "Service" | "Pod" => "v1",
            "ServiceFence" => "microservice.slime.io/v1alpha1",
            _ => "networking.istio.io/v1",
        };
        json!({"apiVersion": group, "kind": kind, "metadata": {"namespace": namespace, "name": name, "labels": {"app": name}}, "spec": spec})
    }

    fn service(namespace: &str, name: &str, ports: &[&str]) -> Value {
        let ports: Vec<Value> = ports.iter().map(|protocol| json!({"port": 80, "protocol": protocol})).collect();
        object("Service", namespace, name, &json!({"selector": {"app": name}, "ports": ports}))
    }

    /// Two pods of `a`, one of each other Service; one host outside, seen in its own namespace only.
    fn mesh() -> Vec<Value> {
        let mut objects = vec![
            service("shop", "a", &["TCP"]),
            service("shop", "b", &["TCP", "TCP", "UDP"]),
            service("bank", "c", &["TCP"]),
            service("istio-system", "istiod", &["TCP", "TCP", "TCP"]),
            object(
                "Service",
                "shop",
                "outer",
                &json!({"type": "ExternalName", "externalName": "x.example", "ports": [{"port": 80}]}),
            ),
            object(
                "ServiceEntry",
                "bank",
                "own",
                &json!({"hosts": ["x.example"], "ports": [{"number": 443, "protocol": "TLS"}], "exportTo": ["."]}),
            ),
        ];
        for name in ["a", "b"] {
            objects.push(object("Pod", "shop", name, &json!({"containers": []})));
        }
        let mut second = object("Pod", "shop", "a", &json!({"containers": []}));
        second["metadata"]["name"] = json!("a-2");
        objects.push(second);
        objects
    }

    fn fence(name: &str, domains: &Value) -> Value {
        let mut fence =
            object("ServiceFence", "shop", name, &json!({"enable": true, "workloadSelector": {"fromService": true}}));
        fence["status"] = json!({"domains": domains});
        fence
    }

    #[test]
    fn a_fence_saves_what_its_sidecar_does_not_show_of_what_is_exported_to_it() {
        let mut objects = mesh();
        let host = "b.shop.svc.cluster.local";
        objects.push(fence("a", &json!({host: {"hosts": [host]}})));
        let told = savings(&json!({}), &objects);
        let [of_a] = &told.workloads[..] else { panic!("{told:?}") };
        assert_eq!((of_a.basis, of_a.pods), (Basis::Fence, 2));
        // b has two ports without UDP, istiod three; a and c one each. The host outside is not exported to shop, the alias has no cluster.
        assert_eq!(of_a.with, Load { clusters: 5, endpoints: 2 });
        assert_eq!(of_a.without, Load { clusters: 7, endpoints: 4 });
        assert_eq!(of_a.saved_per_proxy, Kilobytes { low: 90, high: 150 });
        assert_eq!((told.pods, told.saved), (2, Kilobytes { low: 180, high: 300 }));
    }

    #[test]
    fn a_sidecar_that_is_there_counts_as_it_is_with_clusters_that_are_only_announced() {
        let mut objects = mesh();
        objects.push(fence("a", &json!({})));
        let egress = json!([
            {"hosts": ["bank/*"], "bind": "127.0.0.1", "captureMode": "NONE", "port": {"number": 15999, "protocol": "HTTP_PROXY", "name": "lazyload-clusters"}},
            {"hosts": ["./b.shop.svc.cluster.local", "*/*.istio-system.svc.cluster.local"]},
        ]);
        objects.push(object(
            "Sidecar",
            "shop",
            "a",
            &json!({"workloadSelector": {"labels": {"app": "a"}}, "egress": egress}),
        ));
        let told = savings(&json!({}), &objects);
        assert_eq!((told.workloads[0].basis, told.workloads[0].with.clusters), (Basis::Sidecar, 2 + 3 + 1));
    }

    #[test]
    fn a_service_that_would_have_a_fence_saves_all_but_what_every_sidecar_shows() {
        let mut objects = mesh();
        let namespaces = ["shop", "bank"];
        objects.extend(
            namespaces.map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})),
        );
        let told = savings(&json!({"autoFence": true, "defaultFence": true}), &objects);
        let names: Vec<&str> = told.workloads.iter().map(|saving| saving.name.as_str()).collect();
        assert_eq!(names, ["c", "a", "b"]);
        assert!(told.workloads.iter().all(|saving| saving.basis == Basis::Service && saving.with.clusters == 3));
        // In its own namespace the host outside is known.
        assert_eq!((told.workloads[0].without.clusters, told.workloads[0].saved), (8, Kilobytes::default()));
    }

    #[test]
    fn where_a_users_sidecar_rules_the_namespace_only_what_that_shows_can_be_saved() {
        let mut objects = mesh();
        objects.push(fence("a", &json!({})));
        objects.push(object(
            "Sidecar",
            "istio-system",
            "default",
            &json!({"egress": [{"hosts": ["./*", "istio-system/*"]}]}),
        ));
        assert_eq!(savings(&json!({}), &objects).workloads[0].without.clusters, 6);
    }

    #[test]
    fn a_fence_that_hides_nothing_is_not_told() {
        let mut objects = mesh();
        let mut off = fence("a", &json!({}));
        off["spec"]["enable"] = json!(false);
        objects.push(off);
        assert_eq!(savings(&json!({}), &objects).workloads, []);
    }
}

//! What follows for a fence from AuthorizationPolicies that name its workload: their hosts are imported before any call, because on the way
//! through the global-sidecar a call would carry the global-sidecar's identity. Reasons and bounds: docs/adr/0024.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::completion::service_host;
use super::interest::Interest;
use crate::index::Index;
use crate::policy::{Peer, Policy, Rule};
use crate::types::{Labels, ObjectRef, Service};

/// Hosts and namespaces that policies bring into one fence.
pub const MOST: usize = 1000;

/// Who the pods of a fence are by their certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identities {
    namespace: Arc<str>,
    /// One that is empty is not known: there are no pods.
    accounts: BTreeSet<Arc<str>>,
}

impl Identities {
    /// Those of the pods of a namespace that have these labels; `None` where the labels are not known.
    #[must_use]
    pub fn of(namespace: &Arc<str>, workload: Option<&Labels>, index: &Index) -> Self {
        let mut accounts = workload.map(|labels| index.accounts(namespace, labels)).unwrap_or_default();
        if accounts.is_empty() {
            accounts.insert(Arc::default());
        }
        Self { namespace: namespace.clone(), accounts }
    }

    /// Each of them.
    pub fn peers(&self) -> impl Iterator<Item = Peer<'_>> {
        self.accounts.iter().map(|account| Peer { namespace: &self.namespace, account })
    }

    /// Whether there are no pods to ask.
    #[must_use]
    pub fn are_unknown(&self) -> bool {
        self.accounts.iter().all(|account| account.is_empty())
    }
}

/// What policies bring into a fence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Named {
    /// Hosts, and `NAMESPACE/*`, each with the policies that bring it.
    pub dependencies: BTreeMap<String, BTreeSet<ObjectRef>>,
    /// Policies that name the fence's workload for the whole mesh: they bring nothing.
    pub mesh_wide: BTreeSet<ObjectRef>,
    /// What is beyond [`MOST`].
    pub left_out: usize,
    /// Everything that was looked at.
    pub interest: Interest,
}

/// What the policies that name these identities bring; `workload` is where they are from.
#[must_use]
pub fn named_by_policies(identities: &Identities, workload: Option<&Labels>, index: &Index) -> Named {
    let mut named = Named::default();
    if let Some(workload) = workload {
        named.interest.watch_pods(Some(&identities.namespace), workload);
    }
    for (id, policy) in index.policies_naming(&identities.namespace) {
        let is_naming = |rule: &&Rule| identities.peers().any(|peer| rule.names(&peer));
        let rules: Vec<&Rule> = policy.rules.iter().filter(is_naming).collect();
        if !rules.is_empty() {
            named.add(id, policy, &rules, index);
        }
    }
    named
}

impl Named {
    fn add(&mut self, id: &ObjectRef, policy: &Policy, rules: &[&Rule], index: &Index) {
        let services: BTreeSet<&Service> = match (policy.selector.is_empty(), index.is_mesh_wide(id)) {
            (true, true) => {
                self.mesh_wide.insert(id.clone());
                return;
            }
            (true, false) => {
                self.interest.namespaces.insert(id.namespace.clone());
                if rules.iter().any(|rule| rule.is_about_all()) {
                    return self.depend(format!("{}/*", id.namespace), id);
                }
                index.services_in(&id.namespace).collect()
            }
            (false, is_mesh_wide) => {
                let namespace = (!is_mesh_wide).then_some(&id.namespace);
                self.interest.watch_pods(namespace, &policy.selector);
                index.services_protected_by(id, policy)
            }
        };
        for service in services {
            let host = service_host(&service.id);
            self.interest.hosts.insert(host.clone());
            if rules.iter().any(|rule| rule.may_be_about(service)) {
                self.depend(host, id);
            }
        }
    }

    fn depend(&mut self, dependency: String, policy: &ObjectRef) {
        if self.dependencies.len() >= MOST && !self.dependencies.contains_key(&dependency) {
            self.left_out += 1;
            return;
        }
        self.dependencies.entry(dependency).or_default().insert(policy.clone());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::convert;

    fn index(objects: &[Value]) -> Index {
        let mut index = Index::default();
        index.set_root_namespace("istio-system");
        for object in objects {
            index.apply(convert::object(object).unwrap().unwrap());
        }
        index
    }

    fn service(namespace: &str, name: &str, selector: &Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": namespace, "name": name},
            "spec": {"selector": selector, "ports": [{"port": 80, "targetPort": 8080}]}})
    }

    fn pod(namespace: &str, name: &str, labels: &Value, account: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": namespace, "name": name, "labels": labels},
            "spec": {"containers": [], "serviceAccountName": account}})
    }

    fn policy(namespace: &str, name: &str, selector: &Value, rule: &Value) -> Value {
        json!({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
            "metadata": {"namespace": namespace, "name": name},
            "spec": {"selector": {"matchLabels": selector}, "rules": [rule]}})
    }

    fn from_a() -> Value {
        json!([{"source": {"principals": ["cluster.local/ns/default/sa/a"]}}])
    }

    /// What the fence of the pods `app: a` of the namespace `default` gets.
    fn named(index: &Index) -> Named {
        let workload = Labels::from([("app".to_owned(), "a".to_owned())]);
        let identities = Identities::of(&"default".into(), Some(&workload), index);
        named_by_policies(&identities, Some(&workload), index)
    }

    fn hosts(named: &Named) -> Vec<&str> {
        named.dependencies.keys().map(String::as_str).collect()
    }

    fn caller() -> Value {
        pod("default", "a-1", &json!({"app": "a"}), "a")
    }

    #[test]
    fn a_selector_is_about_the_services_of_the_pods_that_it_selects_with_or_without_pods() {
        let v2 = json!({"app": "x", "version": "v2"});
        let rule = json!({"from": from_a()});
        let mut index = index(&[
            caller(),
            service("shop", "x", &json!({"app": "x"})),
            service("shop", "x-v2", &v2),
            service("shop", "other", &json!({"app": "other"})),
            service("default", "x", &json!({"app": "x"})),
            policy("shop", "of-v2", &json!({"version": "v2"}), &rule),
        ]);
        assert_eq!(hosts(&named(&index)), ["x-v2.shop.svc.cluster.local"], "it can have no other pods");
        index.apply(convert::object(&pod("shop", "x-2", &v2, "x")).unwrap().unwrap());
        assert_eq!(hosts(&named(&index)), ["x-v2.shop.svc.cluster.local", "x.shop.svc.cluster.local"]);
    }

    #[test]
    fn without_selector_the_whole_namespace_counts_unless_hosts_or_ports_are_named() {
        let (anything, rule) = (json!({}), json!({"from": from_a()}));
        let services = [service("shop", "x", &json!({"app": "x"})), service("shop", "y", &json!({"app": "y"}))];
        let with = |rule: &Value| index(&[&[caller(), policy("shop", "p", &anything, rule)], &services[..]].concat());
        assert_eq!(hosts(&named(&with(&rule))), ["shop/*"]);
        let of_x = json!({"from": from_a(), "to": [{"operation": {"hosts": ["x.shop*"]}}]});
        assert_eq!(hosts(&named(&with(&of_x))), ["x.shop.svc.cluster.local"]);
        let of_port = json!({"from": from_a(), "to": [{"operation": {"ports": ["80"]}}]});
        assert!(hosts(&named(&with(&of_port))).is_empty(), "a policy's ports are those of the pods");
        let of_pods_port = json!({"from": from_a(), "to": [{"operation": {"ports": ["8080"]}}]});
        assert_eq!(named(&with(&of_pods_port)).dependencies.len(), 2);
    }

    #[test]
    fn a_policy_for_the_whole_mesh_brings_nothing_and_is_told_and_one_with_a_selector_counts_everywhere() {
        let rule = json!({"from": [{"source": {"namespaces": ["default"]}}]});
        let index = index(&[
            caller(),
            service("shop", "x", &json!({"app": "x"})),
            service("other", "x", &json!({"app": "x"})),
            policy("istio-system", "wide", &json!({}), &rule),
            policy("istio-system", "x", &json!({"app": "x"}), &rule),
        ]);
        let named = named(&index);
        assert_eq!(hosts(&named), ["x.other.svc.cluster.local", "x.shop.svc.cluster.local"]);
        assert_eq!(named.mesh_wide, BTreeSet::from([ObjectRef::new("istio-system", "wide")]));
    }

    #[test]
    fn without_pods_only_a_namespace_is_known() {
        let of_account = policy("shop", "account", &json!({}), &json!({"from": from_a()}));
        let of_namespace =
            policy("other", "namespace", &json!({}), &json!({"from": [{"source": {"namespaces": ["def*"]}}]}));
        let mut index = index(&[of_account, of_namespace]);
        assert_eq!(hosts(&named(&index)), ["other/*"]);
        index.apply(convert::object(&caller()).unwrap().unwrap());
        assert_eq!(hosts(&named(&index)), ["other/*", "shop/*"]);
    }

    #[test]
    fn no_more_than_the_bound_comes_in() {
        let mut objects = vec![caller()];
        objects.extend((0..MOST + 5).map(|at| service("shop", &format!("s{at}"), &json!({"tier": "x"}))));
        objects.push(policy("shop", "p", &json!({"tier": "x"}), &json!({"from": from_a()})));
        let named = named(&index(&objects));
        assert_eq!((named.dependencies.len(), named.left_out), (MOST, 5));
    }
}

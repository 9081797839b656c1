//! What a fence depends on: `status.domains`, from its spec and from what was learned. Source: contract 2.6.

use std::collections::{BTreeMap, BTreeSet};

use lazyload_api::service_fence::{Destinations, DomainStatus, ServiceFenceSpec, Strategy};

use super::alias::Aliases;
use super::completion::{complete_known, possible_service, service_host};
use super::interest::Interest;
use crate::index::Index;
use crate::types::ObjectRef;

/// Suffix of an entry that stands for every service of a namespace.
const WHOLE_NAMESPACE: &str = "/*";

/// Policies that are told of a dependency.
const MOST_POLICIES: usize = 8;

/// Dependencies, and when the next of them expires.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dependencies {
    /// As `status.domains` has them.
    pub domains: BTreeMap<String, Destinations>,
    /// Hosts that nothing but a call has brought in; noted only where a policy may deny a call.
    pub by_calls_alone: BTreeSet<String>,
    /// The first second (Unix) at which the result would differ by itself.
    pub next_expiry: Option<i64>,
    /// Everything that was looked at on the way: where none of it changes, the result does not either.
    pub interest: Interest,
}

/// Computes the dependencies of a fence.
#[must_use]
pub fn desired_dependencies(
    id: &ObjectRef,
    spec: &ServiceFenceSpec,
    learned: &BTreeSet<String>,
    named: &BTreeMap<String, BTreeSet<ObjectRef>>,
    index: &Index,
    aliases: &Aliases,
    unix_seconds: i64,
) -> Dependencies {
    let mut collector = Collector { found: Dependencies::default(), namespace: &id.namespace, index, aliases };
    for (host, strategy) in &spec.host {
        if let Some(namespace) = host.strip_suffix(WHOLE_NAMESPACE) {
            collector.add_namespace(namespace);
            continue;
        }
        let expiry = strategy.as_ref().and_then(expiry);
        let status = match expiry {
            Some(second) if unix_seconds > second => DomainStatus::Expire,
            Some(second) => {
                let next = second.saturating_add(1);
                let known = &mut collector.found.next_expiry;
                *known = Some(known.map_or(next, |known| known.min(next)));
                DomainStatus::Active
            }
            None => DomainStatus::Active,
        };
        let host = collector.complete(host);
        collector.add_host(&host, status);
    }
    for namespace in &spec.namespace_selector {
        collector.add_namespace(namespace);
    }
    for selector in &spec.label_selector {
        collector.found.interest.select(&selector.selector);
        for service in index.services_labelled(&selector.selector) {
            collector.add_host(&service_host(&service), DomainStatus::Active);
        }
    }
    for host in learned {
        collector.add_learned(host);
    }
    for (dependency, policies) in named {
        collector.add_named(dependency, policies);
    }
    collector.found
}

/// The last second at which a strategy is active; `None` for ever. `stable` beats `deadline` beats `auto`.
fn expiry(strategy: &Strategy) -> Option<i64> {
    if strategy.stable.is_some() {
        return None;
    }
    if let Some(deadline) = &strategy.deadline {
        return deadline.expire.as_ref().map(|expire| expire.seconds);
    }
    let duration = strategy.auto.as_ref()?.duration.as_ref()?.seconds;
    let called = strategy.recently_called.as_ref()?.seconds;
    Some(called.saturating_add(duration))
}

struct Collector<'a> {
    found: Dependencies,
    /// The fence's, which is that of its callers.
    namespace: &'a str,
    index: &'a Index,
    aliases: &'a Aliases,
}

impl Collector<'_> {
    /// A host as the user wrote it or as it was learned, completed if it is a Service's.
    fn complete(&mut self, host: &str) -> String {
        self.found.interest.hosts.insert(host.to_owned());
        // The name that it would have if the Service existed, which may happen any day.
        self.found.interest.hosts.extend(possible_service(host, self.namespace).map(|id| service_host(&id)));
        complete_known(host, self.namespace, self.index)
    }

    /// A learned host and its aliases. One that the mesh does not know is listed, so that people see it, and brings nothing in.
    fn add_learned(&mut self, host: &str) {
        let host = self.complete(host);
        if !host.contains('.') {
            // Istio takes no short name in a Sidecar: it stays evidence of what a client wrote.
            return;
        }
        let mut names = self.aliases.expand(&host).into_iter();
        if let Some(itself) = names.next() {
            let import = self.index.import_of(&itself, self.namespace);
            let entry = match &import {
                Some(import) => self.with_destinations(&itself, import.clone(), DomainStatus::Active),
                None => Destinations { external: true, ..Destinations::default() },
            };
            let known = self.found.domains.get(&itself);
            if known.is_none_or(|known| !known.status.is_active() && import.is_some()) {
                if self.index.has_policies() && import.is_some() {
                    self.found.by_calls_alone.insert(itself.clone());
                }
                self.found.domains.insert(itself, entry);
            }
        }
        for alias in names {
            self.add(alias, DomainStatus::Active);
        }
    }

    /// A host of the user's and its aliases, each with the destinations behind it.
    fn add_host(&mut self, host: &str, status: DomainStatus) {
        for name in self.aliases.expand(host) {
            self.add(name, status);
        }
    }

    /// What policies that name the workload bring in, and which ones: that is told whatever else brings it in too.
    fn add_named(&mut self, dependency: &str, policies: &BTreeSet<ObjectRef>) {
        match dependency.strip_suffix(WHOLE_NAMESPACE) {
            Some(namespace) => self.add_namespace(namespace),
            None => self.add_host(dependency, DomainStatus::Active),
        }
        if let Some(domain) = self.found.domains.get_mut(dependency) {
            domain.policies = policies.iter().take(MOST_POLICIES).map(ToString::to_string).collect();
        }
    }

    /// What is there already stays, unless it has expired and this has not.
    fn add(&mut self, name: String, status: DomainStatus) {
        self.found.interest.hosts.insert(name.clone());
        let known = self.found.domains.get(&name);
        if known.is_some_and(|known| !known.external && (known.status.is_active() || !status.is_active())) {
            return;
        }
        let entry = self.with_destinations(&name, name.clone(), status);
        self.found.domains.insert(name, entry);
    }

    fn with_destinations(&mut self, name: &str, import: String, status: DomainStatus) -> Destinations {
        self.found.interest.hosts.insert(name.to_owned());
        let mut behind = self.index.destinations_behind(name, self.namespace);
        behind.remove(&import);
        let mut hosts = vec![import];
        hosts.extend(behind);
        Destinations { hosts, status, ..Destinations::default() }
    }

    /// Every service of a namespace: the entry itself brings them in, `hosts` has only what lies behind them elsewhere.
    fn add_namespace(&mut self, namespace: &str) {
        self.found.interest.namespaces.insert(namespace.into());
        let suffix = format!(".{namespace}.svc.cluster.local");
        let mut behind = BTreeSet::new();
        for service in self.index.services_in(namespace) {
            for name in self.aliases.expand(&service_host(&service.id)) {
                behind.extend(self.index.destinations_behind(&name, self.namespace));
            }
        }
        behind.retain(|host| !host.ends_with(&suffix));
        let entry = Destinations { hosts: behind.into_iter().collect(), ..Destinations::default() };
        self.found.domains.entry(format!("{namespace}{WHOLE_NAMESPACE}")).or_insert(entry);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::convert;
    use crate::settings::DomainAlias;

    fn index(objects: &[serde_json::Value]) -> Index {
        let mut index = Index::default();
        for object in objects {
            index.apply(convert::object(object).unwrap().unwrap());
        }
        index
    }

    #[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
    fn service(namespace: &str, name: &str, labels: serde_json::Value) -> serde_json::Value {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": namespace, "name": name, "labels": labels}})
    }

    fn domains(spec: serde_json::Value, learned: &[&str], index: &Index, now: i64) -> Dependencies {
        let spec = serde_json::from_value(spec).unwrap();
        let learned = learned.iter().map(|host| (*host).to_owned()).collect();
        desired_dependencies(
            &ObjectRef::new("default", "a"),
            &spec,
            &learned,
            &BTreeMap::new(),
            index,
            &Aliases::default(),
            now,
        )
    }

    fn keys(dependencies: &Dependencies) -> Vec<&str> {
        dependencies.domains.keys().map(String::as_str).collect()
    }

    #[test]
    fn a_deadline_expires_after_its_second_and_names_the_moment() {
        let spec = json!({"host": {"x.y.z": {"deadline": {"expire": {"seconds": "100"}}}}});
        let before = domains(spec.clone(), &[], &Index::default(), 100);
        assert_eq!(before.next_expiry, Some(101));
        assert!(before.domains["x.y.z"].status.is_active());
        let after = domains(spec, &[], &Index::default(), 101);
        assert_eq!(after.next_expiry, None);
        assert_eq!(after.domains["x.y.z"].status, DomainStatus::Expire);
    }

    #[test]
    fn empty_null_stable_and_half_written_strategies_last_for_ever() {
        let spec = json!({"host": {"a.b.c": null, "d.e.f": {}, "g.h.i": {"stable": {}}, "j.k.l": {"deadline": {}},
            "m.n.o": {"auto": {"duration": {"seconds": 1}}}}});
        let found = domains(spec, &[], &Index::default(), i64::MAX);
        assert!(found.domains.values().all(|domain| domain.status.is_active()));
        assert_eq!(found.domains.len(), 5);
    }

    #[test]
    fn a_learned_host_revives_an_expired_static_one() {
        let host = "x.y.svc.cluster.local";
        let spec = json!({"host": {host: {"deadline": {"expire": {"seconds": 1}}}}});
        assert!(domains(spec, &[host], &Index::default(), 9).domains[host].status.is_active());
    }

    #[test]
    fn an_external_learned_host_takes_nothing_from_what_the_user_wrote_and_gives_way_to_an_alias() {
        let spec = json!({"host": {"gone.example": {"deadline": {"expire": {"seconds": 1}}}, "kept.example": {}}});
        let learned = ["gone.example", "kept.example", "b.example", "c.example"].map(str::to_owned).into();
        let rule = DomainAlias { pattern: "^c[.]example$".into(), templates: vec!["b.example".into()] };
        let (aliases, _) = Aliases::compile(&[rule]);
        let id = ObjectRef::new("default", "a");
        let spec = serde_json::from_value(spec).unwrap();
        let found =
            desired_dependencies(&id, &spec, &learned, &BTreeMap::new(), &Index::default(), &aliases, 9).domains;
        assert_eq!(found["gone.example"].status, DomainStatus::Expire);
        assert_eq!(found["kept.example"].hosts, ["kept.example"]);
        assert_eq!(found["b.example"].hosts, ["b.example"]);
        assert!(found["c.example"].external && found["c.example"].hosts.is_empty());
    }

    #[test]
    fn label_selectors_are_or_of_ands_over_all_namespaces() {
        let index = index(&[
            service("default", "details", json!({"app": "details"})),
            service("test", "details", json!({"app": "details"})),
            service("default", "reviews", json!({"app": "reviews", "group": "default"})),
            service("test", "reviews", json!({"app": "reviews"})),
        ]);
        let spec = json!({"labelSelector": [{"selector": {"app": "details"}}, {"selector": {"app": "reviews", "group": "default"}}]});
        assert_eq!(
            keys(&domains(spec, &[], &index, 0)),
            [
                "details.default.svc.cluster.local",
                "details.test.svc.cluster.local",
                "reviews.default.svc.cluster.local"
            ]
        );
    }

    #[test]
    fn a_namespace_entry_lists_only_destinations_elsewhere() {
        let route = |from: &str, to: &[&str]| {
            let to: Vec<_> = to.iter().map(|host| json!({"destination": {"host": host}})).collect();
            json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
                "metadata": {"namespace": "test", "name": from}, "spec": {"hosts": [from], "http": [{"route": to}]}})
        };
        let index = index(&[
            service("test", "a", json!({})),
            service("test", "b", json!({})),
            route("a", &["b", "c.other.svc.cluster.local"]),
        ]);
        let found = domains(json!({"host": {"test/*": {}}, "namespaceSelector": ["empty"]}), &[], &index, 0);
        assert_eq!(keys(&found), ["empty/*", "test/*"]);
        assert_eq!(found.domains["test/*"].hosts, ["c.other.svc.cluster.local"]);
        assert!(found.domains["empty/*"].hosts.is_empty());
    }

    #[test]
    fn a_learned_short_name_is_its_service_or_nothing_but_evidence() {
        let index = index(&[service("default", "details", json!({})), service("other", "b", json!({}))]);
        let found =
            domains(json!({}), &["details", "details.default.svc", "b.other", "b.unknown", "unknown"], &index, 0);
        assert_eq!(keys(&found), ["b.other.svc.cluster.local", "b.unknown", "details.default.svc.cluster.local"]);
    }

    #[test]
    fn aliases_apply_to_static_and_learned_hosts_alike() {
        let rule = DomainAlias { pattern: r"^(\w+)\.default".into(), templates: vec!["$1.alias".into()] };
        let (aliases, _) = Aliases::compile(&[rule]);
        let spec = serde_json::from_value(json!({"host": {"s.default.x": {}}})).unwrap();
        let learned = BTreeSet::from(["l.default.x".to_owned()]);
        let id = ObjectRef::new("default", "a");
        let found = desired_dependencies(&id, &spec, &learned, &BTreeMap::new(), &Index::default(), &aliases, 0);
        assert_eq!(keys(&found), ["l.alias", "l.default.x", "s.alias", "s.default.x"]);
    }
}

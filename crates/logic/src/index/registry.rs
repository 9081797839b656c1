//! Hosts that ServiceEntries add to the mesh. Source: contract 2.9, B11, B31; Istio's API reference.

use std::collections::{BTreeMap, BTreeSet};

use super::declared::{Declared, Load};
use super::hosts::{Hosts, is_exported, is_too_wide};
use crate::fence::host::check_host;
use crate::types::{ObjectRef, ServiceEntry};

#[derive(Debug, Default)]
pub(super) struct Registry {
    entries: BTreeMap<ObjectRef, Entry>,
    by_host: Hosts,
}

#[derive(Debug, PartialEq)]
struct Entry {
    hosts: BTreeSet<String>,
    ports: usize,
    numbers: BTreeSet<u16>,
    export_to: Vec<String>,
}

impl Registry {
    /// Takes in a ServiceEntry and tells whether it means anything new.
    pub(super) fn apply(&mut self, object: &ServiceEntry) -> bool {
        let hosts = object.spec.hosts.iter().map(|host| host.to_ascii_lowercase());
        let hosts = hosts.filter(|host| check_host(host).is_ok() && !is_too_wide(host)).collect();
        let ports = object.spec.ports.iter().filter(|port| !port.protocol.eq_ignore_ascii_case("UDP")).count();
        let numbers = object.spec.ports.iter().map(|port| u16::try_from(port.number).unwrap_or_default()).collect();
        let entry = Entry { hosts, ports, numbers, export_to: object.spec.export_to.clone() };
        if self.entries.get(&object.id) == Some(&entry) {
            return false;
        }
        self.delete(&object.id);
        for host in &entry.hosts {
            self.by_host.insert(host, &object.id);
        }
        self.entries.insert(object.id.clone(), entry);
        true
    }

    pub(super) fn delete(&mut self, id: &ObjectRef) {
        let Some(entry) = self.entries.remove(id) else { return };
        for host in &entry.hosts {
            self.by_host.remove(host, id);
        }
    }

    /// The hosts of one ServiceEntry.
    pub(super) fn hosts_of(&self, id: &ObjectRef) -> impl Iterator<Item = &String> {
        self.entries.get(id).into_iter().flat_map(|entry| &entry.hosts)
    }

    /// The ServiceEntries that have a host, or a wildcard of it, and are exported to callers of a namespace.
    pub(super) fn entries(&self, host: &str, namespace: &str) -> BTreeSet<ObjectRef> {
        let ids = self.by_host.matching(host).flat_map(|(_, ids)| ids);
        ids.filter(|id| self.is_exported(id, namespace)).cloned().collect()
    }

    /// The ports of a host, of all ServiceEntries that have it for callers of a namespace; `None` if there is none.
    pub(super) fn ports_of(&self, host: &str, namespace: &str) -> Option<BTreeSet<u16>> {
        let entries: Vec<&Entry> = self.entries(host, namespace).iter().filter_map(|id| self.entries.get(id)).collect();
        (!entries.is_empty()).then(|| entries.into_iter().flat_map(|entry| entry.numbers.iter().copied()).collect())
    }

    /// What a Sidecar has to import for a host: itself, or the wildcard that stands for it. Istio imports `*.example.com` by that name
    /// (or a wider one) only, never by that of a host below it.
    pub(super) fn import_of(&self, host: &str, namespace: &str) -> Option<String> {
        let mut patterns = self.by_host.matching(host);
        patterns.find(|(_, ids)| ids.iter().any(|id| self.is_exported(id, namespace))).map(|(pattern, _)| pattern)
    }

    /// Every host of every ServiceEntry.
    pub(super) fn declared(&self) -> impl Iterator<Item = Declared<'_>> {
        self.entries.iter().flat_map(|(id, entry)| {
            entry.hosts.iter().map(|host| Declared {
                host: host.into(),
                namespace: &id.namespace,
                export_to: &entry.export_to,
                load: Load { clusters: entry.ports, endpoints: 0 },
            })
        })
    }

    fn is_exported(&self, id: &ObjectRef, namespace: &str) -> bool {
        self.entries.get(id).is_some_and(|entry| is_exported(&entry.export_to, &id.namespace, namespace))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(name: &str, hosts: &[&str], export_to: &[&str]) -> ServiceEntry {
        let spec = json!({"hosts": hosts, "exportTo": export_to});
        ServiceEntry { id: ObjectRef::new("egress", name), spec: serde_json::from_value(spec).unwrap() }
    }

    #[test]
    fn a_host_is_imported_by_its_own_name_or_by_the_narrowest_wildcard() {
        let mut registry = Registry::default();
        let import = |registry: &Registry, host: &str| registry.import_of(host, "default");
        registry.apply(&entry("wide", &["*.com", "*", "*.local"], &[]));
        registry.apply(&entry("narrow", &["*.example.com"], &[]));
        registry.apply(&entry("exact", &["www.example.com", "10.0.0.1"], &[]));
        assert!(!registry.apply(&entry("exact", &["WWW.example.com"], &[])));
        assert_eq!(import(&registry, "www.example.com").as_deref(), Some("www.example.com"));
        assert_eq!(import(&registry, "a.example.com").as_deref(), Some("*.example.com"));
        assert_eq!(import(&registry, "a.local").as_deref(), None);
        registry.delete(&ObjectRef::new("egress", "narrow"));
        assert_eq!(import(&registry, "a.example.com").as_deref(), Some("*.com"));
    }

    #[test]
    fn an_entry_that_is_not_exported_to_the_caller_is_none() {
        let mut registry = Registry::default();
        registry.apply(&entry("wide", &["*.example.com"], &["*"]));
        registry.apply(&entry("own", &["www.example.com"], &["."]));
        assert_eq!(registry.import_of("www.example.com", "egress").as_deref(), Some("www.example.com"));
        assert_eq!(registry.import_of("www.example.com", "default").as_deref(), Some("*.example.com"));
        assert_eq!(registry.entries("www.example.com", "egress").len(), 2);
        assert_eq!(registry.entries("www.example.com", "default").len(), 1);
    }
}

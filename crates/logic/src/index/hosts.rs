//! Hosts as Istio writes them, wildcards among them, and which objects are about them.

use std::collections::{BTreeMap, BTreeSet};

use lazyload_api::names;

use crate::types::ObjectRef;

/// What a wildcard (`*`, `*.example.com`) begins with.
const WILDCARD: char = '*';

/// A name without a dot is relative to the namespace of the object that has it, as in Istio. Lower case.
pub(super) fn full_name(host: &str, namespace: &str) -> String {
    let host = host.to_ascii_lowercase();
    if host.contains('.') || host == "*" {
        return host;
    }
    format!("{host}.{namespace}{}", names::SERVICE_DOMAIN_SUFFIX)
}

/// Whether a wildcard stands for the names of all Services, as `*` and `*.local` do: a Sidecar that imports it has everything.
pub(super) fn is_too_wide(host: &str) -> bool {
    host.strip_prefix(WILDCARD).is_some_and(|suffix| names::SERVICE_DOMAIN_SUFFIX.ends_with(suffix))
}

/// Whether an object of `own` namespace is visible to callers of `namespace`. Empty means the mesh's default, which is everybody.
pub(super) fn is_exported(export_to: &[String], own: &str, namespace: &str) -> bool {
    let lists = |wanted: &str| export_to.iter().any(|to| to == wanted);
    export_to.is_empty() || lists("*") || !lists("~") && (lists(namespace) || own == namespace && lists("."))
}

/// Objects by the hosts that they have.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    exact: BTreeMap<String, BTreeSet<ObjectRef>>,
    /// By what comes after the `*`.
    wildcards: BTreeMap<String, BTreeSet<ObjectRef>>,
}

impl Hosts {
    pub(super) fn insert(&mut self, pattern: &str, id: &ObjectRef) {
        let (map, key) = match pattern.strip_prefix(WILDCARD) {
            Some(suffix) => (&mut self.wildcards, suffix),
            None => (&mut self.exact, pattern),
        };
        map.entry(key.to_owned()).or_default().insert(id.clone());
    }

    pub(super) fn remove(&mut self, pattern: &str, id: &ObjectRef) {
        let (map, key) = match pattern.strip_prefix(WILDCARD) {
            Some(suffix) => (&mut self.wildcards, suffix),
            None => (&mut self.exact, pattern),
        };
        if let Some(objects) = map.get_mut(key) {
            objects.remove(id);
            if objects.is_empty() {
                map.remove(key);
            }
        }
    }

    /// The patterns that stand for a host, the most specific first, each with its objects. A host that is a wildcard itself is found
    /// under that wildcard and wider ones.
    pub(super) fn matching<'a>(&'a self, host: &'a str) -> impl Iterator<Item = (String, &'a BTreeSet<ObjectRef>)> {
        let exact = self.exact.get(host).map(|objects| (host.to_owned(), objects));
        let name = host.strip_prefix(WILDCARD).unwrap_or(host);
        let suffixes = (0..=name.len()).filter(|_| !self.wildcards.is_empty()).filter_map(|at| name.get(at..));
        let wildcards = suffixes
            .filter_map(|suffix| self.wildcards.get(suffix).map(|objects| (format!("{WILDCARD}{suffix}"), objects)));
        exact.into_iter().chain(wildcards)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_pattern_comes_first() {
        let mut hosts = Hosts::default();
        let id = ObjectRef::new("default", "a");
        for pattern in ["*", "*.b.c", "a.b.c", "*.c", "*-x.b.c", "b.c"] {
            hosts.insert(pattern, &id);
        }
        let patterns = |host: &str| hosts.matching(host).map(|(pattern, _)| pattern).collect::<Vec<_>>();
        assert_eq!(patterns("a.b.c"), ["a.b.c", "*.b.c", "*.c", "*"]);
        assert_eq!(patterns("a-x.b.c"), ["*-x.b.c", "*.b.c", "*.c", "*"]);
        assert_eq!(patterns("*.b.c"), ["*.b.c", "*.c", "*"]);
        assert_eq!(patterns("b.c"), ["b.c", "*.c", "*"]);
        for pattern in ["*.b.c", "*.c", "*", "*-x.b.c"] {
            hosts.remove(pattern, &id);
        }
        assert_eq!(hosts.matching("a.b.c").count(), 1);
    }

    #[test]
    fn who_an_object_is_exported_to_depends_on_the_callers_namespace() {
        let exported = |to: &[&str], namespace: &str| {
            let to: Vec<String> = to.iter().map(|text| (*text).to_owned()).collect();
            is_exported(&to, "own", namespace)
        };
        for (to, own, named, other) in [
            (&[][..], true, true, true),
            (&["*"], true, true, true),
            (&["."], true, false, false),
            (&["named"], false, true, false),
            (&[".", "named"], true, true, false),
            (&["~"], false, false, false),
            (&["~", "named"], false, false, false),
        ] {
            let found = (exported(to, "own"), exported(to, "named"), exported(to, "other"));
            assert_eq!(found, (own, named, other), "{to:?}");
        }
    }

    #[test]
    fn a_wildcard_of_all_services_is_too_wide() {
        for host in ["*", "*.local", "*.cluster.local", "*.svc.cluster.local"] {
            assert!(is_too_wide(host), "{host}");
        }
        for host in ["*.default.svc.cluster.local", "*.com", "*.example.com", "a.local", ""] {
            assert!(!is_too_wide(host), "{host}");
        }
    }
}

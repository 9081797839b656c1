//! What Services and ServiceEntries declare, while some SlimeBoot wants its ports found. Source: ADR 0018.

use std::collections::{BTreeMap, BTreeSet};

use super::kinds::DECLARING;
use crate::boot::{Declared, Found, Installation, Protocol};
use crate::types::ObjectRef;

/// What is declared, by kind and object, and the reverse: a look costs as much as there are ports, however many objects declare them.
#[derive(Debug)]
pub(super) struct Declarations {
    unlisted: BTreeSet<&'static str>,
    by_object: BTreeMap<(&'static str, ObjectRef), Declared>,
    by_port: BTreeMap<(u16, Protocol), BTreeSet<(ObjectRef, &'static str)>>,
}

impl Default for Declarations {
    fn default() -> Self {
        let unlisted = DECLARING.iter().map(|kind| kind.kind).collect();
        Self { unlisted, by_object: BTreeMap::new(), by_port: BTreeMap::new() }
    }
}

impl Declarations {
    /// What an object declares now; nothing if it is gone.
    pub(super) fn declares(&mut self, kind: &'static str, object: &ObjectRef, declared: Declared) {
        let key = (kind, object.clone());
        let before = self.by_object.remove(&key).unwrap_or_default();
        for port in before.ports() {
            let objects = self.by_port.entry(port).or_default();
            objects.remove(&(object.clone(), kind));
            if objects.is_empty() {
                self.by_port.remove(&port);
            }
        }
        for port in declared.ports() {
            self.by_port.entry(port).or_default().insert((object.clone(), kind));
        }
        if !declared.is_empty() {
            self.by_object.insert(key, declared);
        }
    }

    /// All of a kind were heard of.
    pub(super) fn listed(&mut self, kind: &'static str) {
        self.unlisted.remove(kind);
    }

    /// Kinds that are not known yet, as words.
    pub(super) fn awaited(&self) -> Option<String> {
        let kinds: Vec<String> = self.unlisted.iter().map(|kind| format!("the list of all {kind} objects")).collect();
        (!kinds.is_empty()).then(|| format!("{}, to find ports", kinds.join(" and ")))
    }

    /// The ports that are found for an installation whose global-sidecars have those that stand.
    pub(super) fn found(&self, installation: &Installation, standing: &BTreeSet<u16>) -> Found {
        let is_known = self.unlisted.is_empty();
        installation.found_ports(is_known.then(|| self.first_of_each(|object| installation.counts(object))), standing)
    }

    /// Of each port and protocol the first object that counts.
    fn first_of_each(&self, counts: impl Fn(&ObjectRef) -> bool) -> impl Iterator<Item = (u16, Protocol, &ObjectRef)> {
        self.by_port.iter().filter_map(move |((port, protocol), objects)| {
            let (object, _) = objects.iter().find(|(object, _)| counts(object))?;
            Some((*port, *protocol, object))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_look_costs_as_much_as_there_are_ports_and_not_as_there_are_objects() {
        let mut declarations = Declarations::default();
        let service = |port: usize| {
            Declared::of(&json!({"kind": "Service", "spec": {"ports": [{"name": "http", "port": port}]}}))
        };
        for number in 0..10_000 {
            declarations.declares(
                "Service",
                &ObjectRef::new("shop", format!("s{number}")),
                service(7000 + number % 20),
            );
        }
        let looked_at = Cell::new(0);
        let counts = |_: &ObjectRef| {
            looked_at.set(looked_at.get() + 1);
            true
        };
        assert_eq!(declarations.first_of_each(counts).count(), 20);
        assert_eq!(looked_at.get(), 20);
        for number in 0..10_000 {
            declarations.declares("Service", &ObjectRef::new("shop", format!("s{number}")), Declared::default());
        }
        assert!(declarations.by_port.is_empty() && declarations.by_object.is_empty());
    }
}

//! What Services and ServiceEntries declare, while some SlimeBoot wants its ports found. Source: ADR 0018.

use std::collections::{BTreeMap, BTreeSet};

use super::kinds::DECLARING;
use crate::boot::{Declared, Found, Installation};
use crate::types::ObjectRef;

/// What is declared, by kind and object.
#[derive(Debug)]
pub(super) struct Declarations {
    unlisted: BTreeSet<&'static str>,
    by_object: BTreeMap<(&'static str, ObjectRef), Declared>,
}

impl Default for Declarations {
    fn default() -> Self {
        Self { unlisted: DECLARING.iter().map(|kind| kind.kind).collect(), by_object: BTreeMap::new() }
    }
}

impl Declarations {
    /// What an object declares now; nothing if it is gone.
    pub(super) fn declares(&mut self, kind: &'static str, object: ObjectRef, declared: Declared) {
        if declared.is_empty() {
            self.by_object.remove(&(kind, object));
        } else {
            self.by_object.insert((kind, object), declared);
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
        let declared = || self.by_object.iter().map(|((_, object), declared)| (object, declared));
        installation.found_ports(self.unlisted.is_empty().then(declared), standing)
    }
}

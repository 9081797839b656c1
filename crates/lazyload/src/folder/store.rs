//! Every object in its current form, as an API server would hold it. The truth between two looks at the files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use lazyload_logic::convert;
use lazyload_logic::state::Event;
use lazyload_logic::types::{Kind, Object, ObjectRef};
use serde_json::{Value, json};

use super::layout::{Layout, remove_file};
use super::problem::Problem;
use super::scan::{self, Origin, Scan};
use super::{Keeping, identity};

/// The objects of one folder.
#[derive(Debug)]
pub struct Store {
    pub(super) layout: Layout,
    pub(super) keeping: Keeping,
    pub(super) objects: BTreeMap<(Kind, ObjectRef), Stored>,
    slime_boots: BTreeMap<ObjectRef, Value>,
    files: scan::Files,
    known_problems: BTreeSet<Problem>,
    /// The last resource version that was given out.
    version: u64,
    /// Grows with each change.
    revision: u64,
    events: Vec<Event>,
}

/// One object.
#[derive(Clone, Debug)]
pub struct Stored {
    /// All of it.
    pub value: Value,
    /// What its files said: only a difference to this is news.
    pub source: Value,
    /// Who writes its file.
    pub origin: Origin,
}

impl Store {
    pub fn new(layout: Layout, keeping: Keeping) -> Self {
        Self {
            layout,
            keeping,
            objects: BTreeMap::new(),
            slime_boots: BTreeMap::new(),
            files: scan::Files::new(),
            known_problems: BTreeSet::new(),
            version: 0,
            revision: 0,
            events: Vec::new(),
        }
    }

    pub fn directory(&self) -> &Path {
        self.layout.directory()
    }

    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    pub fn slime_boot(&self) -> Option<Value> {
        self.slime_boots.values().next().cloned()
    }

    pub fn manifest(&self, kind: Kind, id: &ObjectRef) -> Option<Value> {
        self.objects.get(&(kind, id.clone())).map(|stored| stored.value.clone())
    }

    pub fn manifests(&self, kind: Kind) -> Vec<Value> {
        self.of_kind(kind).map(|stored| stored.value.clone()).collect()
    }

    pub fn objects(&self, kind: Kind) -> Vec<Object> {
        self.of_kind(kind).filter_map(|stored| lean(&stored.value)).collect()
    }

    fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Stored> {
        self.objects.iter().filter(move |((known, _), _)| *known == kind).map(|(_, stored)| stored)
    }

    pub fn rescan(&mut self) -> Vec<Problem> {
        let Scan { objects, slime_boots, problems } = scan::scan(&self.layout, &mut self.files);
        self.slime_boots = slime_boots;
        let gone: Vec<_> = self.objects.keys().filter(|key| !objects.contains_key(key)).cloned().collect();
        for (kind, id) in gone {
            self.forget(kind, &id);
        }
        for ((kind, id), (origin, source)) in objects {
            let old = self.objects.get(&(kind, id.clone()));
            if old.is_none_or(|old| old.source != source || old.origin != origin) {
                let known_version = identity::resource_version(&source);
                if origin == Origin::Generated && old.is_none() && known_version > 0 {
                    // Of an earlier run: it goes on where it was.
                    self.version = self.version.max(known_version);
                    self.put(kind, id, Stored { value: source.clone(), source, origin });
                } else {
                    self.put_next(kind, id, source.clone(), source, origin);
                }
            }
        }
        self.collect_garbage();
        let problems: BTreeSet<Problem> = problems.into_iter().collect();
        let new = problems.difference(&self.known_problems).cloned().collect();
        self.known_problems = problems;
        new
    }

    /// The object's next form: `value` with the metadata that follows from the one before.
    pub(super) fn next(&mut self, kind: Kind, id: &ObjectRef, mut value: Value) -> Value {
        let old = self.objects.get(&(kind, id.clone())).map(|stored| &stored.value);
        self.version += 1;
        identity::succeed(&mut value, old, kind, id, self.version);
        value
    }

    fn put_next(&mut self, kind: Kind, id: ObjectRef, value: Value, source: Value, origin: Origin) {
        let value = self.next(kind, &id, value);
        self.put(kind, id, Stored { value, source, origin });
    }

    /// Keeps an object and tells of it.
    pub(super) fn put(&mut self, kind: Kind, id: ObjectRef, stored: Stored) {
        self.revision += 1;
        if let Some(object) = lean(&stored.value) {
            self.events.push(Event::Applied(Box::new(object)));
        }
        self.objects.insert((kind, id), stored);
    }

    /// Forgets an object and tells of it.
    pub(super) fn forget(&mut self, kind: Kind, id: &ObjectRef) {
        if self.objects.remove(&(kind, id.clone())).is_some() {
            self.revision += 1;
            self.events.push(Event::Deleted(kind, id.clone()));
        }
    }

    /// Removes the Sidecars that we wrote for fences that are gone, as a cluster's garbage collector does.
    pub(super) fn collect_garbage(&mut self) {
        let uid = |stored: &Stored| stored.value.pointer("/metadata/uid").cloned().unwrap_or_default();
        let fences: BTreeSet<String> =
            self.of_kind(Kind::Fence).map(|stored| uid(stored).as_str().unwrap_or_default().to_owned()).collect();
        let orphans = self.objects.iter().filter(|((kind, _), stored)| {
            let owner = stored.value.pointer("/metadata/ownerReferences/0/uid").and_then(Value::as_str);
            *kind == Kind::Sidecar
                && stored.origin == Origin::Generated
                // One without an owner is on its way out; it is the controller that removes it.
                && owner.is_some_and(|owner| !fences.contains(owner))
        });
        let orphans: Vec<ObjectRef> = orphans.map(|((_, id), _)| id.clone()).collect();
        for id in orphans {
            let file = self.layout.object_file(Kind::Sidecar, &id);
            if self.keeping == Keeping::Files
                && let Err(error) = remove_file(&file)
            {
                tracing::warn!(file = %file.display(), %error, "failed to remove the Sidecar of a fence that is gone");
                continue;
            }
            self.forget(Kind::Sidecar, &id);
        }
    }
}

/// The object as decisions see it. What was read was checked, so that nothing is left out here.
pub(super) fn lean(value: &Value) -> Option<Object> {
    match convert::object(value) {
        Ok(object) => object,
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "object left out");
            None
        }
    }
}

/// The status of an object, or an empty one.
pub(super) fn status(value: &Value) -> Value {
    value.get("status").cloned().unwrap_or_else(|| json!({}))
}

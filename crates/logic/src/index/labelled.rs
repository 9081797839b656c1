//! Things of namespaces by each of their labels.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::types::{Labels, ObjectRef};

/// What is looked up: it belongs to a namespace, and sorts by it first.
pub(super) trait Placed: Ord + Clone {
    /// Its namespace.
    fn namespace(&self) -> &str;
    /// What sorts before everything of a namespace.
    fn first(namespace: &str) -> Self;
}

impl Placed for ObjectRef {
    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn first(namespace: &str) -> Self {
        Self::new(namespace, "")
    }
}

/// All pods with the same labels in a namespace.
pub(super) type Shape = (Arc<str>, Arc<Labels>);

impl Placed for Shape {
    fn namespace(&self) -> &str {
        &self.0
    }

    fn first(namespace: &str) -> Self {
        (namespace.into(), Arc::default())
    }
}

#[derive(Debug)]
pub(super) struct Labelled<T> {
    by_label: BTreeMap<(String, String), BTreeSet<T>>,
}

impl<T> Default for Labelled<T> {
    fn default() -> Self {
        Self { by_label: BTreeMap::new() }
    }
}

impl<T: Placed> Labelled<T> {
    pub(super) fn insert(&mut self, labels: &Labels, thing: &T) {
        for (key, value) in labels {
            self.by_label.entry((key.clone(), value.clone())).or_default().insert(thing.clone());
        }
    }

    pub(super) fn remove(&mut self, labels: &Labels, thing: &T) {
        for (key, value) in labels {
            let pair = (key.clone(), value.clone());
            if let Some(things) = self.by_label.get_mut(&pair) {
                things.remove(thing);
                if things.is_empty() {
                    self.by_label.remove(&pair);
                }
            }
        }
    }

    /// Those of a namespace (of any for `None`) that have a label.
    pub(super) fn with<'a>(
        &'a self,
        namespace: Option<&'a str>,
        key: &str,
        value: &str,
    ) -> impl Iterator<Item = &'a T> + use<'a, T> {
        let things = self.by_label.get(&(key.to_owned(), value.to_owned()));
        let first = namespace.map(T::first);
        let ranged = things.into_iter().flat_map(move |things| match &first {
            Some(first) => things.range(first.clone()..),
            None => things.range::<T, _>(..),
        });
        ranged.take_while(move |thing| namespace.is_none_or(|namespace| thing.namespace() == namespace))
    }

    /// Those of a namespace that have any of these labels.
    pub(super) fn with_any<'a>(&'a self, namespace: &'a str, labels: &Labels) -> BTreeSet<&'a T> {
        labels.iter().flat_map(|(key, value)| self.with(Some(namespace), key, value)).collect()
    }
}

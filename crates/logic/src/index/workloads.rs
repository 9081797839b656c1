//! Which pods there are, by their labels, and the service accounts that they run under. Many pods are one entry: what is looked up here
//! changes with the first and the last of them only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::labelled::{Labelled, Shape};
use super::selects;
use crate::types::{Labels, Pod};

#[derive(Debug, Default)]
pub(super) struct Workloads {
    /// How many pods each has, by their accounts.
    shapes: BTreeMap<Shape, BTreeMap<Arc<str>, usize>>,
    by_label: Labelled<Shape>,
}

impl Workloads {
    pub(super) fn add(&mut self, pod: &Pod) {
        let shape = shape(pod);
        let accounts = self.shapes.entry(shape.clone()).or_default();
        if accounts.is_empty() {
            self.by_label.insert(&pod.labels, &shape);
        }
        *accounts.entry(pod.account.clone()).or_default() += 1;
    }

    pub(super) fn remove(&mut self, pod: &Pod) {
        let shape = shape(pod);
        let Some(accounts) = self.shapes.get_mut(&shape) else { return };
        if let Some(count) = accounts.get_mut(&pod.account) {
            *count -= 1;
            if *count == 0 {
                accounts.remove(&pod.account);
            }
        }
        if accounts.is_empty() {
            self.shapes.remove(&shape);
            self.by_label.remove(&pod.labels, &shape);
        }
    }

    /// Whether there is no other pod with the labels and the account of this one.
    pub(super) fn is_alone(&self, pod: &Pod) -> bool {
        self.shapes.get(&shape(pod)).and_then(|accounts| accounts.get(&pod.account)) == Some(&1)
    }

    /// Labels of the pods in a namespace (in all for `None`) that a selector selects.
    pub(super) fn selected<'a>(
        &'a self,
        namespace: Option<&'a str>,
        selector: &'a Labels,
    ) -> impl Iterator<Item = &'a Shape> {
        let first = selector.first_key_value();
        let shapes = first.into_iter().flat_map(move |(key, value)| self.by_label.with(namespace, key, value));
        shapes.filter(|(_, labels)| selects(selector, labels))
    }

    /// How many pods in a namespace a selector selects.
    pub(super) fn count(&self, namespace: &str, selector: &Labels) -> usize {
        let shapes = self.selected(Some(namespace), selector).filter_map(|shape| self.shapes.get(shape));
        shapes.flat_map(BTreeMap::values).sum()
    }

    /// The accounts of the pods in a namespace that a selector selects.
    pub(super) fn accounts(&self, namespace: &str, selector: &Labels) -> BTreeSet<Arc<str>> {
        let shapes = self.selected(Some(namespace), selector).filter_map(|shape| self.shapes.get(shape));
        shapes.flat_map(BTreeMap::keys).cloned().collect()
    }
}

fn shape(pod: &Pod) -> Shape {
    (pod.id.namespace.clone(), Arc::new(pod.labels.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ObjectRef;

    fn pod(namespace: &str, name: &str, app: &str, account: &str) -> Pod {
        let labels = Labels::from([("app".to_owned(), app.to_owned())]);
        Pod { id: ObjectRef::new(namespace, name), labels, account: account.into(), addresses: Vec::new(), created: 0 }
    }

    fn accounts(workloads: &Workloads, namespace: &str) -> Vec<String> {
        let selector = Labels::from([("app".to_owned(), "a".to_owned())]);
        workloads.accounts(namespace, &selector).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn accounts_are_known_as_long_as_one_of_their_pods_is_there() {
        let mut workloads = Workloads::default();
        for pod in [pod("x", "1", "a", "one"), pod("x", "2", "a", "one"), pod("x", "3", "a", "two")] {
            workloads.add(&pod);
        }
        workloads.add(&pod("y", "1", "a", "elsewhere"));
        workloads.add(&pod("x", "4", "b", "other"));
        assert_eq!(accounts(&workloads, "x"), ["one", "two"]);
        assert!(!workloads.is_alone(&pod("x", "1", "a", "one")) && workloads.is_alone(&pod("x", "3", "a", "two")));
        workloads.remove(&pod("x", "1", "a", "one"));
        assert_eq!(accounts(&workloads, "x"), ["one", "two"]);
        workloads.remove(&pod("x", "2", "a", "one"));
        workloads.remove(&pod("x", "3", "a", "two"));
        assert!(accounts(&workloads, "x").is_empty());
        let selector = Labels::from([("app".to_owned(), "a".to_owned())]);
        assert_eq!(workloads.selected(None, &selector).count(), 1);
    }
}

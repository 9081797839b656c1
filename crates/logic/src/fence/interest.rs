//! What the dependencies of a fence were computed from: where none of it changes, they do not change either.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::types::Labels;

/// A label of pods, key and value, with their namespace; `None` means those of every namespace.
pub type PodLabel = (Option<Arc<str>>, String, String);

/// Everything that was looked up for one fence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Hosts, as they are written and as they would be completed.
    pub hosts: BTreeSet<String>,
    /// Namespaces whose Services count, with what lies behind them.
    pub namespaces: BTreeSet<Arc<str>>,
    /// One label of each selector: a Service without it is not selected.
    pub labels: BTreeSet<(String, String)>,
    /// One label of each selector of pods.
    pub workloads: BTreeSet<PodLabel>,
}

impl Interest {
    /// Takes note of a selector; an empty one selects nothing, whatever happens.
    pub fn select(&mut self, selector: &Labels) {
        let label = selector.first_key_value().map(|(key, value)| (key.clone(), value.clone()));
        self.labels.extend(label);
    }

    /// Takes note of a selector of pods in a namespace, or in every one.
    pub fn watch_pods(&mut self, namespace: Option<&Arc<str>>, selector: &Labels) {
        let label = selector.first_key_value();
        self.workloads.extend(label.map(|(key, value)| (namespace.cloned(), key.clone(), value.clone())));
    }

    /// Takes note of everything that another one has noted.
    pub fn extend(&mut self, other: Self) {
        let Self { hosts, namespaces, labels, workloads } = other;
        self.hosts.extend(hosts);
        self.namespaces.extend(namespaces);
        self.labels.extend(labels);
        self.workloads.extend(workloads);
    }
}

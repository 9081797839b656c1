//! What the dependencies of a fence were computed from: where none of it changes, they do not change either.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::types::Labels;

/// Everything that was looked up for one fence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Hosts, as they are written and as they would be completed.
    pub hosts: BTreeSet<String>,
    /// Namespaces whose Services count, with what lies behind them.
    pub namespaces: BTreeSet<Arc<str>>,
    /// One label of each selector: a Service without it is not selected.
    pub labels: BTreeSet<(String, String)>,
}

impl Interest {
    /// Takes note of a selector; an empty one selects nothing, whatever happens.
    pub fn select(&mut self, selector: &Labels) {
        let label = selector.first_key_value().map(|(key, value)| (key.clone(), value.clone()));
        self.labels.extend(label);
    }
}

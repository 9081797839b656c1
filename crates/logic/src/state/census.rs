//! How many fences there are and what their conditions say, counted. For metrics: no names of objects in it.

use std::collections::BTreeMap;

use super::State;
use crate::fence::conditions::{InShort, in_short, ours};
use crate::fence::mode::is_glass_broken;
use crate::fence::revision::is_in_scope;
use crate::settings::Mode;

/// The fences of one controller, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Fences.
    pub fences: usize,
    /// Entries of `status.domains` of all of them.
    pub dependencies: usize,
    /// Fences by what each of their conditions says.
    pub said: BTreeMap<InShort, usize>,
    /// Those that are enabled by how far they go: a mode's name, or `break-glass`.
    pub by_mode: BTreeMap<&'static str, usize>,
    /// Namespaces that break the glass.
    pub glasses: usize,
}

impl State {
    /// Counts the fences that this controller looks after, as their statuses say. Costs a step for each condition.
    #[must_use]
    pub fn census(&self) -> Census {
        let glasses = self.index.namespaces().filter(|namespace| is_glass_broken(&namespace.labels)).count();
        let mut census = Census { glasses, ..Census::default() };
        for fence in self.index.fences().filter(|fence| is_in_scope(&self.settings.revisions, &fence.labels)) {
            census.fences += 1;
            census.dependencies += fence.status.domains.len();
            if fence.spec.enable {
                *census.by_mode.entry(self.mode(fence).shown().unwrap_or(Mode::Enforce.name())).or_default() += 1;
            }
            for condition in ours(&fence.status.conditions) {
                *census.said.entry(in_short(condition)).or_default() += 1;
            }
        }
        census
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::convert;
    use crate::settings::{Context, resolve};
    use crate::state::Event;
    use crate::types::Now;

    const NOW: Now = Now { monotonic: Duration::from_secs(1), unix_seconds: 1 };

    fn fence(name: &str, revision: &str, conditions: &[(&str, &str, &str)]) -> Value {
        let conditions: Vec<Value> = conditions
            .iter()
            .map(|(kind, status, reason)| {
                json!({"type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": "2026-11-28T00:00:00Z"})
            })
            .collect();
        json!({"apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence",
            "metadata": {"namespace": "default", "name": name, "uid": name, "labels": {"istio.io/rev": revision}},
            "spec": {"enable": true}, "status": {"domains": {"a.default.svc.cluster.local": {}, "b.example": {}}, "conditions": conditions}})
    }

    #[test]
    fn fences_are_counted_by_what_their_conditions_say_and_foreign_words_are_one_word() {
        let settings = json!({"global": {"istioRev": "blue"}});
        let (mut state, _) = State::new(resolve(&settings, &Context::default()).unwrap().settings);
        assert_eq!(state.census(), Census::default());
        let conflict = ("Conflict", "True", "ForeignSidecar");
        for object in [
            fence("one", "blue", &[("Ready", "False", "ForeignSidecar"), conflict]),
            fence("two", "blue", &[("Ready", "False", "ForeignSidecar"), conflict, ("Theirs", "True", "Theirs")]),
            fence("three", "blue", &[("Ready", "True", "Applied"), ("SpecValid", "Unknown", "Invented")]),
            fence("another", "green", &[conflict]),
        ] {
            state.on(Event::Applied(Box::new(convert::object(&object).unwrap().unwrap())), NOW);
        }
        let said = |condition, status, reason| InShort { condition, status, reason };
        let expected = Census {
            fences: 3,
            dependencies: 6,
            said: BTreeMap::from([
                (said("Ready", "False", "ForeignSidecar"), 2),
                (said("Conflict", "True", "ForeignSidecar"), 2),
                (said("Ready", "True", "Applied"), 1),
                (said("SpecValid", "Unknown", "other"), 1),
            ]),
            by_mode: BTreeMap::from([("enforce", 3)]),
            glasses: 0,
        };
        assert_eq!(state.census(), expected);
    }
}

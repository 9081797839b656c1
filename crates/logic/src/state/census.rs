//! How many fences there are and what their conditions say, counted. For metrics: no names of objects in it.

use std::collections::BTreeMap;

use super::State;
use crate::fence::conditions::{InShort, in_short, ours};
use crate::fence::mode::is_glass_broken;
use crate::fence::revision::is_in_scope;
use crate::fence::scope::is_anothers;
use crate::settings::Mode;
use crate::types::ObjectRef;

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
    /// Hosts in quarantine.
    pub quarantined: usize,
    /// Fences whose hosts expire, and of which every pod is heard.
    pub heard: usize,
    /// Those of which not every pod is heard, so that no time counts.
    pub unheard: usize,
    /// Namespaces that break the glass.
    pub glasses: usize,
}

/// The last census, and what each fence is in it.
#[derive(Debug, Default)]
pub(super) struct Counted {
    census: Census,
    by_fence: BTreeMap<ObjectRef, Share>,
}

/// What one fence is in the census.
#[derive(Debug)]
struct Share {
    dependencies: usize,
    said: Vec<InShort>,
    mode: Option<&'static str>,
    quarantined: usize,
    /// Whether every pod is heard, where its hosts expire.
    heard: Option<bool>,
}

impl State {
    /// Counts the fences that this controller looks after, as their statuses say. Costs a step for each fence that something has happened to since it
    /// was asked last, and one for each namespace.
    pub fn census(&mut self) -> Census {
        for id in self.dirty.take_to_count() {
            let share = self.share(&id);
            self.counted.set(id, share);
        }
        let glasses = self.index.namespaces().filter(|namespace| is_glass_broken(&namespace.labels)).count();
        Census { glasses, ..self.counted.census.clone() }
    }

    fn share(&self, id: &ObjectRef) -> Option<Share> {
        let fence = self.index.find_fence(id)?;
        if !is_in_scope(&self.settings.revisions, &fence.labels)
            || is_anothers(&self.settings, &id.namespace, &self.index)
        {
            return None;
        }
        let mode = fence.spec.enable.then(|| self.mode(fence).shown().unwrap_or(Mode::Enforce.name()));
        let said = ours(&fence.status.conditions).map(in_short).collect();
        let unused = fence.status.unused.values();
        let quarantined = unused.filter(|unused| unused.quarantined_since.is_some()).count();
        let heard = self.is_heard(fence);
        Some(Share { dependencies: fence.status.domains.len(), said, mode, quarantined, heard })
    }
}

impl Counted {
    /// A fence counts for this from now on; for nothing where it is none.
    fn set(&mut self, id: ObjectRef, share: Option<Share>) {
        if let Some(share) = &share {
            self.census.add(share);
        }
        let before = match share {
            Some(share) => self.by_fence.insert(id, share),
            None => self.by_fence.remove(&id),
        };
        if let Some(before) = before {
            self.census.subtract(&before);
        }
    }
}

impl Census {
    fn add(&mut self, share: &Share) {
        self.fences += 1;
        self.dependencies += share.dependencies;
        self.quarantined += share.quarantined;
        self.heard += usize::from(share.heard == Some(true));
        self.unheard += usize::from(share.heard == Some(false));
        for said in &share.said {
            *self.said.entry(*said).or_default() += 1;
        }
        if let Some(mode) = share.mode {
            *self.by_mode.entry(mode).or_default() += 1;
        }
    }

    fn subtract(&mut self, share: &Share) {
        self.fences -= 1;
        self.dependencies -= share.dependencies;
        self.quarantined -= share.quarantined;
        self.heard -= usize::from(share.heard == Some(true));
        self.unheard -= usize::from(share.heard == Some(false));
        for said in &share.said {
            one_less(&mut self.said, said);
        }
        if let Some(mode) = share.mode {
            one_less(&mut self.by_mode, &mode);
        }
    }
}

/// What is counted no more is not there.
fn one_less<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::convert;
    use crate::settings::{Context, Settings, resolve};
    use crate::state::Event;
    use crate::types::{Kind, Now};

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
            ..Census::default()
        };
        assert_eq!(state.census(), expected);
    }

    #[test]
    fn where_another_controller_looks_after_a_namespace_its_fences_are_not_counted_here() {
        let mut state = State::new(settings(2)).0;
        for object in [fence("one", "", &[]), service("global-sidecar", "")] {
            hear(&mut state, &object);
        }
        assert_eq!(state.census().fences, 1, "nobody knows of a list");
        state.on(Event::Settings(Box::new(settings(1))), NOW);
        assert_eq!(
            state.census().fences,
            0,
            "the list of this controller has not the namespace, and a global-sidecar serves it"
        );
        state.on(Event::Deleted(Kind::Service, ObjectRef::new("default", "global-sidecar")), NOW);
        assert_eq!(state.census().fences, 1, "nobody's");
    }

    /// In cluster mode with a revision, in namespace mode with another namespace than that of the fences, or neither.
    fn settings(which: usize) -> Settings {
        let settings = match which % 3 {
            0 => json!({"global": {"istioRev": "blue"}}),
            1 => json!({"general": {"globalSidecarMode": "namespace", "namespace": ["elsewhere"]}}),
            _ => json!({}),
        };
        resolve(&settings, &Context::default()).unwrap().settings
    }

    fn service(name: &str, mode: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "default", "name": name,
            "labels": {"lazyload.slime.io/mode": mode}}})
    }

    fn namespace(mode: &str, glass: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default",
            "labels": {"lazyload.slime.io/mode": mode, "lazyload.slime.io/break-glass": glass}}})
    }

    fn hear(state: &mut State, object: &Value) {
        state.on(Event::Applied(Box::new(convert::object(object).unwrap().unwrap())), NOW);
    }

    /// What may happen, by three dice: which object it is, and two of what it says.
    fn happen(state: &mut State, (which, first, second): (usize, usize, usize)) {
        let mode = ["observe", "enforce", ""][first % 3];
        let names = ["one", "two", "global-sidecar"];
        let object = match which {
            0 | 1 => fence(
                names[which],
                ["", "blue", "green"][first % 3],
                &[[("Ready", "True", "Applied"), ("Conflict", "True", "ForeignSidecar")][second % 2]],
            ),
            2 | 3 => service(names[second % 3], mode),
            4 => namespace(mode, ["on", "off"][second % 2]),
            5 => return state.on(Event::Deleted(Kind::Fence, ObjectRef::new("default", names[first % 2])), NOW),
            6 => return state.on(Event::Deleted(Kind::Service, ObjectRef::new("default", names[first % 3])), NOW),
            _ => return state.on(Event::Settings(Box::new(settings(first))), NOW),
        };
        hear(state, &object);
    }

    proptest! {
        #[test]
        fn whatever_happens_the_census_is_that_of_what_is_there(
            steps in prop::collection::vec((0usize..8, 0usize..6, 0usize..6), 1..60)
        ) {
            let (mut often, mut once) = (State::new(settings(2)).0, State::new(settings(2)).0);
            for step in steps {
                happen(&mut often, step);
                happen(&mut once, step);
                often.census();
            }
            // Counted from nothing.
            once.counted = Counted::default();
            once.on(Event::Heal, NOW);
            prop_assert_eq!(often.census(), once.census());
        }
    }
}

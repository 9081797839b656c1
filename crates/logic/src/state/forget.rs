//! What a user wants to be forgotten: an annotation of the fence, `MARK *` or `MARK HOST HOST …`. Each mark is heeded once, and one that a controller finds when
//! it begins not at all: what was learned since somebody left it there stays. What is forgotten leaves the Sidecar as everything that is not needed
//! any more, and is learned again by the next call.

use super::State;
use super::history::What;
use crate::fence::completion::complete_called;
use crate::ledger::host_of_evidence;
use crate::types::Fence;

/// Instead of hosts: all that was learned.
pub const ALL: &str = "*";

impl State {
    pub(super) fn forget_as_asked(&mut self, fence: &Fence, unix_seconds: i64) {
        let Some(asked) = &fence.forget else { return };
        let is_news = self.index.find_fence(&fence.id).is_some();
        let work = self.by_fence.entry(fence.id.clone()).or_default();
        if work.forgotten.as_ref() == Some(asked) {
            return;
        }
        work.forgotten = Some(asked.clone());
        if !is_news {
            return;
        }
        let hosts: Vec<&str> = asked.split_whitespace().skip(1).collect();
        let is_asked = |key: &&String| {
            let host = host_of_evidence(key).map(|host| complete_called(host, &fence.id.namespace, &self.index));
            hosts.contains(&ALL) || host.is_some_and(|host| hosts.contains(&host.as_str()))
        };
        let keys = self.ledger.evidence(&fence.id).into_iter().flat_map(|evidence| evidence.keys());
        let keys: Vec<String> = keys.filter(is_asked).cloned().collect();
        for key in keys {
            self.ledger.expire(&fence.id, &key);
            self.history.add(&fence.id, unix_seconds, What::Forgotten { key, asked: true });
        }
        self.dirty.insert(fence.id.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::convert;
    use crate::observation::Call;
    use crate::settings::{Context, resolve};
    use crate::state::Event;
    use crate::types::{Kind, Now, ObjectRef};

    const NOW: Now = Now { monotonic: Duration::from_secs(1), unix_seconds: 1 };

    fn apply(state: &mut State, object: &Value) {
        state.on(Event::Applied(Box::new(convert::object(object).unwrap().unwrap())), NOW);
    }

    /// A fence that has learned `b` as it was written, `c` by its full name, and a host outside.
    fn fence(version: u32, forget: Option<&str>) -> Value {
        let learned = ["b", "c.default.svc.cluster.local", "x.example"];
        let learned: serde_json::Map<String, Value> =
            learned.iter().map(|host| (crate::ledger::evidence_key(host), json!("1"))).collect();
        let annotations = forget.map(|forget| json!({"lazyload.slime.io/forget": forget}));
        json!({"apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence",
            "metadata": {"namespace": "default", "name": "a", "uid": "u", "resourceVersion": version.to_string(),
                "annotations": annotations},
            "spec": {"enable": true, "workloadSelector": {"fromService": true}}, "status": {"metricStatus": learned}})
    }

    fn state() -> State {
        state_with(fence(1, None))
    }

    fn state_with(fence: Value) -> State {
        let (mut state, _) = State::new(resolve(&json!({}), &Context::default()).unwrap().settings);
        for object in [
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "default", "name": "a"}, "spec": {"selector": {"app": "a"}}}),
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "default", "name": "a-1", "labels": {"app": "a"}},
                "spec": {"containers": []}, "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}}),
            fence,
        ] {
            apply(&mut state, &object);
        }
        for kind in Kind::ALL {
            state.on(Event::Listed(kind), NOW);
        }
        state
    }

    fn learned(state: &State) -> Vec<String> {
        state.ledger.hosts(&ObjectRef::new("default", "a")).into_iter().collect()
    }

    #[test]
    fn hosts_are_forgotten_by_their_full_names_and_a_status_from_before_does_not_bring_them_back() {
        let mut state = state();
        apply(&mut state, &fence(2, Some("1 b.default.svc.cluster.local x.example unknown")));
        assert_eq!(learned(&state), ["c.default.svc.cluster.local"]);
        apply(&mut state, &fence(3, None));
        assert_eq!(learned(&state), ["c.default.svc.cluster.local"]);
    }

    #[test]
    fn each_mark_is_heeded_once_so_what_is_learned_after_it_stays() {
        let mut state = state();
        apply(&mut state, &fence(2, Some("1 *")));
        assert_eq!(learned(&state), Vec::<String>::new());
        let call = Call { caller: [10, 0, 0, 1].into(), peer: None, authority: "b".into(), count: 1 };
        state.on(Event::Called(vec![call]), NOW);
        apply(&mut state, &fence(3, Some("1 *")));
        assert_eq!(learned(&state), ["b.default.svc.cluster.local"]);
        apply(&mut state, &fence(4, Some("2 *")));
        assert_eq!(learned(&state), Vec::<String>::new());
    }

    #[test]
    fn a_mark_that_was_left_does_not_make_the_next_controller_forget() {
        let mut state = state_with(fence(1, Some("1 *")));
        assert_eq!(learned(&state).len(), 3);
        apply(&mut state, &fence(2, Some("1 *")));
        assert_eq!(learned(&state).len(), 3);
        apply(&mut state, &fence(3, Some("2 *")));
        assert_eq!(learned(&state), Vec::<String>::new());
    }

    #[test]
    fn a_mark_without_hosts_forgets_nothing() {
        let mut state = state();
        apply(&mut state, &fence(2, Some("")));
        apply(&mut state, &fence(3, Some("1")));
        assert_eq!(learned(&state).len(), 3);
    }
}

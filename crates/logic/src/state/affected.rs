//! Which fences need another look because something has happened.

use lazyload_api::names;

use super::State;
use crate::fence::completion::service_host;
use crate::index::Reach;
use crate::types::{Kind, ObjectRef};

impl State {
    /// The fences, there or wanted, that an object is about by its own name or namespace.
    pub(super) fn namesakes(&self, kind: Kind, id: &ObjectRef) -> Vec<ObjectRef> {
        match kind {
            Kind::Fence | Kind::Sidecar | Kind::Service => vec![id.clone()],
            Kind::Namespace => {
                let services = self.index.services_in(&id.name).map(|service| service.id.clone());
                services.chain(self.pod_fences_in(&id.name)).collect()
            }
            Kind::Pod
            | Kind::EndpointSlice
            | Kind::VirtualService
            | Kind::ServiceEntry
            | Kind::HttpRoute
            | Kind::GrpcRoute
            | Kind::AuthorizationPolicy => Vec::new(),
        }
    }

    /// Marks the fences that an object can matter to. `before` is what it was about until now.
    pub(super) fn mark_affected(&mut self, kind: Kind, id: &ObjectRef, before: &Reach) {
        self.dirty.extend(self.namesakes(kind, id));
        if kind == Kind::Service && *id.name == *names::GLOBAL_SIDECAR {
            // It decides whose the namespace is.
            self.dirty.extend(self.index.fences_in(&id.namespace).map(|fence| fence.id.clone()));
            self.dirty.extend(self.namesakes(Kind::Namespace, &ObjectRef::new("", id.namespace.clone())));
        }
        let now = self.index.reach(kind, id);
        // A pod that is as it was, but for its address say, matters to nobody.
        if kind == Kind::Pod && now == *before {
            return;
        }
        self.dirty.extend(self.interests.affected(before));
        if kind == Kind::Service {
            let names = self.aliases.expand(&service_host(id));
            let exists = self.index.find_service(id).is_some();
            self.interests.set_member(&names, id, exists);
        }
        if now != *before {
            self.dirty.extend(self.interests.affected(&now));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use serde_json::{Value, json};

    use crate::convert;
    use crate::settings::{Context, resolve};
    use crate::state::{Event, State};
    use crate::types::{Kind, Now, ObjectRef};

    const NOW: Now = Now { monotonic: Duration::from_secs(1), unix_seconds: 1 };
    const FENCES: usize = 500;

    fn hear(state: &mut State, object: &Value) {
        state.on(Event::Applied(Box::new(convert::object(object).unwrap().unwrap())), NOW);
    }

    /// A Service `sN` and a fence `fN` that depends on it for each N; nothing is left to look at.
    fn mk_state() -> State {
        let (mut state, _) = State::new(resolve(&json!({}), &Context::default()).unwrap().settings);
        for number in 0..FENCES {
            let host = format!("s{number}.default.svc.cluster.local");
            hear(
                &mut state,
                &json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("s{number}")}}),
            );
            hear(
                &mut state,
                &json!({"apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence",
                    "metadata": {"name": format!("f{number}")}, "spec": {"host": {host: {}}}}),
            );
        }
        for kind in Kind::ALL {
            state.on(Event::Listed(kind), NOW);
        }
        state.plan(NOW);
        assert!(state.dirty.is_empty());
        state
    }

    fn names(names: &[&str]) -> BTreeSet<ObjectRef> {
        names.iter().map(|name| ObjectRef::new("default", *name)).collect()
    }

    fn virtual_service(host: &str) -> Value {
        json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "v"},
            "spec": {"hosts": [host], "http": [{"route": [{"destination": {"host": "b"}}]}]}})
    }

    #[test]
    fn news_of_one_host_marks_only_those_who_depend_on_it_before_or_after() {
        let mut state = mk_state();
        hear(
            &mut state,
            &json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s7", "labels": {"a": "b"}}}),
        );
        assert_eq!(*state.dirty, names(&["f7", "s7"]));
        state.dirty.take();
        hear(&mut state, &virtual_service("s8"));
        assert_eq!(*state.dirty, names(&["f8"]));
        state.dirty.take();
        hear(&mut state, &virtual_service("s9"));
        assert_eq!(*state.dirty, names(&["f8", "f9"]));
        state.dirty.take();
        hear(&mut state, &virtual_service("s9"));
        assert!(state.dirty.is_empty(), "the same once more is no news");
        state.on(Event::Deleted(Kind::VirtualService, ObjectRef::new("default", "v")), NOW);
        assert_eq!(*state.dirty, names(&["f9"]));
        state.dirty.take();
        hear(&mut state, &virtual_service("*.default.svc.cluster.local"));
        assert_eq!(state.dirty.len(), FENCES);
    }

    fn policy(app: &str, source: &Value) -> Value {
        json!({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": "p"},
            "spec": {"selector": {"matchLabels": {"app": app}}, "rules": [{"from": [{"source": source}]}]}})
    }

    #[test]
    fn news_of_a_policy_marks_those_whom_it_names_and_those_who_depend_on_what_it_protects() {
        let mut state = mk_state();
        let mut service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s7"},
            "spec": {"selector": {"app": "s7"}}});
        hear(&mut state, &service);
        service["metadata"] = json!({"name": "s7", "namespace": "other"});
        hear(&mut state, &service);
        hear(
            &mut state,
            &json!({"apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence",
                "metadata": {"name": "named", "namespace": "other"}, "spec": {}}),
        );
        state.plan(NOW);
        hear(&mut state, &policy("s7", &json!({"namespaces": ["other"]})));
        let named = ObjectRef::new("other", "named");
        assert_eq!(*state.dirty, [ObjectRef::new("default", "f7"), named.clone()].into());
        state.plan(NOW);
        // Pods tell the accounts of those whom it may name, and what it protects; a second pod of a kind tells nothing.
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p1", "labels": {"app": "s7"}},
            "spec": {"containers": []}});
        for (name, expected) in [("p1", true), ("p2", false)] {
            pod["metadata"]["name"] = name.into();
            hear(&mut state, &pod);
            assert_eq!(!state.dirty.is_empty(), expected, "{:?}", state.dirty);
            assert!(state.dirty.len() < 3, "{:?}", state.dirty);
            state.dirty.take();
        }
        pod["metadata"]["labels"] = json!({"app": "s9"});
        hear(&mut state, &pod);
        assert!(state.dirty.is_empty(), "nobody is interested: {:?}", state.dirty);
    }

    #[test]
    fn a_fence_that_is_gone_is_not_marked_any_more() {
        let mut state = mk_state();
        state.on(Event::Deleted(Kind::Fence, ObjectRef::new("default", "f8")), NOW);
        state.plan(NOW);
        hear(&mut state, &virtual_service("s8"));
        assert!(state.dirty.is_empty());
    }
}

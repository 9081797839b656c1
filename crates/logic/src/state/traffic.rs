//! What goes on through the global-sidecar: who calls which host there, how often, and whether it should not any more. A host whose route the
//! caller's Sidecar has, and which is called through the global-sidecar all the same, is stuck.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::State;
use super::explain::Way;
use super::notice::Notice;
use crate::fence::completion::{complete_called, service_of_host};
use crate::fence::switch::{EVERYTHING, Form};
use crate::observation::Call;
use crate::types::{Now, ObjectRef};

/// Calls go on so long beside a route before the host counts as stuck: a push is over by then, and so is what was counted before it.
const STUCK: Duration = Duration::from_secs(30);
/// What was called within this time, and the one before, is called lately. Who was not is not stuck either.
const LATELY: Duration = Duration::from_secs(60);
/// Pairs of a fence and a host that are remembered; beyond that, half of them: those with the most calls.
const MAX_PAIRS: usize = 4096;

/// Hosts that one Event names.
const NAMED: usize = 5;

/// What was counted.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    by_pair: BTreeMap<(ObjectRef, String), Pair>,
    turned: Duration,
}

#[derive(Debug, Default)]
struct Pair {
    calls: u64,
    /// Of them in the current period, and in the one before.
    lately: (u64, u64),
    last_unix_seconds: i64,
    last: Duration,
    /// The first call that was counted while the Sidecar had the route.
    beside_its_route_since: Option<Duration>,
    /// It is stuck, and that was told.
    is_told: bool,
}

impl Pair {
    fn add(&mut self, calls: u64, is_direct: bool, now: Now) {
        self.calls += calls;
        self.lately.0 += calls;
        self.last_unix_seconds = now.unix_seconds;
        self.last = now.monotonic;
        self.beside_its_route_since = is_direct.then(|| self.beside_its_route_since.unwrap_or(now.monotonic));
    }

    fn is_stuck(&self) -> bool {
        self.beside_its_route_since.is_some_and(|since| self.last.saturating_sub(since) >= STUCK)
            && self.lately != (0, 0)
    }
}

/// One host that a workload calls through the global-sidecar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Busy {
    /// The caller's fence, or the Service that would have it.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The host.
    pub host: String,
    /// The way that the next call should take.
    pub way: Way,
    /// Its route is there for long, and it is called through the global-sidecar all the same.
    pub stuck: bool,
    /// Calls since it was first counted.
    pub calls: u64,
    /// Of them those of the last one to two minutes.
    pub lately: u64,
    /// When the last one was counted (Unix seconds).
    pub last: i64,
}

/// What the Sidecars of fences route, each read once.
struct Routes<'a> {
    state: &'a State,
    by_fence: BTreeMap<ObjectRef, Option<Form<'a>>>,
}

impl Routes<'_> {
    /// The way that the next call should take.
    fn way(&mut self, id: &ObjectRef, host: &str) -> Way {
        let state = self.state;
        let fence = state.index.find_fence(id);
        if !self.by_fence.contains_key(id) {
            let form = fence.and_then(|fence| state.sidecar_of(fence)).map(|sidecar| Form::of(&sidecar.spec));
            self.by_fence.insert(id.clone(), form);
        }
        // Without a Sidecar nothing is hidden.
        let Some(Some(form)) = self.by_fence.get(id) else { return Way::Direct };
        let domain = fence.and_then(|fence| fence.status.domains.get(host));
        let is_routed = |host: &str| form.routed.contains(&*format!("*/{host}"));
        let of_namespace = service_of_host(host).map(|service| format!("{}/*", service.namespace));
        let brings = domain.map(|domain| &domain.hosts).filter(|hosts| !hosts.is_empty());
        if is_routed(host)
            || brings.is_some_and(|hosts| hosts.iter().all(|host| is_routed(host)))
            || form.routed.contains(EVERYTHING)
            || of_namespace.is_some_and(|entry| form.routed.contains(&*entry))
        {
            return Way::Direct;
        }
        match domain {
            Some(domain) if domain.external => Way::External,
            Some(_) => Way::Coming,
            None => Way::Fallback,
        }
    }
}

impl State {
    fn routes(&self) -> Routes<'_> {
        Routes { state: self, by_fence: BTreeMap::new() }
    }

    /// Takes in how often pairs were seen since the last time.
    pub(super) fn counted(&mut self, calls: &[Call], now: Now) {
        let mut traffic = std::mem::take(&mut self.traffic);
        traffic.turn(now.monotonic);
        let mut routes = self.routes();
        let mut callers = BTreeMap::new();
        for call in calls {
            let who = (call.caller, call.peer.as_ref());
            // Whoever is not known was counted as such when it was to be learned from.
            let Ok((namespace, fences)) = callers.entry(who).or_insert_with(|| self.find_callers(call)) else {
                continue;
            };
            let host = complete_called(&call.authority, namespace, &self.index);
            if self.is_global_sidecar(&host) {
                continue;
            }
            for fence in &*fences {
                let is_direct = routes.way(fence, &host) == Way::Direct;
                let pair = traffic.by_pair.entry((fence.clone(), host.clone())).or_default();
                pair.add(call.count, is_direct, now);
            }
        }
        traffic.shrink();
        self.traffic = traffic;
    }

    /// What is called through the global-sidecar: what is stuck first, then the busiest.
    #[must_use]
    pub fn busiest(&mut self, now: Now) -> Vec<Busy> {
        self.traffic.turn(now.monotonic);
        let mut routes = self.routes();
        let pairs = self.traffic.by_pair.iter().map(|((fence, host), pair)| Busy {
            namespace: fence.namespace.to_string(),
            name: fence.name.to_string(),
            host: host.clone(),
            way: routes.way(fence, host),
            stuck: pair.is_stuck(),
            calls: pair.calls,
            lately: pair.lately.0 + pair.lately.1,
            last: pair.last_unix_seconds,
        });
        let mut busiest: Vec<Busy> = pairs.collect();
        sort(&mut busiest);
        busiest
    }

    /// Tells at their fences which hosts are stuck that were not when this was last asked.
    pub fn tell_stuck(&mut self) {
        let mut newly: BTreeMap<&ObjectRef, Vec<&str>> = BTreeMap::new();
        for ((fence, host), pair) in &mut self.traffic.by_pair {
            let is_stuck = pair.is_stuck();
            if is_stuck && !pair.is_told {
                newly.entry(fence).or_default().push(host);
            }
            pair.is_told = is_stuck;
        }
        for (id, hosts) in newly {
            let Some(fence) = self.index.find_fence(id) else { continue };
            let more = hosts.len().saturating_sub(NAMED);
            let named = hosts.into_iter().take(NAMED).collect::<Vec<_>>().join(", ");
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            self.notices.push(Notice {
                fence: id.clone(),
                uid: fence.uid.clone(),
                reason: "StuckOnFallback",
                is_warning: true,
                message: format!(
                    "calls of {named}{more} go through the global-sidecar although the Sidecar has the route for long: lazyload top and lazyload explain say more"
                ),
            });
        }
    }
}

/// What is stuck first, then the busiest.
pub fn sort(busiest: &mut [Busy]) {
    busiest.sort_by(|a, b| {
        let rank = |busy: &Busy| (busy.stuck, busy.lately, busy.calls);
        let by_name = || (&a.namespace, &a.name, &a.host).cmp(&(&b.namespace, &b.name, &b.host));
        rank(b).cmp(&rank(a)).then_with(by_name)
    });
}

impl Traffic {
    fn turn(&mut self, now: Duration) {
        let age = now.saturating_sub(self.turned);
        if age < LATELY {
            return;
        }
        self.turned = now;
        for pair in self.by_pair.values_mut() {
            pair.lately = (0, if age < LATELY * 2 { pair.lately.0 } else { 0 });
        }
    }

    fn shrink(&mut self) {
        if self.by_pair.len() <= MAX_PAIRS {
            return;
        }
        let mut counts: Vec<(u64, u64)> =
            self.by_pair.values().map(|pair| (pair.lately.0 + pair.lately.1, pair.calls)).collect();
        counts.sort_unstable();
        let Some(least) = counts.get(counts.len() / 2).copied() else { return };
        self.by_pair.retain(|_, pair| (pair.lately.0 + pair.lately.1, pair.calls) > least);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::convert;
    use crate::settings::{Context, resolve};
    use crate::state::Event;
    use crate::types::Kind;

    const CALLER: [u8; 4] = [10, 0, 0, 1];

    fn at(seconds: u64) -> Now {
        Now { monotonic: Duration::from_secs(seconds), unix_seconds: i64::try_from(seconds).unwrap() }
    }

    fn apply(state: &mut State, object: &Value) {
        state.on(Event::Applied(Box::new(convert::object(object).unwrap().unwrap())), at(1));
    }

    /// A fence of `a` that has called `b`, which is in its Sidecar, and `x.example`, which the mesh does not know.
    fn state() -> State {
        let (mut state, _) = State::new(resolve(&json!({}), &Context::default()).unwrap().settings);
        let b = "b.default.svc.cluster.local";
        for object in [
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "default", "name": "a"}, "spec": {"selector": {"app": "a"}}}),
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "default", "name": "a-1", "labels": {"app": "a"}},
                "spec": {"containers": []}, "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}}),
            json!({"apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence", "metadata": {"namespace": "default", "name": "a", "uid": "u"},
                "spec": {"enable": true, "workloadSelector": {"fromService": true}},
                "status": {"domains": {b: {"hosts": [b]}, "x.example": {"external": true}}}}),
            sidecar(&[&format!("*/{b}"), "istio-system/*"]),
        ] {
            apply(&mut state, &object);
        }
        for kind in Kind::ALL {
            state.on(Event::Listed(kind), at(1));
        }
        state
    }

    fn sidecar(hosts: &[&str]) -> Value {
        let owners = json!([{"apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence", "name": "a", "uid": "u", "controller": true}]);
        json!({"apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": {"namespace": "default", "name": "a", "ownerReferences": owners},
            "spec": {"workloadSelector": {"labels": {"app": "a"}}, "egress": [{"hosts": hosts}]}})
    }

    fn count(state: &mut State, host: &str, count: u64, seconds: u64) {
        let call = Call { caller: CALLER.into(), peer: None, authority: host.into(), count };
        state.on(Event::Counted(vec![call]), at(seconds));
    }

    fn told(state: &mut State, seconds: u64) -> Vec<(String, Way, bool, u64, u64)> {
        let busiest = state.busiest(at(seconds));
        busiest.into_iter().map(|busy| (busy.host, busy.way, busy.stuck, busy.calls, busy.lately)).collect()
    }

    #[test]
    fn the_busiest_is_first_with_the_way_that_its_next_call_should_take() {
        let mut state = state();
        count(&mut state, "x.example", 7, 10);
        count(&mut state, "c", 2, 10);
        count(&mut state, "c", 1, 11);
        let c = "c.default.svc.cluster.local".to_owned();
        assert_eq!(
            told(&mut state, 12),
            [("x.example".to_owned(), Way::External, false, 7, 7), (c, Way::Fallback, false, 3, 3)]
        );
    }

    #[test]
    fn a_host_is_stuck_once_it_is_called_long_beside_its_route_and_as_long_as_it_is() {
        let mut state = state();
        let b = "b.default.svc.cluster.local".to_owned();
        count(&mut state, "b", 1, 100);
        count(&mut state, "b", 1, 129);
        assert_eq!(told(&mut state, 129), [(b.clone(), Way::Direct, false, 2, 2)]);
        count(&mut state, "b", 1, 130);
        assert_eq!(told(&mut state, 130), [(b.clone(), Way::Direct, true, 3, 3)]);
        assert_eq!(told(&mut state, 400), [(b.clone(), Way::Direct, false, 3, 0)], "nobody calls it any more");

        apply(&mut state, &sidecar(&["istio-system/*"]));
        count(&mut state, "b", 1, 401);
        assert_eq!(told(&mut state, 401), [(b.clone(), Way::Coming, false, 4, 1)]);
        apply(&mut state, &sidecar(&["default/*"]));
        count(&mut state, "b", 1, 402);
        count(&mut state, "b", 1, 410);
        assert_eq!(told(&mut state, 410), [(b, Way::Direct, false, 6, 3)], "the route is new");
    }

    #[test]
    fn a_host_that_becomes_stuck_is_told_once_at_its_fence_and_again_when_it_is_stuck_anew() {
        let mut state = state();
        let told = |state: &mut State| {
            state.tell_stuck();
            state.take_notices().into_iter().map(|notice| (notice.reason, notice.message)).collect::<Vec<_>>()
        };
        count(&mut state, "b", 1, 100);
        assert_eq!(told(&mut state), []);
        count(&mut state, "b", 1, 130);
        let [(reason, message)] = &told(&mut state)[..] else { panic!("told once") };
        assert!(*reason == "StuckOnFallback" && message.contains("b.default.svc.cluster.local go"), "{message}");
        count(&mut state, "b", 1, 131);
        assert_eq!(told(&mut state), [], "it was told");
        assert_eq!(state.busiest(at(400)).len(), 1);
        assert_eq!(told(&mut state), [], "nobody calls it any more");
        count(&mut state, "b", 1, 401);
        assert_eq!(told(&mut state).len(), 1, "it is called again, beside the same route");
    }

    #[test]
    fn counting_teaches_nothing_and_who_is_not_known_is_left_out() {
        let mut state = state();
        count(&mut state, "c", 1, 10);
        let call = Call { caller: [10, 0, 0, 9].into(), peer: None, authority: "c".into(), count: 1 };
        state.on(Event::Counted(vec![call]), at(10));
        assert_eq!((state.learned().hosts, told(&mut state, 10).len()), (0, 1));
        assert!(state.learned().skipped.is_empty());
    }

    #[test]
    fn a_caller_that_makes_up_names_fills_no_more_than_its_bound_and_the_busiest_stays() {
        let mut state = state();
        count(&mut state, "x.example", 9, 10);
        for name in 0..MAX_PAIRS + 10 {
            count(&mut state, &format!("made-up-{name}"), 2, 10);
        }
        let told = told(&mut state, 11);
        assert!(told.len() <= MAX_PAIRS && told[0].0 == "x.example", "{}", told.len());
    }
}

//! A state, a simulated cluster and a fake clock, and the loop between them: hear, plan, write, report back.

use std::time::Duration;

use lazyload_logic::settings::{Context, resolve};
use lazyload_logic::state::{Change, Event, Outcome, State};
use lazyload_logic::types::{Kind, Now};
use serde_json::{Value, json};

use crate::objects::mk_call;
use crate::simulated_cluster::{SimulatedCluster, read};

/// Rounds in which a cluster must come to rest.
const MAX_ROUNDS: usize = 2_000;
/// Unix time at the start.
pub(crate) const START_SECONDS: i64 = 1_000_000;

pub(crate) struct World {
    pub(crate) entry: Value,
    pub(crate) cluster: SimulatedCluster,
    pub(crate) state: State,
    pub(crate) now: Duration,
    /// By how much the clock on the wall is wrong, in seconds.
    pub(crate) wrong: i64,
}

/// A state that knows nothing yet, for a module entry.
pub(crate) fn mk_state(entry: &Value) -> State {
    State::new(resolve(entry, &Context::default()).unwrap().settings).0
}

impl World {
    /// Starts on a cluster with these objects, hears all of them, and comes to rest.
    pub(crate) fn start(entry: Value, objects: &[Value]) -> Self {
        let mut world = Self::new(entry, objects);
        world.list();
        world.settle();
        world
    }

    /// A cluster with these objects, of which the state has heard nothing.
    pub(crate) fn new(entry: Value, objects: &[Value]) -> Self {
        let mut cluster = SimulatedCluster::default();
        for object in objects {
            cluster.put(object.clone());
        }
        Self { state: mk_state(&entry), entry, cluster, now: Duration::from_millis(1_500), wrong: 0 }
    }

    /// The automatic mode in which only labels speak.
    pub(crate) fn labels_only() -> Value {
        json!({"general": {"wormholePort": ["9080"], "autoFence": true, "defaultFence": false}})
    }

    /// Sidecars in one step, where the stages of a switch are not the matter.
    pub(crate) fn fastest() -> Value {
        json!({"general": {"switching": "fastest"}})
    }

    pub(crate) fn clock(&self) -> Now {
        let right = START_SECONDS + i64::try_from(self.now.as_secs()).unwrap();
        Now { monotonic: self.now, unix_seconds: right + self.wrong }
    }

    pub(crate) fn on(&mut self, event: Event) {
        let now = self.clock();
        self.state.on(event, now);
    }

    pub(crate) fn plan(&mut self) -> Vec<Change> {
        let now = self.clock();
        self.state.plan(now)
    }

    pub(crate) fn finish(&mut self, change: &Change, outcome: Outcome) {
        self.on(Event::Finished { id: change.id().clone(), outcome });
    }

    /// Delivers the full list of each kind.
    pub(crate) fn list(&mut self) {
        self.cluster.take_events();
        for kind in Kind::ALL {
            let objects: Vec<Value> = self.cluster.all(kind).into_iter().cloned().collect();
            for object in objects {
                self.on(Event::Applied(Box::new(read(&object))));
            }
            self.on(Event::Listed(kind));
        }
    }

    /// Delivers what watches have.
    pub(crate) fn hear(&mut self) {
        for event in self.cluster.take_events() {
            self.on(event);
        }
    }

    /// Plans and writes until nothing is left to do within the next second, and the cluster has come to rest.
    pub(crate) fn settle(&mut self) {
        self.settle_within(Duration::from_secs(1));
    }

    /// The same with alarms up to `horizon` from now; afterwards that much time has passed.
    pub(crate) fn settle_within(&mut self, horizon: Duration) {
        let end = self.now + horizon;
        for _ in 0..MAX_ROUNDS {
            self.cluster.collect_garbage();
            self.hear();
            let changes = self.plan();
            for change in &changes {
                let outcome = self.cluster.apply(change);
                self.finish(change, outcome);
            }
            if !changes.is_empty() {
                continue;
            }
            match self.state.next_alarm().filter(|at| *at <= end) {
                Some(at) => self.now = self.now.max(at),
                None => {
                    self.now = end;
                    return;
                }
            }
        }
        panic!("not at rest after {MAX_ROUNDS} rounds: {:?}", self.cluster.writes);
    }

    /// Loses all memory and starts anew on the same cluster.
    pub(crate) fn restart(&mut self) {
        self.state = mk_state(&self.entry);
        self.list();
    }

    pub(crate) fn call(&mut self, caller: &str, authority: &str) {
        self.on(Event::Called(mk_call(caller, authority, 1).into_iter().collect()));
    }

    pub(crate) fn put(&mut self, value: Value) {
        self.cluster.put(value);
    }

    pub(crate) fn count(&self, write: &str) -> usize {
        self.cluster.writes.get(write).copied().unwrap_or(0)
    }

    pub(crate) fn total_writes(&self) -> usize {
        self.cluster.writes.values().sum()
    }

    pub(crate) fn has(&self, kind: Kind, namespace: &str, name: &str) -> bool {
        self.cluster.get(kind, namespace, name).is_some()
    }
}

//! Random schedules: events of different objects in any order, calls, writes and answers in between, failures, restarts, edits.
//! After each step it is checked that nothing of the user's was touched and no learned host left a Sidecar.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lazyload_logic::state::{Change, Event, Outcome};
use lazyload_logic::types::{Kind, Object, ObjectRef};
use serde_json::{Value, json};

use crate::churn::Churn;
use crate::objects::{
    mk_fence, mk_foreign_sidecar, mk_http_route, mk_namespace, mk_pod, mk_service, mk_service_entry, mk_virtual_service,
};
use crate::simulated_cluster::{key, read};
use crate::world::{World, mk_state};

/// What may happen besides news, calls and writes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trouble {
    pub(crate) failures: bool,
    pub(crate) restarts: bool,
    pub(crate) edits: bool,
    /// The clock on the wall jumps, forth and back, by up to a month.
    pub(crate) clock: bool,
    /// See `churn`.
    pub(crate) churn: bool,
    /// Fences go less far for a while, or the glass is broken.
    pub(crate) modes: bool,
}

/// A small generator of numbers (SplitMix64), so that a schedule is one number.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(bound).unwrap()).unwrap()
    }

    pub(crate) fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
}

const MODE: &str = "lazyload.slime.io/mode";
const BREAK_GLASS: &str = "lazyload.slime.io/break-glass";

type Key = (Kind, ObjectRef);

fn key_of(event: &Event) -> Key {
    match event {
        Event::Applied(object) => (object.kind(), object.id()),
        Event::Deleted(kind, id) => (*kind, id.clone()),
        other => panic!("not of an object: {other:?}"),
    }
}

/// A random cluster of users' objects: eight Services with a pod each, manual fences, VirtualServices, foreign Sidecars.
pub(crate) fn mk_objects(dice: &mut Dice) -> Vec<Value> {
    let labels = [None, Some("true"), Some("false")];
    let mut objects = Vec::new();
    for (at, namespace) in ["default", "test"].into_iter().enumerate() {
        objects.push(mk_namespace(namespace, labels[dice.below(3)]));
        if dice.one_in(3) {
            // A fence of the same pods as s1's, and maybe of more.
            let spec =
                json!({"enable": true, "workloadSelector": {"labels": {"app": "s1"}}, "host": {"w.example.com": {}}});
            objects.push(mk_fence(namespace, ["a-same", "t-same"][dice.below(2)], spec));
        }
        for number in 0..4 {
            let name = format!("s{number}");
            let mut service = mk_service(namespace, &name, labels[dice.below(3)]);
            if dice.one_in(2) {
                service["metadata"]["labels"]["team"] = json!("x");
            }
            objects.push(service);
            objects.push(mk_pod(namespace, &name, &name, &format!("10.0.{at}.{number}")));
            if dice.one_in(2) {
                let specs = [
                    json!({"enable": true}),
                    json!({"enable": false}),
                    json!({"enable": true, "host": {"s1": {}, "test/*": {}, "a.example.com": null}}),
                    json!({"enable": true, "labelSelector": [{"selector": {"team": "x"}}]}),
                    json!({"enable": true, "workloadSelector": {"fromService": true}}),
                ];
                objects.push(mk_fence(namespace, &name, specs[dice.below(5)].clone()));
            }
            if dice.one_in(5) {
                objects.push(mk_foreign_sidecar(namespace, &name));
            }
            if dice.one_in(4) {
                objects.push(mk_virtual_service(namespace, &name, &name, &format!("s{}", dice.below(4))));
            }
            if dice.one_in(4) {
                objects.push(mk_http_route(namespace, &name, &name, &format!("s{}", dice.below(4))));
            }
            if dice.one_in(8) {
                objects.push(mk_service_entry(namespace, &name, &["www.example.com"]));
            }
        }
    }
    objects
}

/// Random calls between the pods, as clients write hosts.
pub(crate) fn mk_calls(dice: &mut Dice) -> Vec<(String, String)> {
    let authorities =
        ["s0:9080", "s1", "s2.test:80", "s3.default.svc:80", "s1.test.svc.cluster.local", "www.example.com:443"];
    let count = 1 + dice.below(12);
    let call = |dice: &mut Dice| {
        (format!("10.0.{}.{}", dice.below(2), dice.below(4)), authorities[dice.below(authorities.len())].to_owned())
    };
    (0..count).map(|_| call(dice)).collect()
}

pub(crate) struct Schedule {
    pub(crate) world: World,
    pub(crate) dice: Dice,
    trouble: Trouble,
    calls: Vec<(String, String)>,
    pub(crate) pending: Vec<Event>,
    pub(crate) delivered: Vec<Event>,
    in_flight: Vec<Change>,
    pub(crate) unlisted: BTreeSet<Kind>,
    /// What users made, in its latest form: fences and Sidecars.
    pub(crate) users: BTreeMap<Key, Value>,
    /// Learned hosts that each Sidecar had at some time.
    seen: BTreeMap<ObjectRef, BTreeSet<String>>,
    pub(crate) churn: Churn,
}

impl Schedule {
    pub(crate) fn new(
        entry: Value,
        objects: &[Value],
        calls: Vec<(String, String)>,
        dice: Dice,
        trouble: Trouble,
    ) -> Self {
        let world = World::new(entry, objects);
        let users = objects.iter().map(|object| (key(object), object.clone()));
        let users = users.filter(|((kind, _), _)| matches!(kind, Kind::Fence | Kind::Sidecar)).collect();
        let mut schedule = Self {
            world,
            dice,
            trouble,
            calls,
            pending: Vec::new(),
            delivered: Vec::new(),
            in_flight: Vec::new(),
            unlisted: BTreeSet::new(),
            users,
            seen: BTreeMap::new(),
            churn: Churn::default(),
        };
        schedule.start();
        schedule
    }

    fn start(&mut self) {
        self.world.state = mk_state(&self.world.entry);
        self.unlisted = Kind::ALL.into();
        self.world.cluster.take_events();
        let all = Kind::ALL.into_iter().flat_map(|kind| self.world.cluster.all(kind));
        self.pending = all.map(|value| Event::Applied(Box::new(read(value)))).collect();
        self.delivered.clear();
        self.in_flight.clear();
    }

    pub(crate) fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
            self.pending.extend(self.world.cluster.take_events());
            self.check();
        }
    }

    fn step(&mut self) {
        match self.dice.below(12) {
            0..=4 => self.deliver(),
            5 => self.list(),
            6 if self.trouble.churn => self.churn_call(),
            6 => self.call(),
            7 | 8 => {
                let changes = self.world.plan();
                changes.iter().for_each(|change| self.assert_enforced(change));
                assert!(changes.is_empty() || self.unlisted.is_empty(), "written before everything was listed");
                self.in_flight.extend(changes);
            }
            9 => self.finish(),
            10 if self.trouble.edits && self.dice.one_in(5) => self.world.now += Duration::from_secs(20),
            10 if self.trouble.clock && self.dice.one_in(3) => {
                self.world.wrong = i64::try_from(self.dice.below(60 * 86_400)).unwrap() - 30 * 86_400;
            }
            10 => self.world.now += Duration::from_millis(u64::try_from(self.dice.below(100)).unwrap()),
            11 if self.trouble.churn && self.dice.one_in(2) => self.churn(),
            _ => match self.dice.below(6) {
                0 if self.trouble.modes => self.switch_mode(),
                0 => self.world.cluster.collect_garbage(),
                1 => self.world.on(Event::Heal),
                2 | 3 => self.repeat(),
                4 if self.trouble.edits && self.unlisted.is_empty() => self.edit(),
                4 if self.trouble.churn => self.lose_watch(),
                5 if self.trouble.restarts => self.crash(),
                _ => {}
            },
        }
    }

    /// Delivers the next news of a random object: the order is kept for each object, and for nothing else.
    fn deliver(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let chosen = key_of(&self.pending[self.dice.below(self.pending.len())]);
        let first = self.pending.iter().position(|event| key_of(event) == chosen).unwrap();
        let event = self.pending.remove(first);
        self.delivered.push(event.clone());
        self.world.on(event);
    }

    fn list(&mut self) {
        let waiting: BTreeSet<Kind> = self.pending.iter().map(|event| key_of(event).0).collect();
        let kind = self.unlisted.iter().find(|kind| !waiting.contains(kind)).copied();
        if let Some(kind) = kind {
            self.unlisted.remove(&kind);
            self.world.on(Event::Listed(kind));
        }
    }

    fn call(&mut self) {
        let (caller, authority) = self.calls[self.dice.below(self.calls.len())].clone();
        self.world.call(&caller, &authority);
    }

    fn finish(&mut self) {
        if self.in_flight.is_empty() {
            return;
        }
        let change = self.in_flight.remove(self.dice.below(self.in_flight.len()));
        let outcome = match self.dice.below(8) {
            0 if self.trouble.failures => Outcome::Failed,
            1 if self.trouble.failures => Outcome::Rejected("no".to_owned()),
            2 if self.trouble.failures => {
                self.world.cluster.apply(&change);
                Outcome::Failed
            }
            _ => self.world.cluster.apply(&change),
        };
        // The echo can be faster than the answer.
        self.pending.extend(self.world.cluster.take_events());
        for _ in 0..self.dice.below(4) {
            self.deliver();
        }
        self.world.finish(&change, outcome);
    }

    /// Delivers old news again, if it is of an object that is still known.
    fn repeat(&mut self) {
        if self.delivered.is_empty() {
            return;
        }
        let event = self.delivered[self.dice.below(self.delivered.len())].clone();
        let Event::Applied(object) = &event else { return };
        let index = self.world.state.index();
        let known = match &**object {
            Object::Fence(old) => index.find_fence(&old.id).is_some_and(|known| known.uid == old.uid),
            Object::Sidecar(old) => index.find_sidecar(&old.id).is_some_and(|known| known.uid == old.uid),
            _ => false,
        };
        if known {
            self.world.on(event);
        }
    }

    /// A user changes something that makes no learned host unwanted.
    pub(crate) fn edit(&mut self) {
        let namespace = ["default", "test"][self.dice.below(2)];
        let name = format!("s{}", self.dice.below(4));
        match self.dice.below(6) {
            0 => {
                let key = (Kind::Fence, ObjectRef::new(namespace, name.as_str()));
                if let Some(fence) = self.users.get_mut(&key) {
                    fence["spec"]["host"] =
                        [json!({}), json!({"x.example.com": {}}), json!({"s2": {}})][self.dice.below(3)].clone();
                    self.world.put(fence.clone());
                }
            }
            1 => self.world.put(mk_virtual_service(namespace, &name, &name, &format!("s{}", self.dice.below(4)))),
            2 => self.world.cluster.delete(Kind::VirtualService, namespace, &name),
            3 => self.world.put(mk_http_route(namespace, &name, &name, &format!("s{}", self.dice.below(4)))),
            4 => self.world.cluster.delete(Kind::HttpRoute, namespace, &name),
            // One that goes would take its host along.
            _ => self.world.put(mk_service_entry(namespace, &name, &["www.example.com"])),
        }
    }

    /// A user, or an emergency, has fences go another way.
    fn switch_mode(&mut self) {
        let value = [None, Some("observe"), Some("recommend"), Some("enforce"), Some("all")][self.dice.below(5)];
        let namespace = ["default", "test"][self.dice.below(2)];
        let (kind, namespace, name, key) = match self.dice.below(4) {
            0 => (Kind::Namespace, "", ["default", "test", "mesh-operator"][self.dice.below(3)], BREAK_GLASS),
            1 => (Kind::Namespace, "", namespace, MODE),
            _ => (Kind::Service, namespace, ["s0", "s1", "s2", "s3"][self.dice.below(4)], MODE),
        };
        self.label(kind, namespace, name, key, value);
    }

    fn label(&mut self, kind: Kind, namespace: &str, name: &str, key: &str, value: Option<&str>) {
        let known = self.world.cluster.get(kind, namespace, name).cloned();
        let mut object = known.unwrap_or_else(|| mk_namespace(name, None));
        if let Some(labels) = object["metadata"]["labels"].as_object_mut() {
            labels.remove(key);
            labels.extend(value.map(|value| (key.to_owned(), json!(value))));
        }
        self.world.put(object);
    }

    /// Nothing is begun for a fence that is not to have a Sidecar.
    fn assert_enforced(&self, change: &Change) {
        let state = &self.world.state;
        let fence = state.index().find_fence(change.id());
        let begins = matches!(
            change,
            Change::ApplySidecar { begins: true, .. }
                | Change::ApplySidecar { uid: None, .. }
                | Change::AdoptSidecar { .. }
        );
        if let Some(fence) = fence.filter(|_| begins) {
            assert!(state.mode(fence).is_enforced(), "{change:?}");
        }
    }

    /// Every fence goes all the way again.
    pub(crate) fn enforce_all(&mut self) {
        for namespace in ["default", "test", "mesh-operator"] {
            for key in [MODE, BREAK_GLASS] {
                self.label(Kind::Namespace, "", namespace, key, None);
            }
        }
        for namespace in ["default", "test"] {
            for name in ["s0", "s1", "s2", "s3"] {
                self.label(Kind::Service, namespace, name, MODE, None);
            }
        }
    }

    /// The process dies; writes on their way may or may not have been made.
    fn crash(&mut self) {
        for change in std::mem::take(&mut self.in_flight) {
            if self.dice.one_in(2) {
                self.world.cluster.apply(&change);
            }
        }
        self.start();
    }

    fn check(&mut self) {
        for ((kind, id), made) in &self.users {
            let found = self.world.cluster.get(*kind, &id.namespace, &id.name);
            let found = found.unwrap_or_else(|| panic!("{id} of a user was deleted"));
            assert_eq!(found["spec"], made["spec"], "{id}");
            assert_eq!(found["metadata"].get("labels"), made["metadata"].get("labels"), "{id}");
            assert_eq!(found["metadata"].get("ownerReferences"), None, "{id}");
        }
        if self.trouble.churn {
            return self.check_evidence();
        }
        for sidecar in self.world.cluster.all(Kind::Sidecar) {
            let (_, id) = key(sidecar);
            if self.users.contains_key(&(Kind::Sidecar, id.clone())) {
                continue;
            }
            let labels = sidecar["spec"]["workloadSelector"]["labels"].as_object().expect("a selector");
            assert!(!labels.is_empty(), "{id} applies to the whole namespace");
            let hosts: BTreeSet<String> = self.world.cluster.hosts(&id.namespace, &id.name).into_iter().collect();
            let seen = self.seen.entry(id.clone()).or_default();
            assert!(hosts.is_superset(seen), "{id} lost {:?}", seen.difference(&hosts).collect::<Vec<_>>());
            let fence = self.world.cluster.get(Kind::Fence, &id.namespace, &id.name);
            let learned = fence.and_then(|fence| fence["status"]["metricStatus"].as_object());
            let learned = learned.into_iter().flatten().map(|(key, _)| format!("*/{}", key.split('"').nth(1).unwrap()));
            seen.extend(learned.filter(|host| hosts.contains(host)));
        }
    }

    /// All news arrives, nothing fails any longer; once at rest (what was learned must have survived) every call is made once more.
    pub(crate) fn end(&mut self) {
        for change in std::mem::take(&mut self.in_flight) {
            let outcome = self.world.cluster.apply(&change);
            self.world.finish(&change, outcome);
        }
        self.pending.extend(self.world.cluster.take_events());
        while !self.pending.is_empty() {
            self.deliver();
        }
        for kind in std::mem::take(&mut self.unlisted) {
            self.world.on(Event::Listed(kind));
        }
        self.world.on(Event::Heal);
        self.world.settle_within(Duration::from_secs(120));
        self.check();
        let calls = if self.trouble.churn { Vec::new() } else { self.calls.clone() };
        for (caller, authority) in calls {
            self.world.call(&caller, &authority);
        }
        self.world.settle_within(Duration::from_secs(120));
        self.check();
    }
}

/// What matters of a cluster: fences and Sidecars, without what counts writes.
pub(crate) fn view(world: &World) -> Vec<Value> {
    let kinds = [Kind::Fence, Kind::Sidecar];
    let mut values: Vec<Value> = kinds.into_iter().flat_map(|kind| world.cluster.all(kind)).cloned().collect();
    for value in &mut values {
        let owner = value["metadata"]["ownerReferences"][0]["uid"].as_str().map(str::to_owned);
        let (_, id) = key(value);
        if let Some(owner) = owner {
            let fence = world.cluster.get(Kind::Fence, &id.namespace, &id.name).expect("an owner");
            assert_eq!(fence["metadata"]["uid"], owner, "{id} belongs to a fence that is gone");
            value["metadata"]["ownerReferences"][0]["uid"] = Value::Null;
        }
        for field in ["uid", "resourceVersion", "generation"] {
            value["metadata"][field] = Value::Null;
        }
        // A label that was taken away leaves an empty map here, and nothing at a real API server.
        if value["metadata"].get("labels") == Some(&json!({})) {
            value["metadata"].as_object_mut().expect("metadata").remove("labels");
        }
        for condition in value.pointer_mut("/status/conditions").and_then(Value::as_array_mut).into_iter().flatten() {
            condition["lastTransitionTime"] = Value::Null;
            condition["observedGeneration"] = Value::Null;
        }
        if let Some(generation) = value.pointer_mut("/status/observedGeneration") {
            *generation = Value::Null;
        }
    }
    values
}

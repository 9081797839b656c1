//! Schedules in which users' objects come, change and go, watches are lost, writes fail and the process dies at any moment. What is left
//! in the end must be what a calm start on the users' last objects and the learned evidence makes of them.

use std::collections::{BTreeMap, BTreeSet};

use lazyload_logic::observation::{Call, Identity};
use lazyload_logic::state::Event;
use lazyload_logic::types::{Kind, ObjectRef};
use proptest::prelude::{ProptestConfig, any, proptest};
use serde_json::{Value, json};

use crate::objects::{fqdn, mk_call, mk_fence, mk_foreign_sidecar, mk_namespace, mk_pod, mk_service};
use crate::schedule::{Dice, Schedule, Trouble, mk_calls, mk_objects, view};
use crate::simulated_cluster::{key, read};
use crate::world::World;

const NAMESPACES: [&str; 2] = ["default", "test"];
const LABELS: [Option<&str>; 3] = [None, Some("true"), Some("false")];
const FINAL_HOST: &str = "last";

/// What a schedule of churn remembers.
#[derive(Default)]
pub(crate) struct Churn {
    /// Hosts that pods of an app ever called, by the app's name.
    called: BTreeMap<ObjectRef, BTreeSet<String>>,
    /// Evidence of each fence, with the fence's uid.
    evidence: BTreeMap<ObjectRef, (Value, BTreeSet<String>)>,
}

fn evidence_of(fence: &Value) -> BTreeSet<String> {
    fence["status"]["metricStatus"].as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect()
}

impl Schedule {
    /// A user makes, changes or deletes something.
    pub(crate) fn churn(&mut self) {
        let namespace = NAMESPACES[self.dice.below(2)];
        let name = format!("s{}", self.dice.below(4));
        match self.dice.below(9) {
            0 | 1 => self.churn_pod(namespace, &name),
            2 => {
                let mut service = mk_service(namespace, &name, LABELS[self.dice.below(3)]);
                if self.dice.one_in(2) {
                    service["metadata"]["labels"]["team"] = json!("x");
                }
                self.world.put(service);
            }
            3 => self.world.cluster.delete(Kind::Service, namespace, &name),
            4 => self.world.put(mk_namespace(namespace, LABELS[self.dice.below(3)])),
            5 => self.churn_fence(namespace, &name),
            6 => self.churn_sidecar(namespace, &name),
            _ => self.edit(),
        }
    }

    /// A pod comes, moves to a free address, ends or goes; addresses are few, so that they change hands.
    fn churn_pod(&mut self, namespace: &str, app: &str) {
        let name = format!("{app}-{}", self.dice.below(2));
        match self.dice.below(4) {
            0 => self.world.cluster.delete(Kind::Pod, namespace, &name),
            1 => {
                if let Some(pod) = self.world.cluster.get(Kind::Pod, namespace, &name) {
                    let mut pod = pod.clone();
                    pod["status"]["phase"] = json!("Succeeded");
                    self.world.put(pod);
                }
            }
            _ => {
                let taken: BTreeSet<String> = self.addresses().into_iter().map(|(_, address)| address).collect();
                let address = format!("10.0.9.{}", self.dice.below(6));
                if !taken.contains(&address) {
                    let mut pod = mk_pod(namespace, &name, app, &address);
                    pod["spec"]["serviceAccountName"] = json!(app);
                    self.world.put(pod);
                }
            }
        }
    }

    /// The apps with a pod that runs, and its address.
    fn addresses(&self) -> Vec<(ObjectRef, String)> {
        let pods = self.world.cluster.all(Kind::Pod).into_iter().filter(|pod| pod["status"]["phase"] == "Running");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let app =
            |pod: &Value| ObjectRef::new(text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["labels"]["app"]));
        pods.map(|pod| (app(pod), text(&pod["status"]["podIP"]))).collect()
    }

    /// A running pod calls; its certificate says who it is.
    pub(crate) fn churn_call(&mut self) {
        let pods = self.addresses();
        if pods.is_empty() {
            return;
        }
        let (app, address) = pods[self.dice.below(pods.len())].clone();
        let host = ["s0", "s1", "s2.test.svc.cluster.local", "s3.default.svc.cluster.local"][self.dice.below(4)];
        self.call_as(&app, &address, host);
    }

    fn call_as(&mut self, app: &ObjectRef, address: &str, host: &str) {
        let complete = if host.contains('.') { host.to_owned() } else { fqdn(host, &app.namespace) };
        self.churn.called.entry(app.clone()).or_default().insert(complete);
        let account = self.account_of(address);
        let peer = Identity { namespace: &*app.namespace, account: &*account }.to_owned();
        let call = Call { peer: Some(peer), ..mk_call(address, host, 1).unwrap() };
        self.world.on(Event::Called(vec![call]));
    }

    fn account_of(&self, address: &str) -> String {
        let pods = self.world.cluster.all(Kind::Pod);
        let running = |pod: &&&Value| pod["status"]["podIP"] == address && pod["status"]["phase"] == "Running";
        let account = pods.iter().find(running).and_then(|pod| pod["spec"]["serviceAccountName"].as_str());
        account.unwrap_or("default").to_owned()
    }

    fn churn_fence(&mut self, namespace: &str, name: &str) {
        let key = (Kind::Fence, ObjectRef::new(namespace, name));
        let exists = self.world.cluster.get(Kind::Fence, namespace, name).is_some();
        if self.users.contains_key(&key) {
            if self.dice.one_in(2) {
                self.users.remove(&key);
                self.world.cluster.delete(Kind::Fence, namespace, name);
                return;
            }
        } else if exists {
            // An automatic one that its user deletes comes back.
            return self.world.cluster.delete(Kind::Fence, namespace, name);
        }
        let specs = [
            json!({"enable": true}),
            json!({"enable": false}),
            json!({"enable": true, "host": {"s1": {}, "test/*": {}}}),
            json!({"enable": true, "labelSelector": [{"selector": {"team": "x"}}]}),
            json!({"enable": true, "workloadSelector": {"fromService": true}}),
        ];
        let fence = mk_fence(namespace, name, specs[self.dice.below(5)].clone());
        self.users.insert(key, fence.clone());
        self.world.put(fence);
    }

    fn churn_sidecar(&mut self, namespace: &str, name: &str) {
        let key = (Kind::Sidecar, ObjectRef::new(namespace, name));
        if self.users.remove(&key).is_none() && self.world.cluster.get(Kind::Sidecar, namespace, name).is_none() {
            let sidecar = mk_foreign_sidecar(namespace, name);
            self.users.insert(key, sidecar.clone());
            return self.world.put(sidecar);
        }
        // Ours, deleted by hand, comes back.
        self.world.cluster.delete(Kind::Sidecar, namespace, name);
    }

    /// A watch breaks: its news is lost, and the new list tells what is there and, by what was known, what is gone.
    pub(crate) fn lose_watch(&mut self) {
        let kind = Kind::ALL[self.dice.below(Kind::ALL.len())];
        if self.unlisted.contains(&kind) {
            return;
        }
        self.pending.extend(self.world.cluster.take_events());
        let is_of = |event: &Event| match event {
            Event::Applied(object) => object.kind() == kind,
            Event::Deleted(of, _) => *of == kind,
            _ => false,
        };
        let lost: Vec<Event> = self.pending.extract_if(.., |event| is_of(event)).collect();
        let present: Vec<Value> = self.world.cluster.all(kind).into_iter().cloned().collect();
        let there: BTreeSet<ObjectRef> = present.iter().map(|value| key(value).1).collect();
        // Telling of one more that is gone than were known does no harm: the watch keeps its own list of names.
        let mut gone: BTreeSet<ObjectRef> =
            self.delivered.iter().chain(&lost).filter(|event| is_of(event)).map(id_of).collect();
        gone.retain(|id| !there.contains(id));
        for value in &present {
            self.pending.push(Event::Applied(Box::new(read(value))));
        }
        self.pending.extend(gone.into_iter().map(|id| Event::Deleted(kind, id)));
    }

    /// Evidence of a fence never gets less while the fence is there.
    pub(crate) fn check_evidence(&mut self) {
        let fences: Vec<Value> = self.world.cluster.all(Kind::Fence).into_iter().cloned().collect();
        let there: BTreeSet<ObjectRef> = fences.iter().map(|fence| key(fence).1).collect();
        self.churn.evidence.retain(|id, _| there.contains(id));
        for fence in fences {
            let (id, uid, evidence) = (key(&fence).1, fence["metadata"]["uid"].clone(), evidence_of(&fence));
            if let Some((known, before)) = self.churn.evidence.get(&id)
                && *known == uid
            {
                assert!(evidence.is_superset(before), "{id} lost evidence: {before:?}, {evidence:?}");
            }
            self.churn.evidence.insert(id, (uid, evidence));
        }
    }

    /// Calm comes: everybody who runs calls once more, and everything is told.
    fn end_churn(&mut self) {
        // While a fence's Service is away its Sidecar stays as it is, so what that is depends on the past.
        for namespace in NAMESPACES {
            for name in (0..4).map(|number| format!("s{number}")) {
                if !self.world.has(Kind::Service, namespace, &name) {
                    self.world.put(mk_service(namespace, &name, None));
                }
            }
        }
        self.end();
        for (app, address) in self.addresses() {
            self.call_as(&app, &address, FINAL_HOST);
        }
        self.world.settle_within(std::time::Duration::from_secs(120));
        self.check_evidence();
    }

    /// The users' last objects and what was learned, on a controller that sees them at once.
    fn calm(&self) -> World {
        let ours = |value: &&Value| {
            let (kind, id) = key(value);
            matches!(kind, Kind::Fence | Kind::Sidecar) && !self.users.contains_key(&(kind, id))
        };
        let all = Kind::ALL.into_iter().flat_map(|kind| self.world.cluster.all(kind));
        let mut objects: Vec<Value> = all.filter(|value| !ours(value)).cloned().collect();
        for object in &mut objects {
            if let Some(object) = object.as_object_mut() {
                object
                    .remove("status")
                    .filter(|_| object["kind"] == "Pod")
                    .map(|status| object.insert("status".into(), status));
            }
        }
        let mut world = World::start(self.world.entry.clone(), &objects);
        world.settle_within(std::time::Duration::from_secs(120));
        for fence in self.world.cluster.all(Kind::Fence) {
            let id = key(fence).1;
            let Some(mut calm) = world.cluster.get(Kind::Fence, &id.namespace, &id.name).cloned() else { continue };
            if let Some(evidence) = fence["status"].get("metricStatus") {
                calm["status"]["metricStatus"] = evidence.clone();
                world.put(calm);
            }
        }
        world.settle_within(std::time::Duration::from_secs(120));
        world
    }
}

fn id_of(event: &Event) -> ObjectRef {
    match event {
        Event::Applied(object) => object.id(),
        Event::Deleted(_, id) => id.clone(),
        other => panic!("not of an object: {other:?}"),
    }
}

fn churned(seed: u64) -> Schedule {
    let mut dice = Dice(seed);
    let entry = json!({"general": {"autoFence": dice.below(4) > 0, "defaultFence": dice.below(2) == 0}});
    let (objects, calls) = (mk_objects(&mut dice), mk_calls(&mut dice));
    // Their addresses are given to pods of known accounts by the churn itself.
    let objects: Vec<Value> = objects.into_iter().filter(|object| object["kind"] != "Pod").collect();
    let trouble = Trouble { failures: true, restarts: true, clock: true, churn: true, ..Trouble::default() };
    let mut schedule = Schedule::new(entry, &objects, calls, dice, trouble);
    schedule.run(800);
    schedule.end_churn();
    schedule
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn restarts_at_random_points_under_churn_end_in_the_same_state(seed in any::<u64>()) {
        let mut schedule = churned(seed);
        let calm = schedule.calm();
        assert_eq!(view(&schedule.world), view(&calm));

        let world = &mut schedule.world;
        let before = world.cluster.writes.clone();
        world.on(Event::Heal);
        world.settle();
        world.restart();
        world.settle();
        assert_eq!(world.cluster.writes, before, "at rest, and something was written");
    }

    #[test]
    fn under_churn_every_fence_has_learned_its_own_calls_and_no_others(seed in any::<u64>()) {
        let schedule = churned(seed);
        let running: BTreeSet<ObjectRef> = schedule.addresses().into_iter().map(|(app, _)| app).collect();
        for fence in schedule.world.cluster.all(Kind::Fence) {
            let id = key(fence).1;
            let keys = evidence_of(fence);
            let hosts: BTreeSet<String> = keys.iter().map(|key| key.split('"').nth(1).unwrap().to_owned()).collect();
            // Its pods are those of its namesake, or of the app that it names.
            let app = fence["spec"]["workloadSelector"]["labels"]["app"].as_str().unwrap_or(&id.name);
            let app = ObjectRef::new(id.namespace.clone(), app);
            let own = schedule.churn.called.get(&app).cloned().unwrap_or_default();
            assert!(hosts.is_subset(&own), "{id} has learned {hosts:?} and called {own:?}");
            if running.contains(&id) {
                assert!(hosts.contains(&fqdn(FINAL_HOST, &id.namespace)), "{id} has not learned its last call");
            }
        }
    }
}

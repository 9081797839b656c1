//! A cluster in memory with the operator in it; Kubernetes does its part when it is told to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lazyload_api::names;
use serde_json::{Value, json};

use crate::boot::Declared;
use crate::operator::object::owner;
use crate::operator::{Act, Action, DECLARING, Event, Key, News, Operator, Outcome, SETTLE, Scope};
use crate::types::{Now, ObjectRef};

/// Longest run of acts without news from outside.
const ACTS: usize = 400;

#[derive(Default)]
pub(super) struct World {
    pub(super) operator: Operator,
    pub(super) store: BTreeMap<Key, Value>,
    pub(super) boots: BTreeMap<String, Value>,
    pub(super) now: Duration,
    pub(super) made: u64,
    pub(super) news: Vec<News>,
    pub(super) acts: Vec<String>,
    /// Of fences, by name.
    pub(super) sidecars: BTreeMap<String, Sidecar>,
    /// When one of them went last, which makes it the proxies' turn.
    bared_at: Option<Duration>,
}

/// The Sidecar of a fence.
#[derive(Clone, Debug, Default)]
pub(super) struct Sidecar {
    /// Its label.
    pub(super) revision: Option<String>,
    /// Whether it shows every cluster.
    pub(super) wide: bool,
    /// Where it is.
    pub(super) namespace: String,
}

impl World {
    pub(super) fn new() -> Self {
        let mut world = Self::default();
        let kinds: Vec<&'static str> = world.operator.unlisted().iter().copied().collect();
        for kind in kinds {
            world.hear(Event::Listed(kind));
        }
        world
    }

    pub(super) fn now(&self) -> Now {
        Now { monotonic: self.now, unix_seconds: 1_700_000_000 + i64::try_from(self.now.as_secs()).unwrap() }
    }

    pub(super) fn hear(&mut self, event: Event) {
        self.operator.on(event, self.now());
    }

    pub(super) fn identity(&mut self) -> String {
        self.made += 1;
        format!("uid-{}", self.made)
    }

    pub(super) fn boot(&mut self, name: &str, spec: &Value) {
        let uid = self.identity();
        let created = format!("2026-01-01T00:00:{:02}Z", self.boots.len());
        let boot = self.boots.entry(name.to_owned()).or_insert_with(|| {
            json!({"apiVersion": names::SLIME_BOOT_API_VERSION, "kind": "SlimeBoot", "metadata": {
                "namespace": "mesh-operator", "name": name, "uid": uid, "generation": 0, "creationTimestamp": created,
            }})
        });
        if boot["spec"] != *spec {
            boot["metadata"]["generation"] = json!(boot["metadata"]["generation"].as_i64().unwrap() + 1);
            boot["spec"] = spec.clone();
        }
        let boot = boot.clone();
        self.hear(Event::Applied(Box::new(boot)));
    }

    pub(super) fn remove(&mut self, name: &str) {
        let Some(boot) = self.boots.get_mut(name) else { return };
        if boot["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty) {
            self.boots.remove(name);
            return self.hear(Event::BootGone(ObjectRef::new("mesh-operator", name)));
        }
        boot["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
        let boot = boot.clone();
        self.hear(Event::Applied(Box::new(boot)));
    }

    /// Carries out one act, and looks whether all is well.
    pub(super) fn step(&mut self) -> bool {
        let Some(action) = self.operator.next(self.now()) else { return false };
        let what = action.act.key().map(ToString::to_string).unwrap_or_default();
        self.acts.push(format!("{} {what}", action.act.name()));
        let outcome = self.carry_out(&action);
        self.hear(Event::Finished(Box::new(action), outcome));
        self.all_is_well();
        true
    }

    pub(super) fn carry_out(&mut self, action: &Action) -> Outcome {
        let stored = |value: &Value| Outcome::Stored(Box::new(value.clone()));
        let name = action.boot.name.to_string();
        match &action.act {
            Act::WidenSidecars { scope } => {
                self.change_sidecars(scope, |sidecar| (!std::mem::replace(&mut sidecar.wide, true)).then_some(true))
            }
            Act::RemoveSidecars { scope } => self.change_sidecars(scope, |_| Some(false)),
            Act::Finalizer { present, .. } => {
                let boot = self.boots.get_mut(&name).unwrap();
                boot["metadata"]["finalizers"] =
                    if *present { json!([names::SLIME_BOOT_FINALIZER]) } else { json!([]) };
                let boot = boot.clone();
                if !present && boot["metadata"]["deletionTimestamp"].is_string() {
                    self.boots.remove(&name);
                    self.hear(Event::BootGone(action.boot.clone()));
                    return Outcome::Done;
                }
                stored(&boot)
            }
            Act::Status { status, news, .. } => {
                self.news.extend(news.clone());
                let boot = self.boots.get_mut(&name).unwrap();
                boot["status"] = status.clone();
                stored(boot)
            }
            Act::Create { key, uid, body } => match self.store.get(key) {
                Some(found) => {
                    let known = owner(found).is_none() && uid.is_some() && found["metadata"]["uid"] == json!(uid);
                    if known || owner(found).as_ref() == Some(&action.boot) {
                        return self.put(key, body);
                    }
                    Outcome::Occupied(None)
                }
                None => self.put(key, body),
            },
            Act::Apply { key, uid, body } => {
                if self.store.get(key).is_some_and(|found| found["metadata"]["uid"] != json!(uid)) {
                    return Outcome::Failed("conflict".to_owned());
                }
                self.put(key, body)
            }
            Act::Delete { key, uid } => {
                if key.is_redirection() {
                    self.nobody_depends_on_the_fallback(&action.boot);
                }
                let pods =
                    self.store.get_mut(key).filter(|it| key.is_controller() && it["metadata"]["uid"] == json!(uid));
                if let Some(deployment) = pods {
                    deployment["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
                    return stored(deployment);
                }
                if self.store.get(key).is_some_and(|found| found["metadata"]["uid"] == json!(uid)) {
                    self.store.remove(key);
                    self.hear(Event::Gone(key.clone()));
                }
                Outcome::Done
            }
        }
    }

    pub(super) fn put(&mut self, key: &Key, body: &Value) -> Outcome {
        let before = self.store.get(key).cloned();
        if let Some(before) = before.as_ref().filter(|_| key.is_controller()) {
            let rolled = body["spec"]["strategy"]["type"] == "RollingUpdate";
            let (old, new) = (checksum(&before["spec"]["template"]), checksum(&body["spec"]["template"]));
            let agreed = before["spec"]["strategy"]["type"] == "RollingUpdate";
            assert!(!rolled || agreed || old == new, "an old controller writes beside a new one: {:?}", self.acts);
        }
        let uid =
            before.as_ref().map_or_else(|| self.identity(), |it| it["metadata"]["uid"].as_str().unwrap().to_owned());
        let mut object = body.clone();
        object["metadata"]["uid"] = json!(uid);
        let generation = before.as_ref().map_or(0, |it| it["metadata"]["generation"].as_u64().unwrap());
        let same = before.as_ref().is_some_and(|it| it["spec"] == body["spec"]);
        object["metadata"]["generation"] = json!(if same { generation } else { generation + 1 });
        object["status"] = before.map(|it| it["status"].clone()).unwrap_or_default();
        self.store.insert(key.clone(), object.clone());
        self.hear(Event::Applied(Box::new(object.clone())));
        Outcome::Stored(Box::new(object))
    }

    /// Kubernetes brings the pods of every Deployment up to date.
    pub(super) fn roll_out(&mut self) {
        let deployments: Vec<Key> = self.store.keys().filter(|key| key.kind().kind == "Deployment").cloned().collect();
        for key in deployments {
            let deployment = self.store.get_mut(&key).unwrap();
            if deployment["metadata"]["deletionTimestamp"].is_string() {
                self.store.remove(&key);
                self.hear(Event::Gone(key));
                continue;
            }
            let replicas = deployment["spec"]["replicas"].clone();
            deployment["status"] = json!({
                "observedGeneration": deployment["metadata"]["generation"], "replicas": replicas, "updatedReplicas": replicas,
                "availableReplicas": replicas,
            });
            let deployment = deployment.clone();
            self.hear(Event::Applied(Box::new(deployment)));
        }
    }

    pub(super) fn run(&mut self) {
        for _ in 0..ACTS {
            if !self.step() {
                return;
            }
        }
        panic!("no end: {:?}", &self.acts[self.acts.len() - 12..]);
    }

    /// Until nothing is left to do, with everything that must happen outside.
    pub(super) fn converge(&mut self) {
        for _ in 0..6 {
            self.roll_out();
            self.run();
            self.now += Duration::from_secs(6);
            self.run();
        }
    }

    pub(super) fn all_is_well(&self) {
        let redirections: Vec<(&Key, &Value)> = self.store.iter().filter(|(key, _)| key.is_redirection()).collect();
        let root = redirections.iter().any(|(key, _)| key.namespace == "istio-system");
        assert!(!root || redirections.len() == 1, "two catch-alls: {:?}", self.acts);
        let controllers: Vec<&Value> =
            self.store.iter().filter(|(key, _)| key.is_controller()).map(|(_, it)| &it["metadata"]["labels"]).collect();
        let owners: BTreeSet<&str> =
            controllers.iter().map(|it| it[names::SLIME_BOOT_LABEL].as_str().unwrap()).collect();
        assert_eq!(owners.len(), controllers.len(), "two controllers of one SlimeBoot: {:?}", self.acts);
        for (key, filter) in redirections {
            for (port, namespace) in targets(filter) {
                let get = |kind: &str, name: &str| self.store.get(&Key::new(kind, &namespace, name).unwrap());
                let why = || format!("{key} sends to {port} in {namespace}: {:?}", self.acts);
                let service = get("Service", "global-sidecar").unwrap_or_else(|| panic!("no Service: {}", why()));
                let ports = service["spec"]["ports"].as_array().unwrap();
                assert!(ports.iter().any(|it| it["port"] == json!(port)), "port: {}", why());
                let config = get("ConfigMap", "global-sidecar").unwrap()["data"]["cfg"].as_str().unwrap();
                assert!(config.contains(&format!("- {port}\n")), "port list: {}", why());
                assert!(get("Deployment", "global-sidecar").is_some(), "no Deployment: {}", why());
                let own =
                    get("EnvoyFilter", "global-sidecar-routes").unwrap_or_else(|| panic!("no exemption: {}", why()));
                for host in virtual_hosts(filter) {
                    assert!(removes(own, port, &host), "{host} loops: {}", why());
                }
            }
        }
    }

    pub(super) fn names(&self) -> BTreeSet<String> {
        self.store.keys().map(ToString::to_string).collect()
    }

    pub(super) fn condition(&self, boot: &str, kind: &str) -> Value {
        let conditions = self.boots[boot]["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default()
    }
}

impl World {
    /// A Service has these HTTP ports now.
    pub(super) fn declares(&mut self, service: &str, ports: &[u16]) {
        let (namespace, name) = service.split_once('/').unwrap();
        let ports: Vec<Value> = ports.iter().map(|port| json!({"name": "http", "port": port})).collect();
        let declared = Declared::of(&json!({"kind": "Service", "spec": {"ports": ports}}));
        self.hear(Event::Declares("Service", ObjectRef::new(namespace, name), declared));
    }

    pub(super) fn all_is_declared(&mut self) {
        for kind in DECLARING {
            self.hear(Event::DeclaringListed(kind.kind));
        }
    }

    /// Each controller writes the Sidecars of the fences that it looks after: those of its revision, named like it.
    pub(super) fn controllers_write(&mut self) {
        let writers: Vec<Key> = self.store.keys().filter(|key| key.is_controller()).cloned().collect();
        for key in writers {
            let settings = &self.store[&Key::new("ConfigMap", &key.namespace, &key.name).unwrap()];
            let entry: Value = serde_json::from_str(settings["data"]["cfg"].as_str().unwrap()).unwrap();
            let revision = entry["global"]["istioRev"].as_str().map(str::to_owned);
            let namespace = entry["general"]["namespace"][0].as_str().unwrap_or("shop").to_owned();
            self.sidecars.insert(revision.clone().unwrap_or_default(), Sidecar { revision, wide: false, namespace });
        }
    }

    fn change_sidecars(&mut self, scope: &Scope, change: impl Fn(&mut Sidecar) -> Option<bool>) -> Outcome {
        let alone = scope.but.is_empty() && scope.namespace.is_none();
        assert!(!alone || !self.store.keys().any(Key::is_controller), "a controller still writes");
        let now = self.now;
        let mut changed = 0;
        self.sidecars.retain(|_, sidecar| {
            let labels = sidecar.revision.iter().map(|it| (names::REVISION_LABEL.to_owned(), it.clone())).collect();
            let done = if scope.covers(&sidecar.namespace, &labels) { change(sidecar) } else { None };
            changed += usize::from(done.is_some());
            if done == Some(false) {
                assert!(sidecar.wide, "routes went before every cluster was there");
                self.bared_at = Some(now);
            }
            done != Some(false)
        });
        Outcome::Changed(changed)
    }

    /// Whether no workload knows a part of the mesh alone, or did a moment ago, unless somebody else's fallback serves it.
    fn nobody_depends_on_the_fallback(&self, boot: &ObjectRef) {
        let stays = self.boots[boot.name.as_ref()]["metadata"]["deletionTimestamp"].is_null()
            && self.boots[boot.name.as_ref()]["spec"]["module"]
                .as_array()
                .unwrap()
                .iter()
                .any(|it| it["enable"] == true);
        if stays {
            return;
        }
        let settings = self.store.iter().find(|(key, it)| key.is_settings() && owner(it).as_ref() == Some(boot));
        let entry: Value = serde_json::from_str(settings.unwrap().1["data"]["cfg"].as_str().unwrap()).unwrap();
        let revision = entry["global"]["istioRev"].as_str();
        let left: Vec<_> = self.sidecars.values().filter(|it| it.revision.as_deref() == revision).collect();
        assert!(left.is_empty(), "{left:?} are left without a fallback: {:?}", self.acts);
        assert!(self.bared_at.is_none_or(|at| self.now >= at + SETTLE), "proxies had no time: {:?}", self.acts);
    }

    /// A new operator hears of everything but what is declared.
    pub(super) fn restart(&mut self) {
        let (store, boots, now, made) = (self.store.clone(), self.boots.clone(), self.now, self.made);
        let (sidecars, bared_at) = (self.sidecars.clone(), self.bared_at);
        *self = Self { store, boots, now, made, sidecars, bared_at, ..Self::new() };
        let known: Vec<Value> = self.boots.values().chain(self.store.values()).cloned().collect();
        known.into_iter().for_each(|object| self.hear(Event::Applied(Box::new(object))));
    }

    /// As `run`, while something is broken by hand.
    pub(super) fn run_unchecked(&mut self) {
        for _ in 0..ACTS {
            let Some(action) = self.operator.next(self.now()) else { return };
            let outcome = self.carry_out(&action);
            self.hear(Event::Finished(Box::new(action), outcome));
        }
    }
}

fn checksum(value: &Value) -> String {
    crate::checksum::checksum(&value.to_string())
}

pub(super) fn targets(filter: &Value) -> BTreeSet<(u16, String)> {
    let text = filter.to_string();
    let words = text.split('"').filter_map(|word| word.strip_prefix("outbound|")?.split_once("||global-sidecar."));
    words.map(|(port, rest)| (port.parse().unwrap(), rest.split('.').next().unwrap().to_owned())).collect()
}

fn virtual_hosts(filter: &Value) -> BTreeSet<String> {
    let patches = filter["spec"]["configPatches"].as_array().unwrap();
    let hosts = patches
        .iter()
        .flat_map(|patch| patch["patch"]["value"]["virtual_hosts"].as_array().cloned().unwrap_or_default());
    hosts.map(|host| host["name"].as_str().unwrap().to_owned()).collect()
}

fn removes(own: &Value, _port: u16, host: &str) -> bool {
    own["spec"]["configPatches"].as_array().unwrap().iter().any(|patch| {
        patch["patch"]["operation"] == "REMOVE" && patch["match"]["routeConfiguration"]["vhost"]["name"] == host
    })
}
